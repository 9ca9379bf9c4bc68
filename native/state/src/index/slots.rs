//! The fixed arrays that nodes are made of.

use super::record::Record;

/// Slots of a node: records of a leaf, children of an inner node. So many words of four bytes and
/// what goes with them fill four cache lines.
pub(super) const SLOTS: usize = 60;

/// What stands in key order in a node.
pub(super) trait Keyed {
    /// The key it stands under.
    fn key(&self) -> &[u8];
}

impl Keyed for Record {
    #[inline]
    fn key(&self) -> &[u8] {
        Record::key(self)
    }
}

impl Keyed for Box<[u8]> {
    #[inline]
    fn key(&self) -> &[u8] {
        self
    }
}

/// An array filled from the front. It does not know its length: the node counts once for all of its
/// arrays and passes the count in.
#[repr(transparent)]
pub(super) struct Slots<T>([Option<T>; SLOTS]);

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self([const { None }; SLOTS])
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.0.get(slot)?.as_ref()
    }

    /// The element of a slot below the node's length.
    #[inline]
    pub(super) fn at(&self, slot: usize) -> &T {
        self.0[slot].as_ref().expect(FILLED)
    }

    /// The element of a slot below the node's length, for changing.
    #[inline]
    pub(super) fn at_mut(&mut self, slot: usize) -> &mut T {
        self.0[slot].as_mut().expect(FILLED)
    }

    /// The elements of a slot and the next, both below the node's length.
    pub(super) fn pair_mut(&mut self, slot: usize) -> (&mut T, &mut T) {
        let (left, right) = self.0.split_at_mut(slot + 1);
        (
            left[slot].as_mut().expect(FILLED),
            right[0].as_mut().expect(FILLED),
        )
    }

    /// Where a slot lies, for prefetching.
    #[inline]
    pub(super) fn address(&self, slot: usize) -> *const Option<T> {
        self.0.as_ptr().wrapping_add(slot)
    }

    /// Puts an element in at `slot <= len < SLOTS`; those behind move up.
    pub(super) fn insert(&mut self, len: usize, slot: usize, element: T) {
        self.0[slot..=len].rotate_right(1);
        self.0[slot] = Some(element);
    }

    /// Takes the element at `slot < len` out; those behind move down.
    pub(super) fn remove(&mut self, len: usize, slot: usize) -> T {
        let element = self.0[slot].take().expect(FILLED);
        self.0[slot..len].rotate_left(1);
        element
    }

    /// Moves the elements from slot `from` to `until <= len` into another array, to slot `at <= into_len`;
    /// those behind move down here and up there.
    pub(super) fn transfer(
        &mut self,
        len: usize,
        (from, until): (usize, usize),
        into: &mut Self,
        into_len: usize,
        at: usize,
    ) {
        let moved = until - from;
        into.0[at..into_len + moved].rotate_right(moved);
        into.0[at..at + moved].swap_with_slice(&mut self.0[from..until]);
        self.0[from..len].rotate_left(moved);
    }
}

impl<T: Keyed> Slots<T> {
    /// The key of a slot below the node's length.
    #[inline]
    pub(super) fn key(&self, slot: usize) -> &[u8] {
        self.at(slot).key()
    }
}

/// Why a slot can't be empty.
const FILLED: &str = "slots below a node's length are filled";
