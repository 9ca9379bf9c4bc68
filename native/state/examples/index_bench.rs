//! The index beside `BTreeMap<Box<[u8]>, _>`, one thread, keys like `player/000123/pos` and 64-byte
//! values: nanoseconds an operation, memory a key, the longest single step.
//!
//! `cargo run --release -p domp-state --example index_bench [keys]`
//!
//! Absolute figures follow the machine; look at the ratios of one run.

use domp_state::index::{Entry, Index, Record, Stamps, Value};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::process::Command;
use std::time::Instant;

const BATCH: usize = 64;
const ROUNDS: usize = 3;
const VALUE: [u8; 64] = [7; 64];

type Key = [u8; 17];

/// What the index keeps of an entry, for the map: value in a block of its own, stamps inline.
struct Plain {
    value: Box<[u8]>,
    stamps: Stamps,
}

type Map = BTreeMap<Box<[u8]>, Plain>;

fn key(n: usize) -> Key {
    let mut key = *b"player/000000/pos";
    let mut rest = n;
    for digit in key[7..13].iter_mut().rev() {
        *digit = b"0123456789"[rest % 10];
        rest /= 10;
    }
    key
}

/// All keys in a random order that is always the same.
fn shuffled(count: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = (0..count).map(key).collect();
    let mut state = 1_u64;
    for at in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        keys.swap(
            at,
            usize::try_from(state >> 33).unwrap_or_default() % (at + 1),
        );
    }
    keys
}

fn stamps(version: u64) -> Stamps {
    Stamps {
        created: 1,
        modified: version,
        version,
        expires_at_ms: None,
    }
}

fn record(key: &Key) -> Record {
    Record::new(key, Value::Bytes(&VALUE), stamps(1)).expect("a short key and a short value")
}

fn plain() -> Plain {
    Plain {
        value: VALUE.into(),
        stamps: stamps(1),
    }
}

/// What one side of a comparison took.
struct Figure {
    each_ns: f64,
    /// Each step's nanoseconds, where they were timed one by one.
    steps_ns: Vec<u32>,
}

impl Figure {
    /// Keeps the lesser of two runs of the same work, also step by step: what remains is what the
    /// work takes, without what the machine did besides.
    fn least(&mut self, other: &Self) {
        self.each_ns = self.each_ns.min(other.each_ns);
        for (step, other) in self.steps_ns.iter_mut().zip(&other.steps_ns) {
            *step = (*step).min(*other);
        }
    }

    fn longest_us(&self) -> String {
        let longest = self.steps_ns.iter().max();
        longest.map_or(String::new(), |ns| format!("{:.1}", f64::from(*ns) / 1e3))
    }
}

