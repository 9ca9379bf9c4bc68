//! The limits that the log was applied under, beside the log: a replay needs the same.
//!
//! A small text file, as `identity` is:
//!
//! ```text
//! domp limits 1
//! session_ttl_ms 3600000
//! session_window 4096
//! sessions_max 100000
//! idempotency_ttl_ms 600000
//! idempotency_keys_max 1000000
//! check 5a1b2c3d               crc32c of all before this line
//! ```
//!
//! Invariant: what it says is what the next replay is made with. It is there
//! before the log is, and is replaced only while nothing is left to replay
//! ([`Node::settle`](domp_node::Node::settle)).

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use domp_node::StateLimits;

use super::checked_text;
use super::directory::{LIMITS_NAME, LIMITS_NEW_NAME, replace_durably};

const FIRST_LINE: &str = "domp limits 1";

/// Why the limits are not known.
#[derive(Debug)]
pub enum StateLimitsError {
    /// The file is there but is not what was written.
    Damaged(&'static str),
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for StateLimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(
                f,
                "the file `limits` in the data directory is damaged ({what}); restore it from a \
                 backup"
            ),
            Self::Io(source) => write!(f, "can't read or write the file `limits`: {source}"),
        }
    }
}

impl std::error::Error for StateLimitsError {}

/// Name in the file, name of the setting, value.
pub(crate) fn fields(limits: &StateLimits) -> [(&'static str, &'static str, u64); 5] {
    [
        ("session_ttl_ms", "sessions.ttl", limits.session_ttl_ms),
        (
            "session_window",
            "sessions.window",
            limits.session_window.into(),
        ),
        (
            "sessions_max",
            "sessions.sessions_max",
            limits.sessions_max.into(),
        ),
        (
            "idempotency_ttl_ms",
            "sessions.idempotency_ttl",
            limits.idempotency_ttl_ms,
        ),
        (
            "idempotency_keys_max",
            "sessions.idempotency_keys_max",
            limits.idempotency_keys_max.into(),
        ),
    ]
}

/// The limits of a directory; `None` where it has none yet.
///
/// # Errors
/// When the file is damaged or can't be read.
pub fn load_state_limits(directory: &Path) -> Result<Option<StateLimits>, StateLimitsError> {
    match fs::read_to_string(directory.join(LIMITS_NAME)) {
        Ok(text) => parse(&text).map(Some).map_err(StateLimitsError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StateLimitsError::Damaged("it is no text"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateLimitsError::Io(error)),
    }
}

/// Writes the limits of a directory, in place of those it has.
///
/// # Errors
/// What the system says; the file is then the old one or the new one.
pub fn store_state_limits(directory: &Path, limits: &StateLimits) -> Result<(), StateLimitsError> {
    let text = text(limits);
    replace_durably(directory, LIMITS_NEW_NAME, LIMITS_NAME, text.as_bytes())
        .map_err(StateLimitsError::Io)
}

fn text(limits: &StateLimits) -> String {
    let fields = fields(limits).into_iter();
    checked_text::seal(
        FIRST_LINE,
        fields.map(|(name, _, value)| (name, value.to_string())),
    )
}

fn parse(text: &str) -> Result<StateLimits, &'static str> {
    let mut fields = checked_text::open(FIRST_LINE, text)?;
    let mut next = |name: &str| -> Option<u64> { fields.next(name)?.parse().ok() };
    let limits = (|| {
        Some(StateLimits {
            session_ttl_ms: next("session_ttl_ms")?,
            session_window: next("session_window")?.try_into().ok()?,
            sessions_max: next("sessions_max")?.try_into().ok()?,
            idempotency_ttl_ms: next("idempotency_ttl_ms")?,
            idempotency_keys_max: next("idempotency_keys_max")?.try_into().ok()?,
        })
    })();
    limits.ok_or("a limit is missing or is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let limits = StateLimits {
            sessions_max: 7,
            ..StateLimits::default()
        };
        let text = text(&limits);
        assert_eq!(parse(&text), Ok(limits));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(parse(&text).is_err(), "byte {at}");
            }
        }
    }
}
