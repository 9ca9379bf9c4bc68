//! A replica that needs what its leader's log keeps no more: at the leader what is held for it, at the replica
//! how the state of a snapshot takes the place of its own.

use domp_consensus::{Dropped, HardState as RaftState, Membership, SnapshotAt};
use domp_log::snapshot::{ConfState, SnapshotHead};
use domp_log::{SnapshotName, Timeline};
use domp_state::State;

use super::{Replica, Shard};
use crate::storage::Storage;

/// A snapshot of the leader's, restored: its file is durable, and no hard state names it yet.
pub struct Arriving {
    /// What it holds.
    pub state: State,
    /// What the hard state is to call it.
    pub name: SnapshotName,
    /// What it is of.
    pub head: SnapshotHead,
    /// The batch that bears the hard state which names it, once that was handed to the log.
    number: Option<u64>,
}

impl Arriving {
    /// One that is to be installed.
    pub fn new(state: State, name: SnapshotName, head: SnapshotHead) -> Self {
        Self {
            state,
            name,
            head,
            number: None,
        }
    }
}

impl Shard {
    /// See [`domp_consensus::Group::take_snapshot_wants`].
    pub fn take_snapshot_wants(&mut self) -> Vec<u64> {
        if self.group.is_alone() {
            return Vec::new();
        }
        self.group.take_snapshot_wants()
    }

    /// See [`domp_consensus::Group::keeps_behind`].
    pub fn keeps_behind(&self, index: u64) -> bool {
        self.group.keeps_behind(index)
    }

    /// See [`domp_consensus::Group::hold_for_snapshot`].
    pub fn hold_for_snapshot(&mut self, index: u64) {
        self.group.hold_for_snapshot(index);
    }

    /// See [`domp_consensus::Group::let_go`].
    pub fn let_go(&mut self) {
        self.group.let_go();
    }

    /// See [`domp_consensus::Group::take_broken_hold`].
    pub fn take_broken_hold(&mut self) -> bool {
        self.group.take_broken_hold()
    }

    /// See [`domp_consensus::Group::offer_snapshot`].
    pub fn offer_snapshot(&mut self, to: u64, at: (u64, u64)) {
        self.group.offer_snapshot(to, at);
    }

    /// See [`domp_consensus::Group::report_snapshot`].
    pub fn report_snapshot(&mut self, to: u64, is_installed: bool) {
        self.group.report_snapshot(to, is_installed);
    }

    /// See [`domp_consensus::Group::awaits_snapshot`].
    pub fn awaits_snapshot(&self, replica: u64) -> bool {
        self.group.awaits_snapshot(replica)
    }

    /// Whether a replica leads in that term, as far as this one knows.
    pub fn follows(&self, leader: u64, term: u64) -> bool {
        self.group.leader() == Some(leader) && self.group.term() == term && !self.group.is_leader()
    }

    /// See [`domp_consensus::Group::lacks`].
    pub fn lacks(&self, at: (u64, u64)) -> bool {
        self.group.lacks(at)
    }

    /// Whether what a hard state names is of this replica's timeline.
    pub fn is_of(&self, timeline: Timeline) -> bool {
        self.replica.timeline == timeline && !self.is_stopped()
    }

    /// The leader has a snapshot of what this replica holds in its log, and may not know.
    ///
    /// # Errors
    /// As [`Shard::begin_install`].
    pub fn skip_install(&mut self, leader: u64, head: &SnapshotHead) -> Result<(), Dropped> {
        self.group.install(leader, &place_of(head)).map(drop)
    }

    /// Has the group take a snapshot for its log's beginning; what is to be written comes with the next
    /// [`Shard::drive`]. False: the log holds all of it, and goes on.
    ///
    /// # Errors
    /// Why it can't be installed.
    pub fn begin_install(&mut self, leader: u64, arriving: Arriving) -> Result<bool, Dropped> {
        let begins = self.group.install(leader, &place_of(&arriving.head))?;
        if begins {
            self.arriving = Some(arriving);
        }
        Ok(begins)
    }

    /// Makes snapshot, hard state, log start and membership true together: one record says all of it. Behind it
    /// come entries that follow the snapshot, so it commits nothing else.
    pub(super) fn write_installed(&mut self, at: &SnapshotAt, number: u64, storage: &mut Storage) {
        let Some(arriving) = &mut self.arriving else {
            return;
        };
        arriving.number = Some(number);
        let (id, start) = (self.replica.id, (at.index, at.term));
        self.replica = Replica::restored(id, arriving.name, start, &arriving.head);
        let raft = RaftState {
            commit: at.index,
            ..self.group.hard_state()
        };
        self.write_raft_state(raft, storage);
    }

    /// The state goes over to the snapshot's once the record that says so is durable. Until then the older one
    /// stays, which serves nothing that another leads.
    pub(super) fn finish_install(&mut self, number: u64) -> bool {
        let is_durable = |arriving: &Arriving| arriving.number.is_some_and(|own| own <= number);
        if !self.arriving.as_ref().is_some_and(is_durable) {
            return false;
        }
        let Some(Arriving { state, head, .. }) = self.arriving.take() else {
            return false;
        };
        self.committed.clear();
        self.committed_bytes = 0;
        self.state = state;
        self.heard_revision = self.heard_revision.max(self.state.revision());
        self.lease_floor_ms = self.lease_floor_ms.max(self.state.lease_ms());
        self.snapshot_index = head.index;
        self.log_bytes = 0;
        self.group.on_applied(head.index, head.term);
        true
    }
}

fn place_of(head: &SnapshotHead) -> SnapshotAt {
    SnapshotAt {
        index: head.index,
        term: head.term,
        membership: membership_of(&head.conf),
    }
}

fn membership_of(conf: &ConfState) -> Membership {
    Membership {
        voters: conf.voters.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners: conf.learners.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
        ..Membership::default()
    }
}
