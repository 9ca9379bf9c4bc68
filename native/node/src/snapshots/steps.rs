//! What the end of a turn does for snapshots.

use domp_log::snapshot::SnapshotOrigin;
use domp_log::{Job, PinReason};
use domp_state::SnapshotProgress;

use super::attempt::Attempt;
use super::life::{Event, Phase};
use crate::commands::{Turn, earliest};
use crate::node::Node;
use crate::storage::{Durable, SnapshotJob};

/// Bytes of a stopped shard's entries that one turn writes again.
const REWRITE_BYTES: u64 = 1 << 20;

/// Segments that are freed in one go, one after the other.
const RECLAIM_ROUNDS_MAX: u32 = 64;

impl Node {
    /// Takes every snapshot a step further, and begins one that is due.
    pub(crate) fn advance_snapshots(&mut self, turn: &mut Turn, wake_at_us: &mut Option<u64>) {
        for durable in self.storage.take_durable() {
            match durable {
                Durable::Snapshot(group) => self.snapshot_named(group),
                Durable::Drop(group) => self.drop_durable(group),
            }
        }
        self.want_due_snapshots();
        while self.snapshots.slot.is_none() && !self.draining && self.begin_snapshot() {}
        self.make_slice();
        self.hand_out_snapshot_jobs();
        self.name_snapshots();
        self.give_names();
        if self.snapshots.owes_hard_states && self.storage.has_control_room() {
            self.reclaim();
        }
        self.rewrite_stopped();
        for file in self.snapshots.removals.take_due(self.clock.monotonic_us) {
            self.storage.want(Job::Remove { file });
        }
        self.answer_snapshot_waiters(turn);
        turn.notices.append(&mut self.snapshots.notices);
        self.wake_for_snapshots(wake_at_us);
    }

    /// Who failed a while ago or has much log wants one.
    fn want_due_snapshots(&mut self) {
        let now_us = self.clock.monotonic_us;
        let waiting: Vec<u64> = self
            .snapshots
            .lives
            .iter()
            .filter(|(_, life)| matches!(life.phase(), Phase::Waiting { .. }))
            .map(|(group, _)| *group)
            .collect();
        for group in waiting {
            self.snapshots.on(group, Event::Tick, now_us);
        }
        if self.snapshots.slot.is_some() {
            return;
        }
        // Who has so much log is awake.
        let limit = self.config.snapshot_after_bytes;
        // What a snapshot frees is wanted at once then.
        let now_due_us = if self.storage.is_low() {
            u64::MAX
        } else {
            now_us
        };
        for group in self.agenda.awake() {
            let shard = self.shards.get(&group);
            let due_us = shard.and_then(|shard| shard.snapshot_due_us(limit));
            if due_us.is_some_and(|at_us| at_us <= now_due_us) {
                self.snapshots.on(group, Event::Want, now_us);
            }
        }
    }

    /// Begins the one whose turn it is; false if nobody waits.
    fn begin_snapshot(&mut self) -> bool {
        let now_us = self.clock.monotonic_us;
        let queue = &self.snapshots.queue;
        // One that is being installed comes first.
        let next = queue
            .iter()
            .position(|group| !self.transfers.installs(*group));
        let Some(group) = next.and_then(|at| self.snapshots.queue.remove(at)) else {
            return false;
        };
        let Some(shard) = self.shards.get_mut(&group) else {
            self.snapshots.on(group, Event::Spare, now_us);
            self.snapshots.waiters.gone(group);
            return true;
        };
        let (index, term) = shard.applied();
        if index == shard.snapshot_index {
            self.snapshots.on(group, Event::Spare, now_us);
            let digest = shard.replica.named.digest;
            self.snapshots.waiters.taken(group, index, digest);
            return true;
        }
        if self.transfers.is_awaited(group, now_us) {
            shard.hold_for_snapshot(index);
        }
        // Every end of a snapshot ends its walk; one that went on would keep this from being taken.
        shard.state.end_snapshot();
        shard.state.begin_snapshot();
        let head = shard
            .replica
            .snapshot_head(group, (index, term), &shard.state);
        let origin = SnapshotOrigin {
            node: self.identity.node,
            replica: shard.replica.id,
            position: self.storage.position(),
        };
        let attempt = Attempt::new(&head, &origin, shard.log_bytes, self.door.draw());
        self.snapshots.on(group, Event::Begin, now_us);
        self.snapshots.attempts.insert(group, attempt);
        self.snapshots.slot = Some(group);
        true
    }

