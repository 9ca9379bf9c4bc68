//! What strikes snapshots, and what must become of them: errors of the disk, operators who ask for
//! them, spaces dropped while their file is written; in the end all are taken and the log is short.

use std::collections::BTreeSet;

use domp_log::memory::Fault;
use domp_log::{Job, JobResult, run_job};
use domp_node::{
    ControlReply, ControlRequest, Node, NodeStatistics, Notice, Socket, Stateless, Turn,
};
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{Operation, TransactionBuilder};

use super::World;
use crate::history::Broken;
use crate::loss;
use crate::situations::Situation;

/// Segments that may be left when every shard has a snapshot: the present one, and the one before it
/// while no frame that is durable says that it may go.
const SEGMENTS_MAX: u64 = 2;
/// Turns in which a node at rest has to come to the point.
const TURNS_MAX: u32 = 20_000;
/// Seconds in which a removal that failed is tried again.
const REMOVAL_TURNS_MAX: u32 = 700;
/// Id of the operator's requests.
const ASKED: u32 = 7;

/// What the world knows of snapshots in this run of the node.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Jobs of snapshots that an error of the disk will still strike.
    strikes: u64,
    /// Shards whose last snapshot failed.
    failed: BTreeSet<u64>,
    /// Requests of the operator that are not answered yet.
    asked: u32,
    /// How the last one was.
    answer: Option<ControlReply>,
}

/// The group of a snapshot's file.
fn group_of(job: &Job) -> Option<u64> {
    let (Job::SnapshotWrite { file, .. } | Job::Remove { file } | Job::SnapshotFinish { file, .. }) =
        job
    else {
        return None;
    };
    loss::group_of(file)
}

impl World {
    /// The disk is about to fail some jobs of snapshots.
    pub(super) fn strike_snapshots(&mut self) {
        self.watch.strikes = self.rng.between(1, 3);
    }

    /// The operator asks for snapshots.
    pub(super) fn ask_for_snapshots(&mut self) -> Result<(), Broken> {
        self.watch.asked += 1;
        self.node_turn(|node, turn| node.on_control(ASKED, ControlRequest::Snapshot, turn))
    }

    /// The operator drops the space whose snapshot is being written.
    pub(super) fn drop_in_snapshot(&mut self) -> Result<(), Broken> {
        let group = self.jobs.first().and_then(|(_, job)| group_of(job));
        let Some(name) = group.and_then(|group| self.history.space_name(group)) else {
            return Ok(());
        };
        let payload = TransactionBuilder::new(0)
            .then(Operation::SpaceDrop { name: &name })
            .idempotency_key(&self.rng.next().to_le_bytes())
            .finish();
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        builder.push_item(1, ItemKind::Transaction, &payload);
        let frame = builder.finish(0, 60_000, 0);
        self.node_turn(move |node, turn| {
            let request = Stateless {
                principal: 9,
                grants: domp_node::Grants::WRITE,
                frame: &frame,
            };
            node.on_stateless(Socket::NOBODY, &request, 0, turn);
        })
    }

    /// Runs a job, which an error of the disk may strike; says whether one did.
    pub(super) fn run_job(&mut self, job: &Job) -> (JobResult, bool) {
        // What can't be removed is tried again; a segment that can't be prepared for another reason
        // than a full disk ends the node, as a failed write does.
        let is_removal = matches!(job, Job::Remove { .. });
        let is_segment = matches!(job, Job::PrepareSegment { .. });
        let is_retirement = matches!(job, Job::RetireSegment { .. });
        let may_fail = group_of(job).is_some() || is_removal || is_segment || is_retirement;
        let struck = may_fail && self.watch.strikes > 0 && self.rng.percent(60);
        if struck {
            self.watch.strikes -= 1;
            // No more than the job has, so that nothing else is struck.
            let operations = match job {
                Job::SnapshotWrite { offset: 0, .. } => 2,
                Job::SnapshotFinish { .. } | Job::RetireSegment { .. } => 3,
                Job::PrepareSegment(new) if new.spare.is_some() => 5,
                _ => 1,
            };
            let at = self.disk.operations() + self.rng.between(1, operations);
            let kind = if is_segment || self.rng.percent(50) {
                std::io::ErrorKind::StorageFull
            } else {
                std::io::ErrorKind::Other
            };
            self.disk.inject(at, Fault::Fail(kind));
        }
        let result = run_job(&mut self.disk, job);
        self.note_job(job, &result, struck);
        (result, struck)
    }

    fn note_job(&mut self, job: &Job, result: &JobResult, struck: bool) {
        let Some(group) = group_of(job) else {
            let failed = matches!(result, JobResult::Failed { .. });
            match (job, failed) {
                (Job::Remove { .. }, false) => {
                    self.history.situations.note(Situation::SegmentRemoved);
                }
                (Job::Remove { .. }, true) => {
                    self.history.situations.note(Situation::SegmentKept);
                }
                (Job::PrepareSegment(_), true) => {
                    self.history.was_full = true;
                    self.history.situations.note(Situation::SegmentFull);
                }
                (Job::PrepareSegment(new), false) if new.spare.is_some() => {
                    self.history.situations.note(Situation::SegmentReused);
                }
                (Job::RetireSegment { .. }, true) => {
                    self.history.situations.note(Situation::SegmentNotRetired);
                }
                _ => {}
            }
            return;
        };
        let mut note = |situation| self.history.situations.note(situation);
        let failed = matches!(result, JobResult::Failed { .. });
        if result.is_full() && !struck {
            note(Situation::SnapshotFull);
        }
        match job {
            Job::Remove { .. } if failed => note(Situation::RemovalFailed),
            Job::Remove { .. } => {}
            _ if failed => note(Situation::SnapshotStruck),
            Job::SnapshotFinish { .. } => {
                note(Situation::Snapshot);
                if self.watch.failed.remove(&group) {
                    note(Situation::SnapshotAfterFailure);
                }
            }
            _ => {}
        }
        let is_removal = matches!(job, Job::Remove { .. });
        if group != 0 && !is_removal && !self.history.spaces().contains(&group) {
            self.history.situations.note(Situation::SnapshotOfDropped);
        }
    }

