//! Insertion and removal along a known path: splits on the way back up, merges and borrowing.

use super::heads::common_bytes;
use super::inner::{Child, Inner, Node};
use super::leaf::Leaf;
use super::record::Record;
use super::slots::SLOTS;
use std::cmp::Ordering;

/// A node that a removal leaves with fewer slots in use than this is merged or evened out with a
/// neighbour. Only nodes on the tree's left and right edge may have fewer otherwise.
pub(super) const FILL_MIN: usize = SLOTS / 4;

/// Neighbours are merged if they use at most this many slots together; the rest is room for the
/// next insertions, lest they split again at once.
const MERGED_MAX: usize = SLOTS * 3 / 4;

/// Where a full node is split when the new slot is its last or its first, but inside the tree.
const LOPSIDED: usize = SLOTS / 4;

/// Most levels of inner nodes. Inner nodes off the edges have at least 15 children, so that ten
/// levels hold more records than there is memory for.
pub(super) const LEVELS_MAX: usize = 16;

/// The slots to follow from the root to a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    slots: [u8; LEVELS_MAX],
    levels: u8,
}

impl Path {
    pub(super) const fn new() -> Self {
        Self {
            slots: [0; LEVELS_MAX],
            levels: 0,
        }
    }

    /// Adds a level; beyond [`LEVELS_MAX`] there is none.
    #[inline]
    pub(super) fn push(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(usize::from(self.levels)) {
            // Slots are below 60.
            #[expect(clippy::cast_possible_truncation)]
            {
                *place = slot as u8;
            }
            self.levels += 1;
        }
    }

    #[inline]
    pub(super) fn slots(&self) -> &[u8] {
        &self.slots[..usize::from(self.levels)]
    }
}

/// Memory of an index, in bytes.
#[derive(Default)]
pub(super) struct Memory {
    /// Blocks of records.
    pub(super) records: usize,
    /// Nodes and separators.
    pub(super) nodes: usize,
}

/// Which of the tree's edges a node lies on.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// What a split hands to the level above: a new right neighbour.
pub(super) struct Split {
    pub(super) separator: Box<[u8]>,
    pub(super) right: Child,
}

/// The shortest key above `left` and not above `right`, given `left < right`.
fn separator(left: &[u8], right: &[u8]) -> Box<[u8]> {
    right[..(common_bytes(left, right) + 1).min(right.len())].into()
}

/// Where to split a full node to insert at `slot`, of which `first` and `SLOTS` are the outermost
/// possible. Input in ascending or descending order leaves full nodes behind at the edges of the
/// tree, and nodes three quarters full inside.
fn cut(slot: usize, first: usize, edges: Edges) -> usize {
    if slot == SLOTS {
        if edges.right { SLOTS } else { SLOTS - LOPSIDED }
    } else if slot == first {
        if edges.left { 1 } else { LOPSIDED }
    } else {
        SLOTS / 2
    }
}

/// Inserts a record into the leaf at the end of `path`, at slot `at`.
pub(super) fn insert(
    node: &mut Node,
    path: &[u8],
    at: usize,
    record: Record,
    edges: Edges,
    memory: &mut Memory,
) -> Option<Split> {
    match (node, path) {
        (Node::Inner(inner), [slot, path @ ..]) => {
            let slot = usize::from(*slot);
            let below = Edges {
                left: edges.left && slot == 0,
                right: edges.right && slot + 1 == inner.len(),
            };
            let split = insert(inner.child_mut(slot), path, at, record, below, memory);
            let count = inner.count(slot) + 1;
            match split {
                None => {
                    inner.set_count(slot, count);
                    None
                }
                Some(split) => {
                    inner.set_count(slot, count - split.right.count);
                    adopt(inner, slot + 1, split, edges, memory)
                }
            }
        }
        (Node::Leaf(leaf), _) => insert_into_leaf(leaf, at, record, edges, memory),
        (Node::Inner(_), []) => unreachable!("paths lead to leaves"),
    }
}

