//! Snapshots while the node goes on: one file at a time is written, a slice a turn, a piece in the
//! background. This is their one owner: from the cause for a snapshot to its end every step is taken
//! here, and [`life`] says which may follow which.
//!
//! When the file is durable, a hard state that names it is written; when that is durable, the older file
//! goes, and the log segments that only it needed. A shard that writes little must not keep old segments
//! alive: it is snapshotted too, its hard state is written again.
//!
//! One that fails is said ([`Notice`]), counted, and tried again after a while; the log still holds
//! everything. While it waits the others take their turn.

mod attempt;
mod files;
mod life;
mod removals;
mod steps;
mod waiters;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domp_log::JobResult;
use domp_log::snapshot::SnapshotInfo;

use crate::commands::{Notice, Turn};
use crate::control::{ControlReply, SnapshotFailure};
use crate::node::Node;
use crate::storage::{Durable, SnapshotJob};
use attempt::{Attempt, Ended};
use life::{Event, Life, Phase};
use removals::Removals;
use waiters::Waiters;

/// Snapshots taken and to be taken.
#[derive(Default)]
pub struct Snapshots {
    lives: BTreeMap<u64, Life>,
    /// Those whose file is being written, getting its name, or being removed after a failure.
    attempts: BTreeMap<u64, Attempt>,
    /// The shard whose file is being written.
    slot: Option<u64>,
    /// The shards in [`Phase::Wanted`], in the order in which they came to want.
    queue: VecDeque<u64>,
    /// The file of each group that a durable hard state names.
    files: BTreeMap<u64, SnapshotInfo>,
    /// Groups that started from a snapshot that no hard state named, and the file of the one that was
    /// named: it goes once a durable hard state names the other.
    adopting: BTreeMap<u64, Option<Arc<str>>>,
    /// Those of them whose hard state is yet to be written.
    unnamed: BTreeSet<u64>,
    /// Stopped shards whose entries are written once more, and the first that is not yet.
    rewriting: BTreeMap<u64, u64>,
    /// Files of dropped groups, until the drop is durable.
    dropped: BTreeMap<u64, Vec<Arc<str>>>,
    removals: Removals,
    /// Received ones that a durable hard state names, and that have not got their names yet.
    naming: BTreeMap<u64, files::Naming>,
    /// Files that another replaced, and that are still read for others.
    lingering: BTreeMap<Arc<str>, u64>,
    /// Hard states are to be written again, and the log had no room for them.
    owes_hard_states: bool,
    waiters: Waiters,
    notices: Vec<Notice>,
    slice: Vec<u8>,
    finished: u64,
    failed: u64,
    last_failure: Option<SnapshotFailure>,
}

impl Snapshots {
    /// With the file found at boot of each group that has one, and those that are adopted.
    pub fn new(
        files: BTreeMap<u64, SnapshotInfo>,
        adopting: BTreeMap<u64, Option<Arc<str>>>,
    ) -> Self {
        Self {
            files,
            unnamed: adopting.keys().copied().collect(),
            adopting,
            ..Self::default()
        }
    }

    /// A file found at boot that nobody needs: it may go.
    pub fn remove(&mut self, group: u64, file: Arc<str>) {
        self.removals.want(Some(group), file);
    }

    /// Snapshots finished since start.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Snapshots that failed since start.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// The last of those.
    pub fn last_failure(&self) -> Option<&SnapshotFailure> {
        self.last_failure.as_ref()
    }

    /// The file of a group that a durable hard state names.
    pub fn file(&self, group: u64) -> Option<&SnapshotInfo> {
        self.files.get(&group)
    }

    /// There is cause for a snapshot of a group.
    pub fn want(&mut self, group: u64, now_us: u64) {
        self.on(group, Event::Want, now_us);
    }

    /// Whether nothing of a group's own is under way that a hard state names or will.
    pub fn leaves_room_to_install(&self, group: u64) -> bool {
        let phase = self.phase(group);
        !matches!(phase, Phase::Slicing | Phase::Writing | Phase::Naming)
            && !self.adopting.contains_key(&group)
    }

    /// Whether the file of one is being written or getting its name.
    fn is_busy(&self) -> bool {
        self.lives.values().any(|life| {
            matches!(
                life.phase(),
                Phase::Slicing | Phase::Writing | Phase::Naming
            )
        })
    }

    fn phase(&self, group: u64) -> Phase {
        self.lives.get(&group).map_or(Phase::Resting, Life::phase)
    }

    /// Hands an event to the life of a group's snapshot; who comes to want one gets in line.
    fn on(&mut self, group: u64, event: Event, now_us: u64) -> bool {
        let life = self.lives.entry(group).or_default();
        let took = life.on(event, now_us);
        if took && life.phase() == Phase::Wanted {
            self.queue.push_back(group);
        }
        took
    }

