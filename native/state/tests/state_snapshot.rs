//! Snapshots of larger states: bounded slices, bounded memory.

mod state_support;

use domp_protocol::{ItemKind, Operation, TransactionBuilder, ValueRef};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_state::{
    Reply, SigningKey, Sink, SnapshotProgress, State, StateConfig, StateKind, StateLimits,
    SystemItem, snapshot_contents, snapshot_slice_is_secret,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use state_support::language::transaction;
use state_support::random::Random;
use state_support::workload::Workload;
use state_support::{bytes_of, contents_of, item, restore, snapshot};

struct Quiet;

impl Sink for Quiet {
    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        assert_eq!(reply.code, None);
    }
}

/// Puts keys, each from a session of its own.
struct Writer {
    state: State,
    index: u64,
}

impl Writer {
    fn new() -> Self {
        Self {
            state: State::new(StateConfig::default()),
            index: 0,
        }
    }

    fn put(&mut self, keys: std::ops::Range<u64>, value: &[u8], sequence: u64) {
        let mut builder = EntryBuilder::new();
        for key in keys {
            builder.begin_batch(&BatchHead {
                kind: BatchKind::Session,
                birth: 1,
                nonce: key % 5_000,
                principal: 1,
                epoch: 1,
                acked_below: sequence,
            });
            let name = format!("key/{key:08}");
            let payload = TransactionBuilder::new(1)
                .then(Operation::Put {
                    key: name.as_bytes(),
                    value: ValueRef::Bytes(value),
                    expire_after_ms: None,
                })
                .finish();
            builder.push_item(&item(
                sequence + key / 5_000,
                ItemKind::Transaction,
                &payload,
            ));
        }
        self.index += 1;
        let entry = builder.finish(self.index * 1_000_000, 0);
        self.state
            .apply(self.index, &entry, &mut Quiet)
            .expect("in order");
    }
}

#[test]
fn slices_are_of_the_size_asked_for() {
    let mut writer = Writer::new();
    for thousand in 0..40 {
        writer.put(thousand * 1_000..(thousand + 1) * 1_000, &[7; 64], 1);
    }
    assert!(writer.state.begin_snapshot());
    let mut slices = 0;
    loop {
        let mut slice = Vec::new();
        let progress = writer.state.snapshot_slice(10_000, &mut slice);
        assert!(slice.len() < 10_000 + 1_000, "{} bytes", slice.len());
        slices += 1;
        if progress == SnapshotProgress::Done {
            break;
        }
    }
    assert!(slices > 400, "{slices} slices");
}

#[test]
fn writes_all_over_while_a_snapshot_is_taken() {
    let mut writer = Writer::new();
    for thousand in 0..20 {
        writer.put(thousand * 1_000..(thousand + 1) * 1_000, &[7; 64], 1);
    }
    let expected = bytes_of(&mut writer.state);
    assert!(writer.state.begin_snapshot());
    let mut slices = Vec::new();
    let mut round = 0;
    let done = loop {
        let mut slice = Vec::new();
        let progress = writer.state.snapshot_slice(20_000, &mut slice);
        slices.push(slice);
        if progress != SnapshotProgress::More {
            break progress;
        }
        // Known keys from the end backwards, and new ones everywhere.
        round += 1;
        let from = 20_000 - (round % 20) * 1_000;
        writer.put(from - 1_000..from, &[8; 80], 100 * round);
        writer.put(
            100_000 + round * 10..100_010 + round * 10,
            &[9; 10],
            100 * round,
        );
    };
    assert_eq!(done, SnapshotProgress::Done);
    assert!(round > 20, "writes came between {round} slices");
    let mut restored = restore(*writer.state.config(), &slices);
    assert!(
        bytes_of(&mut restored) == expected,
        "the state of the beginning"
    );
}

