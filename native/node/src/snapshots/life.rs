//! The life of a shard's next snapshot, as a table of phases and events. Knows no files, no shards and no
//! node: what it decides can be read, and tested, on one page.
//!
//! ```text
//! Resting ─Want─► Wanted ─Begin─► Slicing ─Sliced─► Writing ─Durable─► Naming ─Named─► Resting
//!                   ▲                └──────Fail──────┴─► Undoing ─Undone─► Waiting ─Tick─► Wanted
//!                   └─ Spare: nothing to take ─► Resting
//! any ─Drop─► Gone, or Leaving until what was under way has ended
//! ```
//!
//! Invariant: whatever phase it is in, an event that will come leads out of it. The job that is out ends,
//! the commit under way ends, time passes; nothing waits for an event that somebody may forget to send.

/// Wait after the first failure; each further one in a row doubles it.
pub const RETRY_US: u64 = 5_000_000;
/// The longest wait.
pub const RETRY_MAX_US: u64 = 300_000_000;

/// Where the next snapshot of a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// None is wanted.
    Resting,
    /// Waits for its turn on the disk.
    Wanted,
    /// The state gives slices, the file is written.
    Slicing,
    /// All slices are in, the file is written.
    Writing,
    /// The file is durable; a hard state that names it is to become so.
    Naming,
    /// It failed; what there is of its file is being removed.
    Undoing {
        /// When it is tried again.
        until_us: u64,
    },
    /// It failed, and will be tried again.
    Waiting {
        /// When.
        until_us: u64,
    },
    /// The shard was dropped while the file was written; what is under way has to end.
    Leaving,
    /// The shard was dropped.
    Gone,
}

/// What happens to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is cause for one.
    Want,
    /// Somebody asks for one now: earlier failures count for nothing.
    Insist,
    /// Its turn on the disk has come.
    Begin,
    /// Its turn has come, and the last one holds everything.
    Spare,
    /// The state gave its last slice.
    Sliced,
    /// The file is durable under its name.
    Durable,
    /// A durable hard state names it.
    Named,
    /// It can't be finished.
    Fail,
    /// Nothing is left of the one that failed, or what is left is somebody else's to remove.
    Undone,
    /// Time passed.
    Tick,
    /// The shard is gone.
    Drop,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    phase: Phase,
    /// Failures since the last success.
    failures: u32,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            phase: Phase::Resting,
            failures: 0,
        }
    }
}

impl Life {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it is tried again, if it failed.
    pub fn retry_at_us(&self) -> Option<u64> {
        match self.phase {
            Phase::Undoing { until_us } | Phase::Waiting { until_us } => Some(until_us),
            _ => None,
        }
    }

    /// Takes an event in; false if it means nothing in this phase, which then stays.
    pub fn on(&mut self, event: Event, now_us: u64) -> bool {
        use Phase::{Gone, Leaving, Naming, Resting, Slicing, Undoing, Waiting, Wanted, Writing};
        let next = match (self.phase, event) {
            (Resting, Event::Want | Event::Insist) | (Waiting { .. }, Event::Insist) => Wanted,
            (Undoing { .. }, Event::Insist) => Undoing { until_us: now_us },
            (Waiting { until_us }, Event::Tick) if now_us >= until_us => Wanted,
            (Wanted, Event::Begin) => Slicing,
            (Slicing, Event::Sliced) => Writing,
            (Writing, Event::Durable) => Naming,
            (Wanted, Event::Spare) | (Naming, Event::Named) => Resting,
            (Slicing | Writing, Event::Fail) => Undoing {
                until_us: now_us.saturating_add(self.retry_us()),
            },
            (Undoing { until_us }, Event::Undone) => Waiting { until_us },
            (Slicing | Writing | Undoing { .. }, Event::Drop) => Leaving,
            (Resting | Wanted | Naming | Waiting { .. }, Event::Drop)
            | (Leaving, Event::Undone | Event::Durable) => Gone,
            _ => return false,
        };
        match event {
            Event::Fail => self.failures = self.failures.saturating_add(1),
            Event::Named | Event::Spare => self.failures = 0,
            _ => {}
        }
        self.phase = next;
        true
    }

