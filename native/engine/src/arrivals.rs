//! When the records of a ring came. The writer stamps nothing (it would cost a
//! clock call a message); the reader notes now and then how far the ring was
//! filled, and from that bounds how long a record has waited.

use std::collections::VecDeque;

/// Notes kept; at one a turn this is more than a ring holds turns.
const NOTES_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Note {
    /// The ring's tail at the time: records from this cursor on came later.
    cursor: u32,
    time_us: u64,
}

/// Bounds on the waiting time of records.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// In order of both fields; never empty.
    notes: VecDeque<Note>,
}

impl Arrivals {
    /// For a ring whose tail is at `cursor` now.
    pub fn new(cursor: u32, now_us: u64) -> Self {
        let mut notes = VecDeque::with_capacity(NOTES_MAX);
        notes.push_back(Note {
            cursor,
            time_us: now_us,
        });
        Self { notes }
    }

    /// The tail is at `cursor` now.
    pub fn note(&mut self, cursor: u32, now_us: u64) {
        if let Some(last) = self.notes.back_mut()
            && last.cursor == cursor
        {
            last.time_us = now_us;
            return;
        }
        if self.notes.len() == NOTES_MAX {
            // The oldest bounds what is unread; one behind it only makes bounds coarser.
            self.notes.remove(1);
        }
        self.notes.push_back(Note {
            cursor,
            time_us: now_us,
        });
    }

    /// Whether nothing was unread at the last note, if the reader is at `head`.
    pub fn is_read_up(&self, head: u32) -> bool {
        self.notes.back().is_some_and(|note| note.cursor == head)
    }

    /// The reader slept on an empty ring and was woken now: what is in the ring just came.
    pub fn woken(&mut self, now_us: u64) {
        if let Some(last) = self.notes.back_mut() {
            last.time_us = now_us;
        }
    }

    /// The longest that the record at `cursor` may have waited; earlier records are done with.
    pub fn waited_us(&mut self, cursor: u32, now_us: u64) -> u64 {
        while let Some(next) = self.notes.get(1)
            && is_at_or_before(next.cursor, cursor)
        {
            self.notes.pop_front();
        }
        let since_us = self.notes.front().map_or(now_us, |note| note.time_us);
        now_us.saturating_sub(since_us)
    }
}

/// Compares cursors that wrap around at 2^32 and are less than half of that apart.
fn is_at_or_before(cursor: u32, other: u32) -> bool {
    other.wrapping_sub(cursor) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_waited_at_most_since_the_last_note_before_it() {
        let mut arrivals = Arrivals::new(0, 100);
        arrivals.note(64, 200);
        arrivals.note(128, 300);
        assert_eq!(arrivals.waited_us(0, 350), 250, "came after 100");
        assert_eq!(arrivals.waited_us(64, 350), 150, "came after 200");
        assert_eq!(arrivals.waited_us(96, 350), 150);
        assert_eq!(arrivals.waited_us(128, 350), 50);
        assert_eq!(arrivals.waited_us(500, 350), 50);
    }

    #[test]
    fn an_idle_ring_ages_nothing() {
        let mut arrivals = Arrivals::new(0, 0);
        arrivals.note(0, 1_000_000);
        assert_eq!(arrivals.waited_us(0, 1_000_010), 10);
        arrivals.woken(60_000_000);
        arrivals.note(32, 60_000_005);
        assert_eq!(
            arrivals.waited_us(0, 60_000_005),
            5,
            "woken for this very record"
        );
    }

    #[test]
    fn a_crowd_of_notes_stays_bounded_and_never_says_too_little() {
        let mut arrivals = Arrivals::new(u32::MAX - 1599, 0);
        for n in 1..=1000_u32 {
            arrivals.note((u32::MAX - 1599).wrapping_add(n * 16), u64::from(n) * 10);
        }
        assert!(arrivals.notes.len() <= NOTES_MAX);
        for n in 0..=1000_u32 {
            let cursor = (u32::MAX - 1599).wrapping_add(n * 16);
            let truth = 20_000 - u64::from(n) * 10;
            assert!(arrivals.waited_us(cursor, 20_000) >= truth, "record {n}");
        }
        assert_eq!(
            arrivals.waited_us((u32::MAX - 1599).wrapping_add(16_000), 20_000),
            10_000
        );
    }
}