#[test]
fn a_snapshot_that_writes_outrun_is_abandoned_and_memory_stays_bounded() {
    const LIMIT: u64 = domp_protocol::limits::OVERLAY_BYTES_MAX;
    let mut writer = Writer::new();
    let value = vec![1; 100_000];
    for hundred in 0..20 {
        writer.put(hundred * 100..(hundred + 1) * 100, &value, 1);
    }
    assert!(writer.state.begin_snapshot());
    let mut slice = Vec::new();
    assert_eq!(
        writer.state.snapshot_slice(1_000, &mut slice),
        SnapshotProgress::More
    );
    let (mut pressed, mut abandoned) = (false, false);
    for hundred in 0..20 {
        writer.put(hundred * 100..(hundred + 1) * 100, &[2; 10], 100);
        let kept = writer.state.statistics().overlay_bytes;
        assert!(kept <= 2 * LIMIT, "{kept} bytes kept");
        assert_eq!(writer.state.snapshot_pressure(), kept > LIMIT);
        pressed |= kept > LIMIT;
        slice.clear();
        if !abandoned && hundred > 15 {
            abandoned =
                writer.state.snapshot_slice(1_000, &mut slice) == SnapshotProgress::Abandoned;
        }
    }
    assert!(pressed, "there was a warning first");
    assert!(abandoned);
    assert_eq!(writer.state.statistics().overlay_bytes, 0);
    writer.state.end_snapshot();
    assert!(writer.state.begin_snapshot(), "the next may succeed");
}

#[test]
fn slices_taken_under_pressure_relieve_it() {
    let mut writer = Writer::new();
    let value = vec![1; 100_000];
    for hundred in 0..20 {
        writer.put(hundred * 100..(hundred + 1) * 100, &value, 1);
    }
    assert!(writer.state.begin_snapshot());
    let mut progress = SnapshotProgress::More;
    let mut told = 0;
    for hundred in (0..20).rev() {
        writer.put(hundred * 100..(hundred + 1) * 100, &[2; 10], 100);
        while writer.state.snapshot_pressure() {
            let mut slice = Vec::new();
            progress = writer.state.snapshot_slice(1 << 20, &mut slice);
            told += slice.len();
        }
    }
    while progress == SnapshotProgress::More {
        let mut slice = Vec::new();
        progress = writer.state.snapshot_slice(1 << 20, &mut slice);
        told += slice.len();
    }
    assert_eq!(progress, SnapshotProgress::Done);
    assert!(
        told > 200_000_000,
        "{told} bytes of the beginning were told"
    );
}

#[test]
fn what_a_snapshot_tells_depends_on_the_state_at_its_beginning_alone() {
    let mut kept_most = 0;
    for seed in 0..24 {
        let limits = StateLimits {
            session_ttl_ms: 120,
            idempotency_ttl_ms: 90,
            ..StateLimits::FOUNDING
        };
        let mut random = Random::new(seed + 500);
        let mut workload = Workload::new(seed, 300, limits);
        workload.led_badly = seed % 3 == 0;
        let mut state = State::new(StateConfig::default());
        let mut index = 0;
        let mut apply = |state: &mut State, entries: u64| {
            for _ in 0..entries {
                index += 1;
                let entry = workload.entry();
                state.apply(index, &entry, &mut ()).expect("in order");
            }
        };
        apply(&mut state, 150 + random.below(150));
        let expected = contents_of(&snapshot(&mut state, usize::MAX));
        assert!(state.begin_snapshot());
        let mut digest = Xxh3::new();
        let mut told = Vec::new();
        loop {
            let entries = random.below(4);
            apply(&mut state, entries);
            kept_most = kept_most.max(state.statistics().overlay_bytes);
            let mut slice = Vec::new();
            let most = [1, 90, 700, 5_000][random.size(4)];
            let progress = state.snapshot_slice(most, &mut slice);
            for content in snapshot_contents(&slice) {
                digest.update(content);
                told.extend_from_slice(content);
            }
            if progress == SnapshotProgress::Done {
                break;
            }
        }
        assert!(told == expected, "seed {seed}");
        assert_eq!(digest.digest128(), xxh3_128(&expected));
    }
    assert!(kept_most > 1_000, "writes came before the walk");
}