fn insert_into_leaf(
    leaf: &mut Leaf,
    at: usize,
    record: Record,
    edges: Edges,
    memory: &mut Memory,
) -> Option<Split> {
    if leaf.len() < SLOTS {
        leaf.insert(at, record);
        return None;
    }
    let cut = cut(at, 0, edges);
    let mut right = leaf.split_off(cut);
    // At the cut itself both would do; an empty right one must get it.
    if at > cut || cut == SLOTS {
        right.insert(at - cut, record);
    } else {
        leaf.insert(at, record);
    }
    let separator = separator(leaf.at(leaf.len() - 1).key(), right.at(0).key());
    memory.nodes += size_of::<Leaf>() + separator.len();
    let count = right.len();
    Some(Split {
        separator,
        right: Child {
            node: Node::Leaf(right),
            count,
        },
    })
}

/// Takes in what a child split off, as the child at `slot`.
fn adopt(
    inner: &mut Inner,
    slot: usize,
    split: Split,
    edges: Edges,
    memory: &mut Memory,
) -> Option<Split> {
    let Split {
        separator,
        right: child,
    } = split;
    if inner.len() < SLOTS {
        inner.insert(slot, separator, child);
        return None;
    }
    // The new node takes one child at least, so that it has two in the end.
    let cut = cut(slot, 1, edges).min(SLOTS - 1);
    let (middle, mut right) = inner.split_off(cut);
    if slot > cut {
        right.insert(slot - cut, separator, child);
    } else {
        inner.insert(slot, separator, child);
    }
    memory.nodes += size_of::<Inner>();
    let right = Node::Inner(right);
    let count = right.count();
    Some(Split {
        separator: middle,
        right: Child { node: right, count },
    })
}

/// Takes the record at slot `at` out of the leaf at the end of `path`.
pub(super) fn remove(node: &mut Node, path: &[u8], at: usize, memory: &mut Memory) -> Record {
    match (node, path) {
        (Node::Inner(inner), [slot, path @ ..]) => {
            let slot = usize::from(*slot);
            let record = remove(inner.child_mut(slot), path, at, memory);
            inner.set_count(slot, inner.count(slot) - 1);
            if inner.child(slot).len() < FILL_MIN && inner.len() > 1 {
                mend(inner, slot.saturating_sub(1), memory);
            }
            record
        }
        (Node::Leaf(leaf), _) => leaf.remove(at),
        (Node::Inner(_), []) => unreachable!("paths lead to leaves"),
    }
}

/// Merges the children `slot` and `slot + 1`, or evens them out.
fn mend(inner: &mut Inner, slot: usize, memory: &mut Memory) {
    let (left, right) = inner.pair_mut(slot);
    if left.len() + right.len() > MERGED_MAX {
        even_out(inner, slot, memory);
        return;
    }
    let (between, right) = inner.remove(slot + 1);
    inner.set_count(slot, inner.count(slot) + right.count);
    memory.nodes -= right.node.own_bytes();
    match (inner.child_mut(slot), right.node) {
        (Node::Leaf(left), Node::Leaf(mut right)) => {
            memory.nodes -= between.len();
            right.transfer(0, right.len(), left, left.len());
        }
        (Node::Inner(left), Node::Inner(right)) => left.absorb(between, right),
        _ => unreachable!("all leaves have the same depth"),
    }
}

/// Moves what the fuller of the children `slot` and `slot + 1` has too much to the other.
fn even_out(inner: &mut Inner, slot: usize, memory: &mut Memory) {
    let total = inner.count(slot) + inner.count(slot + 1);
    let mut between = inner.take_separator(slot);
    let (left, right) = inner.pair_mut(slot);
    let half = usize::midpoint(left.len(), right.len());
    match (&mut *left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            let len = left.len();
            match len.cmp(&half) {
                Ordering::Less => right.transfer(0, half - len, left, len),
                Ordering::Greater => left.transfer(half, len, right, 0),
                Ordering::Equal => {}
            }
            memory.nodes -= between.len();
            between = separator(left.at(half - 1).key(), right.at(0).key());
            memory.nodes += between.len();
        }
        (Node::Inner(left), Node::Inner(right)) => {
            while left.len() < half {
                let (child, next) = right.pop_front();
                left.insert(left.len(), between, child);
                between = next;
            }
            while left.len() > half {
                let (next, child) = left.remove(left.len() - 1);
                right.push_front(child, between);
                between = next;
            }
        }
        _ => unreachable!("all leaves have the same depth"),
    }
    let left_count = left.count();
    inner.put_separator(slot, between);
    inner.set_count(slot, left_count);
    inner.set_count(slot + 1, total - left_count);
}
