//! Describes an entry's body: header, batches, items.

use std::fmt::Write;

use domp_protocol::frame::{Item, ItemKind, items_of_batch};
use domp_protocol::transaction::{Guard, Operation, OutcomeOfRequest, OutcomeRequest, Transaction};

use super::{BATCH_HEADER_BYTES, ENTRY_HEADER_BYTES};
use crate::bytes::{u32_at, u64_at};
use crate::system::{StateLimits, SystemItem};

/// Operations and guards listed of one transaction.
const PARTS_MAX: usize = 8;
/// The number of system batches.
const SYSTEM: u8 = 3;
/// Bytes of a key shown.
const KEY_BYTES_MAX: usize = 48;

/// Describes the body of an entry, a line a call. What cannot be read is said to be so.
pub fn describe_entry(body: &[u8], out: &mut dyn FnMut(&str)) {
    if describe(body, out).is_none() {
        out("the rest of the body cannot be read");
    }
}

fn describe(body: &[u8], out: &mut dyn FnMut(&str)) -> Option<()> {
    let (header, mut rest) = body.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
    let mut line = format!(
        "revision {}, lease {} ms, apply version {}, {} items in {} batches",
        u64_at(header, 0),
        u64_at(header, 8),
        u16::from_le_bytes([header[40], header[41]]),
        u32_at(header, 48),
        u32_at(header, 44),
    );
    for (at, name) in [(16, "closed"), (24, "key floor"), (32, "history floor")] {
        let value = u64_at(header, at);
        if value != 0 {
            push(&mut line, format_args!(", {name} {value}"));
        }
    }
    out(&line);
    for _ in 0..u32_at(header, 44) {
        let (batch, behind) = rest.split_first_chunk::<BATCH_HEADER_BYTES>()?;
        let (mut items, behind) = behind.split_at_checked(u32_at(batch, 44) as usize)?;
        rest = behind;
        out(&batch_line(batch));
        if batch[48] == SYSTEM {
            for _ in 0..u32_at(batch, 40) {
                match SystemItem::take(&mut items) {
                    Ok((item, _)) => out(&format!("  {}", system_line(&item))),
                    Err(error) => {
                        out(&format!("  {error}"));
                        break;
                    }
                }
            }
            continue;
        }
        for item in items_of_batch(items, u32_at(batch, 40)) {
            out(&format!("  {}", item_line(&item.ok()?)));
        }
    }
    rest.is_empty().then_some(())
}

/// Says what a system item is; of a signing key only which.
fn system_line(item: &SystemItem) -> String {
    match item {
        SystemItem::Limits(limits) => format!("limits: {}", limits_text(limits)),
        SystemItem::WantedLimits(limits) => format!("wanted limits: {}", limits_text(limits)),
        SystemItem::SigningKey(key) => format!("signing key {}", key.id),
    }
}

fn limits_text(limits: &StateLimits) -> String {
    format!(
        "session ttl {} ms, window {}, at most {} sessions, idempotency ttl {} ms, at most {} idempotency keys",
        limits.session_ttl_ms,
        limits.session_window,
        limits.sessions_max,
        limits.idempotency_ttl_ms,
        limits.idempotency_keys_max,
    )
}

fn batch_line(batch: &[u8; BATCH_HEADER_BYTES]) -> String {
    let [birth, nonce, principal, epoch, acked_below] =
        [0, 8, 16, 24, 32].map(|at| u64_at(batch, at));
    match batch[48] {
        1 => format!(
            "session {birth}/{nonce:016x} of principal {principal}, epoch {epoch}, acked below {acked_below}"
        ),
        2 => format!("without a session, of principal {principal}"),
        SYSTEM => "of the system".to_owned(),
        kind => format!("batch of unknown kind {kind}"),
    }
}