    /// A slice for the file under way: when the disk has use for it, and when writes push the walk on.
    fn make_slice(&mut self) {
        let Some(group) = self.snapshots.slot else {
            return;
        };
        if !self.takes_slice(group) {
            return;
        }
        let (Some(attempt), Some(shard)) = (
            self.snapshots.attempts.get_mut(&group),
            self.shards.get_mut(&group),
        ) else {
            return;
        };
        self.snapshots.slice.clear();
        let bytes = self.config.snapshot_slice_bytes;
        let progress = shard.state.snapshot_slice(bytes, &mut self.snapshots.slice);
        if !self.snapshots.slice.is_empty()
            && let Err(error) = attempt.push(&self.snapshots.slice)
        {
            return self.fail_snapshot(group, &error.to_string());
        }
        match progress {
            SnapshotProgress::More => {}
            SnapshotProgress::Done => {
                attempt.end();
                shard.state.end_snapshot();
                self.snapshots
                    .on(group, Event::Sliced, self.clock.monotonic_us);
            }
            SnapshotProgress::Abandoned => {
                self.fail_snapshot(group, "it was written to faster than it could be taken");
            }
        }
    }

    fn takes_slice(&self, group: u64) -> bool {
        self.snapshots.phase(group) == Phase::Slicing
            && self.snapshots.attempts.get(&group).is_some_and(|attempt| {
                attempt.needs_slices()
                    || (!attempt.is_behind()
                        && self
                            .shards
                            .get(&group)
                            .is_some_and(|shard| shard.state.snapshot_pressure()))
            })
    }

    fn hand_out_snapshot_jobs(&mut self) {
        for (group, attempt) in &mut self.snapshots.attempts {
            let Some(job) = attempt.take_job() else {
                continue;
            };
            if let Job::SnapshotWrite { file, .. } | Job::SnapshotFinish { file, .. } = &job {
                self.snapshots.removals.forget(file);
            }
            self.storage
                .want_snapshot_job(SnapshotJob::Write(*group), job);
        }
    }

    /// Files that are durable get a hard state that names them, as far as the log has room for it.
    fn name_snapshots(&mut self) {
        while self.storage.has_control_room()
            && let Some(group) = self.snapshots.unnamed.pop_first()
        {
            if let Some(shard) = self.shards.get(&group) {
                shard.write_hard_state(&mut self.storage);
                self.storage.await_durable(Durable::Snapshot(group));
            }
        }
        for (group, attempt) in &mut self.snapshots.attempts {
            let Some((_, name)) = &attempt.info else {
                continue;
            };
            if attempt.is_naming || !self.storage.has_control_room() {
                continue;
            }
            if let Some(shard) = self.shards.get_mut(group) {
                attempt.is_naming = true;
                shard.replica.named = *name;
                shard.write_hard_state(&mut self.storage);
                self.storage.await_durable(Durable::Snapshot(*group));
            }
        }
    }

    fn answer_snapshot_waiters(&mut self, turn: &mut Turn) {
        if self.draining {
            // What is under way ends; nothing else begins.
            for group in self.snapshots.waiters.open() {
                if let Phase::Resting | Phase::Wanted | Phase::Waiting { .. } =
                    self.snapshots.phase(group)
                {
                    self.snapshots.waiters.failed(group, "the node drains");
                }
            }
        }
        turn.controls.append(&mut self.snapshots.waiters.answers());
    }

