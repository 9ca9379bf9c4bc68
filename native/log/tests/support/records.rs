//! Records of tests, and what those of a group amount to.

use std::collections::BTreeMap;

use domp_log::{HardState, NODE_GROUP, Record, RecordKind};

use super::REPLICA;

/// A record that owns its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub group: u64,
    pub replica: u64,
    pub kind: RecordKind,
    pub index: u64,
    pub term: u64,
    pub body: Vec<u8>,
}

impl Owned {
    pub fn entry(group: u64, index: u64, term: u64, body: Vec<u8>) -> Self {
        Self {
            group,
            replica: REPLICA,
            kind: RecordKind::Entry,
            index,
            term,
            body,
        }
    }

    pub fn hard_state(group: u64, hard_state: &HardState) -> Self {
        Self {
            kind: RecordKind::HardState,
            ..Self::entry(group, 0, 0, hard_state.encode().to_vec())
        }
    }

    pub fn drop(group: u64) -> Self {
        Self {
            kind: RecordKind::Drop,
            ..Self::entry(group, 0, 0, Vec::new())
        }
    }

    pub fn record(&self) -> Record<'_> {
        Record {
            group: self.group,
            replica: self.replica,
            kind: self.kind,
            index: self.index,
            term: self.term,
            body: &self.body,
        }
    }
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        assert_eq!(record.body.as_ptr().addr() % 8, 0, "bodies are aligned");
        Self {
            group: record.group,
            replica: record.replica,
            kind: record.kind,
            index: record.index,
            term: record.term,
            body: record.body.to_vec(),
        }
    }
}

/// A body that does not fill the screen when a test fails.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes, crc {:x}",
            self.0.len(),
            crc32c::crc32c(&self.0)
        )
    }
}

/// What a group's records amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    pub entries: BTreeMap<u64, (u64, Body)>,
    pub hard_state: Option<HardState>,
}

impl GroupState {
    /// Index of the snapshot that its hard state names.
    pub fn snapshot(&self) -> u64 {
        self.hard_state.map_or(0, |state| state.snapshot.index)
    }
}

/// Replays records as a node does.
pub fn replay<'a>(records: impl IntoIterator<Item = &'a Owned>) -> BTreeMap<u64, GroupState> {
    let mut groups: BTreeMap<u64, GroupState> = BTreeMap::new();
    for record in records {
        let group = groups.entry(record.group).or_default();
        match record.kind {
            RecordKind::Entry => {
                let entry = (record.term, Body(record.body.clone()));
                if group
                    .entries
                    .get(&record.index)
                    .is_some_and(|present| present.0 != record.term)
                {
                    group.entries.split_off(&record.index);
                }
                group.entries.insert(record.index, entry);
            }
            RecordKind::HardState => {
                group.hard_state = Some(HardState::decode(&record.body).expect("a hard state"));
            }
            RecordKind::Drop => {
                groups.remove(&record.group);
            }
            RecordKind::Founding => {}
            kind => panic!("{kind:?} is not of these tests"),
        }
    }
    groups
}

/// What must be the same: entries that no named snapshot covers, the hard state.
pub fn needed(groups: &BTreeMap<u64, GroupState>) -> BTreeMap<u64, GroupState> {
    let mut groups = groups.clone();
    for state in groups.values_mut() {
        state.entries = state.entries.split_off(&(state.snapshot() + 1));
    }
    groups.retain(|_, state| state != &GroupState::default());
    groups
}

/// Gathers the records that are not of the node itself.
pub fn gather(found: &mut Vec<Owned>) -> impl FnMut(Record<'_>) {
    |record| {
        if record.group != NODE_GROUP {
            found.push(record.into());
        }
    }
}
