//! What a node of another program might have left in a log.

use super::MemoryDisk;
use crate::body::HardState;
use crate::config::LogConfig;
use crate::job::run_write;
use crate::open::{Drawn, open};
use crate::record::{Record, RecordKind};

/// Commits one more entry to a group's log, as a node does that starts, writes it and is gone. Returns its
/// index; None if the group has no hard state, or the log no room.
pub fn commit_entry(
    disk: &mut MemoryDisk,
    config: &LogConfig,
    drawn: &Drawn,
    group: u64,
    body: &[u8],
) -> Option<u64> {
    let (mut hard_state, mut replica, mut term) = (None, 0, 0);
    let mut opened = open(disk, config, drawn, &mut |record| {
        if record.group != group {
            return;
        }
        match record.kind {
            RecordKind::Entry => term = record.term,
            RecordKind::HardState => {
                (replica, hard_state) = (record.replica, HardState::decode(record.body));
            }
            _ => {}
        }
    })
    .ok()?;
    let hard_state = hard_state?;
    let last = opened.verdict.groups.get(&group)?.last_index;
    let index = last.max(hard_state.covered()) + 1;
    let next = HardState {
        term: term.max(hard_state.term),
        commit: index,
        ..hard_state
    };
    let entry = Record {
        group,
        replica,
        kind: RecordKind::Entry,
        index,
        term: next.term,
        body,
    };
    let state = Record {
        kind: RecordKind::HardState,
        index: 0,
        term: 0,
        body: &next.encode(),
        ..entry
    };
    for record in [entry, state] {
        opened.writer.append(&record).ok()?;
    }
    let write = opened.writer.seal()?;
    run_write(disk, &write).ok()?;
    Some(index)
}
