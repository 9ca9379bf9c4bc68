//! What comes from JavaScript as objects.

use std::path::PathBuf;

use domp_engine::offline::Offline;
use domp_engine::{LogMode, Options};
use napi::{Error, Result, Status};
use napi_derive::napi;

/// How to open an engine; absent: the default. Numbers are whole and not negative.
#[napi(object)]
pub struct OpenOptions {
    /// The data directory.
    pub directory: String,
    /// Where the log is kept, if not in it.
    pub log_directory: Option<String>,
    /// `auto`, `inline` or `threaded`.
    pub log_mode: Option<String>,
    /// Capacity of the inbound ring, a power of two.
    pub inbound_ring_bytes: Option<i64>,
    /// Capacity of the outbound ring, a power of two.
    pub outbound_ring_bytes: Option<i64>,
    /// Length of a log segment after the first.
    pub segment_bytes: Option<i64>,
    /// A shard is snapshotted after this much log.
    pub snapshot_after_bytes: Option<i64>,
    /// The longest frame that the gateway takes.
    pub frame_bytes_max: Option<i64>,
    /// Request bytes that one connection may have unanswered there.
    pub outstanding_bytes_max: Option<i64>,
    /// Lease time a session lives after its last use.
    pub session_ttl_ms: Option<i64>,
    /// Sequences a session may have outstanding.
    pub session_window: Option<i64>,
    /// Sessions a shard keeps.
    pub sessions_max: Option<i64>,
    /// Lease time an idempotency key is remembered.
    pub idempotency_ttl_ms: Option<i64>,
    /// Idempotency keys a shard keeps.
    pub idempotency_keys_max: Option<i64>,
    /// A machine's clock that leaves the monotonic one by more than this is not followed.
    pub clock_jump_max_ms: Option<i64>,
    /// Whether the worker looks for work for a moment before it sleeps.
    pub busy_poll: Option<bool>,
    /// The longest that closing waits for what was accepted.
    pub drain_timeout_ms: Option<i64>,
    /// Of a cluster's node: where it listens for the others, host and port, if not where they expect it.
    pub cluster_listen: Option<String>,
}

impl OpenOptions {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the option that makes no sense.
    pub fn into_options(self) -> Result<Options> {
        let mut options = Options::new(PathBuf::from(self.directory));
        if let Some(name) = &self.log_mode {
            options.log_mode = LogMode::from_name(name)
                .ok_or_else(|| invalid("logMode is none of auto, inline, threaded"))?;
        }
        if let Some(bytes) = whole(self.inbound_ring_bytes, "inboundRingBytes")? {
            options.inbound_ring_bytes = bytes;
        }
        if let Some(bytes) = whole(self.outbound_ring_bytes, "outboundRingBytes")? {
            options.outbound_ring_bytes = bytes;
        }
        if let Some(ms) = whole(self.drain_timeout_ms, "drainTimeoutMs")? {
            options.drain_timeout_ms = ms;
        }
        if let Some(ms) = whole(self.clock_jump_max_ms, "clockJumpMaxMs")? {
            options.clock_jump_max_ms = ms;
        }
        options.log_directory = self.log_directory.map(PathBuf::from);
        options.cluster_listen = self.cluster_listen;
        if let Some(wanted) = self.busy_poll {
            options.busy_poll = wanted;
        }
        options.segment_bytes = whole(self.segment_bytes, "segmentBytes")?;
        options.snapshot_after_bytes = whole(self.snapshot_after_bytes, "snapshotAfterBytes")?;
        options.frame_bytes_max = whole(self.frame_bytes_max, "frameBytesMax")?;
        options.outstanding_bytes_max = whole(self.outstanding_bytes_max, "outstandingBytesMax")?;
        options.session_ttl_ms = whole(self.session_ttl_ms, "sessionTtlMs")?;
        options.session_window = whole(self.session_window, "sessionWindow")?;
        options.sessions_max = whole(self.sessions_max, "sessionsMax")?;
        options.idempotency_ttl_ms = whole(self.idempotency_ttl_ms, "idempotencyTtlMs")?;
        options.idempotency_keys_max = whole(self.idempotency_keys_max, "idempotencyKeysMax")?;
        Ok(options)
    }
}

/// What to ask; see [`crate::control`].
#[napi(object)]
pub struct ControlRequest {
    /// `statistics`, `snapshot`, `notices`, `drain`, `check`, `log`, `prepare`.
    pub kind: String,
    /// `check` and `log`: the data directory; `prepare`: where directories are made.
    pub directory: Option<String>,
    /// `check` and `log`: where its log is, if not in it.
    pub log_directory: Option<String>,
    /// `log`: only this shard's records.
    pub group: Option<i64>,
    /// `log`: only entries from this index on.
    pub from_index: Option<i64>,
    /// `prepare`: where the nodes listen for each other.
    pub addresses: Option<Vec<String>>,
}

impl ControlRequest {
    /// The request, if it is one that needs no engine.
    ///
    /// # Errors
    /// An unknown kind, no directory, a number out of range.
    pub fn into_offline(self) -> Result<Offline> {
        let directory = self.directory.map(PathBuf::from);
        let directory = directory.ok_or_else(|| invalid("the request names no directory"))?;
        let log_directory = self.log_directory.map(PathBuf::from);
        match self.kind.as_str() {
            "check" => Ok(Offline::Check {
                directory,
                log_directory,
            }),
            "log" => Ok(Offline::Log {
                directory,
                log_directory,
                group: whole(self.group, "group")?,
                from_index: whole(self.from_index, "fromIndex")?,
            }),
            "prepare" => Ok(Offline::Prepare {
                directory,
                addresses: self.addresses.unwrap_or_default(),
            }),
            kind => Err(invalid(&format!("there is no request `{kind}`"))),
        }
    }
}

fn whole<T: TryFrom<i64>>(value: Option<i64>, name: &str) -> Result<Option<T>> {
    value
        .map(|value| T::try_from(value).map_err(|_| invalid(&format!("{name} is out of range"))))
        .transpose()
}

fn invalid(what: &str) -> Error {
    Error::new(Status::InvalidArg, what)
}
