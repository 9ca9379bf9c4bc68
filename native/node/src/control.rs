//! Requests that are not hot: statistics, a snapshot now, the drain.

use domp_state::StateStatistics;

use crate::door::HandingCounters;
use crate::node::Node;
use crate::peers::PeerCounters;
use crate::shard::Shard;
use crate::transfers::TransferCounters;

/// Asked through [`Node::on_control`](crate::Node::on_control).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// What the node is doing.
    Statistics,
    /// Snapshot every shard that has written since its last one; answered when each
    /// is on disk, or has failed once.
    Snapshot,
    /// Take no more requests, finish the accepted ones, mark the log.
    Drain,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlReply {
    /// To [`ControlRequest::Statistics`].
    Statistics(Box<NodeStatistics>),
    /// To [`ControlRequest::Snapshot`]: all that was asked for is on disk.
    Snapshotted(Vec<SnapshotTaken>),
    /// Done.
    Done,
    /// Not done; why.
    Failed(String),
}

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// The shard.
    pub group: u64,
    /// Index of the last entry it holds.
    pub index: u64,
    /// Of all that it tells: the same on every replica that took one at that index.
    pub digest: u128,
}

/// A snapshot that could not be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFailure {
    /// The shard.
    pub group: u64,
    /// For a person.
    pub why: String,
    /// When, in milliseconds since 1970 as the machine believed.
    pub wall_ms: u64,
}

/// One shard's part of [`NodeStatistics`].
#[derive(Clone, Debug, PartialEq)]
pub struct ShardStatistics {
    /// The group, which is the space's id.
    pub group: u64,
    /// The space's name; empty for the meta group.
    pub name: String,
    /// Whether this node leads it.
    pub leader: bool,
    /// Which node leads it, as far as this one knows.
    pub led_by: Option<u64>,
    /// While this node leads: the other replicas' nodes, and how many entries each is behind.
    pub lags: Vec<(u64, u64)>,
    /// Raft term.
    pub term: u64,
    /// Index of the last applied entry.
    pub applied_index: u64,
    /// Revision of the last commit.
    pub revision: u64,
    /// Its lease time, milliseconds.
    pub lease_ms: u64,
    /// Log bytes since its last snapshot.
    pub log_bytes: u64,
    /// Index of its last snapshot.
    pub snapshot_index: u64,
    /// Keys, bytes, sessions.
    pub state: StateStatistics,
}

/// The node as the operator sees it; counters since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStatistics {
    /// Identity.
    pub node: u64,
    /// Connections attached.
    pub connections: u64,
    /// Frames taken in.
    pub frames: u64,
    /// Transactions proposed.
    pub proposed: u64,
    /// Transactions that only read, answered.
    pub reads: u64,
    /// Requests refused before proposing.
    pub refused: u64,
    /// Requests waiting now, for their connection's turn or to be answered.
    pub queued: u64,
    /// Requests refused because their connection had the most waiting when all had too much.
    pub crowded: u64,
    /// Requests forgotten because their connection was gone.
    pub abandoned: u64,
    /// What the work so far has cost: bytes read and answered, keys looked at, in bytes' worth.
    pub work: u64,
    /// Entries applied.
    pub entries: u64,
    /// Group commits written.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Proposed bytes waiting for the disk.
    pub backlog_bytes: u64,
    /// Snapshots finished.
    pub snapshots: u64,
    /// Snapshots given up, as on a full disk; the log keeps what they would have covered.
    pub snapshots_failed: u64,
    /// The last of those.
    pub snapshot_last_failure: Option<SnapshotFailure>,
    /// Segments the log has.
    pub segments: u64,
    /// Files of segments nobody needs that are kept for later ones.
    pub spare_segments: u64,
    /// Whether writes are refused for want of disk space.
    pub disk_low: bool,
    /// Whether the node drains.
    pub draining: bool,
    /// Messages of Raft between nodes.
    pub messages: PeerCounters,
    /// Requests that other nodes' shards are for.
    pub handing: HandingCounters,
    /// Snapshots between nodes.
    pub transfers: TransferCounters,
    /// Shards that serve nothing.
    pub stopped: Vec<StoppedShard>,
    /// Every other shard.
    pub shards: Vec<ShardStatistics>,
}

/// A shard that serves nothing until somebody looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedShard {
    /// The group, which is the space's id.
    pub group: u64,
    /// The space's name; empty for the meta group, and where it can't be told.
    pub name: String,
    /// For a person.
    pub why: String,
}

/// What waits, and what was not done because too much did or nobody waited any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// As in [`NodeStatistics`].
    pub queued: u64,
    /// As there.
    pub crowded: u64,
    /// As there.
    pub abandoned: u64,
}

impl Node {
    /// Whether any group has voters on other nodes.
    pub fn is_of_several(&self) -> bool {
        self.shards.values().any(|shard| !shard.is_alone())
    }

    /// See [`Pressure`].
    pub fn pressure(&self) -> Pressure {
        let reads = self
            .shards
            .values()
            .map(|shard| shard.waiting_reads() as u64);
        Pressure {
            queued: self.queues.requests() + reads.sum::<u64>(),
            crowded: self.counters.crowded,
            abandoned: self.counters.abandoned,
        }
    }

    pub(crate) fn statistics(&self) -> NodeStatistics {
        let mut counters = self.counters;
        for shard in self.shards.values() {
            counters.proposed += shard.counters.proposed;
            counters.reads += shard.counters.reads;
            counters.entries += shard.counters.entries;
        }
        let storage = self.storage.statistics();
        let pressure = self.pressure();
        NodeStatistics {
            node: self.identity.node,
            connections: self.door.attached() as u64,
            frames: counters.frames,
            proposed: counters.proposed,
            reads: counters.reads,
            refused: counters.refused,
            queued: pressure.queued,
            crowded: pressure.crowded,
            abandoned: pressure.abandoned,
            work: counters.work,
            entries: counters.entries,
            writes: storage.writes,
            written_bytes: storage.written_bytes,
            backlog_bytes: self.storage.backlog_bytes(),
            snapshots: self.snapshots.finished(),
            snapshots_failed: self.snapshots.failed(),
            snapshot_last_failure: self.snapshots.last_failure().cloned(),
            segments: storage.segments,
            spare_segments: storage.spare_segments,
            disk_low: self.storage.is_low(),
            draining: self.draining,
            messages: self.peer_counters(),
            handing: self.handing_counters(),
            transfers: self.transfer_counters(),
            stopped: self
                .damaged
                .iter()
                .map(|(group, why)| StoppedShard {
                    group: *group,
                    name: self.names.get(group).cloned().unwrap_or_default(),
                    why: why.clone(),
                })
                .collect(),
            shards: self
                .shards
                .values()
                .map(|shard| self.shard_statistics(shard))
                .collect(),
        }
    }

    fn shard_statistics(&self, shard: &Shard) -> ShardStatistics {
        ShardStatistics {
            group: shard.id(),
            name: self.names.get(&shard.id()).cloned().unwrap_or_default(),
            leader: shard.is_leader(),
            led_by: shard.leader(),
            lags: shard.lags_behind(),
            term: shard.term(),
            applied_index: shard.state.applied_index(),
            revision: shard.state.revision(),
            lease_ms: shard.lease_now_ms(self.clock),
            log_bytes: shard.log_bytes,
            snapshot_index: shard.snapshot_index,
            state: shard.state.statistics(),
        }
    }
}
