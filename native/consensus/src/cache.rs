//! The entries a group may still need, in memory: the crate's `Storage`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::eraftpb::{ConfState, Entry, HardState as RaftHardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::{HardState, Start};

/// Entries behind the compacted index, whether on disk yet or not.
///
/// Invariant: `entries[i].index == compacted_index + 1 + i`.
pub struct EntryCache {
    compacted_index: u64,
    compacted_term: u64,
    entries: VecDeque<Entry>,
    /// Memory of them.
    bytes: u64,
    hard_state: RaftHardState,
    membership: ConfState,
    pub catching_up: RefCell<CatchingUp>,
}

/// Other replicas that need a snapshot: the crate asks for it through a shared reference.
#[derive(Default)]
pub struct CatchingUp {
    /// Who does, since that was looked at last.
    pub wanted: BTreeSet<u64>,
    /// What is told to those that it is ready for: index and term.
    pub offered: BTreeMap<u64, (u64, u64)>,
}

impl EntryCache {
    pub fn new(voters: &[u64], start: Start, commit: u64) -> Self {
        let mut hard_state = RaftHardState::default();
        hard_state.term = start.hard_state.term;
        hard_state.vote = start.hard_state.vote;
        hard_state.commit = commit;
        let (index, term) = match start.kept.first() {
            Some(first) => (first.index - 1, start.kept_behind_term),
            None => (start.applied, start.applied_term),
        };
        let mut entries = VecDeque::from(start.kept);
        entries.extend(start.entries);
        Self {
            compacted_index: index,
            compacted_term: term,
            bytes: entries.iter().map(held_bytes).sum(),
            entries,
            hard_state,
            membership: ConfState {
                voters: voters.to_vec(),
                ..ConfState::default()
            },
            catching_up: RefCell::default(),
        }
    }

    /// Takes new entries, replacing any that conflict.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        debug_assert!(
            first.index > self.compacted_index,
            "an applied entry is never replaced"
        );
        let keep = first.index.saturating_sub(self.compacted_index + 1);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let replaced = self.entries.iter().skip(keep);
        self.bytes -= replaced.map(held_bytes).sum::<u64>();
        self.entries.truncate(keep);
        debug_assert_eq!(self.last() + 1, first.index, "entries come without a gap");
        self.bytes += entries.iter().map(held_bytes).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Begins anew behind a snapshot.
    pub fn restore(&mut self, (index, term): (u64, u64), membership: ConfState) {
        self.entries.clear();
        self.bytes = 0;
        (self.compacted_index, self.compacted_term) = (index, term);
        self.membership = membership;
    }

    /// Entries up to here are forgotten.
    pub fn compacted_index(&self) -> u64 {
        self.compacted_index
    }

    /// Memory of the entries.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn hard_state(&self) -> &RaftHardState {
        &self.hard_state
    }

    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state.term = hard_state.term;
        self.hard_state.vote = hard_state.vote;
        self.hard_state.commit = hard_state.commit;
    }

    /// Forgets entries up to `index`, which must be applied.
    pub fn compact(&mut self, index: u64) {
        while self.compacted_index < index {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= held_bytes(&entry);
            self.compacted_index = entry.index;
            self.compacted_term = entry.term;
        }
    }

    /// Forgets the oldest up to `index`, which must be applied, while all are more than that.
    pub fn shorten(&mut self, index: u64, bytes_max: u64) {
        while self.bytes > bytes_max && self.compacted_index < index {
            self.compact(self.compacted_index + 1);
        }
    }

    /// All that are not forgotten, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    fn last(&self) -> u64 {
        self.compacted_index + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.compacted_index + 1)?).ok()
    }
}

fn held_bytes(entry: &Entry) -> u64 {
    (size_of::<Entry>() + entry.data.len()) as u64
}

impl Storage for EntryCache {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.membership.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let from = self
            .position(low)
            .ok_or(Error::Store(StorageError::Compacted))?;
        let to = self
            .position(high)
            .ok_or(Error::Store(StorageError::Compacted))?;
        if to > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut entries: Vec<Entry> = self.entries.range(from..to).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.compacted_index {
            return Ok(self.compacted_term);
        }
        let position = self
            .position(index)
            .ok_or(Error::Store(StorageError::Compacted))?;
        self.entries
            .get(position)
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.compacted_index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> Result<Snapshot> {
        // Asked for a replica that needs entries which are forgotten. What it gets comes from a file.
        let mut catching_up = self.catching_up.borrow_mut();
        let Some((index, term)) = catching_up.offered.get(&to).copied() else {
            catching_up.wanted.insert(to);
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = term;
        metadata.set_conf_state(self.membership.clone());
        Ok(snapshot)
    }
}
