//! Replicas that need what is forgotten are brought up by a snapshot of the state, which travels as a file, by
//! another way than messages do.
//!
//! At the leader: the crate asks for a snapshot ([`Group::take_snapshot_wants`]); when a file is ready, it is
//! offered ([`Group::offer_snapshot`]), and the crate then gives a message of that kind, which stands for the
//! file and sends nothing else to that replica until [`Group::report_snapshot`]. Entries behind the file are held
//! until the replica is back in the row, up to a bound.
//!
//! At the other end: when the file is there and can be used, [`Group::install`]; the next
//! [`Group::ready`] says what is to be written.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfState, Message, MessageType, Snapshot};
use raft::{ProgressState, SnapshotStatus};

use super::{Dropped, Group};

/// Who is in a group, both halves of it: the crate's own words.
pub type Membership = ConfState;

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotAt {
    /// The last entry that it covers.
    pub index: u64,
    /// That one's term.
    pub term: u64,
    /// Who is in the group by then.
    pub membership: Membership,
}

/// From which index on entries are held, by the replica that will need them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    behind: BTreeMap<u64, u64>,
    broken: bool,
}

/// For a snapshot that is being taken, for whoever will need it. No replica has that id.
const ANYBODY: u64 = 0;

impl Group {
    /// The replicas that need a snapshot, as far as they asked since the last call. They ask again and again.
    pub fn take_snapshot_wants(&mut self) -> Vec<u64> {
        let catching_up = self.raft.store().catching_up.take();
        let wanted = catching_up.wanted.into_iter().collect();
        self.raft.store().catching_up.borrow_mut().offered = catching_up.offered;
        wanted
    }

    /// Whether all entries behind that index are still there.
    pub fn keeps_behind(&self, index: u64) -> bool {
        self.raft.store().compacted_index() <= index
    }

    /// A snapshot is being taken that somebody will need: entries behind it are held from now on.
    pub fn hold_for_snapshot(&mut self, index: u64) {
        self.holds.behind.insert(ANYBODY, index);
    }

    /// The snapshot that is ready for a replica: index and term. The next message to it is of that kind.
    pub fn offer_snapshot(&mut self, to: u64, at: (u64, u64)) {
        let mut catching_up = self.raft.store().catching_up.borrow_mut();
        catching_up.offered.insert(to, at);
        drop(catching_up);
        self.holds.behind.remove(&ANYBODY);
        self.holds.behind.insert(to, at.0);
    }

    /// What became of a snapshot that was offered: the replica has it, or does not get it.
    pub fn report_snapshot(&mut self, to: u64, is_installed: bool) {
        let mut catching_up = self.raft.store().catching_up.borrow_mut();
        catching_up.offered.remove(&to);
        drop(catching_up);
        if is_installed {
            self.raft.report_snapshot(to, SnapshotStatus::Finish);
        } else {
            self.holds.behind.remove(&to);
            self.raft.report_snapshot(to, SnapshotStatus::Failure);
        }
    }

    /// Nothing is held any more for a snapshot that is being taken.
    pub fn let_go(&mut self) {
        self.holds.behind.remove(&ANYBODY);
    }

    /// Whether more had to be held than may be, since this was asked last: what was offered is of no use.
    pub fn take_broken_hold(&mut self) -> bool {
        std::mem::take(&mut self.holds.broken)
    }

    /// The index behind which entries are held, if any are.
    pub(super) fn held_from(&mut self) -> Option<u64> {
        if !self.is_leader() {
            self.holds.behind.clear();
            return None;
        }
        let progress = self.raft.raft.prs();
        self.holds.behind.retain(|to, _| {
            *to == ANYBODY
                || progress
                    .get(*to)
                    .is_some_and(|one| one.state != ProgressState::Replicate)
        });
        self.holds.behind.values().min().copied()
    }

    pub(super) fn break_holds(&mut self) {
        self.holds.behind.clear();
        self.holds.broken = true;
    }

    /// What was offered has become messages.
    pub(super) fn note_offered(&mut self, messages: &[Message]) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                let mut catching_up = self.raft.store().catching_up.borrow_mut();
                catching_up.offered.remove(&message.to);
            }
        }
    }

    /// Who is in the group.
    pub fn membership(&self) -> Membership {
        self.raft.raft.prs().conf().to_conf_state()
    }

    /// Installs a snapshot of that leader's, all of which is here and durable, and restored. True: the next
    /// [`Group::ready`] says what is to be written, and with what is committed behind it the group goes on.
    /// False: the replica has all of it in its log, and goes on from there.
    ///
    /// # Errors
    /// Why it can't be installed. Nothing has changed.
    pub fn install(&mut self, leader: u64, at: &SnapshotAt) -> Result<bool, Dropped> {
        let mut message = Message {
            from: leader,
            to: self.id(),
            term: self.term(),
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgSnapshot);
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = at.index;
        metadata.term = at.term;
        metadata.set_conf_state(at.membership.clone());
        message.set_snapshot(snapshot);
        self.step(message)?;
        Ok(self.raft.snap().is_some())
    }

    /// Whether a snapshot that was offered to a replica is still what it waits for.
    pub fn awaits_snapshot(&self, replica: u64) -> bool {
        let progress = self.raft.raft.prs().get(replica);
        self.is_leader() && progress.is_some_and(|one| one.state == ProgressState::Snapshot)
    }

    /// Whether a snapshot of the present leader at that place has anything that this replica has not.
    pub fn lacks(&self, (index, term): (u64, u64)) -> bool {
        let log = &self.raft.raft.raft_log;
        index > log.committed && !log.match_term(index, term)
    }

    /// The crate gave a snapshot to be written: the log begins anew behind it.
    pub(super) fn note_installed(&mut self, snapshot: &Snapshot) -> Option<SnapshotAt> {
        let metadata = snapshot.get_metadata();
        if metadata.index == 0 {
            return None;
        }
        let membership = metadata.get_conf_state().clone();
        let at = (metadata.index, metadata.term);
        self.raft.mut_store().restore(at, membership.clone());
        self.installing = Some(at.0);
        let own = self.id();
        self.is_alone = membership.voters.iter().all(|voter| *voter == own)
            && membership.voters_outgoing.iter().all(|voter| *voter == own);
        Some(SnapshotAt {
            index: at.0,
            term: at.1,
            membership,
        })
    }
}
