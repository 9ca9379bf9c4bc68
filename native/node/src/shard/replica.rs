//! What a replica is beside its state: which one, of what group, and what its hard state must name.

use domp_consensus::HardState as RaftState;
use domp_log::snapshot::{Ancestor, ConfState, SnapshotHead};
use domp_log::{Founding, HardState, SnapshotName, Timeline};
use domp_protocol::generated::log::StateLimits as LimitsStruct;
use domp_state::State;

/// A group's replica on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// What Raft calls this node in the group. A group's first replica has the id of the node that
    /// founded it.
    pub id: u64,
    /// The snapshot that must exist: durable under its name before this is set.
    pub named: SnapshotName,
    /// Index and term behind which the log begins.
    pub start: (u64, u64),
    /// The group's timeline.
    pub timeline: Timeline,
    /// The timelines before it, the oldest first.
    pub ancestry: Vec<Ancestor>,
    /// Replica ids of the voters.
    pub voters: Vec<u64>,
}

impl Replica {
    /// The one that a founding record makes.
    pub fn founded(id: u64, founding: &Founding) -> Self {
        Self {
            id,
            named: SnapshotName::default(),
            start: (founding.index, founding.term),
            timeline: founding.timeline,
            ancestry: Vec::new(),
            voters: founding.voters.clone(),
        }
    }

    /// The one that a snapshot is of.
    pub fn restored(id: u64, named: SnapshotName, start: (u64, u64), head: &SnapshotHead) -> Self {
        Self {
            id,
            named,
            start,
            timeline: head.timeline,
            ancestry: head.ancestry.clone(),
            voters: head.conf.voters.clone(),
        }
    }

    /// What the log is to hold as its hard state.
    pub fn hard_state(&self, raft: RaftState) -> HardState {
        HardState {
            term: raft.term,
            vote: raft.vote,
            commit: raft.commit,
            snapshot: self.named,
            start_index: self.start.0,
            start_term: self.start.1,
        }
    }

    /// The head of a snapshot of that state, taken at (index, term).
    pub fn snapshot_head(
        &self,
        group: u64,
        (index, term): (u64, u64),
        state: &State,
    ) -> SnapshotHead {
        let limits = state.limits();
        SnapshotHead {
            group,
            index,
            term,
            revision: state.revision(),
            lease_ms: state.lease_ms(),
            apply_version: state.apply_version(),
            limits: LimitsStruct::new(
                limits.session_ttl_ms,
                limits.idempotency_ttl_ms,
                limits.session_window,
                limits.sessions_max,
                limits.idempotency_keys_max,
                0,
            ),
            key_floor: 0,
            history_floor: 0,
            timeline: self.timeline,
            ancestry: self.ancestry.clone(),
            conf: ConfState {
                voters: self.voters.clone(),
                ..ConfState::default()
            },
        }
    }
}

/// The part of a hard state that Raft asks for.
pub fn raft_state(hard_state: &HardState) -> RaftState {
    RaftState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
    }
}
