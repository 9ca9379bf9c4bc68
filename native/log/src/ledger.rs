//! Which segment holds what of which group: decides what may be removed.

use std::collections::{BTreeMap, VecDeque};

use crate::RecordKind;

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

#[derive(Clone, Debug, Default)]
struct Group {
    /// Ascending by segment, at most one each.
    spans: VecDeque<Span>,
    last_index: u64,
    /// Segment of the latest hard state.
    hard_state: Option<u64>,
    /// Segment of the latest drop.
    dropped: Option<u64>,
    run: Option<Run>,
    bytes: u64,
}

impl Group {
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
    fn needs(&self, snapshot: Option<u64>) -> Option<(u64, PinReason)> {
        let covered = snapshot.unwrap_or(0);
        let entry = self
            .spans
            .iter()
            .find(|span| span.last_index > covered)
            .map(|span| (span.segment, PinReason::Entries));
        let hard_state = self
            .hard_state
            .map(|segment| (segment, PinReason::HardState));
        // While a snapshot is left, forgetting the drop would bring the group back.
        let dropped = self
            .dropped
            .filter(|_| snapshot.is_some())
            .map(|segment| (segment, PinReason::Drop));
        [entry, hard_state, dropped]
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
    /// It was dropped, and a snapshot of it is left. Removing the snapshot frees the segment.
    Drop,
    /// The segment is damaged and the group not yet repaired. Dropping the group frees the segment.
    Damage,
}

/// A group that keeps the oldest segment from being removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The group.
    pub group: u64,
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
    groups: BTreeMap<u64, Group>,
    damaged: Vec<Damaged>,
}

impl Ledger {
    /// Notes a record of that segment. Records come in log order.
    pub fn record(
        &mut self,
        segment: u64,
        group: u64,
        kind: RecordKind,
        index: u64,
        stored_bytes: usize,
    ) {
        let entry = self.groups.entry(group).or_default();
        entry.bytes += stored_bytes as u64;
        match kind {
            RecordKind::Entry | RecordKind::ConfChange => entry.entry(segment, index),
            RecordKind::HardState => entry.hard_state = Some(segment),
            RecordKind::Drop => {
                *entry = Group {
                    dropped: Some(segment),
                    bytes: entry.bytes,
                    ..Group::default()
                };
                self.damaged.retain(|damaged| damaged.group != group);
            }
        }
    }

    /// Notes that the segment is damaged for the group. It stays until the group is dropped.
    pub fn damage(&mut self, segment: u64, group: u64) {
        self.damaged.push(Damaged { segment, group });
    }

    /// The oldest segment that is needed, given each group's newest durable snapshot; `current` at most.
    pub fn oldest_needed(&self, snapshots: &BTreeMap<u64, u64>, current: u64) -> u64 {
        self.pins(snapshots)
            .map(|pin| pin.segment)
            .fold(current, u64::min)
    }

    /// What each group needs oldest.
    pub fn pins(&self, snapshots: &BTreeMap<u64, u64>) -> impl Iterator<Item = Pin> {
        let needs = self.groups.iter().filter_map(|(&group, state)| {
            let (segment, reason) = state.needs(snapshots.get(&group).copied())?;
            Some(Pin {
                group,
                segment,
                reason,
            })
        });
        let damaged = self.damaged.iter().map(|damaged| Pin {
            group: damaged.group,
            segment: damaged.segment,
            reason: PinReason::Damage,
        });
        needs.chain(damaged)
    }

    /// Forgets segments below `floor`.
    pub fn forget_below(&mut self, floor: u64) {
        self.groups.retain(|_, group| {
            while group.spans.front().is_some_and(|span| span.segment < floor) {
                group.spans.pop_front();
            }
            let gone = group.spans.is_empty()
                && group.hard_state.is_none()
                && group.dropped.is_some_and(|segment| segment < floor);
            !gone
        });
    }