fn item_line(item: &Item<'_>) -> String {
    let mut line = format!("{}: ", item.sequence);
    match item.kind {
        ItemKind::Transaction => match Transaction::parse(item.payload) {
            Ok(transaction) => push_transaction(&mut line, &transaction),
            Err(code) => push(
                &mut line,
                format_args!("a transaction that is refused: {}", code.name()),
            ),
        },
        ItemKind::Outcome => match OutcomeRequest::parse(item.payload) {
            Ok(request) => push(
                &mut line,
                format_args!(
                    "outcome of {} in space {}, key {}",
                    request.sequence,
                    request.space,
                    text(request.key)
                ),
            ),
            Err(code) => push(
                &mut line,
                format_args!("an outcome request that is refused: {}", code.name()),
            ),
        },
        ItemKind::OutcomeOf => match OutcomeOfRequest::parse(item.payload) {
            Ok(request) => push(
                &mut line,
                format_args!(
                    "outcome of idempotency key {} in space {}",
                    text(request.idempotency_key),
                    request.space
                ),
            ),
            Err(code) => push(
                &mut line,
                format_args!("an outcome request that is refused: {}", code.name()),
            ),
        },
    }
    line
}

fn push(line: &mut String, parts: std::fmt::Arguments<'_>) {
    line.write_fmt(parts).expect("a String takes all");
}

fn push_transaction(line: &mut String, transaction: &Transaction<'_>) {
    push(line, format_args!("space {}", transaction.space()));
    if let Some(key) = transaction.idempotency_key() {
        push(line, format_args!(" under idempotency key {}", text(key)));
    }
    if let Some(result) = transaction.result() {
        push(line, format_args!(" keeping {} bytes", result.len()));
    }
    push_parts(
        line,
        " if ",
        transaction.guards().map(|guard| guard_text(&guard)),
    );
    push_parts(
        line,
        " then ",
        transaction
            .then()
            .map(|operation| operation_text(&operation)),
    );
    if let Some(otherwise) = transaction.otherwise() {
        push_parts(
            line,
            " else ",
            otherwise.map(|operation| operation_text(&operation)),
        );
    }
}

fn push_parts(line: &mut String, word: &str, parts: impl ExactSizeIterator<Item = String>) {
    let count = parts.len();
    if count == 0 {
        return;
    }
    line.push_str(word);
    let shown: Vec<String> = parts.take(PARTS_MAX).collect();
    line.push_str(&shown.join(", "));
    if count > PARTS_MAX {
        push(line, format_args!(" and {} more", count - PARTS_MAX));
    }
}

fn guard_text(guard: &Guard<'_>) -> String {
    match guard {
        Guard::Exists { key } => format!("exists {}", text(key)),
        Guard::Absent { key } => format!("absent {}", text(key)),
        Guard::Version { key, version } => format!("version of {} = {version}", text(key)),
        Guard::Modified { key, revision } => format!("modified of {} = {revision}", text(key)),
        Guard::ModifiedAtMost { key, revision } => {
            format!("modified of {} <= {revision}", text(key))
        }
        Guard::Value { key, .. } => format!("value of {}", text(key)),
        Guard::AtLeast { key, number } => format!("{} >= {number}", text(key)),
        Guard::Unchanged {
            from,
            to,
            revision,
            count,
        } => {
            format!(
                "unchanged {} since {revision}, {count} entries",
                range(from, *to)
            )
        }
    }
}

fn operation_text(operation: &Operation<'_>) -> String {
    match operation {
        Operation::Get { key } => format!("get {}", text(key)),
        Operation::Range { from, to, .. } => format!("range {}", range(from, *to)),
        Operation::Count { from, to } => format!("count {}", range(from, *to)),
        Operation::Put { key, .. } => format!("put {}", text(key)),
        Operation::Delete { key } => format!("delete {}", text(key)),
        Operation::DeleteRange { from, to } => format!("deleteRange {}", range(from, *to)),
        Operation::Add { key, delta, .. } => format!("add {delta} to {}", text(key)),
        Operation::Append { key, value } => {
            format!("append {} bytes to {}", value.len(), text(key))
        }
        Operation::SpaceCreate { name } => format!("create space {}", text(name)),
        Operation::SpaceDrop { name } => format!("drop space {}", text(name)),
    }
}

fn range(from: &[u8], to: Option<&[u8]>) -> String {
    match to {
        Some(to) => format!("[{}, {})", text(from), text(to)),
        None => format!("[{}, end)", text(from)),
    }
}

fn text(key: &[u8]) -> String {
    let shown = &key[..key.len().min(KEY_BYTES_MAX)];
    let more = if key.len() > KEY_BYTES_MAX { "..." } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}
