//! What the control plane is told of the other nodes.

use std::net::SocketAddr;

use domp_transport::{LaneCounters, Snapshot};
use serde::Serialize;

use super::membership::Membership;
use super::standing::Standing;

/// What stays true while the engine runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterReport {
    cluster: String,
    /// Where this node listens for the others.
    listens: String,
    members: Vec<MemberReport>,
}

#[derive(Clone, Debug, Serialize)]
struct MemberReport {
    node: String,
    address: String,
}

impl ClusterReport {
    pub fn new(membership: &Membership, listens: SocketAddr) -> Self {
        let members = membership.members.iter().map(|member| MemberReport {
            node: format!("{:016x}", member.node),
            address: member.address.clone(),
        });
        Self {
            cluster: format!("{:032x}", membership.cluster),
            listens: listens.to_string(),
            members: members.collect(),
        }
    }
}

/// The connections now, and counters since start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeersReport {
    nodes: Vec<NodeReport>,
    lanes: Vec<LaneReport>,
    strangers: u64,
    last_stranger: Option<String>,
    refused: u64,
}

#[derive(Serialize)]
struct NodeReport {
    node: String,
    reached: bool,
    /// Why not.
    why: Option<String>,
}

impl From<&Standing> for NodeReport {
    fn from(standing: &Standing) -> Self {
        let why = match standing {
            Standing::Reached { .. } => None,
            Standing::Lost { why, .. } => Some(why.clone()),
        };
        Self {
            node: format!("{:016x}", standing.node()),
            reached: why.is_none(),
            why,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LaneReport {
    node: String,
    lane: &'static str,
    connected_out: bool,
    connected_in: bool,
    sent_frames: u64,
    sent_bytes: u64,
    received_frames: u64,
    received_bytes: u64,
    dropped_frames: u64,
    connects: u64,
    failures: u64,
    queue_bytes: u64,
    inbox_bytes: u64,
}

impl PeersReport {
    pub fn new<'a>(snapshot: &Snapshot, standings: impl Iterator<Item = &'a Standing>) -> Self {
        Self {
            nodes: standings.map(NodeReport::from).collect(),
            lanes: snapshot.lanes.iter().map(LaneReport::from).collect(),
            strangers: snapshot.strangers,
            last_stranger: snapshot.last_stranger.clone(),
            refused: snapshot.refused,
        }
    }
}

impl From<&LaneCounters> for LaneReport {
    fn from(lane: &LaneCounters) -> Self {
        Self {
            node: format!("{:016x}", lane.node),
            lane: lane.lane.name(),
            connected_out: lane.is_connected_out,
            connected_in: lane.is_connected_in,
            sent_frames: lane.sent_frames,
            sent_bytes: lane.sent_bytes,
            received_frames: lane.received_frames,
            received_bytes: lane.received_bytes,
            dropped_frames: lane.dropped_frames,
            connects: lane.connects,
            failures: lane.failures,
            queue_bytes: lane.queue_bytes,
            inbox_bytes: lane.inbox_bytes,
        }
    }
}
