//! The index against a `BTreeMap`: millions of random operations over awkward shapes of keys, with
//! the structure verified on the way. Under Miri the same with less of each.

mod index_support;

use domp_state::index::{
    AppendError, Entry, Index, PREFETCH_KEYS_MAX, Place, Record, Stamps, Value,
};
use index_support::{Random, Shape};
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, PartialEq)]
enum Stored {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Stored {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Number(number) => Value::Number(*number),
        }
    }
}

type Model = BTreeMap<Vec<u8>, (Stored, Stamps)>;

struct Pair {
    index: Index,
    model: Model,
    /// Where keys of earlier batches stood.
    places: Vec<Place>,
    random: Random,
    shape: Shape,
    /// Keys in play.
    keys: usize,
    clock: u64,
}

/// What the operations tend to.
#[derive(Clone, Copy)]
enum Tendency {
    Grow,
    Churn,
    Shrink,
}

impl Pair {
    fn new(shape: Shape, keys: usize, seed: u64) -> Self {
        Self {
            index: Index::new(),
            model: Model::new(),
            places: Vec::new(),
            random: Random(seed),
            shape,
            keys,
            clock: 0,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.random.below(self.keys);
        self.shape.key(n)
    }

    fn value(&mut self) -> Stored {
        let len = match self.random.below(20) {
            0 => return Stored::Number(self.random.next().cast_signed()),
            1 => self.random.below(3000),
            2..6 => 64,
            _ => self.random.below(100),
        };
        Stored::Bytes(vec![self.random.next().to_le_bytes()[0]; len])
    }

    fn stamps(&mut self) -> Stamps {
        self.clock += 1;
        Stamps {
            created: self.clock,
            modified: self.random.next(),
            version: self.random.next(),
            expires_at_ms: self.random.below(4).eq(&0).then_some(self.clock),
        }
    }

    fn step(&mut self, tendency: Tendency) {
        let write = match tendency {
            Tendency::Grow => 60,
            Tendency::Churn => 35,
            Tendency::Shrink => 10,
        };
        match self.random.below(100) {
            roll if roll < write => self.write(),
            roll if roll < 70 => self.remove(),
            roll if roll < 85 => self.get(),
            roll if roll < 95 => self.range(),
            roll if roll < 98 => self.batch(),
            _ => self.ends(),
        }
    }

    /// A place to look at first: none, the right one, or one that was some key's once.
    fn place_for(&mut self, key: &[u8]) -> Place {
        let mut place = Place::UNKNOWN;
        match self.random.below(3) {
            0 => {}
            1 => self.index.prefetch(&[key], |found| place = found),
            _ => {
                let at = self.random.below(self.places.len() + 1);
                place = self.places.get(at).copied().unwrap_or(place);
            }
        }
        place
    }

    fn write(&mut self) {
        let (key, value, stamps) = (self.key(), self.value(), self.stamps());
        let old = self.model.get(&key).cloned();
        let way = self.random.below(4);
        if way == 0 {
            let record = Record::new(&key, value.as_value(), stamps).expect("within limits");
            assert_eq!(self.index.insert(record).map(|record| owned(&record)), old);
            self.model.insert(key, (value, stamps));
            return;
        }
        let place = self.place_for(&key);
        match self.index.entry_at(&key, place) {
            Entry::Vacant(place) => {
                assert_eq!(old, None, "{key:?}");
                place
                    .insert(value.as_value(), stamps)
                    .expect("within limits");
            }
            Entry::Occupied(mut place) => {
                assert_eq!(Some(owned(place.record())), old);
                if way == 1 {
                    let before = place
                        .replace(value.as_value(), stamps)
                        .expect("within limits");
                    assert_eq!((before.key(), Some(owned(&before))), (&key[..], old));
                } else if let (2, Stored::Bytes(tail), Some((mut all, _))) = (way, &value, old) {
                    match (&mut all, place.append(tail, stamps)) {
                        (Stored::Bytes(bytes), Ok(())) => bytes.extend_from_slice(tail),
                        (Stored::Number(_), Err(AppendError::NotBytes)) => return,
                        other => panic!("appended to {other:?}"),
                    }
                    assert_eq!(owned(place.record()), (all.clone(), stamps));
                    self.model.insert(key, (all, stamps));
                    return;
                } else {
                    place
                        .write(value.as_value(), stamps)
                        .expect("within limits");
                }
                assert_eq!(owned(place.record()), (value.clone(), stamps));
            }
        }
        self.model.insert(key, (value, stamps));
    }

    fn remove(&mut self) {
        let key = self.key();
        let expected = self.model.remove(&key);
        let removed = if self.random.below(2) == 0 {
            self.index.remove(&key)
        } else {
            let place = self.places.last().copied().unwrap_or(Place::UNKNOWN);
            self.index.remove_at_place(&key, place)
        };
        assert_eq!(removed.as_ref().map(owned), expected);
        assert!(removed.is_none_or(|record| record.key() == key));
        assert_eq!(self.index.len(), self.model.len());
    }

    fn get(&mut self) {
        let mut key = self.key();
        if self.random.below(8) == 0 {
            let byte = self.random.byte_of(&[0, b'0', 0xff]);
            key.push(byte);
        }
        assert_eq!(
            self.index.get(&key).map(owned),
            self.model.get(&key).cloned(),
            "{key:?}"
        );
    }

    fn bound(&mut self) -> Bound<Vec<u8>> {
        let key = self.key();
        match self.random.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }

    fn range(&mut self) {
        let (from, to) = (self.bound(), self.bound());
        let (from, to) = (as_slice(&from), as_slice(&to));
        let empty = match (from, to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from >= to,
        };
        let mut ours = self.index.range(from, to);
        if empty {
            assert_eq!((ours.len(), self.index.count(from, to)), (0, 0));
            assert!(ours.next().is_none() && ours.next_back().is_none());
            return;
        }
        let mut theirs = self.model.range::<[u8], _>((from, to));
        // Counting the model takes time; a part of the runs will do.
        if self.random.below(100) == 0 {
            let count = theirs.clone().count();
            assert_eq!((ours.len(), self.index.count(from, to)), (count, count));
        }
        let backward = self.random.below(3);
        for _ in 0..self.random.below(if cfg!(miri) { 10 } else { 200 }) {
            let (our, their) = match (backward, self.random.below(2)) {
                (0, _) | (2, 0) => (ours.next(), theirs.next()),
                _ => (ours.next_back(), theirs.next_back()),
            };
            assert_eq!(our.map(Record::key), their.map(|(key, _)| &key[..]));
            assert_eq!(our.map(owned).as_ref(), their.map(|(_, value)| value));
            if our.is_none() {
                break;
            }
        }
    }

    fn batch(&mut self) {
        let keys: Vec<Vec<u8>> = (0..self.random.below(if cfg!(miri) { 70 } else { 150 }))
            .map(|_| self.key())
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut places = Vec::new();
        self.index.prefetch(&keys, |place| places.push(place));
        assert_eq!(places.len(), keys.len().min(PREFETCH_KEYS_MAX));
        // Those of earlier batches may be right or wrong by now, and serve for any key.
        self.places.extend(places);
        let surplus = self.places.len().saturating_sub(300);
        self.places.drain(..surplus);
        let fresh = self
            .places
            .len()
            .saturating_sub(keys.len().min(PREFETCH_KEYS_MAX));
        for (at, place) in self.places.iter().enumerate() {
            let key = match at.checked_sub(fresh) {
                Some(own) => keys[own],
                None => keys.get(at % (keys.len() + 1)).copied().unwrap_or(b"m"),
            };
            let expected = self.model.get(key).cloned();
            assert_eq!(self.index.get_at(key, *place).map(owned), expected);
            match self.index.entry_at(key, *place) {
                Entry::Occupied(place) => assert_eq!(Some(owned(place.record())), expected),
                Entry::Vacant(_) => assert_eq!(None, expected),
            }
        }
        let mut found = Vec::new();
        self.index.get_many(&keys, |record| found.push(record));
        assert_eq!(found.len(), keys.len());
        for (key, found) in keys.iter().zip(&found) {
            assert_eq!(found.map(owned), self.model.get(*key).cloned());
        }
    }

    fn ends(&mut self) {
        let keys = (self.model.first_key_value(), self.model.last_key_value());
        let (first, last) = (
            keys.0.map(|(key, _)| &key[..]),
            keys.1.map(|(key, _)| &key[..]),
        );
        assert_eq!(self.index.first().map(Record::key), first);
        assert_eq!(self.index.last().map(Record::key), last);
        let rank = self.random.below(self.model.len() + 2);
        let nth = self.index.iter().nth(rank).map(Record::key);
        assert_eq!(self.index.nth(rank).map(Record::key), nth);
        if let Some(key) = nth {
            assert_eq!(
                self.index.count(Bound::Unbounded, Bound::Excluded(key)),
                rank
            );
        }
    }

    /// Compares everything, forward, backward and in slices that resume behind the last key.
    fn compare_all(&self) {
        self.index
            .check()
            .unwrap_or_else(|wrong| panic!("{:?}: {wrong}", self.shape));
        assert_eq!(self.index.len(), self.model.len());
        assert!(self.index.iter().map(Record::key).eq(self.model.keys()));
        assert!(
            self.index
                .iter()
                .rev()
                .map(Record::key)
                .eq(self.model.keys().rev())
        );
        assert!(
            self.index
                .iter()
                .map(owned)
                .eq(self.model.values().cloned())
        );
        let mut seen = 0;
        let mut from = Bound::Unbounded;
        loop {
            let slice: Vec<&Record> = self.index.range(from, Bound::Unbounded).take(97).collect();
            seen += slice.len();
            match slice.last() {
                Some(last) => from = Bound::Excluded(last.key()),
                None => break,
            }
        }
        assert_eq!(seen, self.model.len());
    }

    fn run(&mut self, tendency: Tendency, steps: usize) {
        for step in 0..steps {
            self.step(tendency);
            if !cfg!(miri) && step % (steps / 8).max(1) == 0 {
                self.index
                    .check()
                    .unwrap_or_else(|wrong| panic!("{:?}: {wrong}", self.shape));
            }
        }
        self.compare_all();
    }
}

fn owned(record: &Record) -> (Stored, Stamps) {
    let value = match record.value() {
        Value::Bytes(bytes) => Stored::Bytes(bytes.to_vec()),
        Value::Number(number) => Stored::Number(number),
    };
    (value, record.stamps())
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Grows, churns, shrinks to nearly nothing, and grows again, `steps` operations each.
fn differ(shape: Shape, keys: usize, steps: usize) {
    let (keys, steps) = if cfg!(miri) {
        (300, 160)
    } else {
        (keys, steps)
    };
    let mut pair = Pair::new(shape, keys, keys as u64);
    pair.run(Tendency::Grow, steps);
    pair.run(Tendency::Churn, steps / 2);
    pair.run(Tendency::Shrink, steps);
    pair.run(Tendency::Grow, steps / 2);
}

#[test]
fn players() {
    differ(Shape::Players, 200_000, 200_000);
    differ(Shape::Players, 500, 50_000);
}

#[test]
fn fields_of_random_ids() {
    differ(Shape::Fields, 20_000, 150_000);
}

#[test]
fn keys_that_are_prefixes_of_keys() {
    differ(Shape::Nested, 4_200, 100_000);
}

#[test]
fn extreme_bytes_and_the_empty_key() {
    differ(Shape::Extremes, 20_000, 150_000);
}

#[test]
fn kibibyte_keys() {
    differ(Shape::Long, 20_000, 60_000);
}

#[test]
fn random_keys() {
    differ(Shape::Random, 30_000, 150_000);
}

#[test]
fn prefixes_that_come_and_go() {
    differ(Shape::Forest, 30_000, 150_000);
}

#[test]
fn everything_together() {
    differ(Shape::Mixed, 50_000, 150_000);
}
