//! The body of a log entry: what one Raft entry of a shard says.
//!
//! `schemas/log.fbs` names the structs; here they are laid out (little endian,
//! offsets in bytes):
//!
//! ```text
//! EntryHeader  56   0 revision u64   8 lease_ms u64   16 closed u64   24 key_floor u64
//!                   32 history_floor u64   40 apply_version u16   42 zero u16
//!                   44 batches u32   48 items u32   52 zero u32
//! then `batches` times
//! BatchHeader  56   0 session_birth u64   8 session_nonce u64   16 principal u64
//!                   24 epoch u64          32 acked_below u64    40 items u32   44 bytes u32
//!                   48 kind u8            49 zero, 7 bytes
//! items             `bytes` bytes: the clients' items as they came, each padded to 8, or
//!                   those of `system.rs`
//! ```
//!
//! `revision` is that of the sweep of what expires, which comes first; item n has
//! `revision + 1 + n`. An entry of no items only moves lease time on. `closed`
//! and the floors are of a later time and zero. Every header stands at a multiple
//! of 8.
//!
//! Stamps that do not grow are no reason to refuse an entry, which would stop
//! every replica for good: a revision not above the shard's is taken for the one
//! behind it, a lease time below the shard's for the shard's.

mod describe;
mod plan;

use std::fmt;

use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::transaction::Outline;

use crate::bytes::{u32_at, u64_at};
use crate::system::{self, SystemItem};
pub use describe::describe_entry;
pub use plan::{Plan, verify_entry};
pub(crate) use plan::{Planned, Work};

/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 56;
/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 56;

/// Why bytes from the log or from a snapshot were refused. Nothing was changed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The bytes are not what they should be; the text says where.
    Corrupt(&'static str),
    /// The entry, or the snapshot, means something this version does not know.
    ApplyVersion(u16),
    /// A field that is kept for a later time is set; its name.
    Reserved(&'static str),
    /// A system item of a kind that is kept for a later time, or that nobody knows; its number.
    SystemKind(u8),
    /// A system item of the meta group in another group's log; its name.
    OnlyMeta(&'static str),
    /// The entry's place in the log is not behind the last one applied.
    IndexNotGrowing {
        /// Index applied last.
        last: u64,
        /// The entry's.
        got: u64,
    },
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(place) => write!(f, "corrupt: {place}"),
            Self::ApplyVersion(got) => write!(
                f,
                "apply version {got} is not known here (this is {})",
                limits::APPLY_VERSION
            ),
            Self::Reserved(field) => {
                write!(f, "{field} is set, which is of a later time")
            }
            Self::SystemKind(kind) => {
                write!(
                    f,
                    "a system item of kind {kind}: {}",
                    system::kind_name(*kind)
                )
            }
            Self::OnlyMeta(name) => {
                write!(f, "a system item {name} outside the meta group")
            }
            Self::IndexNotGrowing { last, got } => {
                write!(f, "log index {got} is not above {last}")
            }
        }
    }
}

impl std::error::Error for EntryError {}

/// Whose items a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Items of a session.
    Session,
    /// One transaction under the idempotency key it names, without a session.
    Stateless,
    /// What the shard's leader says; nobody is answered. See [`EntryBuilder::push_system`].
    System,
}

/// What stands over the items of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Whose items follow. What is not of a session has zero in all fields that are of one.
    pub kind: BatchKind,
    /// Revision at which the session was minted.
    pub birth: u64,
    /// The session's nonce.
    pub nonce: u64,
    /// Who asked; 0 for a system batch.
    pub principal: u64,
    /// Raised each time the session is resumed.
    pub epoch: u64,
    /// The client holds every reply below this sequence.
    pub acked_below: u64,
}

impl BatchHead {
    /// The head of a batch without a session.
    pub const fn stateless(principal: u64) -> Self {
        Self {
            kind: BatchKind::Stateless,
            birth: 0,
            nonce: 0,
            principal,
            epoch: 0,
            acked_below: 0,
        }
    }

    const SYSTEM: Self = Self {
        kind: BatchKind::System,
        ..Self::stateless(0)
    };

    /// Nothing of a session is named.
    fn is_sessionless(&self) -> bool {
        self.birth | self.nonce | self.epoch | self.acked_below == 0
    }
}

