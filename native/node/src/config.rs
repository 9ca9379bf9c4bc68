//! What a node is told when it starts, and the clock it is handed each turn.

use domp_log::{Drawn, LogConfig};
use domp_protocol::limits;
use domp_state::StateLimits;
use domp_state::entry::APPLY_VERSION;

/// The time of one turn, read by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds of a clock that never goes back; its zero means nothing.
    pub monotonic_us: u64,
    /// Milliseconds since 1970 as the machine believes; may jump either way.
    /// Only stamps revisions: nothing expires by it (Promise 8).
    pub wall_ms: u64,
}

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Randomness for this run, fresh at every start.
    pub seed: u64,
    /// Random numbers for this start; the node's id, should it be founded now.
    pub drawn: Drawn,
    /// Random: signs session tokens if the meta group has no key yet.
    pub signing_key: [u8; 32],
    /// What the shards' limits are to be; each takes them over through its log.
    pub limits: StateLimits,
    /// The log's sizes.
    pub log: LogConfig,
    /// A shard is snapshotted when it has written this many log bytes since
    /// its last snapshot.
    pub snapshot_after_bytes: u64,
    /// Bytes of snapshot made in one turn; bounds the stall it causes. The same on all replicas: how
    /// slices are cut is part of what the digest of a snapshot covers.
    pub snapshot_slice_bytes: usize,
    /// A shard that was snapshotted rests for so long, unless it has written
    /// [`limits::SNAPSHOT_AFTER_TIMES_MAX`] times as much or the disk is short of space: under a load that
    /// writes a state's worth of log every few seconds, snapshots would take a good part of processor and disk.
    pub snapshot_rest_us: u64,
    /// Proposed bytes that may wait for the disk before writes are left in their queues.
    pub backlog_bytes_max: u64,
    /// What judging requests may cost one turn, in bytes' worth; the rest waits in queues.
    pub turn_intake_cost_max: u64,
    /// Memory of what waits in those; beyond it the greediest connection's is refused.
    pub queued_bytes_max: u64,
    /// What the welcome tells clients of the longest frame that their gateway takes.
    pub frame_bytes_max: u64,
    /// What it tells of the request bytes that one connection may have unanswered there.
    pub outstanding_bytes_max: u64,
    /// The highest apply version that shards know. A constant of the program, here so that tests and
    /// simulated worlds can go back to an older one.
    pub apply_version_known: u16,
    /// The nodes that found every group together, this one among them; empty: it is alone.
    pub founders: Vec<u64>,
    /// With founders: a random number that they share, from which their groups' timelines come.
    pub cluster: u128,
    /// With founders: bytes of applied entries that each group keeps in memory for those that are behind. Who
    /// lacks more gets a snapshot.
    pub entries_kept_bytes_max: u64,
    /// Memory of what waits here until somebody leads its shard.
    pub waiting_for_leader_bytes_max: u64,
    /// Bytes that may be handed on to another node and not answered; of one item any.
    pub handed_on_bytes_max: u64,
    /// Bytes of answers that another node has not taken.
    pub answers_bytes_max: u64,
    /// Bytes of them that it keeps, at the most, while one is brought up by a snapshot, which they follow.
    pub entries_held_bytes_max: u64,
    /// How long a tick of the groups is, in microseconds; see `domp_consensus`.
    pub tick_us: u64,
    /// Whether every applied entry is copied out: in
    /// [`Turn::applied`](crate::Turn::applied), and at boot in
    /// [`BootReport::applied`](crate::BootReport::applied).
    pub report_applied: bool,
}

impl Config {
    /// What tells this process from every other: random, drawn for this start.
    pub(crate) fn incarnation(&self) -> u64 {
        self.drawn.nonce
    }

    /// Nobody stands for election later than this after the last word of a leader, in microseconds.
    pub(crate) fn election_timeout_us(&self) -> u64 {
        domp_consensus::STAND_TICKS_END as u64 * self.tick_us
    }

    /// And nobody sooner.
    pub(crate) fn lease_us(&self) -> u64 {
        domp_consensus::ELECTION_TICKS as u64 * self.tick_us
    }

    /// The defaults.
    pub fn new(seed: u64, drawn: Drawn, signing_key: [u8; 32]) -> Self {
        Self {
            seed,
            drawn,
            signing_key,
            limits: StateLimits::FOUNDING,
            log: LogConfig::default(),
            snapshot_after_bytes: 512 << 20,
            snapshot_slice_bytes: 128 << 10,
            snapshot_rest_us: limits::SNAPSHOT_REST_MS * 1_000,
            backlog_bytes_max: 32 << 20,
            turn_intake_cost_max: 512 << 10,
            queued_bytes_max: limits::QUEUED_BYTES_MAX,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            outstanding_bytes_max: limits::OUTSTANDING_BYTES_MAX,
            apply_version_known: APPLY_VERSION,
            founders: Vec::new(),
            cluster: 0,
            entries_kept_bytes_max: 4 << 20,
            waiting_for_leader_bytes_max: limits::WAITING_FOR_LEADER_BYTES_MAX,
            handed_on_bytes_max: limits::HANDED_ON_BYTES_MAX,
            answers_bytes_max: limits::ANSWERS_ON_THEIR_WAY_BYTES_MAX,
            entries_held_bytes_max: 64 << 20,
            tick_us: 25_000,
            report_applied: false,
        }
    }
}