    /// Bytes of records ever noted for the group.
    pub fn bytes(&self, group: u64) -> u64 {
        self.groups.get(&group).map_or(0, |group| group.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RecordKind::{Drop, Entry, HardState};

    fn ledger(records: &[(u64, u64, RecordKind, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(segment, group, kind, index) in records {
            ledger.record(segment, group, kind, index, 40);
        }
        ledger
    }

    fn oldest(ledger: &Ledger, snapshots: &[(u64, u64)]) -> u64 {
        ledger.oldest_needed(&snapshots.iter().copied().collect(), 9)
    }

    #[test]
    fn a_segment_goes_only_with_a_snapshot_and_a_later_hard_state() {
        let held = ledger(&[(1, 7, Entry, 1), (1, 7, HardState, 0), (2, 7, Entry, 2)]);
        assert_eq!(oldest(&held, &[]), 1);
        assert_eq!(oldest(&held, &[(7, 2)]), 1, "its only hard state is there");
        let held = ledger(&[
            (1, 7, Entry, 1),
            (1, 7, HardState, 0),
            (2, 7, Entry, 2),
            (3, 7, HardState, 0),
        ]);
        assert_eq!(oldest(&held, &[]), 1);
        assert_eq!(oldest(&held, &[(7, 1)]), 2);
        assert_eq!(oldest(&held, &[(7, 2)]), 3);
        assert_eq!(oldest(&held, &[(8, 2)]), 1, "another group's snapshot");
    }

    #[test]
    fn each_group_is_judged_by_itself() {
        let held = ledger(&[(1, 7, Entry, 5), (2, 8, Entry, 3), (3, 7, Entry, 6)]);
        assert_eq!(oldest(&held, &[(7, 6)]), 2);
        assert_eq!(oldest(&held, &[(7, 6), (8, 3)]), 9);
        let pins: Vec<Pin> = held.pins(&BTreeMap::new()).collect();
        let pin = |group, segment| Pin {
            group,
            segment,
            reason: PinReason::Entries,
        };
        assert_eq!(pins, [pin(7, 1), pin(8, 2)]);
    }

    #[test]
    fn entries_written_again_free_the_old_ones_only_when_all_are() {
        let mut held = ledger(&[(1, 7, Entry, 3), (1, 7, Entry, 4), (2, 7, Entry, 5)]);
        held.record(4, 7, Entry, 4, 40);
        assert_eq!(oldest(&held, &[(7, 3)]), 1, "entry 5 is not repeated yet");
        held.record(5, 7, Entry, 5, 40);
        assert_eq!(oldest(&held, &[(7, 3)]), 4);
        assert_eq!(oldest(&held, &[(7, 2)]), 1, "entry 3 was not repeated");
        held.record(6, 7, Entry, 4, 40);
        held.record(6, 7, Entry, 4, 40);
        held.record(7, 7, Entry, 5, 40);
        assert_eq!(oldest(&held, &[(7, 3)]), 6, "a run may start again");
    }

    #[test]
    fn a_dropped_group_frees_all_but_the_drop_while_a_snapshot_is_left() {
        let mut held = ledger(&[(1, 7, Entry, 3), (1, 7, HardState, 0), (4, 7, Drop, 0)]);
        assert_eq!(oldest(&held, &[(7, 3)]), 4);
        assert_eq!(oldest(&held, &[]), 9);
        held.record(5, 7, Entry, 1, 40);
        assert_eq!(oldest(&held, &[]), 5, "a group may come again");
    }

    #[test]
    fn a_damaged_segment_stays_until_its_group_is_dropped() {
        let mut held = ledger(&[(1, 7, Entry, 3), (3, 8, Entry, 1)]);
        held.damage(2, 7);
        assert_eq!(oldest(&held, &[(7, 3)]), 2);
        held.record(4, 7, Drop, 0, 40);
        assert_eq!(oldest(&held, &[]), 3);
    }

    #[test]
    fn forgetting_keeps_what_is_above_the_floor() {
        let mut held = ledger(&[(1, 7, Entry, 3), (2, 7, Entry, 4), (1, 8, Drop, 0)]);
        held.forget_below(2);
        assert_eq!(oldest(&held, &[(7, 3)]), 2);
        assert_eq!(held.groups.len(), 1);
        assert_eq!(held.bytes(7), 80);
    }
}
