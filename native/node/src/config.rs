//! What a node is told when it starts, and the clock it is handed each turn.

use domp_log::LogConfig;
use domp_protocol::limits;
use domp_state::{StateConfig, StateKind};

/// The time of one turn, read by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds of a clock that never goes back; its zero means nothing.
    pub monotonic_us: u64,
    /// Milliseconds since 1970 as the machine believes; may jump either way.
    /// Only stamps revisions: nothing expires by it (Promise 8).
    pub wall_ms: u64,
}

/// Limits of every shard's state. They decide what an entry does when it is
/// applied, so a log must be replayed with those it was first applied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// Lease time a session lives after its last use, milliseconds.
    pub session_ttl_ms: u64,
    /// Sequences a session may have outstanding.
    pub session_window: u32,
    /// Sessions a shard keeps.
    pub sessions_max: u32,
    /// Lease time an idempotency key is remembered after its first use, milliseconds.
    pub idempotency_ttl_ms: u64,
    /// Idempotency keys a shard keeps.
    pub idempotency_keys_max: u32,
}

impl StateLimits {
    /// What a state of that kind is made with.
    pub fn for_state(&self, kind: StateKind) -> StateConfig {
        StateConfig {
            session_ttl_ms: self.session_ttl_ms,
            session_window: self.session_window,
            sessions_max: self.sessions_max,
            idempotency_ttl_ms: self.idempotency_ttl_ms,
            idempotency_keys_max: self.idempotency_keys_max,
            ..StateConfig::new(kind)
        }
    }
}

impl Default for StateLimits {
    /// Those of `schemas/limits.json`.
    fn default() -> Self {
        let config = StateConfig::default();
        Self {
            session_ttl_ms: config.session_ttl_ms,
            session_window: config.session_window,
            sessions_max: config.sessions_max,
            idempotency_ttl_ms: config.idempotency_ttl_ms,
            idempotency_keys_max: config.idempotency_keys_max,
        }
    }
}

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's identity: never 0, never used again after a wipe.
    pub node: u64,
    /// Randomness for this run, fresh at every start.
    pub seed: u64,
    /// Signs session tokens; kept in the data directory.
    pub session_key: [u8; 32],
    /// What applying the log depends on. The same for as long as a log lasts: see
    /// [`Node::settle`](crate::Node::settle).
    pub limits: StateLimits,
    /// The log's sizes.
    pub log: LogConfig,
    /// A shard is snapshotted when it has written this many log bytes since
    /// its last snapshot.
    pub snapshot_after_bytes: u64,
    /// Bytes of snapshot made in one turn; bounds the stall it causes.
    pub snapshot_slice_bytes: usize,
    /// Proposed bytes that may wait for the disk before writes are left in their queues.
    pub backlog_bytes_max: u64,
    /// What judging requests may cost one turn, in bytes' worth; the rest waits in queues.
    pub turn_intake_cost_max: u64,
    /// Memory of what waits in those; beyond it the greediest connection's is refused.
    pub queued_bytes_max: u64,
    /// Whether every applied entry is copied out: in
    /// [`Turn::applied`](crate::Turn::applied), and at boot in
    /// [`BootReport::applied`](crate::BootReport::applied).
    pub report_applied: bool,
}

impl Config {
    /// The defaults for a node with this identity.
    pub fn new(node: u64, seed: u64, session_key: [u8; 32]) -> Self {
        Self {
            node,
            seed,
            session_key,
            limits: StateLimits::default(),
            log: LogConfig::default(),
            snapshot_after_bytes: 512 << 20,
            snapshot_slice_bytes: 256 << 10,
            backlog_bytes_max: 32 << 20,
            turn_intake_cost_max: 1 << 20,
            queued_bytes_max: limits::QUEUED_BYTES_MAX,
            report_applied: false,
        }
    }
}
