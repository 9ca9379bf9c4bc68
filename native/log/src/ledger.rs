//! Which segment holds what of which group: decides what may be removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::body::{Body, HardState, Incarnation, SnapshotName};
use crate::record::{NODE_GROUP, Record};

/// What a segment holds of a group's entries.
#[derive(Clone, Debug)]
struct Span {
    segment: u64,
    /// The highest index among entries in this segment that no later copy replaces; 0: none.
    last_index: u64,
}

/// Entries of a group being written once more.
#[derive(Clone, Debug)]
struct Run {
    /// Where it began.
    segment: u64,
    first: u64,
    /// The index that goes on with it.
    next: u64,
}

/// What the log holds of one replica.
#[derive(Clone, Debug, Default)]
struct Replica {
    /// Ascending by segment, at most one each.
    spans: VecDeque<Span>,
    /// Those from before the log began anew, until the hard state that says so is durable.
    void: Vec<Span>,
    /// Where the log begins, by the latest hard state.
    start: Option<(u64, u64)>,
    last_index: u64,
    /// Segment of the founding.
    founding: Option<u64>,
    /// Segment of the latest hard state.
    hard_state: Option<u64>,
    /// What the latest durable hard state names.
    snapshot: SnapshotName,
    /// Entries up to here are covered by that snapshot, or the log begins behind.
    covered: u64,
    run: Option<Run>,
    bytes: u64,
}

impl Replica {
    /// An installed snapshot makes all entries before it void.
    fn begin_anew_if_told(&mut self, hard_state: &HardState) {
        let start = (hard_state.start_index, hard_state.start_term);
        if self
            .start
            .replace(start)
            .is_some_and(|before| before != start)
        {
            self.void.extend(self.spans.drain(..));
            self.last_index = 0;
            self.run = None;
        }
    }

    fn entry(&mut self, segment: u64, index: u64) {
        match self.spans.back_mut() {
            Some(span) if span.segment == segment => span.last_index = span.last_index.max(index),
            _ => self.spans.push_back(Span {
                segment,
                last_index: index,
            }),
        }
        if index > self.last_index {
            self.last_index = index;
            self.run = None;
            return;
        }
        let run = match self.run.take() {
            Some(run) if run.next == index => Run {
                next: index.saturating_add(1),
                ..run
            },
            _ => Run {
                segment,
                first: index,
                next: index.saturating_add(1),
            },
        };
        if run.next > self.last_index {
            // All entries from the run's first on stand in the run's segments now. Before that, the older
            // copies of those not yet repeated are the only ones.
            for span in &mut self.spans {
                if span.segment < run.segment {
                    span.last_index = span.last_index.min(run.first.saturating_sub(1));
                }
            }
        } else {
            self.run = Some(run);
        }
    }

    /// The oldest segment with something needed, and why.
    fn needs(&self) -> Option<(u64, PinReason)> {
        let entry = self
            .void
            .iter()
            .chain(&self.spans)
            .find(|span| span.last_index > self.covered)
            .map(|span| (span.segment, PinReason::Entries));
        // A snapshot's head says what the founding said.
        let founding = self
            .founding
            .filter(|_| self.snapshot.index == 0)
            .map(|segment| (segment, PinReason::Founding));
        let hard_state = self
            .hard_state
            .map(|segment| (segment, PinReason::HardState));
        [entry, founding, hard_state]
            .into_iter()
            .flatten()
            .min_by_key(|&(segment, _)| segment)
    }
}

/// Why a group needs a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinReason {
    /// Entries that its snapshot does not cover. Writing them all again, in order, frees the segment.
    Entries,
    /// Its latest hard state. Writing it again frees the segment.
    HardState,
    /// What founded it, while it has no snapshot. Taking one frees the segment.
    Founding,
    /// The segment is damaged and the group not yet repaired. Dropping the group frees the segment.
    Damage,
}

/// A group that keeps the oldest segment from being removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The group.
    pub group: u64,
    /// Its replica; 0 where damage does not tell.
    pub replica: u64,
    /// The segment.
    pub segment: u64,
    /// What it needs of it.
    pub reason: PinReason,
}

/// The groups a damaged segment keeps from being served.
#[derive(Clone, Debug)]
struct Damaged {
    segment: u64,
    group: u64,
}

/// What all live segments hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// By group and replica. Dropped ones are not among them.
    replicas: BTreeMap<(u64, u64), Replica>,
    damaged: Vec<Damaged>,
    /// Segments whose list of groups can't be read: they can't be the oldest.
    headless: BTreeSet<u64>,
    node: u64,
    incarnation: Incarnation,
}

