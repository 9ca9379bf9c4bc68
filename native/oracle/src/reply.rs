//! What an answer must say.

use domp_protocol::ErrorCode;
use domp_protocol::results::{EntryValue, OwnedEntry, ResultValue, Results};

use crate::keys::{Answer, Entry, Found, Outcome, Value};

/// How a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The revision it was decided at.
    pub revision: u64,
    /// `None`: a fence.
    pub outcome: Option<Outcome>,
    /// Given back beside the results: kept with an idempotency key.
    pub kept: Option<Vec<u8>>,
}

/// What an item must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Refused; nothing is remembered of it.
    Refused(ErrorCode),
    /// Decided.
    Decided {
        /// How.
        decided: Decided,
        /// Before, by the same request id or under the same idempotency key.
        replayed: bool,
    },
    /// To an outcome request.
    OutcomeOf {
        /// What became of the request asked about.
        decided: Decided,
        /// The revision of the outcome request itself.
        asked_at: u64,
    },
}

/// An answer, as a client can see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// At which the request was decided; 0 with a refusal.
    pub revision: u64,
    /// Why it did not take effect.
    pub code: Option<ErrorCode>,
    /// The guards held.
    pub applied: bool,
    /// It was answered so before.
    pub replayed: bool,
    /// To an outcome request: the request asked about was executed; this is its answer.
    pub outcome_applied: bool,
    /// What was found and done, with what was kept beside it.
    pub results: Results,
}

impl Expected {
    /// The answer that says so.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Refused(code) => Reply {
                code: Some(*code),
                ..Reply::default()
            },
            Self::Decided { decided, replayed } => Reply {
                replayed: *replayed,
                ..decided.reply()
            },
            Self::OutcomeOf { decided, asked_at } => match decided.outcome {
                Some(Outcome::Executed { .. }) => Reply {
                    replayed: true,
                    outcome_applied: true,
                    ..decided.reply()
                },
                // Aborted or fenced: it never takes effect, as is known from now on.
                Some(Outcome::Aborted(_)) | None => Reply {
                    revision: *asked_at,
                    ..Reply::default()
                },
            },
        }
    }
}

impl Decided {
    /// The answer of the attempt that was decided so.
    pub fn reply(&self) -> Reply {
        let (code, applied) = match &self.outcome {
            None => (Some(ErrorCode::Fenced), false),
            Some(Outcome::Aborted(code)) => (Some(*code), false),
            Some(Outcome::Executed { applied, .. }) => (None, *applied),
        };
        let results = self.outcome.as_ref().map(Outcome::results);
        Reply {
            revision: self.revision,
            code,
            applied,
            results: Results {
                kept: self.kept.clone(),
                ..results.unwrap_or_default()
            },
            ..Reply::default()
        }
    }
}

impl Outcome {
    /// What was found and done, as a client gets it. Where no operation has anything to say, none does.
    pub fn results(&self) -> Results {
        let Self::Executed {
            failed_guard,
            answers,
            ..
        } = self
        else {
            return Results::default();
        };
        let quiet = answers.iter().all(|answer| *answer == Answer::Nothing);
        Results {
            results: if quiet {
                Vec::new()
            } else {
                answers.iter().map(result).collect()
            },
            failed_guard: *failed_guard,
            kept: None,
        }
    }
}

fn result(answer: &Answer) -> ResultValue {
    let mut value = ResultValue::default();
    match answer {
        Answer::Nothing => {}
        Answer::Entry(found) => value.entry = found.as_ref().map(|found| owned(found, false)),
        Answer::Entries {
            entries,
            keys_only,
            more,
        } => {
            value.entries = entries
                .iter()
                .map(|found| owned(found, *keys_only))
                .collect();
            value.more = *more;
        }
        Answer::Count(count) => value.count = *count,
        Answer::Number(number) => value.number = Some(*number),
    }
    value
}

fn owned(found: &Found, keys_only: bool) -> OwnedEntry {
    let Found {
        key,
        entry,
        left_ms,
    } = found;
    let Entry {
        value,
        created,
        modified,
        version,
        ..
    } = entry;
    let held = match value {
        Value::Bytes(bytes) => EntryValue::Bytes(bytes.clone()),
        Value::Number(number) => EntryValue::Number(*number),
    };
    OwnedEntry {
        key: key.clone(),
        value: (!keys_only).then_some(held),
        created: *created,
        modified: *modified,
        version: *version,
        expires_in_ms: *left_ms,
    }
}