/// Gathers items into the bytes of an entry. Reusable: [`Self::finish`] leaves it empty.
#[derive(Debug)]
pub struct EntryBuilder {
    buffer: Vec<u8>,
    /// The batch that items go into; its header is written when it gets its first.
    head: Option<BatchHead>,
    /// Where that header stands, once written.
    head_at: Option<usize>,
    batch_items: u32,
    batches: u32,
    items: u32,
    apply_version: u16,
    plan: Plan,
    /// Every item came with what its verifier said.
    is_planned: bool,
}

impl Default for EntryBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl EntryBuilder {
    /// An empty entry.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; ENTRY_HEADER_BYTES],
            head: None,
            head_at: None,
            batch_items: 0,
            batches: 0,
            items: 0,
            apply_version: APPLY_VERSION_FOUNDING,
            plan: Plan::default(),
            is_planned: true,
        }
    }

    /// Says whose items come next. A batch that gets no item leaves no trace; one that continues
    /// the batch before it (the same session, epoch and acknowledgement) joins it.
    pub fn begin_batch(&mut self, head: &BatchHead) {
        if head.kind != BatchKind::Stateless && self.head.as_ref() == Some(head) {
            return;
        }
        self.close_batch();
        self.head = Some(*head);
    }

    /// Adds one item: header, payload and padding as the client sent them (`Item::bytes`). It will be
    /// verified, and all that come with it, when the entry is applied.
    ///
    /// # Panics
    /// Without a batch begun: there is nobody to answer.
    pub fn push_item(&mut self, bytes: &[u8]) {
        debug_assert_ne!(self.head, Some(BatchHead::SYSTEM), "a client's item");
        self.is_planned = false;
        self.append(bytes);
    }

    /// Adds a transaction that was verified just now, with what its verifier said of it.
    ///
    /// # Panics
    /// Without a batch begun: there is nobody to answer.
    pub fn push_transaction(&mut self, item: &Item<'_>, outline: Outline) {
        debug_assert_ne!(self.head, Some(BatchHead::SYSTEM), "a client's item");
        self.append(item.bytes);
        let at = self.buffer.len() - item.bytes.len();
        self.is_planned &= self.plan.push(at, item, Work::Transaction(outline));
    }

    /// Adds what the shard's leader says, in a batch of its own kind. It counts as an item and has a
    /// position and a revision like any other, but no reply. Begin another batch before the next item
    /// of a client.
    pub fn push_system(&mut self, item: &SystemItem) {
        self.is_planned = false;
        self.begin_batch(&BatchHead::SYSTEM);
        let mut bytes = Vec::new();
        item.write(&mut bytes);
        self.append(&bytes);
    }

    /// The apply version that the entries to come raise their shard to: at least the shard's own
    /// (`State::apply_version`), or they do not say what they mean. The founding version until told.
    pub fn set_apply_version(&mut self, version: u16) {
        self.apply_version = version;
    }

    fn append(&mut self, bytes: &[u8]) {
        debug_assert!(
            bytes.len().is_multiple_of(8),
            "an item comes with its padding"
        );
        if self.head_at.is_none() {
            assert!(self.head.is_some(), "begin_batch comes before push_item");
            self.head_at = Some(self.buffer.len());
            self.buffer.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
            self.batches += 1;
            self.batch_items = 0;
        }
        self.buffer.extend_from_slice(bytes);
        self.batch_items += 1;
        self.items += 1;
    }

    /// Items so far.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Consecutive revisions that the entry needs: one for its sweep, one for each item.
    pub fn revisions(&self) -> u64 {
        1 + u64::from(self.items)
    }

    /// Bytes of the entry so far, headers included.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there are no items yet.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// The finished entry. `revision` is the first of [`Self::revisions`] that were reserved for it.
    /// With no items it only moves lease time on. The builder is empty afterwards.
    pub fn finish(&mut self, revision: u64, lease_ms: u64) -> Vec<u8> {
        self.finish_planned(revision, lease_ms).0
    }

    /// The finished entry as [`Self::finish`] gives it, and its plan if all its items were verified
    /// as they came: for `State::apply_planned` of the very same bytes.
    pub fn finish_planned(&mut self, revision: u64, lease_ms: u64) -> (Vec<u8>, Option<Plan>) {
        self.close_batch();
        // The next entry is likely to become about as long as this one.
        let room = self.buffer.len().min(BUFFER_BYTES_MAX);
        let mut empty = Vec::with_capacity(room + room / 4);
        empty.resize(ENTRY_HEADER_BYTES, 0);
        let mut entry = std::mem::replace(&mut self.buffer, empty);
        entry[0..8].copy_from_slice(&revision.to_le_bytes());
        entry[8..16].copy_from_slice(&lease_ms.to_le_bytes());
        entry[40..42].copy_from_slice(&self.apply_version.to_le_bytes());
        entry[44..48].copy_from_slice(&self.batches.to_le_bytes());
        entry[48..52].copy_from_slice(&self.items.to_le_bytes());
        let mut plan = std::mem::take(&mut self.plan);
        plan.stamp(revision, entry.len());
        let is_planned = std::mem::replace(&mut self.is_planned, true);
        (self.batches, self.items) = (0, 0);
        (entry, is_planned.then_some(plan))
    }

    /// Takes back a plan that is not needed any more, for its memory.
    pub fn recycle(&mut self, mut plan: Plan) {
        if self.items == 0 {
            plan.clear();
            self.plan = plan;
        }
    }

    fn close_batch(&mut self) {
        if let (Some(head), Some(at)) = (self.head.take(), self.head_at.take()) {
            let bytes = self.buffer.len() - at - BATCH_HEADER_BYTES;
            let bytes = u32::try_from(bytes).expect("entries are formed of at most 8 MiB");
            let header = &mut self.buffer[at..at + BATCH_HEADER_BYTES];
            header[0..8].copy_from_slice(&head.birth.to_le_bytes());
            header[8..16].copy_from_slice(&head.nonce.to_le_bytes());
            header[16..24].copy_from_slice(&head.principal.to_le_bytes());
            header[24..32].copy_from_slice(&head.epoch.to_le_bytes());
            header[32..40].copy_from_slice(&head.acked_below.to_le_bytes());
            header[40..44].copy_from_slice(&self.batch_items.to_le_bytes());
            header[44..48].copy_from_slice(&bytes.to_le_bytes());
            header[48] = match head.kind {
                BatchKind::Session => 1,
                BatchKind::Stateless => 2,
                BatchKind::System => 3,
            };
            self.plan.batches.push((head, self.batch_items));
        }
    }
}

