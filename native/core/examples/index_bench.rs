//! The index beside `BTreeMap<Box<[u8]>, _>`, one thread, keys like `player/000123/pos` and 64-byte
//! values: nanoseconds an operation, memory a key, the longest single step.
//!
//! `cargo run --release -p domp-core --example index_bench [keys]`
//!
//! Absolute figures follow the machine; look at the ratios of one run.

use domp_core::index::{Entry, Index, Record, Stamps, Value};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::process::Command;
use std::time::{Duration, Instant};

const BATCH: usize = 64;
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

/// Nanoseconds an operation, and the longest step where every step was timed.
#[derive(Clone, Copy)]
struct Figure {
    each_ns: f64,
    longest: Option<Duration>,
}

#[expect(clippy::cast_precision_loss)]
fn per(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}

fn timed(count: usize, work: impl FnOnce()) -> Figure {
    let start = Instant::now();
    work();
    Figure {
        each_ns: per(start.elapsed(), count),
        longest: None,
    }
}

/// As [`timed`] with each step timed alone, for the longest.
fn stepped<T>(items: &[T], mut step: impl FnMut(&T)) -> Figure {
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    for item in items {
        let begin = Instant::now();
        step(item);
        longest = longest.max(begin.elapsed());
    }
    Figure {
        each_ns: per(start.elapsed(), items.len()),
        longest: Some(longest),
    }
}

fn print(name: &str, ours: Figure, theirs: Option<Figure>) {
    let longest = |figure: Figure| {
        figure.longest.map_or(String::new(), |longest| {
            format!("{:.0}", longest.as_secs_f64() * 1e6)
        })
    };
    let theirs_ns = theirs.map_or(String::new(), |figure| format!("{:.0}", figure.each_ns));
    let ratio = theirs.map_or(String::new(), |theirs| {
        format!("{:.2}", theirs.each_ns / ours.each_ns)
    });
    println!(
        "{name:<34} {:>8.0} {theirs_ns:>9} {ratio:>6}   {:>8} {:>9}",
        ours.each_ns,
        longest(ours),
        theirs.map(longest).unwrap_or_default(),
    );
}

fn slices(keys: &[Key]) -> Vec<&[u8]> {
    keys.iter().map(Key::as_slice).collect()
}

fn load(keys: &[Key]) -> (Index, Map) {
    let mut index = Index::new();
    let mut map = Map::new();
    let ours = stepped(keys, |key| {
        index.insert(record(key));
    });
    let theirs = stepped(keys, |key| {
        map.insert(key.as_slice().into(), plain());
    });
    print("insert, random order, each timed", ours, Some(theirs));
    (index, map)
}

fn reads(index: &Index, map: &Map, keys: &[Key]) {
    let ours = timed(keys.len(), || {
        for key in keys {
            black_box(index.get(key).map(Record::modified));
        }
    });
    let theirs = timed(keys.len(), || {
        for key in keys {
            black_box(
                map.get(key.as_slice())
                    .map(|plain| plain.stamps.modified + u64::from(plain.value[0])),
            );
        }
    });
    print("get", ours, Some(theirs));

    // The next key depends on what was found: nothing overlaps.
    let (mut at, mut sum) = (0, 0);
    let ours = timed(keys.len(), || {
        for step in 0..keys.len() {
            sum += index.get(&keys[at]).map_or(0, Record::created) as usize;
            at = (step + sum) % keys.len();
        }
    });
    let (mut at, mut sum) = (0, 0);
    let theirs = timed(keys.len(), || {
        for step in 0..keys.len() {
            sum += map
                .get(keys[at].as_slice())
                .map_or(0, |plain| plain.stamps.created) as usize;
            at = (step + sum) % keys.len();
        }
    });
    print("get, one depending on another", ours, Some(theirs));

    let keys_as_slices = slices(keys);
    let mut found = Vec::new();
    let many = timed(keys.len(), || {
        for batch in keys_as_slices.chunks(BATCH) {
            index.get_many(batch, &mut found);
            for record in found.iter().flatten() {
                black_box(record.modified());
            }
        }
    });
    print("get_many of 64", many, Some(theirs));
    let warmed = timed(keys.len(), || {
        for batch in keys_as_slices.chunks(BATCH) {
            index.prefetch(batch);
            for key in batch {
                black_box(index.get(key).map(Record::modified));
            }
        }
    });
    print("prefetch of 64, then get", warmed, Some(theirs));
}