    fn wake_for_snapshots(&self, wake_at_us: &mut Option<u64>) {
        let now_us = self.clock.monotonic_us;
        if self
            .snapshots
            .slot
            .is_some_and(|group| self.takes_slice(group))
        {
            earliest(wake_at_us, now_us);
        }
        if !self.draining {
            let limit = self.config.snapshot_after_bytes;
            for group in self.agenda.awake() {
                let shard = self.shards.get(&group);
                let due_us = shard.and_then(|shard| shard.snapshot_due_us(limit));
                // Who is due already is in the queue, or tried again later.
                if let Some(at_us) = due_us.filter(|&at_us| at_us > now_us) {
                    earliest(wake_at_us, at_us);
                }
            }
            for life in self.snapshots.lives.values() {
                if let Phase::Waiting { until_us } = life.phase() {
                    earliest(wake_at_us, until_us);
                }
            }
        }
        self.note_naming(wake_at_us);
        if let Some(at_us) = self.snapshots.removals.next_us() {
            earliest(wake_at_us, at_us);
        }
    }

    /// Lets go of the segments that no group needs, and helps groups that keep the oldest one alive
    /// though they write little.
    pub(super) fn reclaim(&mut self) {
        self.snapshots.owes_hard_states = false;
        for _ in 0..RECLAIM_ROUNDS_MAX {
            self.storage.reclaim();
            if !self.unpin() {
                break;
            }
        }
    }

    /// Whether a hard state was written that may free the oldest segment.
    fn unpin(&mut self) -> bool {
        let log_bytes = self.storage.statistics().segments_bytes;
        let usual = 2 * self.config.snapshot_after_bytes + 2 * self.config.log.segment_bytes;
        // However short the log is: where the disk is full, nothing else makes room.
        let is_long = log_bytes > usual || self.storage.is_low();
        let mut written = false;
        for pin in self.storage.pinned_by() {
            match pin.reason {
                PinReason::HardState if !self.storage.has_control_room() => {
                    self.snapshots.owes_hard_states = true;
                }
                PinReason::HardState => {
                    if let Some(shard) = self.shards.get_mut(&pin.group) {
                        shard.write_hard_state(&mut self.storage);
                        written = true;
                    }
                }
                PinReason::Entries | PinReason::Founding if is_long => {
                    if let Some(left_bytes) = self.left_of_stopped(pin.group) {
                        // Where what is left is much, it is much of the log.
                        if log_bytes > usual + 2 * left_bytes {
                            self.snapshots.rewriting.entry(pin.group).or_insert(0);
                        }
                    } else {
                        self.snapshots
                            .on(pin.group, Event::Want, self.clock.monotonic_us);
                    }
                }
                // A busy shard is due for one soon; damage waits for a person.
                PinReason::Entries | PinReason::Founding | PinReason::Damage => {}
            }
        }
        written
    }

    /// Bytes that a stopped shard needs of the log, once its snapshot covers all that was applied: no newer
    /// one can free more.
    fn left_of_stopped(&self, group: u64) -> Option<u64> {
        let shard = self.shards.get(&group)?;
        let is_covered = shard.snapshot_index == shard.applied().0;
        (shard.is_stopped() && is_covered).then(|| shard.unapplied_bytes())
    }

    /// Has a stopped shard write some of what it needs at the end of the log. When all of it stands there, in
    /// one row, the log needs no older copy.
    fn rewrite_stopped(&mut self) {
        let Some((&group, &from)) = self.snapshots.rewriting.first_key_value() else {
            return;
        };
        // Others' writes come first.
        if self.draining || self.storage.backlog_bytes() >= REWRITE_BYTES {
            return;
        }
        let spare_bytes = self.config.log.segment_bytes / 4;
        let shard = self.shards.get(&group).filter(|shard| shard.is_stopped());
        let next = shard.and_then(|shard| {
            shard.write_again(from, REWRITE_BYTES, spare_bytes, &mut self.storage)
        });
        if let Some(next) = next {
            self.snapshots.rewriting.insert(group, next);
        } else {
            self.snapshots.rewriting.remove(&group);
            self.storage.reclaim();
        }
    }
}
