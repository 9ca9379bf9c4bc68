//! Standing for election before time passes: when the leader's process is gone, or a candidate knows less.

use domp_consensus::{Dropped, Message, MessageType};

use super::Shard;
use crate::config::Clock;

/// Whoever sees that the leader is gone stands within this.
const STAND_WITHIN_US: u64 = 20_000;
/// And again after this, while nobody leads.
const STAND_AGAIN_US: u64 = 20_000;
/// So often at most: then elections begin as they do without a hint.
const STANDS_MAX: u32 = 30;

/// Why nobody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VacancyCause {
    /// The leader's process is gone.
    Gone,
    /// Nothing was heard of a leader for an election timeout.
    Silence,
}

/// A time in which nobody leads.
#[derive(Clone, Copy, Debug)]
pub struct Vacancy {
    since_us: u64,
    cause: VacancyCause,
}

impl Shard {
    /// Takes note of whether somebody leads; since when not, with the first cause that was seen.
    pub fn note_vacancy(&mut self, cause: VacancyCause, clock: Clock) {
        let since_us = clock.monotonic_us;
        match self.group.leader() {
            None => {
                self.vacancy.get_or_insert(Vacancy { since_us, cause });
            }
            // Its own leadership ends the vacancy when it is told.
            Some(leader) if leader != self.group.id() => self.vacancy = None,
            Some(_) => {}
        }
    }

    /// Why this replica leads now, and for how many milliseconds nobody led.
    pub fn take_vacancy(&mut self, clock: Clock) -> Option<(VacancyCause, u64)> {
        let Vacancy { since_us, cause } = self.vacancy.take()?;
        Some((cause, clock.monotonic_us.saturating_sub(since_us) / 1000))
    }

    /// The process of a leader is gone: stands soon, if it led this shard. Followers draw different times, so
    /// that mostly one of them is first.
    pub fn on_gone(&mut self, replica: u64, now_us: u64) {
        if !self.is_stopped() && self.group.forget_leader(replica) {
            let after_us = self.group.draw_below(STAND_WITHIN_US);
            self.stands_at_us = Some(now_us + after_us);
            self.stands_left = STANDS_MAX;
            let since_us = now_us;
            let cause = VacancyCause::Gone;
            self.vacancy = Some(Vacancy { since_us, cause });
        }
    }

    /// A candidate was refused that knows less than this replica, while nobody leads: this one stands at once.
    fn stand_instead(&mut self, now_us: u64) {
        if self.stands_at_us.is_none() && self.group.leader().is_none() {
            self.stands_at_us = Some(now_us);
            self.stands_left = 1;
        }
    }

    /// Stands if it is time to. Asks again and again: who still believes in the leader gives no answer.
    pub fn stand_if_due(&mut self, clock: Clock) -> bool {
        if self.group.leader().is_some() || self.stands_left == 0 {
            self.stands_at_us = None;
        }
        let is_due = self
            .stands_at_us
            .is_some_and(|at_us| at_us <= clock.monotonic_us);
        if is_due {
            self.stands_left -= 1;
            self.stands_at_us = Some(clock.monotonic_us + STAND_AGAIN_US);
            self.campaign(clock);
        }
        is_due
    }

    /// When it stands next, monotonic microseconds.
    pub fn stands_at_us(&self) -> Option<u64> {
        self.stands_at_us
    }

    /// A message of another replica.
    pub fn step(&mut self, message: Message, clock: Clock) -> Result<(), Dropped> {
        let asks = message.get_msg_type() == MessageType::MsgRequestPreVote;
        let knows_less = asks && self.group.is_ahead_of(&message);
        let taken = self.group.step(message);
        self.note_vacancy(VacancyCause::Silence, clock);
        self.note_leadership(clock);
        if knows_less {
            self.stand_instead(clock.monotonic_us);
        }
        taken
    }
}
