//! Ranges: iteration from either end.

use super::Index;
use super::leaf::Leaf;
use super::record::Record;

/// Records ahead of the present one that an iterator loads early.
const AHEAD: usize = 8;

/// Iterator over a range of records in key order, from either end. Its length is exact.
///
/// It counts ranks, and goes from one leaf to the next through the counts in the tree.
#[derive(Clone)]
pub struct Range<'i> {
    index: &'i Index,
    /// Ranks of the next record from the front, and behind the next from the back.
    front: usize,
    back: usize,
    /// The leaf of `front` with its slot there, where known.
    front_leaf: Option<(&'i Leaf, usize)>,
    /// The leaf of the record before `back`, with the slot behind it, where known.
    back_leaf: Option<(&'i Leaf, usize)>,
}

impl<'i> Range<'i> {
    /// The records of ranks `front` to before `back`, which may be less.
    pub(super) fn new(
        index: &'i Index,
        front: usize,
        back: usize,
        front_leaf: Option<(&'i Leaf, usize)>,
    ) -> Self {
        let back = back.max(front);
        Self {
            index,
            front,
            back,
            front_leaf,
            back_leaf: None,
        }
    }
}

impl<'i> Iterator for Range<'i> {
    type Item = &'i Record;

    fn next(&mut self) -> Option<&'i Record> {
        if self.front == self.back {
            return None;
        }
        let (leaf, slot) = match self.front_leaf {
            Some((leaf, slot)) if slot < leaf.len() => (leaf, slot),
            _ => {
                let (leaf, slot) = self.index.select(self.front);
                for ahead in slot..slot + AHEAD {
                    leaf.prefetch_record(ahead);
                }
                (leaf, slot)
            }
        };
        leaf.prefetch_record(slot + AHEAD);
        let record = leaf.get(slot)?;
        self.front += 1;
        self.front_leaf = Some((leaf, slot + 1));
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.back - self.front;
        (left, Some(left))
    }

    fn count(self) -> usize {
        self.back - self.front
    }

    fn last(mut self) -> Option<&'i Record> {
        self.next_back()
    }

    fn nth(&mut self, n: usize) -> Option<&'i Record> {
        if n > 0 {
            self.front = self.front.saturating_add(n).min(self.back);
            self.front_leaf = None;
        }
        self.next()
    }
}

impl<'i> DoubleEndedIterator for Range<'i> {
    fn next_back(&mut self) -> Option<&'i Record> {
        if self.front == self.back {
            return None;
        }
        let (leaf, end) = match self.back_leaf {
            Some((leaf, end)) if end > 0 => (leaf, end),
            _ => {
                let (leaf, slot) = self.index.select(self.back - 1);
                for ahead in slot.saturating_sub(AHEAD)..=slot {
                    leaf.prefetch_record(ahead);
                }
                (leaf, slot + 1)
            }
        };
        if let Some(ahead) = (end - 1).checked_sub(AHEAD) {
            leaf.prefetch_record(ahead);
        }
        let record = leaf.get(end - 1)?;
        self.back -= 1;
        self.back_leaf = Some((leaf, end - 1));
        Some(record)
    }
}

impl ExactSizeIterator for Range<'_> {}

impl std::iter::FusedIterator for Range<'_> {}
