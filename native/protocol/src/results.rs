//! What operations found and did: the payload of a reply without error.

mod key_outcome;
mod lone;
mod read;
mod scalars;

#[cfg(test)]
mod tests;

pub use key_outcome::{
    KeyOutcome, KeyOutcomeRef, KeyState, encode_kept_results, encode_key_outcome, parse_key_outcome,
};
pub use read::{EntryValue, OwnedEntry, ResultValue, Results, parse_results};

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use self::lone::LoneGet;
use self::scalars::{Scalar, Scalars};
use crate::generated::wire;
use crate::transaction::ValueRef;

/// One entry as it is told to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What it holds; `None` where only keys were asked for.
    pub value: Option<ValueRef<'a>>,
    /// The revision that created it.
    pub created: u64,
    /// The revision that wrote it last.
    pub modified: u64,
    /// Count of writes since it was created.
    pub version: u64,
    /// Lease time until it expires, if it does.
    pub expires_in_ms: Option<u64>,
}

type ResultOffset = WIPOffset<wire::OperationResult<'static>>;
type EntryOffset = WIPOffset<wire::Entry<'static>>;

/// What was pushed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// So many results without content, not yet written: perhaps none ever is.
    Empty(usize),
    /// One `get` and nothing else, laid out by hand: reads are hot.
    LoneGet,
    /// A few numbers, counts and results without content, laid out by hand: writes are hot too.
    Scalars,
    /// Anything, in the builder.
    Built,
}

/// Encodes `Results`; keeps its memory between uses.
///
/// Between [`begin`](Self::begin) and [`finish`](Self::finish) comes one push for
/// each operation of the branch that ran, in order. A range is
/// [`begin_range`](Self::begin_range), its entries, [`end_range`](Self::end_range).
pub struct ResultsEncoder {
    content: Content,
    lone: LoneGet,
    scalars: Scalars,
    builder: FlatBufferBuilder<'static>,
    results: Vec<ResultOffset>,
    entries: Vec<EntryOffset>,
}

