//! The index under input in certain orders, at its edges and with values of odd sizes.

mod index_support;

use domp_state::index::{Entry, Index, Record, Stamps, Value};
use index_support::{Random, Shape};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

fn compare(index: &Index, model: &BTreeSet<Vec<u8>>) {
    index.check().expect("sound");
    assert_eq!(index.len(), model.len());
    assert!(index.iter().map(Record::key).eq(model));
    assert!(index.iter().rev().map(Record::key).eq(model.iter().rev()));
}

/// Inserts keys in the order given, comparing on the way, then removes them in another.
fn in_order(order: &[usize], removal: &[usize], shape: Shape) {
    let mut index = Index::new();
    let mut model = BTreeSet::new();
    for (step, n) in order.iter().enumerate() {
        let (key, stamps) = (shape.key(*n), Stamps::default());
        let record = Record::new(&key, Value::Number(1), stamps).expect("small");
        index.insert(record);
        model.insert(key);
        if step % (order.len() / 8) == 0 {
            index.check().expect("sound while it grows");
        }
    }
    compare(&index, &model);
    for (step, n) in removal.iter().enumerate() {
        let key = shape.key(*n);
        assert_eq!(index.remove(&key).is_some(), model.remove(&key));
        if step % (removal.len() / 8) == 0 {
            compare(&index, &model);
        }
    }
    compare(&index, &model);
    assert!(index.is_empty());
    assert_eq!(index.bytes(), Index::new().bytes());
}

#[test]
fn orders_of_insertion_and_removal() {
    let count = if cfg!(miri) { 200 } else { 30_000 };
    let up: Vec<usize> = (0..count).collect();
    let down: Vec<usize> = (0..count).rev().collect();
    // Inside out and outside in.
    let out: Vec<usize> = (0..count)
        .map(|n| {
            if n % 2 == 0 {
                count / 2 + n / 2
            } else {
                count / 2 - 1 - n / 2
            }
        })
        .collect();
    let inward: Vec<usize> = out.iter().rev().copied().collect();
    let mut shuffled = up.clone();
    let mut random = Random(7);
    for n in (1..count).rev() {
        shuffled.swap(n, random.below(n + 1));
    }
    for order in [&up, &down, &out, &inward, &shuffled] {
        for removal in [&up, &down, &out, &inward, &shuffled] {
            in_order(order, removal, Shape::Players);
        }
    }
}

#[test]
fn ascending_input_fills_the_leaves() {
    let count = if cfg!(miri) { 400 } else { 100_000 };
    let record = |n: usize| {
        let key = Shape::Players.key(n);
        Record::new(&key, Value::Bytes(&[1; 64]), Stamps::default()).expect("small")
    };
    let loaded = Index::from_sorted((0..count).map(record)).expect("ascending");
    loaded.check().expect("sound");
    let mut inserted = Index::new();
    (0..count).for_each(|n| assert!(inserted.insert(record(n)).is_none()));
    inserted.check().expect("sound");
    let mut descending = Index::new();
    (0..count)
        .rev()
        .for_each(|n| assert!(descending.insert(record(n)).is_none()));
    descending.check().expect("sound");
    for index in [&loaded, &inserted, &descending] {
        assert_eq!(index.len(), count);
        let nodes = index.bytes() - count * record(0).bytes();
        // Full leaves, and what a small index has of nodes that are not.
        assert!(nodes < count * 16 + 8192, "{nodes} bytes of nodes");
    }
    assert!(
        loaded
            .iter()
            .map(Record::key)
            .eq(inserted.iter().map(Record::key))
    );
}

#[test]
fn out_of_order_input_is_refused() {
    let record = |key: &[u8]| Record::new(key, Value::Number(0), Stamps::default()).expect("small");
    let mut index =
        Index::from_sorted([record(b""), record(b"a"), record(b"b")]).expect("ascending");
    for key in [&b"b"[..], b"a", b"", b"aa"] {
        assert_eq!(
            index.push_back(record(key)).expect_err("not above").key(),
            key
        );
    }
    assert_eq!(index.len(), 3);
    index.push_back(record(b"b\0")).expect("above");
    index.check().expect("sound");
    let refused = Index::from_sorted([record(b"x"), record(b"x")])
        .err()
        .expect("not ascending");
    assert_eq!(refused.key(), b"x");
}

#[test]
fn an_index_may_change_threads() {
    fn moves_between_threads<T: Send + Sync>(thing: T) -> T {
        thing
    }
    let record = Record::new(b"k", Value::Number(5), Stamps::default()).expect("small");
    let index = moves_between_threads(Index::from_sorted([record]).expect("one record"));
    let read = std::thread::spawn(move || index.get(b"k").map(Record::value_len));
    assert_eq!(read.join().expect("no panic"), Some(8));
}

#[test]
fn an_empty_index_answers() {
    let mut index = Index::default();
    assert!(index.get(b"").is_none() && index.first().is_none() && index.last().is_none());
    assert!(index.remove(b"x").is_none() && index.nth(0).is_none());
    assert_eq!(index.count(Bound::Included(b""), Bound::Unbounded), 0);
    assert_eq!(
        index
            .range(Bound::Excluded(b"b"), Bound::Included(b"a"))
            .len(),
        0
    );
    index.prefetch(&[b"", b"x"], |_| {});
    let mut found = Vec::new();
    index.get_many(&[b"", b"x"], |record| found.push(record.is_some()));
    assert_eq!(found, [false, false]);
    index.check().expect("sound");
}

#[test]
fn values_of_odd_sizes_come_and_go() {
    let (keys, steps) = if cfg!(miri) { (20, 200) } else { (300, 40_000) };
    let mut index = Index::new();
    let mut model = BTreeMap::new();
    let mut random = Random(3);
    for step in 0..steps {
        let key = Shape::Random.key(random.below(keys));
        // Around every boundary of a size class, and now and then large.
        let len = if step % 100 == 0 {
            random.below(1 << 18)
        } else {
            let bits = random.below(13);
            random.below(1 << bits)
        };
        let value = vec![random.next().to_le_bytes()[0]; len];
        let stamps = Stamps {
            expires_at_ms: (step % 3 == 0).then_some(step),
            ..Stamps::default()
        };
        match index.entry(&key) {
            Entry::Occupied(mut place) => place.write(Value::Bytes(&value), stamps),
            Entry::Vacant(place) => place.insert(Value::Bytes(&value), stamps),
        }
        .expect("within limits");
        model.insert(key, (value, stamps));
    }
    index.check().expect("sound");
    assert_eq!(index.len(), model.len());
    for (record, (key, (value, stamps))) in index.iter().zip(&model) {
        assert_eq!(record.key(), key);
        assert_eq!(record.value(), Value::Bytes(value));
        assert_eq!(record.stamps(), *stamps);
    }
}
