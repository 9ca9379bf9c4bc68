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
        self.holds.broken = false;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, HardState, Start};

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index,
            term,
            ..Entry::default()
        }
    }

    /// Replica 2 of three, with entries up to 5 of term 2, committed up to 3, led by replica 1 in term 3.
    fn follower() -> Group {
        let start = Start {
            hard_state: HardState {
                term: 2,
                vote: 0,
                commit: 3,
            },
            entries: (1..=5).map(|index| entry(index, 2)).collect(),
            ..Start::default()
        };
        let mut group = Group::open(2, &[1, 2, 3], start).expect("it opens");
        let mut heartbeat = Message {
            from: 1,
            to: 2,
            term: 3,
            commit: 3,
            ..Message::default()
        };
        heartbeat.set_msg_type(MessageType::MsgHeartbeat);
        group.step(heartbeat).expect("its leader's");
        while group.ready().is_some() {}
        group.on_persisted(u64::MAX / 2);
        while group.ready().is_some() {}
        group
    }

    fn at(index: u64, term: u64, voters: &[u64]) -> SnapshotAt {
        SnapshotAt {
            index,
            term,
            membership: Membership {
                voters: voters.to_vec(),
                ..Membership::default()
            },
        }
    }

    #[test]
    fn what_is_installed_brings_its_members_and_ends_the_log() {
        let mut group = follower();
        assert!(group.lacks((9, 3)));
        assert_eq!(group.install(1, &at(9, 3, &[1, 2, 3, 4])), Ok(true));
        let ready = group.ready().expect("something is to be written");
        assert_eq!(ready.installed, Some(at(9, 3, &[1, 2, 3, 4])));
        let number = ready.persist.expect("it must be durable");
        let mut voters = group.membership().voters;
        voters.sort_unstable();
        assert_eq!(voters, [1, 2, 3, 4]);
        assert_eq!((group.last_index(), group.commit_index()), (9, 9));
        // What lies between is nowhere: nobody may look for it.
        for _ in 0..100 {
            group.tick();
            group.campaign();
        }
        assert!(!ready.messages.iter().any(|message| message.index == 9));
        let said = group.on_persisted(number);
        assert!(said.iter().any(|message| message.index == 9));
        group.on_applied(9, 3);
        assert_eq!(group.applied(), (9, 3));
        group.campaign();
        assert!(group.has_ready());
    }

    #[test]
    fn what_the_log_holds_already_is_committed_and_not_installed() {
        let mut group = follower();
        assert!(!group.lacks((5, 2)));
        assert_eq!(group.install(1, &at(5, 2, &[1, 2, 3])), Ok(false));
        assert_eq!((group.last_index(), group.commit_index()), (5, 5));
    }

    #[test]
    fn what_the_crate_could_not_take_is_dropped() {
        for (what, leader, snapshot) in [
            ("older than what is committed", 1, at(2, 2, &[1, 2, 3])),
            ("another entry at the commit index", 1, at(3, 3, &[1, 2, 3])),
            ("of an earlier term behind it", 1, at(9, 1, &[1, 2, 3])),
            ("of a later term than the leader's", 1, at(9, 4, &[1, 2, 3])),
            ("of no term", 1, at(9, 0, &[1, 2, 3])),
            ("of nothing", 1, at(0, 1, &[1, 2, 3])),
            ("of a group without the receiver", 1, at(9, 3, &[1, 3])),
            ("without voters", 1, at(9, 3, &[])),
            ("with one twice", 1, at(9, 3, &[1, 2, 2])),
            ("with nobody", 1, at(9, 3, &[0, 1, 2])),
            ("of another than the leader", 3, at(9, 3, &[1, 2, 3])),
            ("beyond all bounds", 1, at(1 << 60, 3, &[1, 2, 3])),
        ] {
            let mut group = follower();
            assert!(group.install(leader, &snapshot).is_err(), "{what}");
            assert_eq!((group.last_index(), group.commit_index()), (5, 3));
        }
        let joint = |change: fn(&mut Membership)| {
            let mut snapshot = at(9, 3, &[1, 2, 3]);
            snapshot.membership.voters_outgoing = vec![1, 2, 4];
            change(&mut snapshot.membership);
            follower().install(1, &snapshot).is_ok()
        };
        assert!(joint(|_| {}));
        assert!(joint(|both| both.learners_next = vec![4]));
        assert!(joint(|both| both.learners = vec![7]));
        assert!(!joint(|both| both.learners = vec![4]));
        assert!(!joint(|both| both.learners_next = vec![2]));
        assert!(!joint(|both| both.learners_next = vec![8]));
        assert!(!joint(|both| {
            both.voters_outgoing.clear();
            both.auto_leave = true;
        }));
    }
}
