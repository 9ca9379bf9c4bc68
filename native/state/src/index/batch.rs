//! Look-ups of many keys side by side: each level of the tree is searched for all keys before the
//! next, and what comes next is loaded in the meantime, so that the cache misses of the keys overlap.

use super::inner::Node;
use super::leaf::Leaf;
use super::place::Place;
use super::record::Record;
use super::{Index, PREFETCH_KEYS_MAX};

/// Where the walk for one key stands.
#[derive(Clone, Copy)]
struct Walk<'i> {
    node: &'i Node,
    known: usize,
    slot: usize,
    place: Place,
}

impl Index {
    /// Walks up to [`PREFETCH_KEYS_MAX`] keys down to their leaves and on to where their records
    /// most likely are, asking for these to be loaded. Walks beyond `keys` are meaningless.
    #[inline]
    fn walk_all<'i>(&'i self, keys: &[&[u8]]) -> [Walk<'i>; PREFETCH_KEYS_MAX] {
        let start = Walk {
            node: &self.root,
            known: 0,
            slot: 0,
            place: Place::UNKNOWN,
        };
        let mut walks = [start; PREFETCH_KEYS_MAX];
        for _ in 0..self.levels {
            for (walk, key) in walks.iter_mut().zip(keys) {
                if let Node::Inner(inner) = walk.node {
                    (walk.slot, walk.known) = inner.route(key, walk.known);
                    walk.place.descend(walk.slot);
                    inner.prefetch_slot(walk.slot);
                }
            }
            for walk in &mut walks[..keys.len()] {
                if let Node::Inner(inner) = walk.node {
                    walk.node = inner.child(walk.slot);
                    walk.node.prefetch();
                }
            }
        }
        for (walk, key) in walks.iter_mut().zip(keys) {
            if let Node::Leaf(leaf) = walk.node {
                walk.slot = leaf.guess(key);
                walk.place.arrive(walk.slot);
                leaf.prefetch_slot(walk.slot);
            }
        }
        for walk in &walks[..keys.len()] {
            if let Node::Leaf(leaf) = walk.node {
                leaf.prefetch_record(walk.slot);
            }
        }
        walks
    }

    /// Looks up many keys, interleaved so that their cache misses overlap, and hands what it finds to
    /// `visit`, once for each key, in the order of the keys.
    pub fn get_many<'i>(&'i self, keys: &[&[u8]], mut visit: impl FnMut(Option<&'i Record>)) {
        for keys in keys.chunks(PREFETCH_KEYS_MAX) {
            let walks = self.walk_all(keys);
            for (walk, key) in walks.iter().zip(keys) {
                visit(match walk.node {
                    Node::Leaf(leaf) => hit_or_search(leaf, key, walk.slot),
                    Node::Inner(_) => self.get(key),
                });
            }
        }
    }

    /// Brings the paths and records of up to [`PREFETCH_KEYS_MAX`] keys into the cache, level by
    /// level, ahead of look-ups and writes; further keys are ignored. Changes nothing that can be
    /// observed but time. Calls `found` with the place of each key, in order: where
    /// [`Index::get_at`] and [`Index::entry_at`] may look first.
    pub fn prefetch(&self, keys: &[&[u8]], mut found: impl FnMut(Place)) {
        let keys = &keys[..keys.len().min(PREFETCH_KEYS_MAX)];
        if keys.is_empty() {
            return;
        }
        for walk in &self.walk_all(keys)[..keys.len()] {
            found(walk.place);
        }
    }
}

fn hit_or_search<'i>(leaf: &'i Leaf, key: &[u8], slot: usize) -> Option<&'i Record> {
    match leaf.get(slot) {
        Some(record) if record.key() == key => Some(record),
        _ => leaf.look_up(key),
    }
}
