//! Whether an answer says what the oracle says.

use domp_oracle::Expected;
use domp_protocol::reply::ReplyHead;
use domp_protocol::results::{Results, parse_results};

/// Compares an answer to a write or to an outcome request.
///
/// # Errors
/// What differs, for a person.
pub fn check_reply(head: &ReplyHead, payload: &[u8], expected: &Expected) -> Result<(), String> {
    let wanted = expected.reply();
    same("code", head.code, wanted.code)?;
    same("revision", head.revision, wanted.revision)?;
    same("applied", head.applied, wanted.applied)?;
    same("replayed", head.replayed, wanted.replayed)?;
    same(
        "outcome_applied",
        head.outcome_applied,
        wanted.outcome_applied,
    )?;
    // With an error comes what is worth knowing of it.
    if head.code.is_some() {
        return Ok(());
    }
    same("results", parsed(payload)?, wanted.results)
}

/// Compares what a transaction that only reads answered with what it finds. The node tells rests of
/// life as of its lease time now, the oracle as of the last entry: they may be shorter, not longer.
///
/// # Errors
/// What differs.
pub fn check_read_results(payload: &[u8], wanted: Results) -> Result<(), String> {
    let mut got = parsed(payload)?;
    for (got, wanted) in got.results.iter_mut().zip(&wanted.results) {
        let pairs = got.entry.iter_mut().zip(&wanted.entry);
        for (got, wanted) in pairs.chain(got.entries.iter_mut().zip(&wanted.entries)) {
            if let (Some(left_ms), Some(most_ms)) = (got.expires_in_ms, wanted.expires_in_ms)
                && left_ms <= most_ms
            {
                got.expires_in_ms = wanted.expires_in_ms;
            }
        }
    }
    same("results", got, wanted)
}

fn parsed(payload: &[u8]) -> Result<Results, String> {
    parse_results(payload).map_err(|code| format!("results don't parse: {code:?}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, expected {wanted:?}"))
    }
}
