//! What goes wrong in a cluster: machines, disks, clocks, and what is between them.

use domp_node::Lane;

use super::{Cluster, Event, MACHINES, Situation};
use crate::history::Broken;

/// The shard that most requests are for.
const SPACE: u64 = 1;
/// Longer than any election takes to begin.
const ELECTION_US: u64 = 700_000;

impl Cluster {
    pub(super) fn break_something(&mut self) -> Result<(), Broken> {
        if self.is_settling() {
            return Ok(());
        }
        let next_us = self.rng.between(10_000, 600_000);
        self.at(next_us, Event::Break);
        self.free_disks();
        let clients = &self.clients;
        self.waiting
            .check(self.now_us, |socket| clients.is_connected(socket))?;
        self.faults += 1;
        let at = self.victim();
        match self.rng.below(24) {
            0..=2 => {
                if self.leader_of(SPACE) == Some(at) {
                    self.situations.note(Situation::LeaderCrashed);
                } else {
                    self.situations.note(Situation::FollowerCrashed);
                }
                self.crash(at);
            }
            3 => {
                self.situations.note(Situation::AllCrashed);
                for at in 0..MACHINES {
                    self.crash(at);
                }
            }
            4 => self.machines[at].flush_fails = true,
            5 | 6 => self.pause(at),
            7 | 8 => self.isolate(at),
            9 => self.cut_pair(at),
            10 => {
                let other = (at + 1) % MACHINES;
                self.network.cut(at, other);
                self.situations.note(Situation::CutOneWay);
                self.heal_later();
            }
            11 => {
                self.network.slow_us = self.rng.between(1_000, 60_000);
                self.situations.note(Situation::Slow);
                self.heal_later();
            }
            12 => self.break_connections(at),
            13 => {
                let by_ms = i64::try_from(self.rng.between(1_000, 7_200_000)).expect("hours");
                let sign = if self.rng.percent(50) { 1 } else { -1 };
                self.machines[at].wall_offset_ms += sign * by_ms;
                self.situations.note(Situation::WallJumped);
            }
            14 | 15 => self.fill_disk(at),
            16..=19 => self.trouble_requests(at),
            // Away for long: others go on, and do not keep for it what it misses.
            20 => {
                self.situations.note(Situation::LongAbsence);
                let after_us = self.rng.between(2_000_000, 8_000_000);
                self.crash_for(at, after_us);
            }
            21 => {
                self.situations.note(Situation::LongAbsence);
                for other in (0..MACHINES).filter(|other| *other != at) {
                    self.network.cut(at, other);
                    self.network.cut(other, at);
                }
                let after_us = self.rng.between(2_000_000, 6_000_000);
                self.at(after_us, Event::Heal);
            }
            // The leader goes, and those that vote for another fail while they write that down.
            _ => {
                for each in (0..MACHINES).filter(|each| *each != at) {
                    self.machines[each].fails_in_write = Some(self.rng.below(4));
                }
                self.crash(at);
            }
        }
        Ok(())
    }

    /// Mostly any machine, often the leader.
    fn victim(&mut self) -> usize {
        let any = self.rng.index(MACHINES);
        if self.rng.percent(40) {
            self.leader_of(SPACE).unwrap_or(any)
        } else {
            any
        }
    }

    pub(super) fn crash(&mut self, at: usize) {
        let after_us = if self.rng.percent(30) {
            self.rng.between(ELECTION_US, 4 * ELECTION_US)
        } else {
            self.rng.between(500, 50_000)
        };
        self.crash_for(at, after_us);
    }

