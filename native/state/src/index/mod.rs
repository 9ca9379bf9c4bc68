//! The ordered index of a shard: keys in byte order to records.
//!
//! A B+-tree with 60 slots a node. What makes it fast is what it does not touch:
//! - An entry is one heap block ([`Record`]: stamps, key and value together) and a pointer in a leaf.
//! - A node keeps, side by side, four bytes of each key behind the prefix that its keys share. One
//!   vectorised pass over them finds the slot; a whole key is read only to confirm it (`heads`).
//!   Where many keys tie, a byte of each one's hash picks the one worth reading (`leaf`).
//! - Inner nodes hold the shortest separators that will do, and the count of records below each
//!   child, so that ranks and [`Index::count`] take one descent a bound (`inner`).
//! - [`Index::prefetch`] and [`Index::get_many`] walk up to 64 keys down level by level, so that
//!   their cache misses overlap (`batch`). They find the keys' places, so that the look-ups and
//!   writes that follow need not descend again (`place`).
//!
//! Insertion and removal work along a path found before (`edit`). Input in ascending order fills the
//! leaves. Nothing is ever rebuilt: the longest step is a split or merge on each level.
//!
//! `unsafe` stands in `record` (the heap block) and `prefetch` (a hint to the processor), nowhere
//! else. Miri runs both and all that uses them; the tests then reduce themselves to some minutes:
//! ```text
//! MIRIFLAGS=-Zmiri-strict-provenance cargo +nightly miri test -p domp-state --lib index::
//! MIRIFLAGS=-Zmiri-strict-provenance cargo +nightly miri test -p domp-state --test index_model --test index_orders
//! ```

mod batch;
mod check;
mod edit;
mod entry;
mod heads;
mod inner;
mod leaf;
mod place;
mod prefetch;
mod range;
mod record;
mod slots;

use std::ops::Bound;

use edit::{Edges, Memory, Path};
use inner::{Child, Inner, Node};
use leaf::Leaf;

pub use entry::{Entry, Occupied, Vacant};
pub use place::Place;
pub use range::Range;
pub use record::{AppendError, Record, RecordTooLarge, Stamps, Value};

/// Most keys that one call of [`Index::prefetch`] warms.
pub const PREFETCH_KEYS_MAX: usize = 64;

