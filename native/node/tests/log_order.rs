//! In which order a commit's records stand in the log.

mod support;

use std::collections::BTreeMap;

use domp_log::{HardState, RecordKind, replay};
use domp_protocol::transaction::{Operation, ValueRef};

use support::{Bench, SPACE};

/// A commit may be several frames, of which a crash leaves the first: a commit index must never stand
/// in the log before the entries that it is about.
#[test]
fn a_hard_state_stands_behind_the_entries_it_was_written_with() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        let operations = vec![Operation::Put {
            key: b"k",
            value: ValueRef::Bytes(b"v"),
            expire_after_ms: None,
        }];
        assert_eq!(bench.ask(SPACE, operations).0.code, None);
    }
    let mut latest = BTreeMap::new();
    let mut last_index: BTreeMap<u64, u64> = BTreeMap::new();
    let mut entries = 0;
    replay(&mut bench.disk, &mut |record| {
        let last = last_index.entry(record.group).or_default();
        match record.kind {
            RecordKind::Entry => {
                entries += 1;
                *last = record.index;
            }
            RecordKind::HardState => {
                let state = HardState::decode(record.body).expect("it is one");
                assert!(state.commit <= (*last).max(state.start_index));
            }
            _ => {}
        }
        latest.insert(record.group, record.kind);
    })
    .expect("it reads");
    assert!(entries > 20);
    latest.remove(&domp_log::NODE_GROUP);
    assert!(
        latest.values().all(|kind| *kind == RecordKind::HardState),
        "entries stand behind the last hard state: {latest:?}"
    );
}
