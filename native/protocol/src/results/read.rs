//! Reads `Results` into owned structures: for clients, tests and the simulator.

use crate::error::ErrorCode;
use crate::generated::wire;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryValue {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A 64-bit number.
    Number(i64),
}

/// An entry as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEntry {
    /// The key.
    pub key: Vec<u8>,
    /// What it holds; `None` where only keys were asked for.
    pub value: Option<EntryValue>,
    /// The revision that created it.
    pub created: u64,
    /// The revision that wrote it last.
    pub modified: u64,
    /// Count of writes since it was created.
    pub version: u64,
    /// Lease time until it expires, if it does.
    pub expires_in_ms: Option<u64>,
}

/// The result of one operation; which fields mean something depends on the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultValue {
    /// `get`: what was found.
    pub entry: Option<OwnedEntry>,
    /// `range`: the page.
    pub entries: Vec<OwnedEntry>,
    /// `range`: the page ended before the range did.
    pub more: bool,
    /// `count`, `delete`, `delete_range`, `append`.
    pub count: u64,
    /// `add`, `space_create`.
    pub number: Option<i64>,
}

/// What a transaction found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// One for each operation of the branch that ran; empty where none had anything to say.
    pub results: Vec<ResultValue>,
    /// Index of the first guard that failed.
    pub failed_guard: Option<u32>,
    /// Answered from an idempotency key: what the transaction gave to keep with it.
    pub kept: Option<Vec<u8>>,
}

/// Reads the payload of a reply without error; an empty one says nothing.
///
/// # Errors
/// `invalid_frame` if it is malformed.
pub fn parse_results(payload: &[u8]) -> Result<Results, ErrorCode> {
    if payload.is_empty() {
        return Ok(Results::default());
    }
    let root = flatbuffers::root::<wire::Results<'_>>(payload);
    let root = root.map_err(|_| ErrorCode::InvalidFrame)?;
    Ok(Results {
        results: root
            .results()
            .into_iter()
            .flatten()
            .map(|result| own_result(&result))
            .collect(),
        failed_guard: u32::try_from(root.failed_guard()).ok(),
        kept: root.kept().map(|kept| kept.bytes().to_vec()),
    })
}

fn own_result(result: &wire::OperationResult<'_>) -> ResultValue {
    ResultValue {
        entry: result.entry().map(|entry| own_entry(&entry)),
        entries: result
            .entries()
            .into_iter()
            .flatten()
            .map(|entry| own_entry(&entry))
            .collect(),
        more: result.more(),
        count: result.count(),
        number: result.number(),
    }
}

fn own_entry(entry: &wire::Entry<'_>) -> OwnedEntry {
    let value = match entry.number() {
        Some(number) => Some(EntryValue::Number(number)),
        None => entry
            .value()
            .map(|value| EntryValue::Bytes(value.bytes().to_vec())),
    };
    OwnedEntry {
        key: entry
            .key()
            .map(|key| key.bytes().to_vec())
            .unwrap_or_default(),
        value,
        created: entry.created(),
        modified: entry.modified(),
        version: entry.version(),
        expires_in_ms: entry.expires_in_ms(),
    }
}
