//! Whether an unknown session may still be accepted.
//!
//! A session's birth is a revision; its age must be told in lease time. So the
//! state notes, now and then, which revision stood at which lease time. Wall
//! clocks take no part (Promise 8).
//!
//! What both rules below come to is one number, the floor, which only rises,
//! however the time to live changes: who was too old once is too old for ever.
//! - A session that is forgotten lifts it to its birth: this alone makes sure
//!   that a forgotten session is never taken for a new one (Promise 2). It
//!   refuses nobody in vain: whoever was forgotten had been silent for the time
//!   to live, so everyone born before is older than that.
//! - A note as old as the time to live lifts it below its revision: who was born
//!   before is older. Between two notes there is the benefit of the doubt: after
//!   an idle hour a newborn session must be let in.

use std::collections::VecDeque;

/// Notes kept for one time to live; so many parts of it is the doubt about an age.
const CHECKPOINTS_PER_TTL: u64 = 64;
/// The longest time between two notes while entries come.
const INTERVAL_MS_MAX: u64 = 60_000;

/// A revision and the lease time it was stamped at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub revision: u64,
    pub lease_ms: u64,
}

/// Judges the age of unknown sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Births {
    /// Ascending in both fields.
    checkpoints: VecDeque<Checkpoint>,
    /// Births up to here are too old; 0 for none. Never falls.
    floor: u64,
}

impl Births {
    /// As a snapshot tells it; `None` if it does not ascend.
    pub fn restored(checkpoints: VecDeque<Checkpoint>, floor: u64) -> Option<Self> {
        let ascends = checkpoints
            .iter()
            .zip(checkpoints.iter().skip(1))
            .all(|(a, b)| a.revision < b.revision && a.lease_ms < b.lease_ms);
        ascends.then_some(Self { checkpoints, floor })
    }

    /// Takes note of an entry's stamps, if it is time; turns notes as old as the time to live into
    /// the floor.
    pub fn note(&mut self, revision: u64, lease_ms: u64, ttl_ms: u64) {
        let interval_ms = (ttl_ms / CHECKPOINTS_PER_TTL).clamp(1, INTERVAL_MS_MAX);
        let is_time = self
            .checkpoints
            .back()
            .is_none_or(|last| lease_ms.saturating_sub(last.lease_ms) >= interval_ms);
        if is_time {
            self.checkpoints
                .push_back(Checkpoint { revision, lease_ms });
        }
        while let Some(first) = self.checkpoints.front()
            && lease_ms.saturating_sub(first.lease_ms) >= ttl_ms
        {
            self.floor = self.floor.max(first.revision.saturating_sub(1));
            // The last tells when the next is due.
            if self.checkpoints.len() == 1 {
                break;
            }
            self.checkpoints.pop_front();
        }
    }

    /// A session is forgotten.
    pub fn forget(&mut self, birth: u64) {
        self.floor = self.floor.max(birth);
    }

    /// Whether an unknown session is too old.
    pub fn is_expired(&self, birth: u64) -> bool {
        birth <= self.floor
    }

    /// The notes.
    pub fn checkpoints(&self) -> &VecDeque<Checkpoint> {
        &self.checkpoints
    }

    /// The latest birth that is too old; 0 for none.
    pub fn floor(&self) -> u64 {
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL_MS: u64 = 6_400;

    #[test]
    fn the_age_of_a_birth_is_told_from_notes() {
        let mut births = Births::default();
        for minute in 0..100_u64 {
            births.note(1_000 + minute * 10, minute * 100, TTL_MS);
        }
        // Lease time is 9,900 now; what was noted at 3,500 or before is too old.
        assert!(births.is_expired(1_000));
        assert!(births.is_expired(1_349));
        assert!(!births.is_expired(1_350), "born after the note at 3,500");
        assert!(!births.is_expired(5_000), "born after the last note");
    }

    #[test]
    fn a_young_shard_accepts_from_before_its_beginning() {
        let mut births = Births::default();
        births.note(1_000, 50, TTL_MS);
        assert!(!births.is_expired(7));
        births.note(1_001, 50 + TTL_MS - 1, TTL_MS);
        assert!(!births.is_expired(7));
        births.note(1_002, 50 + TTL_MS, TTL_MS);
        assert!(births.is_expired(7));
    }

    #[test]
    fn a_newborn_is_let_in_after_an_idle_time() {
        let mut births = Births::default();
        births.note(1_000, 0, TTL_MS);
        births.note(9_000, 10 * TTL_MS, TTL_MS);
        assert!(!births.is_expired(8_999));
        assert!(births.is_expired(999));
    }

    #[test]
    fn nobody_born_before_a_forgotten_session_is_let_in() {
        let mut births = Births::default();
        births.note(1_000, 0, TTL_MS);
        births.forget(8_000);
        births.forget(7_000);
        births.note(9_000, 10 * TTL_MS, TTL_MS);
        assert!(births.is_expired(8_000));
        assert!(!births.is_expired(8_001));
    }

    #[test]
    fn who_was_too_old_stays_so_when_the_time_to_live_grows() {
        let mut births = Births::default();
        births.note(1_000, 0, TTL_MS);
        births.note(2_000, 100, TTL_MS);
        births.note(3_000, 200, 150);
        assert!(births.is_expired(999));
        assert!(!births.is_expired(1_500), "noted 100 ms ago");
        births.note(4_000, 300, 100 * TTL_MS);
        assert!(births.is_expired(999));
        assert!(!births.is_expired(1_500));
    }

    #[test]
    fn notes_are_bounded() {
        let mut births = Births::default();
        for at in 0..100_000_u64 {
            births.note(at + 1, at * 7, TTL_MS);
        }
        assert!(births.checkpoints().len() as u64 <= CHECKPOINTS_PER_TTL + 2);
    }
}