/// Room made for an entry at once, at the most.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// The highest apply version this crate understands.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the table of limits holds a small number"
)]
pub const APPLY_VERSION: u16 = limits::APPLY_VERSION as u16;

/// The apply version that every shard is founded with.
pub const APPLY_VERSION_FOUNDING: u16 = 1;

/// An entry read from the log: its header is checked, its batches are checked as they are walked.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Stamp of its sweep, as its leader gave it; item n follows at `revision + 1 + n`.
    pub revision: u64,
    /// Lease time of the shard, as its leader gave it.
    pub lease_ms: u64,
    /// Raises that of the shard.
    pub apply_version: u16,
    /// Count of batches.
    pub batches: u32,
    /// Count of items in all batches.
    pub items: u32,
    body: &'a [u8],
}

/// Fields of the header that are zero, in the order they stand.
const RESERVED_FIELDS: [&str; 5] = [
    "EntryHeader.closed",
    "EntryHeader.key_floor",
    "EntryHeader.history_floor",
    "EntryHeader.reserved0",
    "EntryHeader.reserved1",
];

/// One batch of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// What stands over it.
    pub head: BatchHead,
    /// Count of its items, at least one.
    pub items: u32,
    /// The items, each with header and padding.
    pub bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`EntryError::Corrupt`], [`EntryError::ApplyVersion`] or [`EntryError::Reserved`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryError> {
        Self::parse_known(bytes, APPLY_VERSION)
    }

    /// As [`Self::parse`], for a program that knows so many apply versions.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_known(bytes: &'a [u8], known: u16) -> Result<Self, EntryError> {
        let (header, body) = bytes
            .split_first_chunk::<ENTRY_HEADER_BYTES>()
            .ok_or(EntryError::Corrupt("an entry shorter than its header"))?;
        let apply_version = u16::from_le_bytes([header[40], header[41]]);
        // What else the header says depends on the version, so that comes first.
        if apply_version == 0 || apply_version > known {
            return Err(EntryError::ApplyVersion(apply_version));
        }
        let (closed, key_floor, history_floor) =
            (u64_at(header, 16), u64_at(header, 24), u64_at(header, 32));
        let reserved = u16::from_le_bytes([header[42], header[43]]);
        let last = u32_at(header, 52);
        if closed | key_floor | history_floor | u64::from(reserved) | u64::from(last) != 0 {
            let (field, _) = RESERVED_FIELDS
                .into_iter()
                .zip([
                    closed,
                    key_floor,
                    history_floor,
                    reserved.into(),
                    last.into(),
                ])
                .find(|(_, value)| *value != 0)
                .unwrap_or_default();
            return Err(EntryError::Reserved(field));
        }
        Ok(Self {
            revision: u64_at(header, 0),
            lease_ms: u64_at(header, 8),
            apply_version,
            batches: u32_at(header, 44),
            items: u32_at(header, 48),
            body,
        })
    }

    /// The highest revision that it was stamped with: what a clock must observe.
    pub fn last_revision(&self) -> u64 {
        self.revision.saturating_add(self.items.into())
    }

    /// The batches. The last element is an error if what stands there is not what the header
    /// says.
    pub fn batches(&self) -> Batches<'a> {
        Batches {
            rest: self.body,
            left: self.batches,
            items_left: self.items,
            failed: false,
        }
    }
}