    /// A machine's power fails, and comes back after that time.
    fn crash_for(&mut self, at: usize, after_us: u64) {
        self.note_transfers(at, true);
        let machine = &mut self.machines[at];
        if machine.node.is_none() {
            return;
        }
        if machine.write.is_some() {
            self.situations.note(Situation::CrashInWrite);
        }
        machine.crash(&mut self.rng);
        machine.paused_until_us = 0;
        let homed = self.homes.iter().filter(|(_, home)| **home == at);
        let homed: Vec<_> = homed.map(|(socket, _)| *socket).collect();
        self.clients.on_broken(&homed);
        self.waiting.crash(at);
        self.network.reset_all(at);
        self.break_all_requests(at);
        // A killed process is known at once: its connections are reset.
        for other in (0..MACHINES).filter(|other| *other != at) {
            self.at(
                100,
                Event::Lost {
                    at: other,
                    to: at,
                    lane: Lane::Log,
                },
            );
            if self.rng.percent(70) {
                let after_us = self.rng.between(100, 2_000);
                self.at(after_us, Event::Gone { at: other, to: at });
            }
        }
        self.at(after_us, Event::Start { at });
    }

    /// The group commit under way fails, when it is written or when it is flushed.
    fn pause(&mut self, at: usize) {
        let by_us = self.rng.between(1_000, 4 * ELECTION_US);
        self.situations.note(Situation::Paused);
        if by_us > ELECTION_US && self.leader_of(SPACE) == Some(at) {
            self.situations.note(Situation::LeaderPaused);
        }
        let until_us = self.now_us + by_us;
        self.waiting.pause(at, by_us);
        let lag_us = self.rng.below(5_000);
        let machine = &mut self.machines[at];
        if machine.paused_until_us <= self.now_us {
            machine.peers_lag_us = lag_us;
        }
        machine.paused_until_us = machine.paused_until_us.max(until_us);
    }

    fn isolate(&mut self, at: usize) {
        self.situations.note(Situation::Isolated);
        if self.leader_of(SPACE) == Some(at) {
            self.situations.note(Situation::LeaderIsolated);
        }
        for other in (0..MACHINES).filter(|other| *other != at) {
            self.network.cut(at, other);
            self.network.cut(other, at);
        }
        self.heal_later();
    }

    fn cut_pair(&mut self, at: usize) {
        let other = (at + 1) % MACHINES;
        self.network.cut(at, other);
        self.network.cut(other, at);
        self.situations.note(Situation::CutBothWays);
        self.heal_later();
    }

    pub(super) fn heal_later(&mut self) {
        let after_us = self.rng.between(1_000, 4 * ELECTION_US);
        self.at(after_us, Event::Heal);
    }

    pub(super) fn heal(&mut self) {
        if self.network.is_cut() {
            // What vanished is missed by whoever comes next.
            self.situations.note(Situation::ConnectionBroken);
        }
        self.network.heal();
    }

    fn break_connections(&mut self, at: usize) {
        self.situations.note(Situation::ConnectionBroken);
        self.network.reset_all(at);
        self.break_all_requests(at);
        for other in (0..MACHINES).filter(|other| *other != at) {
            let lane = Lane::Log;
            self.at(
                50,
                Event::Lost {
                    at: other,
                    to: at,
                    lane,
                },
            );
            self.at(
                50,
                Event::Lost {
                    at,
                    to: other,
                    lane,
                },
            );
            if self.rng.percent(40) {
                self.situations.note(Situation::FalseAlarm);
                self.at(60, Event::Gone { at: other, to: at });
            }
        }
    }

    fn fill_disk(&mut self, at: usize) {
        let left = self.rng.between(0, 64 << 10);
        let until_us = self.now_us + self.rng.between(50_000, ELECTION_US);
        let machine = &mut self.machines[at];
        machine.disk.set_capacity(machine.disk.used_bytes() + left);
        machine.full_until_us = until_us;
        self.history.was_full = true;
    }

    fn free_disks(&mut self) {
        for machine in &mut self.machines {
            if machine.full_until_us != 0 && self.now_us >= machine.full_until_us {
                machine.disk.set_capacity(u64::MAX);
                machine.full_until_us = 0;
            }
        }
    }
}
