//! Where a key was found, to be looked at first the next time.

use super::Index;
use super::edit::Path;
use super::entry::{Entry, Occupied, Vacant};
use super::inner::Node;
use super::leaf::Leaf;
use super::record::Record;

/// Where a key stands, or once stood. Nothing depends on it being right: whoever looks there compares
/// the key, and searches from the root if it is another. It is right as long as nothing was inserted or
/// removed, and mostly long after.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    path: Path,
    slot: u8,
}

impl Place {
    /// No place at all: the search begins at the root.
    pub const UNKNOWN: Self = Self {
        path: Path::new(),
        slot: u8::MAX,
    };

    /// Goes one level down.
    #[inline]
    pub(super) fn descend(&mut self, slot: usize) {
        self.path.push(slot);
    }

    /// Ends at a slot of a leaf.
    #[inline]
    pub(super) fn arrive(&mut self, slot: usize) {
        self.slot = u8::try_from(slot).unwrap_or(u8::MAX);
    }
}

impl Index {
    /// The record of a key, looked for at a place first.
    #[inline]
    pub fn get_at(&self, key: &[u8], place: Place) -> Option<&Record> {
        match self.at(place) {
            Some(record) if record.key() == key => Some(record),
            _ => self.get(key),
        }
    }

    /// As [`Self::entry`], with a look at a place first.
    #[inline]
    pub fn entry_at<'i, 'k>(&'i mut self, key: &'k [u8], place: Place) -> Entry<'i, 'k> {
        let hit = self.at(place).is_some_and(|record| record.key() == key);
        if hit {
            // Keys are unique: this is where a search would have ended.
            return Entry::Occupied(Occupied::new(self, &place.path, usize::from(place.slot)));
        }
        match self.locate_near(key, place) {
            Some(Ok(slot)) => Entry::Occupied(Occupied::new(self, &place.path, slot)),
            Some(Err(slot)) => Entry::Vacant(Vacant::new(self, place.path, slot, key)),
            None => self.entry(key),
        }
    }

    /// The slot of a key in the leaf of a place, or else its slot there: where the key, or its
    /// neighbours on both sides, are in that leaf, a search from the root would end there too.
    fn locate_near(&self, key: &[u8], place: Place) -> Option<Result<usize, usize>> {
        let leaf = self.leaf_at(place.path.slots())?;
        match leaf.find(key, 0) {
            Err(slot) if slot == 0 || slot == leaf.len() => None,
            found => Some(found),
        }
    }

    /// As [`Self::remove`], with a look at a place first.
    pub fn remove_at_place(&mut self, key: &[u8], place: Place) -> Option<Record> {
        let hit = self.at(place).is_some_and(|record| record.key() == key);
        if hit {
            return Some(self.remove_at(&place.path, usize::from(place.slot)));
        }
        self.remove(key)
    }

    /// What stands at a place now, if it leads anywhere.
    #[inline]
    fn at(&self, place: Place) -> Option<&Record> {
        self.leaf_at(place.path.slots())?
            .get(usize::from(place.slot))
    }

    #[inline]
    fn leaf_at(&self, path: &[u8]) -> Option<&Leaf> {
        // The tree may have grown or shrunk since.
        if path.len() != self.levels {
            return None;
        }
        let mut node = &self.root;
        for slot in path {
            match node {
                Node::Inner(inner) => node = inner.child_at(usize::from(*slot))?,
                Node::Leaf(_) => return None,
            }
        }
        match node {
            Node::Leaf(leaf) => Some(leaf),
            Node::Inner(_) => None,
        }
    }
}