    /// Files of a dropped group went, or something of it ended: forgets it if nothing is left.
    fn forget_if_gone(&mut self, group: u64) -> bool {
        let gone = self.phase(group) == Phase::Gone
            && !self.dropped.contains_key(&group)
            && !self.attempts.contains_key(&group)
            && !self.removals.holds(group);
        if gone {
            self.lives.remove(&group);
        }
        gone
    }
}

impl Node {
    /// What the hard states name: by group, (index, digest). The same on all replicas at an index.
    pub fn named_snapshots(&self) -> impl Iterator<Item = (u64, (u64, u128))> {
        self.shards.iter().filter_map(|(group, shard)| {
            let name = shard.replica.named;
            (name.index > 0).then_some((*group, (name.index, name.digest)))
        })
    }

    /// Whether the file of a snapshot is being written or getting its name.
    pub fn is_snapshotting(&self) -> bool {
        self.snapshots.is_busy()
    }

    /// Whether writes to the shard must wait: they outrun the snapshot of it that is under way, and its
    /// file is so far behind that no slice would help. Only such a shard's; the others' go on.
    pub(crate) fn is_under_snapshot_pressure(&self, group: u64) -> bool {
        self.snapshots.slot == Some(group)
            && self
                .snapshots
                .attempts
                .get(&group)
                .is_some_and(Attempt::is_behind)
            && self
                .shards
                .get(&group)
                .is_some_and(|shard| shard.state.snapshot_pressure())
    }

    /// Every shard that wrote since its last snapshot gets one; the request is answered when all have
    /// ended.
    pub(crate) fn ask_for_snapshots(&mut self, id: u32, turn: &mut Turn) {
        if self.draining {
            let why = "the node drains: it begins no snapshots".to_owned();
            turn.controls.push((id, ControlReply::Failed(why)));
            return;
        }
        let now_us = self.clock.monotonic_us;
        let mut open = BTreeMap::new();
        for (group, shard) in &self.shards {
            let index = shard.applied().0;
            if index > shard.snapshot_index {
                self.snapshots.on(*group, Event::Insist, now_us);
                open.insert(*group, index);
            }
        }
        self.snapshots.waiters.push(id, open);
    }

    /// The group is being dropped, and with it its snapshots: as soon as the log says so durably, the
    /// next commit does.
    pub(crate) fn forget_snapshots(&mut self, group: u64) {
        let named = self.snapshots.files.remove(&group).map(|info| info.file);
        let mut files: Vec<Arc<str>> = named.into_iter().collect();
        files.extend(self.forget_transfers(group));
        files.extend(self.snapshots.adopting.remove(&group).flatten());
        files.extend(self.forget_attempt(group));
        self.snapshots.dropped.insert(group, files);
        self.storage.await_durable(Durable::Drop(group));
    }

    /// Ends the snapshot that is under way or wanted, if there is one. Returns a file that is durable
    /// and that no hard state may ever name.
    fn forget_attempt(&mut self, group: u64) -> Option<Arc<str>> {
        self.snapshots
            .on(group, Event::Drop, self.clock.monotonic_us);
        self.snapshots.queue.retain(|wanted| *wanted != group);
        self.snapshots.waiters.gone(group);
        let mut named = None;
        if self.snapshots.phase(group) == Phase::Leaving {
            if let Some(attempt) = self.snapshots.attempts.get_mut(&group) {
                attempt.give_up("its space was dropped");
            }
        } else {
            let attempt = self.snapshots.attempts.remove(&group);
            named = attempt.and_then(|attempt| attempt.info);
        }
        self.free_slot(group);
        named.map(|(info, _)| info.file)
    }

    /// A job of a snapshot ended.
    pub(crate) fn on_snapshot_job(&mut self, job: &SnapshotJob, result: JobResult) {
        let now_us = self.clock.monotonic_us;
        match job {
            SnapshotJob::Remove(file) => self.removal_ended(file, &result),
            SnapshotJob::Name(group) => self.name_given(*group, &result),
            SnapshotJob::Send(attempt) => self.piece_read(*attempt, result),
            SnapshotJob::Receive(attempt) => self.receiving_job_ended(*attempt, result),
            SnapshotJob::Write(group) => {
                let Some(attempt) = self.snapshots.attempts.get_mut(group) else {
                    return;
                };
                match attempt.on_job(&result) {
                    Ended::Nothing => {}
                    Ended::Durable(info, name) => {
                        attempt.info = Some((info, name));
                        self.file_durable(*group);
                    }
                    Ended::Failed(why) => self.fail_snapshot(*group, &why),
                    Ended::Undone(left) => {
                        self.snapshots.attempts.remove(group);
                        for file in left {
                            self.snapshots.removals.want(Some(*group), file);
                        }
                        self.snapshots.on(*group, Event::Undone, now_us);
                        self.forget_snapshots_if_gone(*group);
                    }
                }
            }
        }
    }

