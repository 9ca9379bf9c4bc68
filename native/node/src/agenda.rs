//! Which shards a turn visits, so that spaces at rest cost nothing.
//!
//! A shard is *awake* while anything about it is open: proposed, waiting, unwritten, due. At the end
//! of a turn one with nothing open goes to *rest*, perhaps with a time at which something will expire.
//! Invariant, checked after each turn in builds with debug assertions: only shards at rest are left out.

use std::collections::{BTreeMap, BTreeSet};

/// The shards that are awake, and when others will be.
#[derive(Default)]
pub struct Agenda {
    awake: BTreeSet<u64>,
    /// (monotonic time in microseconds, shard), soonest first.
    due: BTreeSet<(u64, u64)>,
    /// The same by shard.
    due_us: BTreeMap<u64, u64>,
}

impl Agenda {
    /// Something happened to the shard, or will have to in this turn.
    pub fn wake(&mut self, shard: u64) {
        if self.awake.insert(shard) {
            self.forget_due(shard);
        }
    }

    /// Wakes the shards whose time has come.
    pub fn wake_due(&mut self, now_us: u64) {
        while let Some((at_us, shard)) = self.due.first().copied()
            && at_us <= now_us
        {
            self.wake(shard);
        }
    }

    /// The shard rests until something happens to it, or until `due_us`.
    pub fn rest(&mut self, shard: u64, due_us: Option<u64>) {
        self.forget(shard);
        if let Some(at_us) = due_us {
            self.due.insert((at_us, shard));
            self.due_us.insert(shard, at_us);
        }
    }

    /// The shard is gone.
    pub fn forget(&mut self, shard: u64) {
        self.awake.remove(&shard);
        self.forget_due(shard);
    }

    /// The shards that are awake, by number.
    pub fn awake(&self) -> impl Iterator<Item = u64> {
        self.awake.iter().copied()
    }

    /// Whether the shard is awake.
    pub fn is_awake(&self, shard: u64) -> bool {
        self.awake.contains(&shard)
    }

    /// When the next shard at rest is to be woken.
    pub fn next_us(&self) -> Option<u64> {
        self.due.first().map(|(at_us, _)| *at_us)
    }

    fn forget_due(&mut self, shard: u64) {
        if let Some(at_us) = self.due_us.remove(&shard) {
            self.due.remove(&(at_us, shard));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awake(agenda: &Agenda) -> Vec<u64> {
        agenda.awake().collect()
    }

    #[test]
    fn who_rests_is_woken_by_an_event_or_by_time() {
        let mut agenda = Agenda::default();
        for shard in [3, 1, 2] {
            agenda.wake(shard);
        }
        assert_eq!(awake(&agenda), [1, 2, 3]);
        agenda.rest(1, None);
        agenda.rest(2, Some(70));
        agenda.rest(3, Some(50));
        assert_eq!((awake(&agenda), agenda.next_us()), (vec![], Some(50)));
        agenda.wake_due(49);
        assert!(awake(&agenda).is_empty());
        agenda.wake(1);
        agenda.wake_due(50);
        assert_eq!((awake(&agenda), agenda.next_us()), (vec![1, 3], Some(70)));
    }

    #[test]
    fn an_event_before_its_time_leaves_no_second_time() {
        let mut agenda = Agenda::default();
        agenda.rest(1, Some(50));
        agenda.wake(1);
        assert_eq!(agenda.next_us(), None);
        agenda.rest(1, Some(90));
        agenda.rest(1, Some(80));
        assert_eq!(agenda.next_us(), Some(80));
        agenda.forget(1);
        agenda.wake_due(100);
        assert!(awake(&agenda).is_empty());
        assert_eq!(agenda.next_us(), None);
    }
}