#[test]
fn two_replicas_that_were_made_otherwise_tell_the_same() {
    let entries: Vec<Vec<u8>> = {
        let mut workload = Workload::new(9, 80, StateLimits::FOUNDING);
        (0..300).map(|_| workload.entry()).collect()
    };
    let mut followed = State::new(StateConfig::default());
    let mut joined = State::new(StateConfig::default());
    for (index, entry) in (1..).zip(&entries) {
        followed.apply(index, entry, &mut ()).expect("in order");
        if index <= 200 {
            joined.apply(index, entry, &mut ()).expect("in order");
        }
        if index == 200 {
            joined = restore(StateConfig::default(), &snapshot(&mut joined, 333));
        }
        if index > 200 {
            joined.apply(index, entry, &mut ()).expect("in order");
        }
    }
    let followed = contents_of(&snapshot(&mut followed, 100));
    assert!(followed == contents_of(&snapshot(&mut joined, 70_000)));
}

const SECRET: [u8; 32] = *b"a secret that must not get about";

fn meta_with_secrets() -> State {
    let mut state = State::new(StateConfig::new(StateKind::Meta));
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&BatchHead {
        kind: BatchKind::Session,
        birth: 1,
        nonce: 1,
        principal: 1,
        epoch: 1,
        acked_below: 1,
    });
    let payload = transaction(0, "space_create one; space_create two");
    builder.push_item(&item(1, ItemKind::Transaction, &payload));
    builder.push_system(&SystemItem::WantedLimits(StateLimits::FOUNDING));
    builder.push_system(&SystemItem::SigningKey(SigningKey { id: 3, key: SECRET }));
    let entry = builder.finish(1_000, 0);
    let mut told = Told(Vec::new());
    state.apply(1, &entry, &mut told).expect("in order");
    assert!(!told.0.is_empty());
    assert!(!holds_secret(&told.0), "neither answers nor effects");
    state
}

/// All that applying leads to.
struct Told(Vec<u8>);

impl Sink for Told {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        self.0.extend_from_slice(reply.results);
    }

    fn effects(&mut self, _: u32, effects: &[u8]) {
        self.0.extend_from_slice(effects);
    }
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|part| SECRET[8..16] == *part)
}

#[test]
fn secrets_are_in_slices_of_their_own_and_nowhere_else() {
    for slice_bytes in [1, 64, 100, 1_000, usize::MAX] {
        let mut state = meta_with_secrets();
        assert!(state.begin_snapshot());
        let mut slices = Vec::new();
        let mut index = 1;
        loop {
            let mut slice = Vec::new();
            let progress = state.snapshot_slice(slice_bytes, &mut slice);
            assert_eq!(
                snapshot_slice_is_secret(&slice),
                holds_secret(&slice),
                "slices of {slice_bytes}"
            );
            slices.push(slice);
            if progress == SnapshotProgress::Done {
                break;
            }
            // What comes later is not of the snapshot.
            index += 1;
            let mut builder = EntryBuilder::new();
            builder.push_system(&SystemItem::SigningKey(SigningKey {
                id: index,
                key: [9; 32],
            }));
            let entry = builder.finish(1_000 + 10 * index, 0);
            state.apply(index, &entry, &mut ()).expect("in order");
        }
        state.end_snapshot();
        let secret = slices
            .iter()
            .filter(|slice| snapshot_slice_is_secret(slice));
        assert_eq!(secret.count(), 1);
        let restored = restore(StateConfig::new(StateKind::Meta), &slices);
        let keys = restored.signing_keys();
        assert_eq!((keys.len(), keys[0].id, keys[0].key), (1, 3, SECRET));
        assert_eq!(restored.wanted_limits(), Some(&StateLimits::FOUNDING));
    }
}

#[test]
fn no_read_reaches_a_secret() {
    let mut state = meta_with_secrets();
    for text in ["range - -", "range - - reverse", "count - -", "get one"] {
        let payload = transaction(0, text);
        let mut out = Vec::new();
        let read = state.read(&state_support::parsed(&payload), &mut out);
        assert!(read.is_ok());
        assert!(!holds_secret(&out), "{text}");
    }
    assert_eq!(state.spaces().count(), 2);
    assert!(!format!("{:?}", state.signing_keys()).contains("97"));
}
