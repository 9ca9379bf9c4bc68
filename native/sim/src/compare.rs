//! Whether an answer says what the model says.

use domp_protocol::ErrorCode;
use domp_protocol::reply::ReplyHead;
use domp_protocol::results::{EntryValue, OwnedEntry, ResultValue, Results, parse_results};

use crate::model::keys::{Answer, Entry, Outcome, Value};
use crate::model::{Decided, Expected};

/// Compares an answer to a write or to an outcome request.
///
/// # Errors
/// What differs, for a person.
pub fn check_reply(head: &ReplyHead, payload: &[u8], expected: &Expected) -> Result<(), String> {
    match expected {
        Expected::Refused(code) => same("code", head.code, Some(*code)),
        Expected::Decided { decided, replayed } => {
            same("replayed", head.replayed, *replayed)?;
            same("revision", head.revision, decided.revision)?;
            match &decided.outcome {
                None => same("code", head.code, Some(ErrorCode::Fenced)),
                Some(outcome) => check_outcome(head, payload, outcome, decided.kept.as_deref()),
            }
        }
        Expected::OutcomeOf(decided) => check_outcome_answer(head, payload, decided),
    }
}

fn check_outcome_answer(head: &ReplyHead, payload: &[u8], decided: &Decided) -> Result<(), String> {
    match &decided.outcome {
        Some(outcome @ Outcome::Executed { .. }) => {
            same("outcome_applied", head.outcome_applied, true)?;
            same("revision", head.revision, decided.revision)?;
            check_outcome(head, payload, outcome, decided.kept.as_deref())
        }
        // Aborted or fenced: it never takes effect.
        Some(Outcome::Aborted(_)) | None => {
            same("outcome_applied", head.outcome_applied, false)?;
            same("code", head.code, None)
        }
    }
}

fn check_outcome(
    head: &ReplyHead,
    payload: &[u8],
    outcome: &Outcome,
    kept: Option<&[u8]>,
) -> Result<(), String> {
    match outcome {
        Outcome::Aborted(code) => same("code", head.code, Some(*code)),
        Outcome::Executed {
            applied,
            failed_guard,
            answers,
        } => {
            same("code", head.code, None)?;
            same("applied", head.applied, *applied)?;
            check_results(payload, *failed_guard, answers, kept)
        }
    }
}

/// Compares results with what the model answered.
///
/// # Errors
/// What differs.
pub fn check_results(
    payload: &[u8],
    failed_guard: Option<u32>,
    answers: &[Answer],
    kept: Option<&[u8]>,
) -> Result<(), String> {
    let got = parse_results(payload).map_err(|code| format!("results don't parse: {code:?}"))?;
    same("failed guard", got.failed_guard, failed_guard)?;
    same("kept", got.kept.as_deref(), kept)?;
    let quiet = answers.iter().all(|answer| *answer == Answer::Nothing);
    if quiet && got.results.is_empty() {
        return Ok(());
    }
    let wanted = Results {
        results: answers.iter().map(result).collect(),
        failed_guard,
        kept: kept.map(<[u8]>::to_vec),
    };
    same("results", got, wanted)
}

fn result(answer: &Answer) -> ResultValue {
    let mut value = ResultValue::default();
    match answer {
        Answer::Nothing => {}
        Answer::Entry(found) => {
            value.entry = found
                .as_ref()
                .map(|(key, entry, left)| owned(key, entry, *left, false));
        }
        Answer::Entries {
            entries,
            keys_only,
            more,
        } => {
            value.entries = entries
                .iter()
                .map(|(key, entry, left)| owned(key, entry, *left, *keys_only))
                .collect();
            value.more = *more;
        }
        Answer::Count(count) => value.count = *count,
        Answer::Number(number) => value.number = Some(*number),
    }
    value
}

fn owned(key: &[u8], entry: &Entry, left_ms: Option<u64>, keys_only: bool) -> OwnedEntry {
    let held = match &entry.value {
        Value::Bytes(bytes) => EntryValue::Bytes(bytes.clone()),
        Value::Number(number) => EntryValue::Number(*number),
    };
    OwnedEntry {
        key: key.to_vec(),
        value: (!keys_only).then_some(held),
        created: entry.created,
        modified: entry.modified,
        version: entry.version,
        expires_in_ms: left_ms,
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, expected {wanted:?}"))
    }
}
