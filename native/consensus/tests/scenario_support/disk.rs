//! What a replica has on its disk, and what it may therefore say.

use std::collections::{BTreeMap, VecDeque};

use domp_consensus::{Entry, HardState, Message, Start};
use raft::eraftpb::MessageType;

/// Of one replica. A restart keeps what is durable and forgets what was on its way.
#[derive(Default)]
pub struct Disk {
    /// Up to here a snapshot stands for the entries.
    snapshot_index: u64,
    pub hard_state: HardState,
    entries: BTreeMap<u64, Entry>,
    /// In the order in which they were handed out.
    on_their_way: VecDeque<Batch>,
    latest: u64,
}

struct Batch {
    /// `None`: nobody waits for it, a later one covers it.
    number: Option<u64>,
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
}

impl Disk {
    /// On which recovery finds `start`.
    pub fn of(start: &Start) -> Self {
        let entries = start.entries.iter();
        Self {
            snapshot_index: start.applied,
            hard_state: start.hard_state,
            entries: entries.map(|entry| (entry.index, entry.clone())).collect(),
            ..Self::default()
        }
    }

    /// The entries behind `index` that are durable.
    pub fn entries_behind(&self, index: u64) -> Vec<Entry> {
        self.entries
            .range(index + 1..)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Takes a batch on its way to the disk.
    pub fn write(
        &mut self,
        number: Option<u64>,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
    ) {
        if let Some(number) = number {
            assert!(number > self.latest, "{number} comes after {}", self.latest);
            self.latest = number;
        }
        self.on_their_way.push_back(Batch {
            number,
            hard_state,
            entries,
        });
    }

    /// The number of the last batch on its way that is waited for.
    pub fn awaited(&self) -> Option<u64> {
        self.on_their_way
            .iter()
            .rev()
            .find_map(|batch| batch.number)
    }

    /// Batch `number` and all before it become durable.
    pub fn persist(&mut self, number: u64) {
        let at = self
            .on_their_way
            .iter()
            .position(|batch| batch.number == Some(number));
        let at = at.unwrap_or_else(|| panic!("batch {number} is not on its way"));
        let durable: Vec<Batch> = self.on_their_way.drain(..=at).collect();
        for batch in durable {
            self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
            if let Some(first) = batch.entries.first() {
                // What stands behind a new entry is no longer part of the log.
                self.entries.split_off(&first.index);
                assert_eq!(first.index, self.last() + 1, "the log has a gap");
            }
            for entry in batch.entries {
                self.entries.insert(entry.index, entry);
            }
        }
    }

    /// What was on its way is lost.
    pub fn crash(&mut self) {
        self.on_their_way.clear();
        self.latest = 0;
    }

    fn last(&self) -> u64 {
        let last = self.entries.keys().next_back();
        last.copied().unwrap_or(self.snapshot_index)
    }

    pub fn holds(&self, entry: &Entry) -> bool {
        entry.index <= self.snapshot_index || self.entries.get(&entry.index) == Some(entry)
    }

    /// Whether all that a message claims to be durable is.
    pub fn vouches_for(&self, message: &Message) -> bool {
        let HardState { term, vote, .. } = self.hard_state;
        let has_voted_for = |whom| term > message.term || (term == message.term && vote == whom);
        match message.get_msg_type() {
            // They tell what would be.
            MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => true,
            MessageType::MsgRequestVote => has_voted_for(message.from),
            MessageType::MsgRequestVoteResponse if !message.reject => has_voted_for(message.to),
            MessageType::MsgAppendResponse if !message.reject => {
                message.term <= term && message.index <= self.last()
            }
            _ => message.term <= term,
        }
    }
}
