//! What the log holds of each replica, gathered while it is read.

use std::collections::{BTreeMap, VecDeque};

use crate::body::{Body, Founding, HardState};
use crate::record::Record;

/// What the log holds of a replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaFacts {
    pub hard_state: Option<HardState>,
    pub founding: Option<Founding>,
    /// Index of the first entry without a gap up to the last; 0 without one.
    pub first_index: u64,
    /// Index of the last entry; 0 without one.
    pub last_index: u64,
    /// Entries, repeated ones counted again.
    pub entries: u64,
    /// It was dropped, and nothing came after.
    pub dropped: bool,
    /// Terms of the entries from `first_index` to `last_index`.
    terms: VecDeque<u64>,
}

impl ReplicaFacts {
    fn hard_state(&mut self, hard_state: HardState) {
        if self
            .hard_state
            .is_some_and(|before| hard_state.begins_anew(&before))
        {
            self.terms.clear();
            (self.first_index, self.last_index) = (0, 0);
        }
        self.hard_state = Some(hard_state);
    }

    fn entry(&mut self, index: u64, term: u64) {
        self.entries += 1;
        if self.terms.is_empty()
            || index < self.first_index
            || index > self.last_index.saturating_add(1)
        {
            // Behind a gap, what was before counts no more: only a snapshot can bridge it.
            self.terms.clear();
            self.first_index = index;
        } else if index <= self.last_index {
            let place = usize::try_from(index - self.first_index).expect("within the terms kept");
            if self.terms[place] == term {
                return;
            }
            self.terms.truncate(place);
        }
        self.terms.push_back(term);
        self.last_index = index;
    }
}

/// What the log holds, by group and replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub replicas: BTreeMap<(u64, u64), ReplicaFacts>,
}

impl Facts {
    pub fn record(&mut self, record: &Record<'_>, body: &Body) {
        if record.kind.is_of_node() {
            return;
        }
        let replica = self
            .replicas
            .entry((record.group, record.replica))
            .or_default();
        replica.dropped = false;
        match body {
            Body::Entry => replica.entry(record.index, record.term),
            Body::HardState(hard_state) => replica.hard_state(*hard_state),
            Body::Founding(founding) => replica.founding = Some(founding.clone()),
            Body::Drop => {
                *replica = ReplicaFacts {
                    dropped: true,
                    ..ReplicaFacts::default()
                }
            }
            Body::Groups(_) | Body::Incarnation(_) => {}
        }
    }
}