    /// The file stands under its name; what names it follows.
    fn file_durable(&mut self, group: u64) {
        self.free_slot(group);
        self.snapshots
            .on(group, Event::Durable, self.clock.monotonic_us);
        if self.snapshots.phase(group) == Phase::Naming {
            return;
        }
        // Dropped while the file got its name: no hard state will ever name it.
        let attempt = self.snapshots.attempts.remove(&group);
        if let Some((info, _)) = attempt.and_then(|attempt| attempt.info) {
            self.snapshots.removals.want(Some(group), info.file);
        }
    }

    /// It can't be finished: says so, and tries again later. The log still holds everything.
    fn fail_snapshot(&mut self, group: u64, why: &str) {
        self.free_slot(group);
        if let Some(attempt) = self.snapshots.attempts.get_mut(&group) {
            attempt.give_up(why);
        }
        let now_us = self.clock.monotonic_us;
        if let Some(shard) = self.shards.get_mut(&group) {
            shard.let_go();
        }
        if !self.snapshots.on(group, Event::Fail, now_us) {
            return;
        }
        let life = self.snapshots.lives.get(&group);
        let retry_us = life
            .and_then(Life::retry_at_us)
            .map_or(0, |at_us| at_us.saturating_sub(now_us));
        self.snapshots.failed += 1;
        self.snapshots.last_failure = Some(SnapshotFailure {
            group,
            why: why.to_owned(),
            wall_ms: self.clock.wall_ms,
        });
        self.snapshots.notices.push(Notice::SnapshotFailed {
            group,
            space: self.names.get(&group).cloned().unwrap_or_default(),
            why: why.to_owned(),
            retry_ms: retry_us / 1000,
        });
        self.snapshots.waiters.failed(group, why);
    }

    /// A durable hard state names the file: the older one may go, and the log behind it.
    fn snapshot_named(&mut self, group: u64) {
        if let Some(older) = self.snapshots.adopting.remove(&group) {
            if let Some(older) = older {
                self.snapshots.removals.want(Some(group), older);
            }
            return self.reclaim();
        }
        let now_us = self.clock.monotonic_us;
        if !self.snapshots.on(group, Event::Named, now_us) {
            return;
        }
        let Some(attempt) = self.snapshots.attempts.remove(&group) else {
            return;
        };
        let (Some((info, name)), Some(shard)) = (attempt.info, self.shards.get_mut(&group)) else {
            return;
        };
        shard.snapshot_index = info.index;
        shard.snapshot_rests_until_us = now_us.saturating_add(self.config.snapshot_rest_us);
        shard.log_bytes = shard.log_bytes.saturating_sub(attempt.log_bytes);
        self.snapshots.finished += 1;
        let index = info.index;
        if let Some(older) = self.snapshots.files.insert(group, info) {
            self.let_go_of_file(group, older.file);
        }
        self.snapshots.waiters.taken(group, index, name.digest);
        if self.snapshots.waiters.want(group) {
            // Asked for after this one had begun.
            self.snapshots.on(group, Event::Insist, now_us);
        }
        self.reclaim();
    }

    /// The log says durably that the group is gone: its files may go.
    fn drop_durable(&mut self, group: u64) {
        for file in self.snapshots.dropped.remove(&group).unwrap_or_default() {
            self.snapshots.removals.want(Some(group), file);
        }
        self.forget_snapshots_if_gone(group);
    }

    fn removal_ended(&mut self, file: &Arc<str>, result: &JobResult) {
        let now_us = self.clock.monotonic_us;
        let why = match result {
            JobResult::Failed { message, .. } => Some(message),
            _ => None,
        };
        let removals = &mut self.snapshots.removals;
        let group = removals.group(file);
        let retry_at_us = removals.on_ended(file, why.is_some(), now_us);
        if let (Some(why), Some(at_us)) = (why, retry_at_us) {
            self.snapshots.notices.push(Notice::RemovalFailed {
                file: file.to_string(),
                why: why.clone(),
                retry_ms: at_us.saturating_sub(now_us) / 1000,
            });
        }
        if let Some(group) = group {
            self.forget_snapshots_if_gone(group);
        }
    }

    fn forget_snapshots_if_gone(&mut self, group: u64) {
        if self.snapshots.forget_if_gone(group) {
            // The drop itself need not be kept any more.
            self.reclaim();
        }
    }

    /// The shard's snapshot takes no more slices, and the next may begin.
    fn free_slot(&mut self, group: u64) {
        if self.snapshots.slot == Some(group) {
            self.snapshots.slot = None;
            if let Some(shard) = self.shards.get_mut(&group) {
                shard.state.end_snapshot();
            }
        }
    }
}