/// Iterator over an entry's batches; ends after an error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    left: u32,
    items_left: u32,
    failed: bool,
}

impl<'a> Batches<'a> {
    fn read(&mut self) -> Result<Option<Batch<'a>>, EntryError> {
        if self.left == 0 {
            return match (self.rest.is_empty(), self.items_left) {
                (true, 0) => Ok(None),
                (false, _) => Err(EntryError::Corrupt("bytes behind an entry's last batch")),
                (true, _) => Err(EntryError::Corrupt("an entry's count of items is wrong")),
            };
        }
        let (header, rest) = self
            .rest
            .split_first_chunk::<BATCH_HEADER_BYTES>()
            .ok_or(EntryError::Corrupt("an entry ends inside a batch's header"))?;
        let kind = match header[48] {
            1 => BatchKind::Session,
            2 => BatchKind::Stateless,
            3 => BatchKind::System,
            _ => return Err(EntryError::Corrupt("a batch of unknown kind")),
        };
        if header[49..56] != [0; 7] {
            return Err(EntryError::Corrupt(
                "reserved bytes of a batch's header are set",
            ));
        }
        let items = u32_at(header, 40);
        let one = kind == BatchKind::Stateless;
        if items == 0 || (one && items != 1) {
            return Err(EntryError::Corrupt("a batch of a wrong count of items"));
        }
        let bytes = u32_at(header, 44) as usize;
        let (bytes, rest) = rest
            .split_at_checked(bytes)
            .ok_or(EntryError::Corrupt("an entry ends inside a batch"))?;
        if !bytes.len().is_multiple_of(8) {
            return Err(EntryError::Corrupt("a batch that is not padded"));
        }
        self.items_left = self
            .items_left
            .checked_sub(items)
            .ok_or(EntryError::Corrupt("an entry's count of items is wrong"))?;
        self.left -= 1;
        self.rest = rest;
        let head = BatchHead {
            kind,
            birth: u64_at(header, 0),
            nonce: u64_at(header, 8),
            principal: u64_at(header, 16),
            epoch: u64_at(header, 24),
            acked_below: u64_at(header, 32),
        };
        let is_whole = match kind {
            BatchKind::Session => true,
            BatchKind::Stateless => head.is_sessionless(),
            BatchKind::System => head.is_sessionless() && head.principal == 0,
        };
        if !is_whole {
            return Err(EntryError::Corrupt("a batch without a session names one"));
        }
        Ok(Some(Batch { head, items, bytes }))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.read().transpose();
        self.failed = matches!(result, Some(Err(_)));
        result
    }
}

#[cfg(test)]
mod tests;
