//! Snapshots while the node goes on: one shard at a time, a slice a turn, a
//! piece of the file at a time in the background.
//!
//! When a snapshot is durable, the older one of its shard goes, and the log
//! segments that only it needed. A shard that writes little must not keep old
//! segments alive: it is snapshotted too, its hard state is written again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use domp_log::snapshot::{SnapshotHead, SnapshotOutcome, SnapshotWriter};
use domp_log::{Job, JobResult, PinReason};
use domp_state::SnapshotProgress;

use crate::commands::{Turn, earliest};
use crate::control::ControlReply;
use crate::node::Node;
use crate::storage::SnapshotJob;

/// Wait after a snapshot that failed, as on a full disk.
const RETRY_US: u64 = 5_000_000;

/// The snapshot under way.
struct Taking {
    group: u64,
    /// Log bytes of the shard when it began.
    log_bytes: u64,
    writer: SnapshotWriter,
    /// Whether the state still has slices to give.
    slicing: bool,
}

/// Snapshots taken and to be taken.
#[derive(Default)]
pub struct Snapshots {
    /// The snapshot's file of each group.
    files: BTreeMap<u64, Arc<str>>,
    /// What each covers.
    indexes: BTreeMap<u64, u64>,
    taking: Option<Taking>,
    wanted: VecDeque<u64>,
    slice: Vec<u8>,
    finished: u64,
    failed: u64,
    /// After a failure: not before this time.
    not_before_us: u64,
}

impl Snapshots {
    /// With the snapshots found at boot: group to (file, index).
    pub fn new(found: BTreeMap<u64, (Arc<str>, u64)>) -> Self {
        let indexes = found
            .iter()
            .map(|(group, (_, index))| (*group, *index))
            .collect();
        let files = found
            .into_iter()
            .map(|(group, (file, _))| (group, file))
            .collect();
        Self {
            files,
            indexes,
            ..Self::default()
        }
    }

    /// Snapshots finished since start.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Snapshots that failed since start.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    fn is_busy(&self) -> bool {
        self.taking.is_some() || !self.wanted.is_empty()
    }

    fn want(&mut self, group: u64) {
        let taken = self
            .taking
            .as_ref()
            .is_some_and(|taking| taking.group == group);
        if !taken && !self.wanted.contains(&group) {
            self.wanted.push_back(group);
        }
    }
}

impl Node {
    /// Whether a snapshot is under way.
    pub fn is_snapshotting(&self) -> bool {
        self.snapshots.taking.is_some()
    }

    /// Whether writes outrun the snapshot under way.
    pub(crate) fn is_under_snapshot_pressure(&self) -> bool {
        let taking = self.snapshots.taking.as_ref();
        let shard = taking.and_then(|taking| self.shards.get(&taking.group));
        shard.is_some_and(|shard| shard.state.snapshot_pressure())
    }

    /// Every shard that wrote since its last snapshot gets one.
    pub(crate) fn want_all_snapshots(&mut self) {
        for (id, shard) in &self.shards {
            if shard.applied().0 > shard.snapshot_index {
                self.snapshots.want(*id);
            }
        }
        self.snapshots.not_before_us = 0;
    }

    /// The group is gone, and so are its snapshots.
    pub(crate) fn forget_snapshots(&mut self, group: u64) {
        self.snapshots.wanted.retain(|wanted| *wanted != group);
        self.snapshots.indexes.remove(&group);
        if let Some(file) = self.snapshots.files.remove(&group) {
            self.storage.want(Job::SnapshotRemove { file });
        }
        if let Some(taking) = &mut self.snapshots.taking
            && taking.group == group
        {
            taking.slicing = false;
            taking.writer.abort("its space was dropped");
        }
    }

    /// Goes on with the snapshot under way, or begins one that is due.
    pub(crate) fn advance_snapshots(&mut self, turn: &mut Turn, wake_at_us: &mut Option<u64>) {
        if self.snapshots.taking.is_none() && !self.draining {
            self.begin_snapshot();
        }
        self.make_slice();
        if let Some(taking) = &mut self.snapshots.taking {
            if let Some(job) = taking.writer.take_job() {
                self.storage.want(job);
            }
            if taking.slicing && taking.writer.needs_slices() {
                earliest(wake_at_us, self.clock.monotonic_us);
            }
        }
        if !self.snapshots.is_busy() {
            for id in self.snapshot_waiters.drain(..) {
                turn.controls.push((id, ControlReply::Done));
            }
        } else if self.snapshots.taking.is_none() {
            earliest(
                wake_at_us,
                self.snapshots.not_before_us.max(self.clock.monotonic_us),
            );
        }
    }