impl Default for ResultsEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ResultsEncoder {
    /// An encoder with nothing in it.
    pub fn new() -> Self {
        Self {
            content: Content::Empty(0),
            lone: LoneGet::default(),
            scalars: Scalars::default(),
            builder: FlatBufferBuilder::new(),
            results: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Forgets what was pushed.
    #[inline]
    pub fn begin(&mut self) {
        self.content = Content::Empty(0);
    }

    /// About as many bytes as `finish` would write now; never fewer than the
    /// keys and values pushed.
    pub fn bytes(&self) -> usize {
        match self.content {
            Content::Empty(_) => 0,
            Content::LoneGet => self.lone.bytes().len(),
            Content::Scalars => SCALAR_BYTES * self.scalars.values().len(),
            Content::Built => {
                let offsets = 4 * (self.results.len() + self.entries.len());
                self.builder.unfinished_data().len() + offsets
            }
        }
    }

    /// The result of an operation that has none: a put, a space dropped.
    #[inline]
    pub fn push_none(&mut self) {
        match &mut self.content {
            Content::Empty(count) => *count += 1,
            _ => self.push_scalar(Scalar::Nothing),
        }
    }

    /// The result of `get`.
    #[inline]
    pub fn push_get(&mut self, entry: Option<&EntryRef<'_>>) {
        if self.content == Content::Empty(0) {
            self.lone.lay_out(entry);
            self.content = Content::LoneGet;
            return;
        }
        self.build();
        let entry = entry.map(|entry| encode_entry(&mut self.builder, entry));
        self.push(&wire::OperationResultArgs {
            entry,
            ..Default::default()
        });
    }

    /// Begins the result of `range`.
    pub fn begin_range(&mut self) {
        self.build();
        self.entries.clear();
    }

    /// One entry of the range, in the order asked for.
    pub fn range_entry(&mut self, entry: &EntryRef<'_>) {
        let entry = encode_entry(&mut self.builder, entry);
        self.entries.push(entry);
    }

    /// Ends the result of `range`; `more`: the page ended before the range did.
    pub fn end_range(&mut self, more: bool) {
        let entries = Some(self.builder.create_vector(&self.entries));
        self.entries.clear();
        self.push(&wire::OperationResultArgs {
            entries,
            more,
            ..Default::default()
        });
    }

    /// A count: of `count`, of the keys that `delete_range` or `delete` removed,
    /// of the bytes a value has after `append`.
    pub fn push_count(&mut self, count: u64) {
        self.push_scalar(Scalar::of_count(count));
    }

    /// A number: the sum after `add`, the id of a space created.
    pub fn push_number(&mut self, number: i64) {
        self.push_scalar(Scalar::Number(number));
    }

    /// Appends the payload to `out`: nothing at all where there is nothing to
    /// say (only puts, no failed guard). Begins anew.
    pub fn finish(&mut self, failed_guard: Option<u32>, out: &mut Vec<u8>) {
        let failed_guard = failed_guard.and_then(|index| i32::try_from(index).ok());
        match (self.content, failed_guard) {
            (Content::Empty(_), None) => return self.begin(),
            (Content::LoneGet, None) => {
                out.extend_from_slice(self.lone.bytes());
                return self.begin();
            }
            (Content::Scalars, _) => {
                out.extend_from_slice(self.scalars.lay_out(failed_guard));
                return self.begin();
            }
            // Only the guard speaks: what had no content is not even counted.
            (Content::Empty(_), Some(_)) => {
                self.scalars.begin(0);
                out.extend_from_slice(self.scalars.lay_out(failed_guard));
                return self.begin();
            }
            (Content::LoneGet, Some(_)) => self.build(),
            (Content::Built, _) => {}
        }
        let failed_guard = failed_guard.unwrap_or(-1);
        let results = (!self.results.is_empty()).then(|| self.builder.create_vector(&self.results));
        let root = wire::Results::create(
            &mut self.builder,
            &wire::ResultsArgs {
                results,
                failed_guard,
                kept: None,
            },
        );
        self.builder.finish_minimal(root);
        out.extend_from_slice(self.builder.finished_data());
        self.begin();
    }

    #[inline]
    fn push_scalar(&mut self, value: Scalar) {
        let fits = match self.content {
            Content::Empty(count) if self.scalars.begin(count) => {
                self.content = Content::Scalars;
                self.scalars.push(value)
            }
            Content::Scalars => self.scalars.push(value),
            _ => false,
        };
        if !fits {
            self.push(&scalar_arguments(value));
        }
    }

    fn push(&mut self, arguments: &wire::OperationResultArgs<'static>) {
        self.build();
        let result = wire::OperationResult::create(&mut self.builder, arguments);
        self.results.push(result);
    }

    /// Moves what was pushed so far into the builder.
    fn build(&mut self) {
        let content = core::mem::replace(&mut self.content, Content::Built);
        if content == Content::Built {
            return;
        }
        self.builder.reset();
        self.results.clear();
        self.entries.clear();
        match content {
            Content::Empty(count) => {
                for _ in 0..count {
                    self.push(&wire::OperationResultArgs::default());
                }
            }
            Content::Scalars => {
                for at in 0..self.scalars.values().len() {
                    let arguments = scalar_arguments(self.scalars.values()[at]);
                    self.push(&arguments);
                }
            }
            Content::LoneGet => {
                let entry = self
                    .lone
                    .entry()
                    .map(|entry| encode_entry(&mut self.builder, &entry));
                self.push(&wire::OperationResultArgs {
                    entry,
                    ..Default::default()
                });
            }
            Content::Built => {}
        }
    }
}

/// About what a number or a count takes.
const SCALAR_BYTES: usize = 32;

fn scalar_arguments(value: Scalar) -> wire::OperationResultArgs<'static> {
    let mut arguments = wire::OperationResultArgs::default();
    match value {
        Scalar::Nothing => {}
        Scalar::Count(count) => arguments.count = count,
        Scalar::Number(number) => arguments.number = Some(number),
    }
    arguments
}

fn encode_owned_entry(builder: &mut FlatBufferBuilder<'static>, entry: &OwnedEntry) -> EntryOffset {
    let value = entry.value.as_ref().map(|value| match value {
        EntryValue::Bytes(bytes) => ValueRef::Bytes(bytes),
        EntryValue::Number(number) => ValueRef::Number(*number),
    });
    let entry = EntryRef {
        key: &entry.key,
        value,
        created: entry.created,
        modified: entry.modified,
        version: entry.version,
        expires_in_ms: entry.expires_in_ms,
    };
    encode_entry(builder, &entry)
}

/// Encodes a result that was read.
fn encode_result(builder: &mut FlatBufferBuilder<'static>, result: &ResultValue) -> ResultOffset {
    let entry = result
        .entry
        .as_ref()
        .map(|entry| encode_owned_entry(builder, entry));
    let entries: Vec<EntryOffset> = result
        .entries
        .iter()
        .map(|entry| encode_owned_entry(builder, entry))
        .collect();
    let entries = (!entries.is_empty()).then(|| builder.create_vector(&entries));
    let arguments = wire::OperationResultArgs {
        entry,
        entries,
        more: result.more,
        count: result.count,
        number: result.number,
    };
    wire::OperationResult::create(builder, &arguments)
}

fn encode_entry(builder: &mut FlatBufferBuilder<'static>, entry: &EntryRef<'_>) -> EntryOffset {
    let key = Some(builder.create_vector(entry.key));
    let (value, number) = match entry.value {
        Some(ValueRef::Bytes(value)) => (Some(builder.create_vector(value)), None),
        Some(ValueRef::Number(number)) => (None, Some(number)),
        None => (None, None),
    };
    let arguments = wire::EntryArgs {
        key,
        value,
        number,
        created: entry.created,
        modified: entry.modified,
        version: entry.version,
        expires_in_ms: entry.expires_in_ms,
    };
    wire::Entry::create(builder, &arguments)
}