/// The rows of the table, in the order of their first appearance.
#[derive(Default)]
struct Table(Vec<(&'static str, Figure, Option<Figure>)>);

impl Table {
    /// Enters a row, or unites it with the one of an earlier round.
    fn enter(&mut self, name: &'static str, ours: Figure, theirs: Option<Figure>) {
        match self.0.iter_mut().find(|row| row.0 == name) {
            None => self.0.push((name, ours, theirs)),
            Some((_, least_ours, least_theirs)) => {
                least_ours.least(&ours);
                if let (Some(least), Some(theirs)) = (least_theirs, &theirs) {
                    least.least(theirs);
                }
            }
        }
    }

    fn print(&self) {
        println!(
            "{:<34} {:>8} {:>9} {:>6}   {:>8} {:>9}",
            "", "index", "BTreeMap", "ratio", "longest", "BTreeMap"
        );
        for (name, ours, theirs) in &self.0 {
            let (each, ratio, longest) = match theirs {
                None => Default::default(),
                Some(theirs) => (
                    format!("{:.0}", theirs.each_ns),
                    format!("{:.2}", theirs.each_ns / ours.each_ns),
                    theirs.longest_us(),
                ),
            };
            println!(
                "{name:<34} {:>8.0} {each:>9} {ratio:>6}   {:>8} {longest:>9}",
                ours.each_ns,
                ours.longest_us(),
            );
        }
    }
}

#[expect(clippy::cast_precision_loss)]
fn per(total: u128, count: usize) -> f64 {
    total as f64 / count as f64
}

fn timed(count: usize, work: impl FnOnce()) -> Figure {
    let start = Instant::now();
    work();
    Figure {
        each_ns: per(start.elapsed().as_nanos(), count),
        steps_ns: Vec::new(),
    }
}

/// As [`timed`], with each step timed alone.
fn stepped<T>(items: &[T], mut step: impl FnMut(&T)) -> Figure {
    let mut steps_ns = Vec::with_capacity(items.len());
    let start = Instant::now();
    for item in items {
        let begin = Instant::now();
        step(item);
        steps_ns.push(u32::try_from(begin.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Figure {
        each_ns: per(start.elapsed().as_nanos(), items.len()),
        steps_ns,
    }
}

fn slices(keys: &[Key]) -> Vec<&[u8]> {
    keys.iter().map(Key::as_slice).collect()
}

fn load(table: &mut Table, keys: &[Key]) -> (Index, Map) {
    let mut index = Index::new();
    let mut map = Map::new();
    let ours = stepped(keys, |key| {
        index.insert(record(key));
    });
    let theirs = stepped(keys, |key| {
        map.insert(key.as_slice().into(), plain());
    });
    table.enter("insert, random order, each timed", ours, Some(theirs));
    (index, map)
}

/// Reads what a reader of an entry reads: a stamp, and the value.
fn touch(record: &Record) -> u64 {
    match record.value() {
        Value::Bytes(bytes) => record.modified() + u64::from(bytes[bytes.len() - 1]),
        Value::Number(_) => 0,
    }
}

fn touch_plain(plain: &Plain) -> u64 {
    plain.stamps.modified + u64::from(plain.value[plain.value.len() - 1])
}

/// Times two ways to the same sum, which shows that they did the same work.
fn both(
    count: usize,
    ours: impl FnOnce(&mut u64),
    theirs: impl FnOnce(&mut u64),
) -> (Figure, Option<Figure>) {
    let mut sums = [0, 0];
    let ours = timed(count, || ours(&mut sums[0]));
    let theirs = timed(count, || theirs(&mut sums[1]));
    assert_eq!(sums[0], sums[1], "both found the same");
    (ours, Some(theirs))
}

fn reads(table: &mut Table, index: &Index, map: &Map, keys: &[Key]) {
    let count = keys.len();
    let by_map = |sum: &mut u64| {
        for key in keys {
            *sum += map.get(key.as_slice()).map_or(0, touch_plain);
        }
    };
    let by_index = |sum: &mut u64| {
        for key in keys {
            *sum += index.get(key).map_or(0, touch);
        }
    };
    let (ours, theirs) = both(count, by_index, by_map);
    table.enter("get", ours, theirs);

    // The next key depends on what was found: nothing overlaps.
    let dependent_by_index = |sum: &mut u64| {
        for step in 0..count {
            let at = (step + (*sum & 1) as usize) % count;
            *sum += index.get(&keys[at]).map_or(0, touch);
        }
    };
    let dependent_by_map = |sum: &mut u64| {
        for step in 0..count {
            let at = (step + (*sum & 1) as usize) % count;
            *sum += map.get(keys[at].as_slice()).map_or(0, touch_plain);
        }
    };
    let (ours, theirs) = both(count, dependent_by_index, dependent_by_map);
    table.enter("get, one depending on another", ours, theirs);

    let slices = slices(keys);
    let many = |sum: &mut u64| {
        for batch in slices.chunks(BATCH) {
            index.get_many(batch, |record| *sum += record.map_or(0, touch));
        }
    };
    let (ours, theirs) = both(count, many, by_map);
    table.enter("get_many of 64", ours, theirs);
    let warmed = |sum: &mut u64| {
        for batch in slices.chunks(BATCH) {
            index.prefetch(batch, |_| {});
            for key in batch {
                *sum += index.get(key).map_or(0, touch);
            }
        }
    };
    let (ours, theirs) = both(count, warmed, by_map);
    table.enter("prefetch of 64, then get", ours, theirs);
}

fn scans(table: &mut Table, index: &Index, map: &Map) {
    let (ours, theirs) = both(
        index.len(),
        |sum| *sum = index.iter().map(touch).sum(),
        |sum| *sum = map.values().map(touch_plain).sum(),
    );
    table.enter("scan, an entry", ours, theirs);
    let (ours, theirs) = both(
        index.len(),
        |sum| *sum = index.iter().rev().map(touch).sum(),
        |sum| *sum = map.values().rev().map(touch_plain).sum(),
    );
    table.enter("scan backward, an entry", ours, theirs);
}

fn pages(table: &mut Table, index: &Index, map: &Map, keys: &[Key]) {
    let keys = &keys[..keys.len() / 10];
    let (ours, theirs) = both(
        keys.len(),
        |sum| {
            for key in keys {
                let page = index.range(Bound::Included(key), Bound::Unbounded).take(10);
                *sum += page.map(touch).sum::<u64>();
            }
        },
        |sum| {
            for key in keys {
                let bounds = (Bound::Included(key.as_slice()), Bound::Unbounded);
                let page = map.range::<[u8], _>(bounds).take(10);
                *sum += page.map(|(_, plain)| touch_plain(plain)).sum::<u64>();
            }
        },
    );
    table.enter("range of 10", ours, theirs);
    let count = timed(keys.len(), || {
        for pair in keys.windows(2) {
            black_box(index.count(Bound::Included(&pair[0]), Bound::Excluded(&pair[1])));
        }
    });
    table.enter("count between two random keys", count, None);
}

fn update(index: &mut Index, key: &[u8], version: u64) {
    if let Entry::Occupied(mut place) = index.entry(key) {
        let stamps = Stamps {
            version,
            ..place.record().stamps()
        };
        place
            .write(Value::Bytes(&VALUE), stamps)
            .expect("a short value");
    }
}

fn updates(table: &mut Table, index: &mut Index, map: &mut Map, keys: &[Key]) {
    let ours = timed(keys.len(), || {
        for key in keys {
            update(index, key, 2);
        }
    });
    let by_map = |map: &mut Map, version| {
        for key in keys {
            if let Some(plain) = map.get_mut(key.as_slice()) {
                plain.stamps.version = version;
                plain.value.copy_from_slice(&VALUE);
            }
        }
    };
    let theirs = timed(keys.len(), || by_map(map, 2));
    table.enter("update by entry", ours, Some(theirs));
    let slices = slices(keys);
    let ours = timed(keys.len(), || {
        for batch in slices.chunks(BATCH) {
            index.prefetch(batch, |_| {});
            for key in batch {
                update(index, key, 3);
            }
        }
    });
    let theirs = timed(keys.len(), || by_map(map, 3));
    table.enter("prefetch of 64, then update", ours, Some(theirs));
}

fn removals(table: &mut Table, index: &mut Index, map: &mut Map, keys: &[Key]) {
    let ours = stepped(keys, |key| {
        index.remove(key);
    });
    let theirs = stepped(keys, |key| {
        map.remove(key.as_slice());
    });
    table.enter("remove, each timed", ours, Some(theirs));
}

fn ascending(table: &mut Table, count: usize) {
    let keys: Vec<Key> = (0..count).map(key).collect();
    let mut index = Index::new();
    let ours = stepped(&keys, |key| {
        index.insert(record(key));
    });
    let mut map = Map::new();
    let theirs = stepped(&keys, |key| {
        map.insert(key.as_slice().into(), plain());
    });
    table.enter("insert, ascending, each timed", ours, Some(theirs));
    let ours = timed(count, || drop(index));
    let theirs = timed(count, || drop(map));
    table.enter("drop, an entry", ours, Some(theirs));
    let mut loaded = Err(record(&keys[0]));
    let ours = timed(count, || {
        loaded = Index::from_sorted(keys.iter().map(record));
    });
    let mut map = Map::new();
    let theirs = timed(count, || {
        map = keys
            .iter()
            .map(|key| (Box::from(key.as_slice()), plain()))
            .collect();
    });
    table.enter("load of sorted input", ours, Some(theirs));
    black_box((loaded.is_ok(), map.len()));
}

/// Resident memory of this process in bytes, where the system tells.
fn resident_bytes() -> Option<usize> {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(pages * 4096)
}

/// Builds one of the structures alone and prints the memory that a key takes beyond itself and its
/// value.
fn memory(which: &str, keys: &[Key]) {
    let before = resident_bytes();
    let mut index = Index::new();
    let mut map = Map::new();
    for key in keys {
        if which.starts_with("index") {
            index.insert(record(key));
        } else {
            map.insert(key.as_slice().into(), plain());
        }
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let own = keys.len() * (size_of::<Key>() + VALUE.len());
        println!("{:.1}", per((after - before - own) as u128, keys.len()));
    }
    black_box((index.len(), map.len()));
}

/// Runs [`memory`] in a process of its own.
fn measured_memory(which: &str, count: usize) -> String {
    std::env::current_exe()
        .and_then(|program| {
            Command::new(program)
                .args([&count.to_string(), which])
                .output()
        })
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn round(table: &mut Table, keys: &[Key]) {
    let (mut index, mut map) = load(table, keys);
    reads(table, &index, &map, keys);
    updates(table, &mut index, &mut map, keys);
    scans(table, &index, &map);
    pages(table, &index, &map, keys);
    removals(table, &mut index, &mut map, keys);
    ascending(table, keys.len());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    match arguments.next().as_deref() {
        Some(which) if which.ends_with("ascending") => {
            return memory(which, &(0..count).map(key).collect::<Vec<_>>());
        }
        Some(which) => return memory(which, &shuffled(count)),
        None => {}
    }
    let keys = shuffled(count);
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        round(&mut table, &keys);
    }
    println!(
        "{count} keys, least of {ROUNDS} rounds; ns an operation; longest single step in microseconds"
    );
    table.print();
    for order in ["random", "ascending"] {
        println!(
            "bytes a key beyond key and value, inserted in {order} order: {} (BTreeMap {})",
            measured_memory(&format!("index-{order}"), count),
            measured_memory(&format!("map-{order}"), count),
        );
    }
}
