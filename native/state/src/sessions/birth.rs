//! Whether an unknown session may still be accepted.
//!
//! A session's birth is a revision; its age must be told in lease time. So the
//! state notes, now and then, which revision stood at which lease time. Wall
//! clocks take no part (Promise 8).
//!
//! Two rules, and a session must pass both:
//! - none that was born as late has ever been forgotten: this alone makes sure
//!   that a forgotten session is never taken for a new one (Promise 2). It
//!   refuses nobody in vain: whoever was forgotten had been silent for the time
//!   to live, so everyone born before is older than that;
//! - it is not known to have been born longer ago than the time to live. Between
//!   two notes it gets the benefit of the doubt: after an idle hour a newborn
//!   session must be let in.

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
    /// The latest birth among all sessions ever forgotten; 0 for none.
    forgotten: u64,
}

impl Births {
    /// As a snapshot tells it; `None` if it does not ascend.
    pub fn restored(checkpoints: VecDeque<Checkpoint>, forgotten: u64) -> Option<Self> {
        let ascends = checkpoints
            .iter()
            .zip(checkpoints.iter().skip(1))
            .all(|(a, b)| a.revision < b.revision && a.lease_ms < b.lease_ms);
        ascends.then_some(Self {
            checkpoints,
            forgotten,
        })
    }

    /// Takes note of an entry's stamps, if it is time; forgets notes that judge nothing any more.
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
        // The latest note as old as the time to live condemns all births before it; those
        // further back add nothing.
        while self
            .checkpoints
            .get(1)
            .is_some_and(|next| lease_ms.saturating_sub(next.lease_ms) >= ttl_ms)
        {
            self.checkpoints.pop_front();
        }
    }

    /// A session is forgotten.
    pub fn forget(&mut self, birth: u64) {
        self.forgotten = self.forgotten.max(birth);
    }

    /// Whether an unknown session is too old.
    pub fn is_expired(&self, birth: u64, lease_ms: u64, ttl_ms: u64) -> bool {
        if birth <= self.forgotten {
            return true;
        }
        let next = self
            .checkpoints
            .partition_point(|note| note.revision <= birth);
        self.checkpoints
            .get(next)
            .is_some_and(|after| lease_ms.saturating_sub(after.lease_ms) >= ttl_ms)
    }

    /// The notes.
    pub fn checkpoints(&self) -> &VecDeque<Checkpoint> {
        &self.checkpoints
    }

    /// The latest birth forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
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
        assert!(births.is_expired(1_000, 9_900, TTL_MS));
        assert!(births.is_expired(1_349, 9_900, TTL_MS));
        assert!(
            !births.is_expired(1_350, 9_900, TTL_MS),
            "born after the note at 3,500"
        );
        assert!(
            !births.is_expired(5_000, 9_900, TTL_MS),
            "born after the last note"
        );
    }

    #[test]
    fn a_young_shard_accepts_from_before_its_beginning() {
        let mut births = Births::default();
        births.note(1_000, 50, TTL_MS);
        assert!(!births.is_expired(7, 50, TTL_MS));
        assert!(!births.is_expired(7, 50 + TTL_MS - 1, TTL_MS));
        assert!(births.is_expired(7, 50 + TTL_MS, TTL_MS));
    }

    #[test]
    fn a_newborn_is_let_in_after_an_idle_time() {
        let mut births = Births::default();
        births.note(1_000, 0, TTL_MS);
        births.note(9_000, 10 * TTL_MS, TTL_MS);
        assert!(!births.is_expired(8_999, 10 * TTL_MS, TTL_MS));
        assert!(births.is_expired(999, 10 * TTL_MS, TTL_MS));
    }

    #[test]
    fn nobody_born_before_a_forgotten_session_is_let_in() {
        let mut births = Births::default();
        births.note(1_000, 0, TTL_MS);
        births.forget(8_000);
        births.forget(7_000);
        births.note(9_000, 10 * TTL_MS, TTL_MS);
        assert!(births.is_expired(8_000, 10 * TTL_MS, TTL_MS));
        assert!(!births.is_expired(8_001, 10 * TTL_MS, TTL_MS));
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