    /// Takes in what a turn says about snapshots.
    pub(super) fn watch_snapshots(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        for notice in turn.notices.drain(..) {
            if let Notice::SnapshotFailed {
                group, retry_ms, ..
            } = notice
            {
                self.watch.failed.insert(group);
                if !(5_000..=300_000).contains(&retry_ms) {
                    return Err(format!("a snapshot is tried again in {retry_ms} ms"));
                }
            }
        }
        for (id, reply) in &turn.controls {
            if *id != ASKED {
                continue;
            }
            self.watch.asked = self
                .watch
                .asked
                .checked_sub(1)
                .ok_or("a request for snapshots was answered twice")?;
            match reply {
                ControlReply::Snapshotted(taken) if !taken.is_empty() => {
                    self.history.situations.note(Situation::SnapshotsAsked);
                }
                ControlReply::Failed(_) => {
                    self.history
                        .situations
                        .note(Situation::SnapshotsAskedFailed);
                }
                _ => {}
            }
            self.watch.answer = Some(reply.clone());
        }
        Ok(())
    }

    /// On a disk that is whole again everything gets its snapshot, and the log ends short.
    pub(super) fn quiesce(&mut self) -> Result<(), Broken> {
        self.watch.strikes = 0;
        self.disk.set_capacity(u64::MAX);
        self.watch.answer = None;
        self.ask_for_snapshots()?;
        self.until("a request for snapshots is never answered", |world| {
            Ok(world.watch.asked == 0)
        })?;
        match self.watch.answer.take() {
            Some(ControlReply::Snapshotted(_)) => {}
            other => return Err(format!("on a disk that is whole: {other:?}")),
        }
        self.until("the log stays long", |world| {
            let Some(told) = world.statistics()? else {
                return Ok(false);
            };
            let rests = world.jobs.is_empty() && world.write.is_none();
            Ok(rests && told.segments <= SEGMENTS_MAX)
        })?;
        self.history.situations.note(Situation::LogShort);
        if self.is_calm {
            self.history.situations.note(Situation::CalmLogShort);
        }
        Ok(())
    }

    /// Snapshots and segments that nobody needs go, however often their removal failed.
    pub(super) fn check_files(&mut self) -> Result<(), Broken> {
        for _ in 0..REMOVAL_TURNS_MAX {
            let groups: Vec<u64> = loss::snapshots(&self.disk)
                .iter()
                .filter_map(|file| loss::group_of(file))
                .collect();
            let mut live = self.history.spaces();
            live.push(0);
            let is_crowded = groups.windows(2).any(|two| two[0] == two[1]);
            // Beside the live segments one may be prepared.
            let segments = loss::segments(&self.disk).len() as u64;
            let is_long = self
                .statistics()?
                .is_none_or(|told| segments > told.segments + 1);
            if !is_crowded && !is_long && groups.iter().all(|group| live.contains(group)) {
                return Ok(());
            }
            self.now_us += 1_000_000;
            self.node_turn(|_, _| {})?;
            while self.write.is_some() {
                self.written()?;
            }
            while !self.jobs.is_empty() {
                self.job_done()?;
            }
        }
        Err(format!(
            "files that nobody needs stay: {:?}, {:?}, spaces {:?}",
            loss::segments(&self.disk),
            loss::snapshots(&self.disk),
            self.history.spaces()
        ))
    }

    /// Lets the node go on by itself until something is so.
    fn until(
        &mut self,
        otherwise: &str,
        so: impl Fn(&mut Self) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        for _ in 0..TURNS_MAX {
            if so(self)? {
                return Ok(());
            }
            if self.write.is_some() {
                self.written()?;
            } else if self.jobs.is_empty() {
                // Far enough in all turns for what waits longest before it is tried again.
                self.now_us += 50_000;
                self.node_turn(|_, _| {})?;
            } else {
                self.job_done()?;
            }
        }
        let told = self.statistics()?;
        Err(format!(
            "Promise 7: {otherwise}: jobs {:?}, {:?}",
            self.jobs.len(),
            told.map(|told| (told.segments, told.snapshots, told.snapshots_failed))
        ))
    }

    pub(super) fn statistics(&mut self) -> Result<Option<NodeStatistics>, Broken> {
        self.node_turn(|node, turn| node.on_control(6, ControlRequest::Statistics, turn))?;
        Ok(self
            .turn
            .controls
            .iter()
            .find_map(|(_, reply)| match reply {
                ControlReply::Statistics(statistics) => Some((**statistics).clone()),
                _ => None,
            }))
    }

    /// Whether the file of a snapshot is being written.
    pub(super) fn is_snapshotting(&self) -> bool {
        self.node.as_ref().is_some_and(Node::is_snapshotting)
    }
}
