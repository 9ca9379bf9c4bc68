//! Ranges: iteration from either end.

use super::Index;
use super::leaf::{Leaf, prefetch_record};
use super::record::Record;
use std::iter::FusedIterator;

/// Records ahead of the present one that an iterator loads early.
const AHEAD: usize = 8;

/// A place between two records, that moves in one direction.
#[derive(Clone, Copy)]
struct Cursor<'i> {
    /// Count of records before this place.
    rank: usize,
    /// The same place in a leaf, once known: before the record at that slot.
    place: Option<(&'i Leaf, usize)>,
}

impl<'i> Cursor<'i> {
    /// Moves behind the next record, which must exist, and returns it.
    #[inline]
    fn forward(&mut self, index: &'i Index) -> Option<&'i Record> {
        let (leaf, slot) = match self.place {
            Some((leaf, slot)) if slot < leaf.len() => (leaf, slot),
            _ => index.select(self.rank),
        };
        self.rank += 1;
        self.place = Some((leaf, slot + 1));
        leaf.get(slot)
    }

    /// Moves before the record in front of here, which must exist, and returns it.
    #[inline]
    fn backward(&mut self, index: &'i Index) -> Option<&'i Record> {
        self.rank -= 1;
        let (leaf, slot) = match self.place {
            Some((leaf, slot)) if slot > 0 => (leaf, slot - 1),
            _ => index.select(self.rank),
        };
        self.place = Some((leaf, slot));
        leaf.get(slot)
    }
}

/// Iterator over a range of records in key order, from either end. Its length is exact.
///
/// It counts ranks, and goes from one leaf to the next through the counts in the tree.
#[derive(Clone)]
pub struct Range<'i> {
    index: &'i Index,
    /// Before the next record from the front.
    front: Cursor<'i>,
    /// Behind the next record from the back; never before `front`.
    back: Cursor<'i>,
    /// Up to where records were asked for early, from the front and from the back.
    front_lead: Cursor<'i>,
    back_lead: Cursor<'i>,
}

impl<'i> Range<'i> {
    /// The records of ranks `front` to before `back`, which may be less.
    pub(super) fn new(
        index: &'i Index,
        front: usize,
        back: usize,
        place: Option<(&'i Leaf, usize)>,
    ) -> Self {
        let front = Cursor { rank: front, place };
        let back = Cursor {
            rank: back.max(front.rank),
            place: None,
        };
        Self {
            index,
            front,
            back,
            front_lead: front,
            back_lead: back,
        }
    }

    fn left(&self) -> usize {
        self.back.rank - self.front.rank
    }
}

impl<'i> Iterator for Range<'i> {
    type Item = &'i Record;

    #[inline]
    fn next(&mut self) -> Option<&'i Record> {
        if self.left() == 0 {
            return None;
        }
        let ahead = self.back.rank.min(self.front.rank + AHEAD);
        while self.front_lead.rank < ahead {
            if let Some(record) = self.front_lead.forward(self.index) {
                prefetch_record(record);
            }
        }
        self.front.forward(self.index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }

    fn count(self) -> usize {
        self.left()
    }

    fn last(mut self) -> Option<&'i Record> {
        self.next_back()
    }

    fn nth(&mut self, n: usize) -> Option<&'i Record> {
        if n > 0 {
            let rank = self.front.rank + n.min(self.left());
            self.front = Cursor { rank, place: None };
            self.front_lead = self.front;
        }
        self.next()
    }
}

impl<'i> DoubleEndedIterator for Range<'i> {
    #[inline]
    fn next_back(&mut self) -> Option<&'i Record> {
        if self.left() == 0 {
            return None;
        }
        let ahead = self.front.rank.max(self.back.rank.saturating_sub(AHEAD));
        while self.back_lead.rank > ahead {
            if let Some(record) = self.back_lead.backward(self.index) {
                prefetch_record(record);
            }
        }
        self.back.backward(self.index)
    }

    fn nth_back(&mut self, n: usize) -> Option<&'i Record> {
        if n > 0 {
            let rank = self.back.rank - n.min(self.left());
            self.back = Cursor { rank, place: None };
            self.back_lead = self.back;
        }
        self.next_back()
    }
}

impl ExactSizeIterator for Range<'_> {}

impl FusedIterator for Range<'_> {}
