//! An entry's items, verified before any of them is applied.

use domp_protocol::{ItemKind, OutcomeRequest, Transaction, items_of_batch};

use crate::entry::{BatchHead, Entry, EntryError};

/// What an item asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'a> {
    Transaction(Transaction<'a>),
    Outcome(OutcomeRequest<'a>),
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned<'a> {
    pub sequence: u64,
    pub work: Work<'a>,
}

/// All items of an entry. Either everything in an entry is well formed or nothing of it happens.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Each batch and the count of its items.
    pub batches: Vec<(BatchHead, u32)>,
    /// The items of all batches.
    pub items: Vec<Planned<'a>>,
}

impl<'a> Plan<'a> {
    /// Reads an entry into an empty plan.
    pub fn read(&mut self, entry: &Entry<'a>) -> Result<(), EntryError> {
        for batch in entry.batches() {
            let batch = batch?;
            self.batches.push((batch.head, batch.items));
            for item in items_of_batch(batch.bytes, batch.items) {
                let item =
                    item.map_err(|_| EntryError::Corrupt("an item that is not well formed"))?;
                let work = match item.kind {
                    ItemKind::Transaction => {
                        Transaction::parse(item.payload).map(Work::Transaction)
                    }
                    ItemKind::Outcome => OutcomeRequest::parse(item.payload).map(Work::Outcome),
                };
                let work = work.map_err(|_| EntryError::Corrupt("an item that does not verify"))?;
                self.items.push(Planned {
                    sequence: item.sequence,
                    work,
                });
            }
        }
        Ok(())
    }

    /// The same plan, empty, for other bytes: keeps the memory.
    pub fn recycle<'b>(mut self) -> Plan<'b> {
        self.batches.clear();
        Plan {
            batches: self.batches,
            items: recycle(self.items),
        }
    }
}

/// An empty vector in the memory of another whose elements borrowed from elsewhere. Collecting
/// an emptied vector's iterator reuses its allocation.
fn recycle<'b>(mut items: Vec<Planned<'_>>) -> Vec<Planned<'b>> {
    items.clear();
    items
        .into_iter()
        .map(|_| -> Planned<'b> { unreachable!("the vector was cleared") })
        .collect()
}
