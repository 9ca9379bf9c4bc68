//! What the tests of the state share.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod cases;
pub mod language;
pub mod random;
pub mod show;
pub mod workload;

use domp_protocol::{FrameBuilder, FrameKind, ItemKind, Transaction};
use domp_state::entry::{BatchHead, EntryBuilder};
use domp_state::{
    Restore, SnapshotProgress, State, StateConfig, StateLimits, SystemItem, snapshot_contents,
};

/// An item as a client sends it: header, payload, padding.
pub fn item(sequence: u64, kind: ItemKind, payload: &[u8]) -> Vec<u8> {
    const FRAME_HEADER_BYTES: usize = 24;
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(sequence, kind, payload);
    builder.finish(0, 1, 1)[FRAME_HEADER_BYTES..].to_vec()
}

/// An entry that does nothing but set limits.
pub fn entry_of_limits(limits: StateLimits, revision: u64, lease_ms: u64) -> Vec<u8> {
    let mut builder = EntryBuilder::new();
    builder.push_system(&SystemItem::Limits(limits));
    builder.finish(revision, lease_ms)
}

/// What a whole snapshot tells, however its slices were taken.
pub fn contents_of(slices: &[Vec<u8>]) -> Vec<u8> {
    let contents = slices.iter().flat_map(|slice| snapshot_contents(slice));
    contents.flatten().copied().collect()
}

/// An entry of one item.
pub fn entry_of(head: &BatchHead, item: &[u8], revision: u64, lease_ms: u64) -> Vec<u8> {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(head);
    builder.push_item(item);
    builder.finish(revision, lease_ms)
}

/// A whole snapshot, taken in slices of about so many bytes.
pub fn snapshot(state: &mut State, slice_bytes: usize) -> Vec<Vec<u8>> {
    assert!(state.begin_snapshot(), "no snapshot is under way");
    let mut slices = Vec::new();
    loop {
        let mut slice = Vec::new();
        let progress = state.snapshot_slice(slice_bytes, &mut slice);
        slices.push(slice);
        match progress {
            SnapshotProgress::More => {}
            SnapshotProgress::Done => break,
            SnapshotProgress::Abandoned => panic!("nothing was written meanwhile"),
        }
    }
    state.end_snapshot();
    slices
}

/// The state of a snapshot.
pub fn restore(config: StateConfig, slices: &[Vec<u8>]) -> State {
    let mut restore = Restore::new(config);
    for slice in slices {
        restore.feed(slice).expect("slices as they were taken");
    }
    restore.finish().expect("a complete snapshot")
}

/// Everything a state holds, as bytes to compare.
pub fn bytes_of(state: &mut State) -> Vec<u8> {
    snapshot(state, 1 << 20).concat()
}

/// A verified transaction.
pub fn parsed(payload: &[u8]) -> Transaction<'_> {
    Transaction::parse(payload).expect("the test's own transaction is valid")
}
