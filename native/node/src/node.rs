//! The node: events in, commands out.

use std::collections::BTreeMap;

use domp_log::{Identity, JobResult, LogWrite};
use domp_protocol::limits;
use domp_state::hlc::Hlc;

use crate::agenda::Agenda;
use crate::commands::Turn;
use crate::config::{Clock, Config};
use crate::control::{ControlReply, ControlRequest};
use crate::door::{Door, Handing, Queues, Remote};
use crate::peers::Peers;
use crate::shard::Shard;
use crate::snapshots::Snapshots;
use crate::spaces::{DEFAULT_SPACE, META};
use crate::storage::{JobOutcome, Storage};
use crate::transfers::Transfers;

/// One node. See the crate's documentation for the order of calls.
pub struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) hlc: Hlc,
    pub(crate) door: Door,
    /// What came in and waits for its connection's turn.
    pub(crate) queues: Queues,
    /// What judging may still cost in this turn.
    pub(crate) intake_left: u64,
    pub(crate) storage: Storage,
    pub(crate) shards: BTreeMap<u64, Shard>,
    pub(crate) peers: Peers,
    /// What is for shards that others lead.
    pub(crate) handing: Handing,
    /// What other doors hand on to this node.
    pub(crate) remote: Remote,
    pub(crate) identity: Identity,
    /// Shards that serve nothing, and why: something of them is damaged or missing, or they are stopped
    /// (those are among `shards` all the same).
    pub(crate) damaged: BTreeMap<u64, String>,
    /// Which replicas they are, where that is known.
    pub(crate) damaged_replicas: BTreeMap<u64, u64>,
    pub(crate) names: BTreeMap<u64, String>,
    pub(crate) snapshots: Snapshots,
    pub(crate) transfers: Transfers,
    /// Shards that something happened to in this turn.
    pub(crate) touched: Vec<u64>,
    /// Shards that a turn must look at: those touched are among them when it ends.
    pub(crate) agenda: Agenda,
    /// The shard in whose hands the replies were full last: the others come before it.
    pub(crate) filled_by: u64,
    /// Memory of what waits for nothing but room for its answer.
    pub(crate) unanswered_bytes: usize,
    pub(crate) started: bool,
    pub(crate) draining: bool,
    pub(crate) counters: Counters,
    pub(crate) meta_applied: u64,
    /// Something that the meta group wants is still to be done.
    pub(crate) is_settling: bool,
    pub(crate) fatal: Option<String>,
}

/// Counters since start that belong to no shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub frames: u64,
    pub refused: u64,
    /// Requests refused so that others could wait.
    pub crowded: u64,
    /// Requests forgotten with their connection.
    pub abandoned: u64,
    /// Cost of all that was done.
    pub work: u64,
    pub reads: u64,
    pub proposed: u64,
    pub entries: u64,
}

impl Node {
    /// Whether the node serves: every healthy shard that it has alone leads, and the space
    /// `default` was created.
    pub fn is_ready(&self) -> bool {
        self.started
            && self
                .shards
                .values()
                .all(|shard| shard.serves() || shard.is_stopped() || !shard.is_alone())
            && (self.door.has_keys() || self.damaged.contains_key(&META))
            && (self.names.contains_key(&DEFAULT_SPACE)
                || self.damaged.contains_key(&META)
                || self
                    .shards
                    .get(&META)
                    .is_some_and(|meta| meta.state.spaces_revision() > 0))
    }

    /// Whether writes may be judged: false while as much is proposed as may wait for the
    /// disk, or the log is not ready for more. They stay in their queues until a write or
    /// a job completes.
    pub(crate) fn takes_writes(&self) -> bool {
        self.storage.has_room() && self.storage.backlog_bytes() < self.config.backlog_bytes_max
    }

    /// Whether as much waits to be answered as may.
    pub(crate) fn is_full_of_unanswered(&self) -> bool {
        self.unanswered_bytes as u64 >= limits::UNANSWERED_BYTES_MAX
    }

    /// Whether nothing waits and no shard has anything on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queues.is_empty()
            && self.handing.is_quiet()
            && self.shards.values().all(Shard::is_quiet)
    }

    /// The write of an earlier turn is on stable storage. Its buffers come back
    /// to be used again.
    pub fn on_written(&mut self, write: LogWrite) {
        for (group, number) in self.storage.on_written(write, self.clock) {
            if let Some(shard) = self.shards.get_mut(&group) {
                let has_installed = shard.on_persisted(number, self.peers.outgoing());
                self.touched.push(group);
                if has_installed {
                    self.snapshot_installed(group);
                }
            }
        }
    }

    /// Bytes of records that wait for the next write.
    pub fn waiting_log_bytes(&self) -> u64 {
        self.storage.waiting_bytes()
    }

    /// The next write, right behind [`Self::on_written`] and before the turn ends: what waits for the disk
    /// is on its way to it while what was just flushed is applied. The turn's end then has none.
    pub fn next_write(&mut self) -> Option<LogWrite> {
        self.storage.seal(self.clock)
    }

    /// A background job ended.
    pub fn on_job(&mut self, id: u64, result: JobResult, turn: &mut Turn) {
        match self.storage.on_job(id, result, self.clock) {
            JobOutcome::Nothing => {}
            JobOutcome::Snapshot(job, result) => self.on_snapshot_job(&job, result),
            JobOutcome::Fatal(why) => turn.fatal = Some(why),
        }
    }

    /// A request that is not hot.
    pub fn on_control(&mut self, id: u32, request: ControlRequest, turn: &mut Turn) {
        match request {
            ControlRequest::Statistics => {
                let statistics = Box::new(self.statistics());
                turn.controls
                    .push((id, ControlReply::Statistics(statistics)));
            }
            ControlRequest::Snapshot => self.ask_for_snapshots(id, turn),
            ControlRequest::Drain => {
                self.draining = true;
                turn.controls.push((id, ControlReply::Done));
            }
        }
    }
}
