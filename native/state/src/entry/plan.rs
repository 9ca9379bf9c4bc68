//! An entry's items, verified before any of them is applied.

use domp_protocol::frame::{ITEM_HEADER_BYTES, Item};
use domp_protocol::transaction::Outline;
use domp_protocol::{ItemKind, OutcomeOfRequest, OutcomeRequest, Transaction, items_of_batch};

use super::{
    BATCH_HEADER_BYTES, Batch, BatchHead, BatchKind, ENTRY_HEADER_BYTES, Entry, EntryError,
};
use crate::config::{StateConfig, StateKind};
use crate::system::SystemItem;

/// What an item asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A transaction, of which the verifier said this.
    Transaction(Outline),
    /// What became of a request; its payload was verified, and is so rare that it is read again.
    Outcome,
    /// Something that only reads and has no place in a log; refused when its turn comes.
    Reads,
    /// What the leader says, read again as well; its place is that of the whole item.
    System,
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub sequence: u64,
    pub work: Work,
    /// Where its payload stands in the entry.
    start: u32,
    end: u32,
}

impl Planned {
    /// Its payload in the entry that the plan is of; of a system item all of it.
    #[inline]
    pub fn payload<'a>(&self, entry: &'a [u8]) -> &'a [u8] {
        entry
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

const TOO_LONG: EntryError = EntryError::Corrupt("an entry of more than 4 GiB");

/// What an entry holds, all of it verified: either everything in an entry is well formed or nothing
/// of it happens.
///
/// Whoever forms an entry of items that were verified when they came has its plan at hand (see
/// [`EntryBuilder::finish_planned`](super::EntryBuilder::finish_planned)) and can spare the second look at bytes that
/// did not change since. Entries from the disk or from peers are verified as they are read.
#[derive(Debug, Default)]
pub struct Plan {
    /// Stamp and length of the entry: a plan is good for no other.
    revision: u64,
    entry_bytes: usize,
    /// Each batch and the count of its items.
    pub(crate) batches: Vec<(BatchHead, u32)>,
    /// The items of all batches.
    pub(crate) items: Vec<Planned>,
}

impl Plan {
    /// Reads an entry, of a state of that kind, into an empty plan.
    pub(crate) fn read(&mut self, entry: &Entry<'_>, kind: StateKind) -> Result<(), EntryError> {
        let mut at = ENTRY_HEADER_BYTES;
        for batch in entry.batches() {
            let batch = batch?;
            self.batches.push((batch.head, batch.items));
            at += BATCH_HEADER_BYTES;
            if batch.head.kind == BatchKind::System {
                self.read_system(at, &batch, kind)?;
                at += batch.bytes.len();
                continue;
            }
            for item in items_of_batch(batch.bytes, batch.items) {
                let item =
                    item.map_err(|_| EntryError::Corrupt("an item that is not well formed"))?;
                let work = match item.kind {
                    ItemKind::Transaction => Transaction::parse(item.payload)
                        .map(|transaction| Work::Transaction(transaction.outline())),
                    ItemKind::Outcome => OutcomeRequest::parse(item.payload).map(|_| Work::Outcome),
                    ItemKind::OutcomeOf => {
                        OutcomeOfRequest::parse(item.payload).map(|_| Work::Reads)
                    }
                };
                let work = work.map_err(|_| EntryError::Corrupt("an item that does not verify"))?;
                if !self.push(at, &item, work) {
                    return Err(TOO_LONG);
                }
                at += item.bytes.len();
            }
        }
        Ok(())
    }

    fn read_system(
        &mut self,
        mut at: usize,
        batch: &Batch<'_>,
        kind: StateKind,
    ) -> Result<(), EntryError> {
        let mut rest = batch.bytes;
        for _ in 0..batch.items {
            let (item, bytes) = SystemItem::take(&mut rest)?;
            item.check_kind(kind)?;
            let (Ok(start), Ok(end)) = (u32::try_from(at), u32::try_from(at + bytes)) else {
                return Err(TOO_LONG);
            };
            self.items.push(Planned {
                sequence: 0,
                work: Work::System,
                start,
                end,
            });
            at += bytes;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(EntryError::Corrupt("bytes behind a batch's last item"))
        }
    }

    /// Adds an item that begins at `at`; false if that is beyond 4 GiB.
    #[inline]
    pub(super) fn push(&mut self, at: usize, item: &Item<'_>, work: Work) -> bool {
        let start = at + ITEM_HEADER_BYTES;
        let place = (
            u32::try_from(start),
            u32::try_from(start + item.payload.len()),
        );
        let (Ok(start), Ok(end)) = place else {
            return false;
        };
        self.items.push(Planned {
            sequence: item.sequence,
            work,
            start,
            end,
        });
        true
    }

    /// Says which entry it is of.
    pub(super) fn stamp(&mut self, revision: u64, entry_bytes: usize) {
        self.revision = revision;
        self.entry_bytes = entry_bytes;
    }

    /// Whether it is the plan of an entry: a node stamps no two alike.
    pub(crate) fn is_of(&self, entry: &Entry<'_>) -> bool {
        self.revision == entry.revision
            && self.entry_bytes == ENTRY_HEADER_BYTES + entry.body.len()
            && self.batches.len() == entry.batches as usize
            && self.items.len() == entry.items as usize
    }

    /// Makes it empty, keeping the memory.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.items.clear();
    }
}

/// Whether a state made with that configuration could apply the entry, at whatever index.
///
/// # Errors
/// As [`State::apply`](crate::State::apply).
pub fn verify_entry(entry: &[u8], config: &StateConfig) -> Result<(), EntryError> {
    if entry.is_empty() {
        return Ok(());
    }
    let head = Entry::parse_known(entry, config.apply_version_known)?;
    Plan::default().read(&head, config.kind)
}