impl Ledger {
    /// Notes a record that was appended or read. What a hard state says counts only from
    /// [`Ledger::durable`] on.
    pub fn record(&mut self, segment: u64, record: &Record<'_>, body: &Body) {
        let key = (record.group, record.replica);
        match body {
            Body::Entry => self.replica(record).entry(segment, record.index),
            Body::HardState(hard_state) => {
                let replica = self.replica(record);
                replica.hard_state = Some(segment);
                replica.begin_anew_if_told(hard_state);
            }
            Body::Founding(_) => self.replica(record).founding = Some(segment),
            Body::Drop => {
                self.replicas.remove(&key);
                self.damaged.retain(|damaged| damaged.group != record.group);
            }
            Body::Incarnation(incarnation) => {
                self.node = record.replica;
                self.incarnation = *incarnation;
            }
            Body::Groups(list) => {
                self.node = record.replica;
                self.incarnation = list.incarnation;
            }
        }
    }

    fn replica(&mut self, record: &Record<'_>) -> &mut Replica {
        let replica = self
            .replicas
            .entry((record.group, record.replica))
            .or_default();
        replica.bytes += record.stored_bytes() as u64;
        replica
    }

    /// That hard state of the replica is durable: what it names may be relied on.
    pub fn durable(&mut self, key: (u64, u64), hard_state: &HardState) {
        // It may have been dropped since.
        if let Some(replica) = self.replicas.get_mut(&key) {
            replica.snapshot = hard_state.snapshot;
            replica.covered = replica.covered.max(hard_state.covered());
            if replica.start == Some((hard_state.start_index, hard_state.start_term)) {
                replica.void.clear();
            }
        }
    }

    /// The snapshot that the replica's latest durable hard state names.
    pub fn snapshot(&self, key: (u64, u64)) -> SnapshotName {
        self.replicas
            .get(&key)
            .map_or_else(SnapshotName::default, |replica| replica.snapshot)
    }

    /// Notes that the segment is damaged for the group. It stays until the group's replica is dropped.
    pub fn damage(&mut self, segment: u64, group: u64) {
        // Of the node's own records the next segment's list says what is needed.
        if group != NODE_GROUP {
            self.damaged.push(Damaged { segment, group });
        }
    }

    /// Notes that what the segment begins with can't be read.
    pub fn headless(&mut self, segment: u64) {
        self.headless.insert(segment);
    }

    /// The oldest segment that is needed; `current` at most.
    pub fn oldest_needed(&self, current: u64) -> u64 {
        let mut oldest = self.pins().map(|pin| pin.segment).fold(current, u64::min);
        while self.headless.contains(&oldest) {
            oldest -= 1;
        }
        oldest
    }

