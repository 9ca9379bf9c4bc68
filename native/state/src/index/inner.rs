//! Inner nodes: up to 60 children, the separators between them and the count of records below each.

use super::heads::{Heads, SEARCH_LINES};
use super::leaf::Leaf;
use super::prefetch::prefetch;
use super::slots::{SLOTS, Slots};

/// A node of either kind. All leaves have the same depth.
pub(super) enum Node {
    /// Records.
    Leaf(Box<Leaf>),
    /// Nodes below.
    Inner(Box<Inner>),
}

impl Node {
    /// Count of records below.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.count_before(inner.len()),
        }
    }

    /// Count of its own slots in use: records or children.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.len(),
        }
    }

    /// Memory of this node itself, in bytes, without separators.
    pub(super) fn own_bytes(&self) -> usize {
        match self {
            Self::Leaf(_) => size_of::<Leaf>(),
            Self::Inner(_) => size_of::<Inner>(),
        }
    }

    /// The leaf at the end of a path from here.
    #[inline]
    pub(super) fn leaf_mut(&mut self, path: &[u8]) -> &mut Leaf {
        match (self, path) {
            (Self::Inner(inner), [slot, path @ ..]) => {
                inner.child_mut(usize::from(*slot)).leaf_mut(path)
            }
            (Self::Leaf(leaf), _) => leaf,
            (Self::Inner(_), []) => unreachable!("paths lead to leaves"),
        }
    }

    /// Loads early what a search in this node reads.
    #[inline]
    pub(super) fn prefetch(&self) {
        match self {
            Self::Leaf(leaf) => prefetch::<Leaf>(&raw const **leaf, SEARCH_LINES),
            Self::Inner(inner) => prefetch::<Inner>(&raw const **inner, SEARCH_LINES),
        }
    }
}

/// A child with its count of records.
pub(super) struct Child {
    pub(super) node: Node,
    pub(super) count: usize,
}

/// An inner node. Separator `i` stands between the children `i` and `i + 1`: above all keys of the
/// one, not above any of the other, and as short as that allows.
#[repr(C, align(64))]
pub(super) struct Inner {
    heads: Heads<SLOTS>,
    children: Slots<Node>,
    counts: [usize; SLOTS],
    separators: Slots<Box<[u8]>>,
}

impl Inner {
    /// An inner node of one child, to which others must be added.
    pub(super) fn new(first: Child) -> Box<Self> {
        let mut inner = Box::new(Self {
            heads: Heads::new(),
            children: Slots::new(),
            counts: [0; SLOTS],
            separators: Slots::new(),
        });
        inner.children.insert(0, 0, first.node);
        inner.counts[0] = first.count;
        inner
    }

