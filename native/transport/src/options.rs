//! What a transport is told at its start.

use domp_protocol::Lane;

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u128,
    /// This node's id.
    pub node: u64,
    /// Starts of this node's directory, counted.
    pub incarnation: u64,
    /// Random, made at this start.
    pub nonce: u64,
}

/// Bounds of one lane, for each other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneOptions {
    /// Bytes that may wait to be sent, headers included, or one frame; [`crate::SendError::Full`] beyond.
    pub queue_bytes_max: usize,
    /// Bytes that may wait for the owner's poll. From there on nothing is read; what was being read (a frame and
    /// 128 KiB) still comes on top.
    pub inbox_bytes_max: usize,
    /// Bytes of a frame's body.
    pub frame_bytes_max: u32,
}

/// Settings of a transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who this node is.
    pub identity: Identity,
    /// By the lane's number.
    pub lanes: [LaneOptions; Lane::COUNT],
    /// A connection on which bytes were sent, and none were taken for so long, is ended. Not below 200 ms: what
    /// was taken is told with a delay of up to 25 ms.
    pub progress_timeout_ms: u64,
    /// For an address to take a connection.
    pub connect_timeout_ms: u64,
    /// From there, or from accepting, until both sides know each other.
    pub handshake_timeout_ms: u64,
    /// The wait after the first failed dial; it doubles.
    pub backoff_min_ms: u64,
    /// The longest wait.
    pub backoff_max_ms: u64,
    /// Connections that were accepted and are not known yet. One more ends the oldest.
    pub handshakes_max: usize,
    /// Where the jitter of waits comes from.
    pub seed: u64,
}

impl Options {
    /// The defaults.
    pub fn new(identity: Identity, seed: u64) -> Self {
        const MIB: usize = 1 << 20;
        let lane = |queue_mib: usize, frame_mib: u32| LaneOptions {
            queue_bytes_max: queue_mib * MIB,
            inbox_bytes_max: queue_mib * MIB,
            frame_bytes_max: frame_mib << 20,
        };
        Self {
            identity,
            lanes: [lane(1, 1), lane(32, 16), lane(32, 16), lane(64, 16)],
            progress_timeout_ms: 1_200,
            connect_timeout_ms: 1_000,
            handshake_timeout_ms: 2_000,
            backoff_min_ms: 20,
            backoff_max_ms: 1_000,
            handshakes_max: 64,
            seed,
        }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &LaneOptions {
        &self.lanes[lane.index()]
    }
}
