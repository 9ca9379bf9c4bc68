//! Snapshots of larger states: bounded slices, bounded memory.

mod state_support;

use domp_protocol::{ItemKind, Operation, TransactionBuilder, ValueRef};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_state::{Reply, Sink, SnapshotProgress, State, StateConfig};

use state_support::{bytes_of, item, restore};

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
