//! Answers and effects as text.

use std::fmt::Write as _;

use domp_protocol::results::{EntryValue, OwnedEntry, ResultValue};
use domp_protocol::{ErrorCode, parse_results};
use domp_state::effects::{Cause, Effects};
use domp_state::index::Value;
use domp_state::{EXPIRY_POSITION, KeyOutcome, Reply, Sink, StateLimits};

/// More changes of one item than this are counted rather than shown.
const CHANGES_SHOWN: usize = 8;

/// Writes down all that an entry leads to.
#[derive(Default)]
pub struct Shown {
    pub lines: Vec<String>,
}

impl Sink for Shown {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        self.lines.push(show_reply(reply));
    }

    fn effects(&mut self, position: u32, effects: &[u8]) {
        let effects = Effects::parse(effects).expect("effects are what their format says");
        let expiry = effects.cause == Cause::Expiry;
        assert_eq!(
            expiry,
            position == EXPIRY_POSITION,
            "expiry belongs to no item"
        );
        let changes = effects
            .changes()
            .expect("effects are what their format says");
        if changes.len() > CHANGES_SHOWN {
            let line = format!("* @{} {} changes", effects.revision, changes.len());
            self.lines.push(line);
            return;
        }
        for change in changes {
            let mut line = format!("* @{} ", effects.revision);
            let key = text(change.key);
            match change.now {
                None if expiry => write!(line, "expired {key}"),
                None => write!(line, "deleted {key}"),
                Some(now) => {
                    let value = match now.value {
                        Value::Bytes(bytes) => quoted(bytes),
                        Value::Number(number) => number.to_string(),
                    };
                    let expires = match now.expires_at_ms {
                        Some(at_ms) => format!(" expires at {at_ms}"),
                        None => String::new(),
                    };
                    let (created, version) = (now.created, now.version);
                    write!(
                        line,
                        "{key} = {value} created {created} version {version}{expires}"
                    )
                }
            }
            .expect("strings can be written to");
            self.lines.push(line);
        }
    }
}

fn show_reply(reply: &Reply<'_>) -> String {
    let mut line = format!("< {}", reply.sequence);
    let mut say = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    if reply.revision != 0 {
        say(&format!("@{}", reply.revision));
    }
    if reply.replayed {
        say("replayed");
    }
    if reply.outcome_applied {
        say("outcome");
    }
    match reply.code {
        Some(code) => say(code.name()),
        None if reply.applied => say("applied"),
        None => say("not_applied"),
    }
    let results = show_results(reply.results);
    if !results.is_empty() {
        say(&results);
    }
    line
}

/// A read's answer.
pub fn show_read(answer: Result<domp_state::ReadAnswer, ErrorCode>, out: &[u8]) -> String {
    match answer {
        Err(code) => format!("< {}", code.name()),
        Ok(answer) => {
            let applied = if answer.applied {
                "applied"
            } else {
                "not_applied"
            };
            let line = format!("< @{} {applied} {}", answer.revision, show_results(out));
            line.trim_end().to_owned()
        }
    }
}

fn show_results(payload: &[u8]) -> String {
    if payload.is_empty() {
        return String::new();
    }
    let results = parse_results(payload).expect("results are what the schema says");
    let mut line = String::new();
    if let Some(guard) = results.failed_guard {
        write!(line, "guard {guard} ").expect("strings can be written to");
    }
    let shown: Vec<String> = results.results.iter().map(show_result).collect();
    if !shown.is_empty() {
        write!(line, "[{}]", shown.join(", ")).expect("strings can be written to");
    }
    if let Some(kept) = &results.kept {
        write!(line, " kept {}", quoted(kept)).expect("strings can be written to");
    }
    line.trim().to_owned()
}

/// What became of the transaction under a key.
pub fn show_key_outcome(outcome: KeyOutcome<'_>) -> String {
    match outcome {
        KeyOutcome::Applied {
            revision,
            results,
            kept,
        } => {
            let kept = kept.map_or(String::new(), |kept| format!(" kept {}", quoted(kept)));
            let line = format!("< applied @{revision} {}", show_results(results));
            format!("{}{kept}", line.trim_end())
        }
        KeyOutcome::NotApplied { revision, code } => {
            format!("< not_applied @{revision} {}", code.name())
        }
        KeyOutcome::NotSeen => "< not_seen".to_owned(),
    }
}

/// Limits, in the words that set them.
pub fn show_limits(limits: &StateLimits) -> String {
    format!(
        "< ttl {} window {} sessions {} idempotency_ttl {} idempotency_keys {}",
        limits.session_ttl_ms,
        limits.session_window,
        limits.sessions_max,
        limits.idempotency_ttl_ms,
        limits.idempotency_keys_max
    )
}

fn show_result(result: &ResultValue) -> String {
    let mut words = Vec::new();
    words.extend(result.entry.as_ref().map(show_entry));
    if !result.entries.is_empty() {
        let entries: Vec<String> = result.entries.iter().map(show_entry).collect();
        words.push(format!("{{{}}}", entries.join(", ")));
    }
    if result.more {
        words.push("more".to_owned());
    }
    if result.count != 0 {
        words.push(format!("count {}", result.count));
    }
    words.extend(result.number.map(|number| format!("number {number}")));
    if words.is_empty() {
        words.push("-".to_owned());
    }
    words.join(" ")
}

fn show_entry(entry: &OwnedEntry) -> String {
    let mut line = text(&entry.key);
    let value = match &entry.value {
        Some(EntryValue::Bytes(bytes)) => format!("={}", quoted(bytes)),
        Some(EntryValue::Number(number)) => format!("={number}"),
        None => String::new(),
    };
    line.push_str(&value);
    write!(
        line,
        " c{} m{} v{}",
        entry.created, entry.modified, entry.version
    )
    .expect("strings can be written to");
    if let Some(left_ms) = entry.expires_in_ms {
        write!(line, " expires in {left_ms}").expect("strings can be written to");
    }
    line
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if bytes.len() > 40 {
        format!("{}..({})", &text[..8], bytes.len())
    } else {
        text.into_owned()
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", text(bytes))
}