/// An ordered map from keys (any bytes, in byte order) to [`Record`]s.
pub struct Index {
    root: Node,
    /// Levels of inner nodes.
    levels: usize,
    /// Count of records.
    len: usize,
    /// Counts insertions and removals: places found since the last one are still right.
    changes: u64,
    memory: Memory,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        let memory = Memory {
            records: 0,
            nodes: size_of::<Leaf>(),
        };
        Self {
            root: Node::Leaf(Leaf::new()),
            levels: 0,
            len: 0,
            changes: 0,
            memory,
        }
    }

    /// Builds an index from records in strictly ascending key order.
    ///
    /// # Errors
    /// The first record out of order.
    pub fn from_sorted(records: impl IntoIterator<Item = Record>) -> Result<Self, Record> {
        let mut index = Self::new();
        for record in records {
            index.push_back(record)?;
        }
        Ok(index)
    }

    /// Adds a record whose key is above all present: the fast way to load sorted input piecewise.
    ///
    /// # Errors
    /// The record itself, if its key is not above all present.
    pub fn push_back(&mut self, record: Record) -> Result<(), Record> {
        let mut path = Path::new();
        let mut node = &self.root;
        let leaf = loop {
            match node {
                Node::Inner(inner) => {
                    let slot = inner.len() - 1;
                    path.push(slot);
                    node = inner.child(slot);
                }
                Node::Leaf(leaf) => break leaf,
            }
        };
        let len = leaf.len();
        if len > 0 && leaf.at(len - 1).key() >= record.key() {
            return Err(record);
        }
        self.insert_at(&path, len, record);
        Ok(())
    }

    /// Count of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no records.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows with every insertion and removal; while it stays the same, a [`Place`] stays right.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Memory of records and nodes, in bytes, without what the allocator adds to each block.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.memory.records + self.memory.nodes
    }

    /// The record of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        let mut node = &self.root;
        let mut known = 0;
        loop {
            match node {
                Node::Inner(inner) => {
                    let slot;
                    (slot, known) = inner.route(key, known);
                    node = inner.child(slot);
                }
                Node::Leaf(leaf) => {
                    leaf.prefetch_slots();
                    return leaf.look_up(key);
                }
            }
        }
    }

    /// Looks a key up for reading and then writing without a second descent.
    pub fn entry<'i, 'k>(&'i mut self, key: &'k [u8]) -> Entry<'i, 'k> {
        match self.locate(key) {
            (path, Ok(slot)) => Entry::Occupied(Occupied::new(self, &path, slot)),
            (path, Err(slot)) => Entry::Vacant(Vacant::new(self, path, slot, key)),
        }
    }

    /// Inserts a record under its key; returns the one it replaces.
    pub fn insert(&mut self, record: Record) -> Option<Record> {
        match self.locate(record.key()) {
            (path, Ok(slot)) => {
                self.memory.records += record.bytes();
                let present = self.root.leaf_mut(path.slots()).at_mut(slot);
                let old = std::mem::replace(present, record);
                self.memory.records -= old.bytes();
                Some(old)
            }
            (path, Err(slot)) => {
                self.insert_at(&path, slot, record);
                None
            }
        }
    }

    /// Removes and returns the record of a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<Record> {
        let (path, found) = self.locate(key);
        Some(self.remove_at(&path, found.ok()?))
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Option<&Record> {
        self.nth(0)
    }

    /// The record with the highest key.
    pub fn last(&self) -> Option<&Record> {
        self.nth(self.len.checked_sub(1)?)
    }

    /// The record with `rank` records below it.
    pub fn nth(&self, rank: usize) -> Option<&Record> {
        let (leaf, slot) = self.select(rank);
        leaf.get(slot)
    }

    /// The records between two bounds in key order; `.rev()` for reverse. Bounds that enclose
    /// nothing (also `from` above `to`) make an empty range. A walk in slices resumes with
    /// `Bound::Excluded(last key seen)`.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'_> {
        let (front, leaf) = match from {
            Bound::Unbounded => (0, None),
            Bound::Included(key) => self.rank(key, false),
            Bound::Excluded(key) => self.rank(key, true),
        };
        Range::new(self, front, self.rank_of_end(to), leaf)
    }

    /// All records in key order.
    pub fn iter(&self) -> Range<'_> {
        Range::new(self, 0, self.len, None)
    }

    /// Count of the records between two bounds, by two descents.
    pub fn count(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> usize {
        self.range(from, to).len()
    }

    /// Count of the records up to an upper bound.
    fn rank_of_end(&self, to: Bound<&[u8]>) -> usize {
        match to {
            Bound::Unbounded => self.len,
            Bound::Included(key) => self.rank(key, true).0,
            Bound::Excluded(key) => self.rank(key, false).0,
        }
    }

    /// Count of the records below `key` (or, if `including`, not above it), and the place behind
    /// them.
    fn rank(&self, key: &[u8], including: bool) -> (usize, Option<(&Leaf, usize)>) {
        let mut node = &self.root;
        let mut known = 0;
        let mut rank = 0;
        loop {
            match node {
                Node::Inner(inner) => {
                    let slot;
                    (slot, known) = inner.route(key, known);
                    rank += inner.count_before(slot);
                    node = inner.child(slot);
                }
                Node::Leaf(leaf) => {
                    leaf.prefetch_slots();
                    let slot = match leaf.find(key, known) {
                        Ok(slot) => slot + usize::from(including),
                        Err(slot) => slot,
                    };
                    return (rank + slot, Some((leaf, slot)));
                }
            }
        }
    }

    /// The place of the record with `rank` records below it; a place behind the last leaf's records
    /// if there are not so many.
    fn select(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let slot;
                    (slot, rank) = inner.route_rank(rank);
                    node = inner.child(slot);
                }
                Node::Leaf(leaf) => return (leaf, rank),
            }
        }
    }

    /// The path to the leaf of a key, and its slot there, or else its place.
    fn locate(&self, key: &[u8]) -> (Path, Result<usize, usize>) {
        let mut path = Path::new();
        let mut node = &self.root;
        let mut known = 0;
        loop {
            match node {
                Node::Inner(inner) => {
                    let slot;
                    (slot, known) = inner.route(key, known);
                    path.push(slot);
                    node = inner.child(slot);
                }
                Node::Leaf(leaf) => {
                    leaf.prefetch_slots();
                    return (path, leaf.find(key, known));
                }
            }
        }
    }

    fn insert_at(&mut self, path: &Path, slot: usize, record: Record) {
        self.len += 1;
        self.changes += 1;
        self.memory.records += record.bytes();
        let edges = Edges {
            left: true,
            right: true,
        };
        let split = edit::insert(
            &mut self.root,
            path.slots(),
            slot,
            record,
            edges,
            &mut self.memory,
        );
        if let Some(split) = split {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            let count = self.len - split.right.count;
            let mut root = Inner::new(Child { node: left, count });
            root.insert(1, split.separator, split.right);
            self.root = Node::Inner(root);
            self.levels += 1;
            self.memory.nodes += size_of::<Inner>();
        }
    }

    fn remove_at(&mut self, path: &Path, slot: usize) -> Record {
        let record = edit::remove(&mut self.root, path.slots(), slot, &mut self.memory);
        self.len -= 1;
        self.changes += 1;
        self.memory.records -= record.bytes();
        if matches!(&self.root, Node::Inner(root) if root.len() == 1) {
            let root = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            self.memory.nodes -= root.own_bytes();
            self.levels -= 1;
            self.root = match root {
                Node::Inner(root) => root.into_only_child().node,
                leaf @ Node::Leaf(_) => leaf,
            };
        }
        record
    }
}

impl<'i> IntoIterator for &'i Index {
    type Item = &'i Record;
    type IntoIter = Range<'i>;

    fn into_iter(self) -> Range<'i> {
        self.iter()
    }
}