    /// What each replica needs oldest.
    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        let needs = self
            .replicas
            .iter()
            .filter_map(|(&(group, replica), state)| {
                let (segment, reason) = state.needs()?;
                Some(Pin {
                    group,
                    replica,
                    segment,
                    reason,
                })
            });
        let damaged = self.damaged.iter().map(|damaged| Pin {
            group: damaged.group,
            replica: 0,
            segment: damaged.segment,
            reason: PinReason::Damage,
        });
        needs.chain(damaged)
    }

    /// Forgets segments below `floor`.
    pub fn forget_below(&mut self, floor: u64) {
        self.headless = self.headless.split_off(&floor);
        for replica in self.replicas.values_mut() {
            while replica
                .spans
                .front()
                .is_some_and(|span| span.segment < floor)
            {
                replica.spans.pop_front();
            }
            replica.void.retain(|span| span.segment >= floor);
            replica.founding = replica.founding.filter(|&segment| segment >= floor);
        }
    }

    /// Bytes of records noted for the group.
    pub fn bytes(&self, group: u64) -> u64 {
        self.replicas
            .range((group, 0)..=(group, u64::MAX))
            .map(|(_, replica)| replica.bytes)
            .sum()
    }

    /// How many replicas there are.
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// The replicas of which a hard state is in the log, ascending.
    pub fn with_hard_state(&self) -> impl Iterator<Item = (u64, u64)> {
        let held =
            |(key, replica): (&(u64, u64), &Replica)| replica.hard_state.is_some().then_some(*key);
        self.replicas.iter().filter_map(held)
    }

    /// The node's id and its latest incarnation.
    pub fn incarnation(&self) -> (u64, Incarnation) {
        (self.node, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind::{Drop, Entry, Founding};

    const REPLICA: u64 = 3;

    fn add(ledger: &mut Ledger, segment: u64, group: u64, kind: crate::RecordKind, index: u64) {
        let record = Record {
            group,
            replica: REPLICA,
            kind,
            index,
            term: 0,
            body: &[],
        };
        let body = match kind {
            Entry => Body::Entry,
            Drop => Body::Drop,
            _ => Body::Founding(crate::Founding::default()),
        };
        ledger.record(segment, &record, &body);
    }

    fn hard_state(ledger: &mut Ledger, segment: u64, group: u64) {
        let record = Record {
            group,
            replica: REPLICA,
            kind: crate::RecordKind::HardState,
            index: 0,
            term: 0,
            body: &[],
        };
        ledger.record(segment, &record, &Body::HardState(HardState::default()));
    }

    fn named(ledger: &mut Ledger, group: u64, index: u64) {
        let snapshot = SnapshotName {
            index,
            ..SnapshotName::default()
        };
        let hard_state = HardState {
            snapshot,
            ..HardState::default()
        };
        ledger.durable((group, REPLICA), &hard_state);
    }

    fn ledger(records: &[(u64, u64, crate::RecordKind, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(segment, group, kind, index) in records {
            add(&mut ledger, segment, group, kind, index);
        }
        ledger
    }

    #[test]
    fn a_segment_goes_only_with_a_snapshot_and_a_later_hard_state() {
        let mut held = ledger(&[(1, 7, Entry, 1), (2, 7, Entry, 2)]);
        hard_state(&mut held, 1, 7);
        assert_eq!(held.oldest_needed(9), 1);
        named(&mut held, 7, 2);
        assert_eq!(held.oldest_needed(9), 1, "its only hard state is there");
        hard_state(&mut held, 3, 7);
        assert_eq!(held.oldest_needed(9), 3);
        let mut held = ledger(&[(1, 7, Entry, 1), (2, 7, Entry, 2)]);
        hard_state(&mut held, 3, 7);
        assert_eq!(held.oldest_needed(9), 1);
        named(&mut held, 8, 2);
        assert_eq!(held.oldest_needed(9), 1, "another group's snapshot");
        named(&mut held, 7, 1);
        assert_eq!(held.oldest_needed(9), 2);
    }

    #[test]
    fn a_founding_is_needed_until_a_snapshot_says_the_same() {
        let mut held = ledger(&[(1, 7, Founding, 0), (2, 7, Entry, 2)]);
        hard_state(&mut held, 3, 7);
        let start = HardState {
            start_index: 5,
            ..HardState::default()
        };
        held.durable((7, REPLICA), &start);
        let pins: Vec<Pin> = held.pins().collect();
        assert_eq!((pins[0].segment, pins[0].reason), (1, PinReason::Founding));
        named(&mut held, 7, 6);
        assert_eq!(held.oldest_needed(9), 3);
    }

    #[test]
    fn each_group_is_judged_by_itself() {
        let mut held = ledger(&[(1, 7, Entry, 5), (2, 8, Entry, 3), (3, 7, Entry, 6)]);
        let pins: Vec<Pin> = held.pins().collect();
        let pin = |group, segment| Pin {
            group,
            replica: REPLICA,
            segment,
            reason: PinReason::Entries,
        };
        assert_eq!(pins, [pin(7, 1), pin(8, 2)]);
        named(&mut held, 7, 6);
        assert_eq!(held.oldest_needed(9), 2);
        named(&mut held, 8, 3);
        assert_eq!(held.oldest_needed(9), 9);
    }

    #[test]
    fn entries_written_again_free_the_old_ones_only_when_all_are() {
        let mut held = ledger(&[(1, 7, Entry, 3), (1, 7, Entry, 4), (2, 7, Entry, 5)]);
        let oldest = |held: &Ledger, index| {
            let mut held = held.clone();
            named(&mut held, 7, index);
            held.oldest_needed(9)
        };
        add(&mut held, 4, 7, Entry, 4);
        assert_eq!(oldest(&held, 3), 1, "entry 5 is not repeated yet");
        add(&mut held, 5, 7, Entry, 5);
        assert_eq!(oldest(&held, 3), 4);
        assert_eq!(oldest(&held, 2), 1, "entry 3 was not repeated");
        add(&mut held, 6, 7, Entry, 4);
        add(&mut held, 6, 7, Entry, 4);
        add(&mut held, 7, 7, Entry, 5);
        assert_eq!(oldest(&held, 3), 6, "a run may start again");
    }

    #[test]
    fn a_dropped_replica_frees_all() {
        let mut held = ledger(&[(1, 7, Entry, 3), (4, 7, Drop, 0)]);
        assert_eq!(held.oldest_needed(9), 9);
        named(&mut held, 7, 3);
        assert_eq!(held.len(), 0, "what was on its way brings nothing back");
    }

    #[test]
    fn a_damaged_segment_stays_until_its_group_is_dropped() {
        let mut held = ledger(&[(1, 7, Entry, 3), (3, 8, Entry, 1)]);
        named(&mut held, 7, 3);
        held.damage(2, 7);
        assert_eq!(held.oldest_needed(9), 2);
        add(&mut held, 4, 7, Drop, 0);
        assert_eq!(held.oldest_needed(9), 3);
    }

    #[test]
    fn a_segment_whose_list_is_lost_is_never_the_oldest() {
        let mut held = ledger(&[(4, 7, Entry, 3)]);
        held.headless(4);
        held.headless(3);
        assert_eq!(held.oldest_needed(9), 2);
        held.forget_below(2);
        assert_eq!(held.oldest_needed(9), 2);
    }

    #[test]
    fn forgetting_keeps_what_is_above_the_floor() {
        let mut held = ledger(&[(1, 7, Entry, 3), (2, 7, Entry, 4)]);
        held.forget_below(2);
        assert_eq!(held.oldest_needed(9), 2);
        assert_eq!(held.bytes(7), 96);
    }
}
