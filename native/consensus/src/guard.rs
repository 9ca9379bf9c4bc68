//! What may be handed to the crate: some messages would make it end the process, others it takes though they
//! can't be true.

use std::collections::BTreeSet;
use std::fmt;

use raft::eraftpb::{ConfState, Message, MessageType};

use super::{Group, ReadContext};

/// No term or index is above: the crate counts on without looking whether it can.
const NUMBER_MAX: u64 = 1 << 56;

/// Why a message of a peer was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No replica sends such a message to this one.
    Senseless(&'static str),
    /// It claims what can't be beside what this replica holds: one of the two has lost something, or lies.
    Contradiction(&'static str),
    /// It is older than what was heard of that replica since.
    Late,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Senseless(what) => write!(f, "it makes no sense: {what}"),
            Self::Contradiction(what) => write!(f, "it contradicts what is here: {what}"),
            Self::Late => f.write_str("it is late"),
        }
    }
}

impl std::error::Error for Dropped {}

impl Group {
    /// Whether the crate may see a message.
    pub(super) fn check(&self, message: &Message) -> Result<(), Dropped> {
        let own = self.id();
        if message.to != own {
            return Err(Dropped::Senseless("it is for another replica"));
        }
        if message.from == own || message.from == 0 {
            return Err(Dropped::Senseless("it is from nobody"));
        }
        if message.term == 0 {
            return Err(Dropped::Senseless("it has no term"));
        }
        let numbers = [
            message.term,
            message.index,
            message.log_term,
            message.commit,
            message.commit_term,
            message.reject_hint,
        ];
        if numbers.into_iter().any(|number| number > NUMBER_MAX) {
            return Err(Dropped::Senseless("no group comes so far"));
        }
        if message.request_snapshot != 0 {
            return Err(Dropped::Senseless("it asks for a snapshot"));
        }
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        if message.has_snapshot() != is_snapshot {
            return Err(Dropped::Senseless("a snapshot comes by itself"));
        }
        if !matches!(message.context.len(), 0 | ReadContext::BYTES)
            && !is_vote(message.get_msg_type())
        {
            return Err(Dropped::Senseless("its context has another length"));
        }
        let has_entries = !message.entries.is_empty();
        if has_entries && message.get_msg_type() != MessageType::MsgAppend {
            return Err(Dropped::Senseless("it has entries and is no append"));
        }
        // Of an earlier term: the crate answers or ignores it, and looks at nothing else.
        if message.term < self.term() {
            return Ok(());
        }
        match message.get_msg_type() {
            MessageType::MsgAppend => self.check_append(message),
            MessageType::MsgHeartbeat => self.check_commit(message.commit),
            MessageType::MsgAppendResponse => self.check_append_response(message),
            MessageType::MsgTimeoutNow => {
                let leads = self.leader() == Some(message.from) && message.term == self.term();
                if leads && self.installing.is_none() {
                    Ok(())
                } else {
                    Err(Dropped::Late)
                }
            }
            MessageType::MsgSnapshot => self.check_snapshot(message),
            MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => Ok(()),
            // Proposals go to leaders by another way; the others are of one replica alone.
            _ => Err(Dropped::Senseless("no replica sends it to another")),
        }
    }

    fn check_append(&self, message: &Message) -> Result<(), Dropped> {
        let mut last = (message.index, message.log_term);
        for entry in &message.entries {
            let follows = entry.index == last.0.wrapping_add(1) && entry.term >= last.1;
            if !follows || entry.term > message.term {
                return Err(Dropped::Senseless("its entries do not follow each other"));
            }
            last = (entry.index, entry.term);
        }
        let committed = self.commit_index();
        let term = self.raft.raft.raft_log.term(committed).unwrap_or(0);
        if message.index == committed && message.log_term != term
            || message.index > committed && message.log_term < term
        {
            return Err(Dropped::Contradiction(
                "an entry that is committed is another there",
            ));
        }
        Ok(())
    }

    /// A leader tells each replica of what is committed as far as that replica told it to hold.
    fn check_commit(&self, commit: u64) -> Result<(), Dropped> {
        if commit > self.last_index() {
            return Err(Dropped::Contradiction(
                "entries that this replica held are committed and gone",
            ));
        }
        Ok(())
    }

    /// What the crate would install, or end the process for.
    fn check_snapshot(&self, message: &Message) -> Result<(), Dropped> {
        let metadata = message.get_snapshot().get_metadata();
        if metadata.index == 0 || metadata.index > NUMBER_MAX {
            return Err(Dropped::Senseless("no group comes so far"));
        }
        if metadata.term == 0 || metadata.term > message.term {
            return Err(Dropped::Senseless("its snapshot is of no term before"));
        }
        if !is_membership(metadata.get_conf_state()) {
            return Err(Dropped::Senseless("no group has such members"));
        }
        let is_led = self.leader() == Some(message.from) && message.term == self.term();
        if !is_led || self.is_leader() {
            return Err(Dropped::Late);
        }
        let conf = metadata.get_conf_state();
        let members = [&conf.voters, &conf.voters_outgoing, &conf.learners];
        if !members.iter().any(|some| some.contains(&self.id())) {
            return Err(Dropped::Senseless("this replica is not in its group"));
        }
        let committed = self.commit_index();
        if metadata.index < committed {
            return Err(Dropped::Late);
        }
        let term = self.raft.raft.raft_log.term(committed).unwrap_or(0);
        if metadata.index == committed && metadata.term != term || metadata.term < term {
            return Err(Dropped::Contradiction(
                "an entry that is committed is another there",
            ));
        }
        Ok(())
    }

    fn check_append_response(&self, message: &Message) -> Result<(), Dropped> {
        if !self.is_leader() || message.term > self.term() {
            return Ok(());
        }
        if !message.reject && message.index > self.last_index() {
            return Err(Dropped::Contradiction("it holds what was never here"));
        }
        let matched = self
            .raft
            .raft
            .prs()
            .get(message.from)
            .map_or(0, |progress| progress.matched);
        // The crate would go back behind what the replica is known to hold.
        if message.reject && (message.index <= matched || message.reject_hint < matched) {
            return Err(Dropped::Late);
        }
        Ok(())
    }
}

/// Whether the crate takes that for a group's members.
fn is_membership(conf: &ConfState) -> bool {
    let sets = [
        &conf.voters,
        &conf.voters_outgoing,
        &conf.learners,
        &conf.learners_next,
    ];
    let are_sets = sets.iter().all(|ids| {
        let unique: BTreeSet<u64> = ids.iter().copied().collect();
        unique.len() == ids.len() && !unique.contains(&0)
    });
    let none_in = |ids: &[u64], others: &[u64]| ids.iter().all(|id| !others.contains(id));
    let outgoing = &conf.voters_outgoing;
    let is_joint = !outgoing.is_empty();
    are_sets
        && !conf.voters.is_empty()
        && none_in(&conf.learners, &conf.voters)
        && none_in(&conf.learners, outgoing)
        && none_in(&conf.learners_next, &conf.voters)
        && none_in(&conf.learners_next, &conf.learners)
        && conf.learners_next.iter().all(|id| outgoing.contains(id))
        && (is_joint || !conf.auto_leave)
}

fn is_vote(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
    )
}
