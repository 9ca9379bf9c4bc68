//! What one turn asks the engine to do.

use domp_log::{Job, LogWrite};
use domp_protocol::Lane;

use crate::control::ControlReply;
use crate::replies::Replies;
use crate::shard::VacancyCause;

/// An entry that was applied in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The shard.
    pub group: u64,
    /// Its Raft index.
    pub index: u64,
    /// Its bytes, as `domp_state::entry` reads them; empty for a leader's first.
    pub entry: Vec<u8>,
}

/// A frame of messages for another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSend {
    /// Which node.
    pub node: u64,
    /// The connection that they belong on.
    pub lane: Lane,
    /// As [`Node::on_peer`](crate::Node::on_peer) takes them.
    pub bytes: Vec<u8>,
}

/// Something an operator should read: a line of the log, level `warn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A shard's snapshot could not be finished. Nothing is lost, but its log is kept.
    SnapshotFailed {
        /// The shard.
        group: u64,
        /// The space's name; empty for the meta group.
        space: String,
        /// For a person.
        why: String,
        /// When it is tried again, from now.
        retry_ms: u64,
    },
    /// A shard's log holds an entry that can't be applied here. It serves nothing until somebody looks.
    ShardStopped {
        /// The shard.
        group: u64,
        /// The space's name; empty for the meta group.
        space: String,
        /// For a person.
        why: String,
    },
    /// This node leads a shard now that somebody else led, or nobody.
    LeaderElected {
        /// The shard.
        group: u64,
        /// The space's name; empty for the meta group.
        space: String,
        /// Raft term.
        term: u64,
        /// Why nobody led.
        cause: VacancyCause,
        /// For how long that was so, as far as this node knew.
        vacant_ms: u64,
    },
    /// A file that nobody needs, of a snapshot or of the log, could not be removed.
    RemovalFailed {
        /// Its name in the data directory.
        file: String,
        /// For a person.
        why: String,
        /// When it is tried again, from now.
        retry_ms: u64,
    },
}

/// Commands of one turn. The engine clears it with [`Turn::clear`] and hands
/// it in again.
#[derive(Debug, Default)]
pub struct Turn {
    /// To write and flush; then tell [`Node::on_written`](crate::Node::on_written).
    /// None comes while one is under way.
    pub write: Option<LogWrite>,
    /// To send to other nodes, before `write` is carried out or while it is. One that can't be sent is told to
    /// [`Node::on_peer_lost`](crate::Node::on_peer_lost).
    pub sends: Vec<PeerSend>,
    /// To run in the background, in order; each ends with
    /// [`Node::on_job`](crate::Node::on_job) under its id.
    pub jobs: Vec<(u64, Job)>,
    /// To send. [`Replies::room_bytes`] is the engine's to set before the turn ends.
    pub replies: Replies,
    /// Answers to control requests.
    pub controls: Vec<(u32, ControlReply)>,
    /// To be logged. One at most for each job that ended, each snapshot given up and each election won in the turn.
    pub notices: Vec<Notice>,
    /// Monotonic time of the next turn at the latest; `None`: when something happens.
    pub wake_at_us: Option<u64>,
    /// The drain is complete: everything accepted is durable and answered.
    pub drained: bool,
    /// What was applied, in order, for whoever follows the log. `None`:
    /// nobody does, and nothing is copied.
    pub applied: Option<Vec<Applied>>,
    /// Groups whose state a leader's snapshot replaced, before anything in `applied`, and the index that it
    /// stands for.
    pub installed: Vec<(u64, u64)>,
    /// The node can't go on; why. Nothing it decided after is carried out.
    pub fatal: Option<String>,
}

impl Turn {
    /// Makes it empty, keeping the memory and the room for replies.
    pub fn clear(&mut self) {
        self.write = None;
        self.sends.clear();
        self.jobs.clear();
        self.replies.clear();
        self.controls.clear();
        self.notices.clear();
        self.wake_at_us = None;
        self.drained = false;
        if let Some(applied) = &mut self.applied {
            applied.clear();
        }
        self.installed.clear();
        self.fatal = None;
    }
}

/// Moves `at` forward to `candidate` if that is sooner.
pub(crate) fn earliest(at: &mut Option<u64>, candidate: u64) {
    *at = Some(at.map_or(candidate, |at| at.min(candidate)));
}
