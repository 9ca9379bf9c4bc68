//! The next few transactions, taken apart once: their keys are looked for and brought into the cache
//! together, then each transaction is executed from its parts.

use domp_protocol::{Guard, Operation, Transaction};

use crate::footprint::Mention;
use crate::index::{Index, PREFETCH_KEYS_MAX};
use crate::places::{At, Places};

/// A transaction, taken apart; with each part, where its key is.
#[derive(Clone, Copy)]
pub(super) struct Parts<'w, 'a> {
    pub transaction: Transaction<'a>,
    pub guards: &'w [(Guard<'a>, At)],
    pub then: &'w [(Operation<'a>, At)],
    pub places: &'w Places,
}

/// An item of a window.
struct Item<'a> {
    /// None if it is something else.
    transaction: Option<Transaction<'a>>,
    /// Where its guards and operations end.
    ends: (usize, usize),
}

/// Transactions taken apart, one behind the other.
#[derive(Default)]
pub(super) struct Window<'a> {
    guards: Vec<(Guard<'a>, At)>,
    operations: Vec<(Operation<'a>, At)>,
    items: Vec<Item<'a>>,
    /// The item to come, and where its guards and operations begin.
    next: usize,
    begin: (usize, usize),
    /// Keys to look for.
    keys: Vec<&'a [u8]>,
    places: Places,
}

impl<'a> Window<'a> {
    /// Whether all items of the window have been taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.next == self.items.len()
    }

    /// Takes the next items apart, as many as have keys to fetch at once, and fetches these.
    pub fn fill(&mut self, items: impl Iterator<Item = Option<Transaction<'a>>>, index: &Index) {
        self.guards.clear();
        self.operations.clear();
        self.items.clear();
        self.keys.clear();
        (self.next, self.begin) = (0, (0, 0));
        self.places.begin(index);
        for transaction in items {
            if let Some(transaction) = &transaction {
                for guard in transaction.guards() {
                    let at = self.want(Mention::of_guard(&guard));
                    self.guards.push((guard, at));
                }
                for operation in transaction.then() {
                    let at = self.want(Mention::of_operation(&operation));
                    self.operations.push((operation, at));
                }
            }
            self.items.push(Item {
                transaction,
                ends: (self.guards.len(), self.operations.len()),
            });
            if self.keys.len() >= PREFETCH_KEYS_MAX || self.items.len() >= ITEMS_MAX {
                break;
            }
        }
        self.places.fetch(&self.keys, index);
    }

    /// The parts of the next item; none unless it is a transaction.
    #[inline]
    pub fn take(&mut self) -> Option<Parts<'_, 'a>> {
        let item = self.items.get(self.next)?;
        let (begin, end) = (self.begin, item.ends);
        self.next += 1;
        self.begin = end;
        Some(Parts {
            transaction: item.transaction?,
            guards: &self.guards[begin.0..end.0],
            then: &self.operations[begin.1..end.1],
            places: &self.places,
        })
    }

    /// The same window, empty, for other bytes: keeps the memory, and where keys are.
    pub fn recycle<'b>(self) -> Window<'b> {
        Window {
            guards: recycle(self.guards),
            operations: recycle(self.operations),
            items: recycle(self.items),
            next: 0,
            begin: (0, 0),
            keys: recycle(self.keys),
            places: self.places,
        }
    }

    #[inline]
    fn want(&mut self, mention: Mention<'a>) -> At {
        match mention {
            Mention::Key(key) => self.places.want(key, &mut self.keys),
            Mention::Range(..) => At::NOWHERE,
        }
    }
}

/// An empty vector in the memory of another whose elements borrowed from elsewhere. Collecting
/// an emptied vector's iterator reuses its allocation.
fn recycle<T, U>(mut items: Vec<T>) -> Vec<U> {
    items.clear();
    items
        .into_iter()
        .map(|_| -> U { unreachable!("the vector was cleared") })
        .collect()
}

/// Items in one window, however few keys they have: what is fetched must still be there when its
/// turn comes.
const ITEMS_MAX: usize = 64;