    fn begin_snapshot(&mut self) {
        if self.clock.monotonic_us < self.snapshots.not_before_us {
            return;
        }
        let limit = self.config.snapshot_after_bytes;
        let next = self.snapshots.wanted.pop_front().or_else(|| {
            // Who has so much log is awake.
            self.agenda.awake().find(|id| {
                let shard = self.shards.get(id);
                shard.is_some_and(|shard| shard.log_bytes >= limit)
            })
        });
        let Some(group) = next else { return };
        let Some(shard) = self.shards.get_mut(&group) else {
            return;
        };
        let (index, term) = shard.applied();
        if index == shard.snapshot_index || !shard.state.begin_snapshot() {
            return;
        }
        let head = SnapshotHead {
            group,
            index,
            term,
            revision: shard.state.revision(),
            lease_ms: shard.state.lease_ms(),
            voters: vec![self.config.node],
            learners: Vec::new(),
        };
        let salt = self.door.draw();
        let writer = SnapshotWriter::new(&head, salt);
        let log_bytes = shard.log_bytes;
        self.snapshots.taking = Some(Taking {
            group,
            log_bytes,
            writer,
            slicing: true,
        });
    }

    fn make_slice(&mut self) {
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        let Some(shard) = self.shards.get_mut(&taking.group) else {
            return;
        };
        let pressed = shard.state.snapshot_pressure();
        if !taking.slicing || !(taking.writer.needs_slices() || pressed) {
            return;
        }
        self.snapshots.slice.clear();
        let bytes = self.config.snapshot_slice_bytes;
        let progress = shard.state.snapshot_slice(bytes, &mut self.snapshots.slice);
        if !self.snapshots.slice.is_empty()
            && let Err(error) = taking.writer.push_slice(&self.snapshots.slice)
        {
            taking.writer.abort(&error.to_string());
        }
        match progress {
            SnapshotProgress::More => return,
            SnapshotProgress::Done => taking.writer.end(),
            SnapshotProgress::Abandoned => taking.writer.abort("writes outran it"),
        }
        taking.slicing = false;
        shard.state.end_snapshot();
    }

    /// A job of a snapshot ended.
    pub(crate) fn on_snapshot_job(&mut self, job: SnapshotJob, result: &JobResult) {
        // A file that can't be removed is found and removed at the next start.
        if job == SnapshotJob::Remove {
            return;
        }
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        taking.writer.on_job(result);
        match taking.writer.outcome().cloned() {
            None => {}
            Some(SnapshotOutcome::Written(info)) => self.snapshot_written(info.index, info.file),
            Some(SnapshotOutcome::Failed { .. }) => {
                // The log still holds everything.
                self.end_snapshot();
                self.snapshots.failed += 1;
                self.snapshots.not_before_us = self.clock.monotonic_us.saturating_add(RETRY_US);
            }
        }
    }

    fn end_snapshot(&mut self) -> Option<Taking> {
        let taking = self.snapshots.taking.take()?;
        if taking.slicing
            && let Some(shard) = self.shards.get_mut(&taking.group)
        {
            shard.state.end_snapshot();
        }
        Some(taking)
    }

    fn snapshot_written(&mut self, index: u64, file: Arc<str>) {
        let Some(taking) = self.end_snapshot() else {
            return;
        };
        let group = taking.group;
        let Some(shard) = self.shards.get_mut(&group) else {
            // Dropped while the last piece was written.
            self.storage.want(Job::SnapshotRemove { file });
            return;
        };
        shard.snapshot_index = index;
        shard.log_bytes = shard.log_bytes.saturating_sub(taking.log_bytes);
        self.snapshots.finished += 1;
        self.snapshots.indexes.insert(group, index);
        if let Some(older) = self.snapshots.files.insert(group, file) {
            self.storage.want(Job::SnapshotRemove { file: older });
        }
        self.storage.reclaim(&self.snapshots.indexes);
        self.unpin();
    }

    /// Helps groups that keep the oldest segment alive though they write little.
    fn unpin(&mut self) {
        let log_bytes = self.storage.statistics().segments_bytes;
        let usual = 2 * self.config.snapshot_after_bytes + 2 * self.config.log.segment_bytes;
        for pin in self.storage.pinned_by(&self.snapshots.indexes) {
            match pin.reason {
                PinReason::HardState => {
                    if let Some(shard) = self.shards.get_mut(&pin.group) {
                        shard.write_hard_state(&mut self.storage);
                    }
                }
                PinReason::Entries if log_bytes > usual => self.snapshots.want(pin.group),
                // A busy shard is due for one soon; a dropped group's snapshot
                // is being removed; damage waits for a person.
                PinReason::Entries | PinReason::Drop | PinReason::Damage => {}
            }
        }
    }
}
