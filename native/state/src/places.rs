//! Where the keys of the next transactions stand in the index, and of those used lately.

use crate::index::{Index, PREFETCH_KEYS_MAX, Place};

/// Which of [`Places`] is a key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(u32);

impl At {
    /// None of them.
    pub const NOWHERE: Self = Self(u32::MAX);
}

/// Places remembered before all are forgotten.
const PLACES_MAX: usize = 1024;
/// Keys told apart, roughly; a power of two.
const KNOWN: usize = 256;

/// The places of keys that were brought into the cache, and which keys these are: hot keys take most
/// of many workloads, and need neither be fetched nor looked for again. Keys are told apart by some
/// bits of a hash. Wrong now and then, which costs time and nothing else.
#[derive(Default)]
pub(super) struct Places {
    found: Vec<Place>,
    /// By hash: other bits of it, and which place. Empty before the first key.
    known: Vec<(u32, At)>,
    /// [`Index::changes`] when they were right.
    changes: u64,
}

impl Places {
    /// Readies itself for the keys of one more [`Self::fetch`].
    pub fn begin(&mut self, index: &Index) {
        let is_full = self.found.len() + PREFETCH_KEYS_MAX > PLACES_MAX;
        if self.known.is_empty() || is_full || self.changes != index.changes() {
            self.found.clear();
            self.known.clear();
            self.known.resize(KNOWN, (0, At::NOWHERE));
            self.changes = index.changes();
        }
    }

    /// Where the place of a key is, or will be; adds the key to `wanted` if it must be looked for.
    #[inline]
    pub fn want<'a>(&mut self, key: &'a [u8], wanted: &mut Vec<&'a [u8]>) -> At {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        // Keys that are used together mostly differ in their last bytes.
        let last = match key.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => key
                .iter()
                .fold(1, |word, byte| word << 8 | u64::from(*byte)),
        };
        let mixed = (last ^ key.len() as u64).wrapping_mul(MULTIPLIER);
        let [.., a, b, c, d, slot] = mixed.to_le_bytes();
        let fingerprint = u32::from_le_bytes([a, b, c, d]);
        let Some(known) = self.known.get_mut(usize::from(slot)) else {
            return At::NOWHERE;
        };
        if *known != (fingerprint, known.1) || known.1 == At::NOWHERE {
            if wanted.len() >= PREFETCH_KEYS_MAX {
                return At::NOWHERE;
            }
            // Their places will come one behind the other.
            let at = u32::try_from(self.found.len() + wanted.len()).unwrap_or(u32::MAX);
            *known = (fingerprint, At(at));
            wanted.push(key);
        }
        known.1
    }

    /// Looks for the keys wanted since [`Self::begin`], side by side, and brings them into the cache.
    pub fn fetch(&mut self, wanted: &[&[u8]], index: &Index) {
        index.prefetch(wanted, |place| self.found.push(place));
    }

    /// A place; unknown if there is none.
    #[inline]
    pub fn of(&self, at: At) -> Place {
        self.found
            .get(at.0 as usize)
            .copied()
            .unwrap_or(Place::UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Record, Stamps, Value};

    #[test]
    fn keys_seen_lately_are_known_and_older_ones_are_not() {
        let index = Index::new();
        let mut places = Places::default();
        let mut is_new = |key: &[u8]| {
            let mut wanted = Vec::new();
            places.begin(&index);
            places.want(key, &mut wanted);
            places.fetch(&wanted, &index);
            !wanted.is_empty()
        };
        let name = |number: u32| format!("account/{number:08}");
        assert!(is_new(b"hot"));
        assert!(!is_new(b"hot"));
        let new = (0..64)
            .filter(|number| is_new(name(*number).as_bytes()))
            .count();
        assert!(new >= 63, "other keys are told apart: {new}");
        for number in 0..100_000 {
            is_new(name(number).as_bytes());
        }
        assert!(
            is_new(b"hot"),
            "what was not used for long is fetched again"
        );
    }

    #[test]
    fn a_key_is_found_at_its_place_until_another_comes_or_goes() {
        let mut index = Index::new();
        let insert = |index: &mut Index, number: u32| {
            let key = format!("{number:04}");
            let value = Value::Number(i64::from(number));
            let record = Record::new(key.as_bytes(), value, Stamps::default());
            index.insert(record.expect("short"));
        };
        for number in 0..1000 {
            insert(&mut index, number * 2);
        }
        let mut places = Places::default();
        let mut wanted = Vec::new();
        places.begin(&index);
        let ats: Vec<At> = [&b"0002"[..], b"1000", b"0002", b"1001"]
            .into_iter()
            .map(|key| places.want(key, &mut wanted))
            .collect();
        assert_eq!(wanted, [&b"0002"[..], b"1000", b"1001"]);
        assert_eq!(ats[0], ats[2]);
        places.fetch(&wanted, &index);
        for number in 0..1000 {
            insert(&mut index, number * 2 + 1);
            let value = |key: &[u8], at| index.get_at(key, places.of(at)).map(Record::value);
            assert_eq!(value(b"0002", ats[0]), Some(Value::Number(2)));
            assert_eq!(value(b"1000", ats[1]), Some(Value::Number(1000)));
            let then = (number >= 500).then_some(Value::Number(1001));
            assert_eq!(value(b"1001", ats[3]), then);
        }
        places.begin(&index);
        places.want(b"0002", &mut wanted);
        assert_eq!(wanted.len(), 4, "it may have moved and is looked for anew");
    }
}