fn scans(index: &Index, map: &Map) {
    let ours = timed(index.len(), || {
        index.iter().for_each(|record| {
            black_box(record.modified());
        });
    });
    let theirs = timed(map.len(), || {
        map.values().for_each(|plain| {
            black_box(plain.stamps.modified);
        });
    });
    print("scan, an entry", ours, Some(theirs));
    let ours = timed(index.len(), || {
        index.iter().rev().for_each(|record| {
            black_box(record.modified());
        });
    });
    let theirs = timed(map.len(), || {
        map.values().rev().for_each(|plain| {
            black_box(plain.stamps.modified);
        });
    });
    print("scan backward, an entry", ours, Some(theirs));
}

fn pages(index: &Index, map: &Map, keys: &[Key]) {
    let keys = &keys[..keys.len() / 10];
    let ours = timed(keys.len(), || {
        for key in keys {
            let page = index.range(Bound::Included(key), Bound::Unbounded).take(10);
            black_box(page.map(Record::modified).sum::<u64>());
        }
    });
    let theirs = timed(keys.len(), || {
        for key in keys {
            let page = map
                .range::<[u8], _>((Bound::Included(key.as_slice()), Bound::Unbounded))
                .take(10);
            black_box(page.map(|(_, plain)| plain.stamps.modified).sum::<u64>());
        }
    });
    print("range of 10", ours, Some(theirs));
    let ours = timed(keys.len(), || {
        for pair in keys.windows(2) {
            black_box(index.count(Bound::Included(&pair[0]), Bound::Excluded(&pair[1])));
        }
    });
    print("count between two random keys", ours, None);
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

fn updates(index: &mut Index, map: &mut Map, keys: &[Key]) {
    let ours = timed(keys.len(), || {
        for key in keys {
            update(index, key, 2);
        }
    });
    let theirs = timed(keys.len(), || {
        for key in keys {
            if let Some(plain) = map.get_mut(key.as_slice()) {
                plain.stamps.version = 2;
                plain.value.copy_from_slice(&VALUE);
            }
        }
    });
    print("update by entry", ours, Some(theirs));
    let keys_as_slices = slices(keys);
    let warmed = timed(keys.len(), || {
        for batch in keys_as_slices.chunks(BATCH) {
            index.prefetch(batch);
            for key in batch {
                update(index, key, 3);
            }
        }
    });
    print("prefetch of 64, then update", warmed, Some(theirs));
}

fn removals(index: &mut Index, map: &mut Map, keys: &[Key]) {
    let ours = stepped(keys, |key| {
        index.remove(key);
    });
    let theirs = stepped(keys, |key| {
        map.remove(key.as_slice());
    });
    print("remove, each timed", ours, Some(theirs));
}

fn ascending(count: usize) {
    let keys: Vec<Key> = (0..count).map(key).collect();
    let mut index = Index::new();
    let ours = stepped(&keys, |key| {
        index.insert(record(key));
    });
    let mut map = Map::new();
    let theirs = stepped(&keys, |key| {
        map.insert(key.as_slice().into(), plain());
    });
    print("insert, ascending, each timed", ours, Some(theirs));
    let ours = timed(count, || drop(index));
    let theirs = timed(count, || drop(map));
    print("drop, an entry", ours, Some(theirs));
    let mut loaded = Err(record(&keys[0]));
    let ours = timed(count, || {
        loaded = Index::from_sorted(keys.iter().map(record))
    });
    let mut map = Map::new();
    let theirs = timed(count, || {
        map = keys
            .iter()
            .map(|key| (Box::from(key.as_slice()), plain()))
            .collect();
    });
    print("load of sorted input", ours, Some(theirs));
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
        println!(
            "{:.1}",
            per(
                Duration::from_nanos((after - before - own) as u64),
                keys.len()
            )
        );
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
    println!("{count} keys; ns an operation; longest step in microseconds");
    println!(
        "{:<34} {:>8} {:>9} {:>6}   {:>8} {:>9}",
        "", "index", "BTreeMap", "ratio", "longest", "BTreeMap"
    );
    let (mut index, mut map) = load(&keys);
    reads(&index, &map, &keys);
    updates(&mut index, &mut map, &keys);
    scans(&index, &map);
    pages(&index, &map, &keys);
    removals(&mut index, &mut map, &keys);
    ascending(count);
    for order in ["random", "ascending"] {
        println!(
            "bytes a key beyond key and value, inserted in {order} order: {} (BTreeMap {})",
            measured_memory(&format!("index-{order}"), count),
            measured_memory(&format!("map-{order}"), count),
        );
    }
}
