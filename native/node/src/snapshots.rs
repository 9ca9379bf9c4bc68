//! Snapshots while the node goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use domp_log::JobResult;

use crate::control::ControlReply;
use crate::node::Node;
use crate::turn::Turn;

/// Snapshots taken and to be taken.
#[derive(Default)]
pub struct Snapshots {
    finished: u64,
}

impl Snapshots {
    pub fn new(_found: BTreeMap<u64, (Arc<str>, u64)>) -> Self {
        Self::default()
    }

    pub fn finished(&self) -> u64 {
        self.finished
    }
}

impl Node {
    /// Whether a snapshot is under way.
    pub fn is_snapshotting(&self) -> bool {
        false
    }

    pub(crate) fn want_all_snapshots(&mut self) {}

    pub(crate) fn forget_snapshots(&mut self, _group: u64) {}

    pub(crate) fn advance_snapshots(&mut self, turn: &mut Turn) {
        for id in self.snapshot_waiters.drain(..) {
            turn.controls.push((id, ControlReply::Done));
        }
    }

    pub(crate) fn on_snapshot_job(&mut self, _job: SnapshotJob, _result: &JobResult) {}
}

/// What a snapshot's job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotJob {
    /// Writes or finishes the one under way.
    Write,
    /// Removes one.
    Remove,
}