    /// Count of children; there is always one.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.heads.len() + 1
    }

    /// The child at `slot`, which must be below the length.
    #[inline]
    pub(super) fn child(&self, slot: usize) -> &Node {
        self.children.at(slot)
    }

    /// The child at `slot`, if there is one.
    #[inline]
    pub(super) fn child_at(&self, slot: usize) -> Option<&Node> {
        self.children.get(slot)
    }

    /// The child at `slot`, which must be below the length, for changing.
    #[inline]
    pub(super) fn child_mut(&mut self, slot: usize) -> &mut Node {
        self.children.at_mut(slot)
    }

    /// Two neighbouring children.
    pub(super) fn pair_mut(&mut self, slot: usize) -> (&mut Node, &mut Node) {
        self.children.pair_mut(slot)
    }

    /// Loads the pointer to a child early.
    #[inline]
    pub(super) fn prefetch_slot(&self, slot: usize) {
        prefetch(self.children.address(slot), 1);
    }

    /// Count of records below the child at `slot`.
    pub(super) fn count(&self, slot: usize) -> usize {
        self.counts[slot]
    }

    /// Sets the count of records below the child at `slot`.
    pub(super) fn set_count(&mut self, slot: usize, count: usize) {
        self.counts[slot] = count;
    }

    /// Count of records below the children before `slot`.
    #[inline]
    pub(super) fn count_before(&self, slot: usize) -> usize {
        self.counts[..slot].iter().sum()
    }

    /// The child where a key belongs, and the count of bytes at its beginning that it then shares
    /// with all keys below that child, given those that it shares with all keys here.
    #[inline]
    pub(super) fn route(&self, key: &[u8], known: usize) -> (usize, usize) {
        let run = self.heads.narrow(key, known, &self.separators);
        let slot = match self.heads.settle(key, run, &self.separators) {
            Ok(slot) => slot + 1,
            Err(slot) => slot,
        };
        // Between two separators that share a prefix all keys have it; beyond the outermost not.
        let shared = if slot > 0 && slot < self.heads.len() {
            self.heads.prefix_bytes()
        } else {
            0
        };
        (slot, known.max(shared))
    }

    /// The child that holds the record of a rank below the node's count, and the rank in it.
    #[inline]
    pub(super) fn route_rank(&self, mut rank: usize) -> (usize, usize) {
        let last = self.len() - 1;
        for slot in 0..last {
            if rank < self.counts[slot] {
                return (slot, rank);
            }
            rank -= self.counts[slot];
        }
        (last, rank)
    }

    /// Separator between the children `slot` and `slot + 1`.
    pub(super) fn separator(&self, slot: usize) -> &[u8] {
        self.separators.at(slot)
    }

    /// Puts the separator between the children `slot` and `slot + 1` (back) in.
    pub(super) fn put_separator(&mut self, slot: usize, separator: Box<[u8]>) {
        let len = self.heads.len();
        self.heads.insert(slot, &separator, &self.separators);
        self.separators.insert(len, slot, separator);
    }

    /// Takes out the separator between the children `slot` and `slot + 1`; until another is put in,
    /// the node's length is wrong.
    pub(super) fn take_separator(&mut self, slot: usize) -> Box<[u8]> {
        let len = self.heads.len();
        self.heads.remove(slot);
        self.separators.remove(len, slot)
    }

    fn put_child(&mut self, len: usize, slot: usize, child: Child) {
        self.children.insert(len, slot, child.node);
        self.counts.copy_within(slot..len, slot + 1);
        self.counts[slot] = child.count;
    }

    fn take_child(&mut self, len: usize, slot: usize) -> Child {
        let count = self.counts[slot];
        self.counts.copy_within(slot + 1..len, slot);
        Child {
            node: self.children.remove(len, slot),
            count,
        }
    }

    /// Inserts a child at `slot` (not 0), with the separator that stands before it; the node must
    /// not be full.
    pub(super) fn insert(&mut self, slot: usize, separator: Box<[u8]>, child: Child) {
        let len = self.len();
        self.put_child(len, slot, child);
        self.put_separator(slot - 1, separator);
    }

    /// Adds a child in front of all, with the separator that stands behind it.
    pub(super) fn push_front(&mut self, child: Child, separator: Box<[u8]>) {
        let len = self.len();
        self.put_child(len, 0, child);
        self.put_separator(0, separator);
    }

    /// Takes out the child at `slot` (not 0), with the separator that stands before it.
    pub(super) fn remove(&mut self, slot: usize) -> (Box<[u8]>, Child) {
        let len = self.len();
        let child = self.take_child(len, slot);
        (self.take_separator(slot - 1), child)
    }

    /// Takes out the first of several children, with the separator that stands behind it.
    pub(super) fn pop_front(&mut self) -> (Child, Box<[u8]>) {
        let len = self.len();
        let child = self.take_child(len, 0);
        (child, self.take_separator(0))
    }

    /// Adds all children of another node behind those here, with the separator between them.
    pub(super) fn absorb(&mut self, between: Box<[u8]>, mut right: Box<Self>) {
        let (len, right_len) = (self.len(), right.len());
        self.put_separator(len - 1, between);
        // From here on `len()` counts the separators, not yet the children.
        let all = (0, right_len - 1);
        right.heads.transfer(
            all,
            &right.separators,
            &mut self.heads,
            &self.separators,
            len,
        );
        right
            .separators
            .transfer(right_len - 1, all, &mut self.separators, len, len);
        right
            .children
            .transfer(right_len, (0, right_len), &mut self.children, len, len);
        self.counts[len..len + right_len].copy_from_slice(&right.counts[..right_len]);
    }

    /// Takes out the only child of a node that has just one.
    pub(super) fn into_only_child(mut self: Box<Self>) -> Child {
        self.take_child(1, 0)
    }

    /// Splits off the children from `at` (not 0) on; returns the separator that stood before them.
    pub(super) fn split_off(&mut self, at: usize) -> (Box<[u8]>, Box<Self>) {
        let len = self.len();
        let (separator, first) = self.remove(at);
        let mut right = Self::new(first);
        // `at` is now the next child; its separator is `at - 1`.
        let (rest, seps) = (len - 1, len - 2);
        self.heads.transfer(
            (at - 1, seps),
            &self.separators,
            &mut right.heads,
            &right.separators,
            0,
        );
        self.separators
            .transfer(seps, (at - 1, seps), &mut right.separators, 0, 0);
        self.children
            .transfer(rest, (at, rest), &mut right.children, 1, 1);
        right.counts[1..=rest - at].copy_from_slice(&self.counts[at..rest]);
        self.heads.tighten(&self.separators);
        right.heads.tighten(&right.separators);
        (separator, right)
    }

    /// Verifies separators and heads; children and counts are for the caller.
    pub(super) fn check(&self) -> Result<(), String> {
        self.heads.check(&self.separators)?;
        if let Some(slot) =
            (0..SLOTS).find(|&slot| self.children.get(slot).is_some() != (slot < self.len()))
        {
            return Err(format!(
                "child {slot} of {} missing or left over",
                self.len()
            ));
        }
        Ok(())
    }
}
