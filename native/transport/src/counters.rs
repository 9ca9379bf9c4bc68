//! Counters of a node's lanes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domp_protocol::Lane;

/// What became of one lane to and from one node, since the node became a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCounters {
    /// The other node.
    pub node: u64,
    /// The lane.
    pub lane: Lane,
    /// Whether frames can be sent.
    pub is_connected_out: bool,
    /// Whether frames can come.
    pub is_connected_in: bool,
    /// Frames handed to TLS.
    pub sent_frames: u64,
    /// Their bytes, headers included.
    pub sent_bytes: u64,
    /// Frames that came.
    pub received_frames: u64,
    /// Their bytes, headers included.
    pub received_bytes: u64,
    /// Frames that were refused because the queue was full or nobody was connected, or were lost with their
    /// connection before they left.
    pub dropped_frames: u64,
    /// Outgoing connections that stood.
    pub connects: u64,
    /// Incoming ones.
    pub accepts: u64,
    /// Outgoing connections that ended, or could not be made.
    pub failures: u64,
    /// Bytes that wait to be sent.
    pub queue_bytes: u64,
    /// Bytes that wait for the owner's poll.
    pub inbox_bytes: u64,
}

/// All counters, at one moment or nearly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By node and lane.
    pub lanes: Vec<LaneCounters>,
    /// Connections that came and never proved who they are.
    pub strangers: u64,
    /// What was wrong with the last of them, and where it came from.
    pub last_stranger: Option<String>,
    /// Connections that came from known nodes and were refused.
    pub refused: u64,
}

/// The part that the transport's thread counts.
#[derive(Default)]
pub(crate) struct Counting {
    pub sent_frames: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub received_frames: AtomicU64,
    pub received_bytes: AtomicU64,
    pub dropped_frames: AtomicU64,
    pub connects: AtomicU64,
    pub accepts: AtomicU64,
    pub failures: AtomicU64,
    pub is_connected_in: AtomicBool,
}

/// Adds to a counter that nothing is ordered by.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