    /// The wait before the next attempt, if the present one fails.
    fn retry_us(&self) -> u64 {
        let doubled = 1_u64
            .checked_shl(self.failures)
            .map_or(u64::MAX, |times| RETRY_US.saturating_mul(times));
        doubled.min(RETRY_MAX_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: u64 = 1_000;
    const SOON: Phase = Phase::Waiting {
        until_us: NOW_US + 1,
    };
    const DUE: Phase = Phase::Waiting { until_us: NOW_US };
    const UNDOING: Phase = Phase::Undoing { until_us: 7 };
    const EVENTS: [Event; 11] = [
        Event::Want,
        Event::Insist,
        Event::Begin,
        Event::Spare,
        Event::Sliced,
        Event::Durable,
        Event::Named,
        Event::Fail,
        Event::Undone,
        Event::Tick,
        Event::Drop,
    ];

    fn at(phase: Phase) -> Life {
        Life { phase, failures: 0 }
    }

    /// What is not in a row changes nothing.
    #[test]
    fn every_phase_knows_what_each_event_means() {
        use Event::{Begin, Drop, Durable, Fail, Insist, Named, Sliced, Spare, Tick, Undone, Want};
        use Phase::{Gone, Leaving, Naming, Resting, Slicing, Undoing, Waiting, Wanted, Writing};
        let failed = Undoing {
            until_us: NOW_US + RETRY_US,
        };
        let table: &[(Phase, &[(Event, Phase)])] = &[
            (Resting, &[(Want, Wanted), (Insist, Wanted), (Drop, Gone)]),
            (Wanted, &[(Begin, Slicing), (Spare, Resting), (Drop, Gone)]),
            (
                Slicing,
                &[(Sliced, Writing), (Fail, failed), (Drop, Leaving)],
            ),
            (
                Writing,
                &[(Durable, Naming), (Fail, failed), (Drop, Leaving)],
            ),
            (Naming, &[(Named, Resting), (Drop, Gone)]),
            (
                UNDOING,
                &[
                    (Insist, Undoing { until_us: NOW_US }),
                    (Undone, Waiting { until_us: 7 }),
                    (Drop, Leaving),
                ],
            ),
            (SOON, &[(Insist, Wanted), (Drop, Gone)]),
            (DUE, &[(Insist, Wanted), (Tick, Wanted), (Drop, Gone)]),
            (Leaving, &[(Undone, Gone), (Durable, Gone)]),
            (Gone, &[]),
        ];
        for &(phase, row) in table {
            for event in EVENTS {
                let mut life = at(phase);
                let expected = row.iter().find(|(known, _)| *known == event);
                let took = life.on(event, NOW_US);
                assert_eq!(took, expected.is_some(), "{phase:?} on {event:?}");
                let next = expected.map_or(phase, |(_, next)| *next);
                assert_eq!(life.phase(), next, "{phase:?} on {event:?}");
            }
        }
    }

    fn fail_once(life: &mut Life) -> u64 {
        life.on(Event::Insist, NOW_US);
        for event in [Event::Begin, Event::Sliced, Event::Fail] {
            assert!(life.on(event, NOW_US));
        }
        let retry_us = life.retry_at_us().expect("it failed") - NOW_US;
        assert!(life.on(Event::Undone, NOW_US));
        retry_us
    }

    #[test]
    fn failures_in_a_row_are_tried_again_after_twice_the_time_and_a_success_forgets_them() {
        let mut life = Life::default();
        let seconds: Vec<u64> = (0..9).map(|_| fail_once(&mut life) / 1_000_000).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        for _ in 0..100 {
            assert_eq!(fail_once(&mut life), RETRY_MAX_US);
        }
        life.on(Event::Insist, NOW_US);
        for event in [Event::Begin, Event::Sliced, Event::Durable, Event::Named] {
            assert!(life.on(event, NOW_US));
        }
        assert_eq!(life.phase(), Phase::Resting);
        assert_eq!(fail_once(&mut life), RETRY_US);
    }

    #[test]
    fn from_every_phase_something_leads_on() {
        use Phase::{Gone, Leaving, Naming, Slicing, Wanted, Writing};
        for phase in [Wanted, Slicing, Writing, Naming, UNDOING, DUE, Leaving] {
            // Without a person, and without the shard being dropped.
            let leads = EVENTS
                .iter()
                .filter(|event| !matches!(event, Event::Insist | Event::Drop))
                .any(|event| at(phase).on(*event, NOW_US));
            assert!(leads, "nothing ends {phase:?}");
        }
        assert!(EVENTS.iter().all(|event| !at(Gone).on(*event, NOW_US)));
    }
}
