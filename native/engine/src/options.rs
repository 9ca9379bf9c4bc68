//! How an engine is opened, and what it reports once it serves.

use std::path::PathBuf;

use domp_protocol::limits;
use domp_state::StateLimits;

/// Where log writes are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogMode {
    /// Decided for each write by its length: short ones by the worker itself, long ones by a thread.
    #[default]
    Auto,
    /// By the worker itself: a hand-over to another thread and back is saved.
    /// Only a node without peers may do so, since nothing else happens meanwhile.
    Inline,
    /// By a thread of its own.
    Threaded,
}

impl LogMode {
    /// The name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Inline => "inline",
            Self::Threaded => "threaded",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "inline" => Some(Self::Inline),
            "threaded" => Some(Self::Threaded),
            _ => None,
        }
    }
}

/// What an engine is told when it is opened. `None`: the node's default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made where it is missing.
    pub directory: PathBuf,
    /// Where the log is kept, if not in the data directory; made where it is missing.
    pub log_directory: Option<PathBuf>,
    /// Where log writes are carried out.
    pub log_mode: LogMode,
    /// Capacity of the inbound ring: a power of two, 16 MiB at least.
    pub inbound_ring_bytes: u32,
    /// Capacity of the outbound ring, likewise.
    pub outbound_ring_bytes: u32,
    /// Length of a log segment after the first.
    pub segment_bytes: Option<u64>,
    /// A shard is snapshotted after this much log.
    pub snapshot_after_bytes: Option<u64>,
    /// The longest frame that the gateway takes, for the welcome.
    pub frame_bytes_max: Option<u64>,
    /// Request bytes that one connection may have unanswered there, for the welcome.
    pub outstanding_bytes_max: Option<u64>,
    /// Lease time a session lives after its last use.
    pub session_ttl_ms: Option<u64>,
    /// Sequences a session may have outstanding.
    pub session_window: Option<u32>,
    /// Sessions a shard keeps.
    pub sessions_max: Option<u32>,
    /// Lease time an idempotency key is remembered.
    pub idempotency_ttl_ms: Option<u64>,
    /// Idempotency keys a shard keeps.
    pub idempotency_keys_max: Option<u32>,
    /// A machine's clock that leaves the monotonic one by more than this is not followed.
    pub clock_jump_max_ms: u64,
    /// Whether the worker looks for work for a moment before it sleeps, where that
    /// tends to pay: lower latency for some of a core.
    pub busy_poll: bool,
    /// The longest that closing waits for what was accepted.
    pub drain_timeout_ms: u64,
    /// Of a cluster's node: where it listens for the others, host and port, if not where they expect it.
    pub cluster_listen: Option<String>,
}

impl Options {
    /// The defaults for a directory.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            log_directory: None,
            log_mode: LogMode::default(),
            inbound_ring_bytes: ring_bytes(limits::INBOUND_RING_BYTES),
            outbound_ring_bytes: ring_bytes(limits::OUTBOUND_RING_BYTES),
            segment_bytes: None,
            snapshot_after_bytes: None,
            frame_bytes_max: None,
            outstanding_bytes_max: None,
            session_ttl_ms: None,
            session_window: None,
            sessions_max: None,
            idempotency_ttl_ms: None,
            idempotency_keys_max: None,
            clock_jump_max_ms: 1000,
            busy_poll: true,
            drain_timeout_ms: 10_000,
            cluster_listen: None,
        }
    }
}

impl Options {
    /// The limits that the shards are to have.
    pub(crate) fn state_limits(&self) -> StateLimits {
        let usual = StateLimits::FOUNDING;
        StateLimits {
            session_ttl_ms: self.session_ttl_ms.unwrap_or(usual.session_ttl_ms),
            session_window: self.session_window.unwrap_or(usual.session_window),
            sessions_max: self.sessions_max.unwrap_or(usual.sessions_max),
            idempotency_ttl_ms: self.idempotency_ttl_ms.unwrap_or(usual.idempotency_ttl_ms),
            idempotency_keys_max: self
                .idempotency_keys_max
                .unwrap_or(usual.idempotency_keys_max),
        }
    }
}

/// A ring's size from the table of limits; an absurd one is refused when the engine opens.
fn ring_bytes(limit: u64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
