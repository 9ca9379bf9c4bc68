//! The lane of requests between machines: unlike the others it is told when a connection begins and ends, since
//! answers live and die with it.

use domp_node::{Direction, Lane};

use super::{Cluster, Event, MACHINES, Situation};

/// A frame that is not taken by then ends its connection.
const STUCK_US: u64 = 1_200_000;

impl Cluster {
    /// A connection begins if both machines are there and hear each other; else it is tried for again.
    pub(super) fn dial(&mut self, from: usize, to: usize) {
        let is_there = |at: usize| self.machines[at].node.is_some();
        if self.network.is_open(from, to) || !is_there(from) || !is_there(to) {
            return;
        }
        if self.network.is_cut_between(from, to) {
            let after_us = self.rng.between(10_000, 60_000);
            self.at(after_us, Event::Dial { from, to });
            return;
        }
        self.network.open(from, to);
        self.tell_requests(to, from, Direction::From, true, 5);
        self.tell_requests(from, to, Direction::To, true, 10);
    }

    fn tell_requests(
        &mut self,
        at: usize,
        other: usize,
        direction: Direction,
        is_open: bool,
        after_us: u64,
    ) {
        let run = self.machines[at].run;
        let event = Event::Requests {
            at,
            run,
            other,
            direction,
            is_open,
        };
        self.at(after_us, event);
    }

    /// A connection ends, both sides hear of it, and another is tried for.
    pub(super) fn break_requests(&mut self, from: usize, to: usize) {
        if !self.network.close(from, to) {
            return;
        }
        let node = self.machines[from].node.as_ref();
        if node.is_some_and(|node| node.handed_on() > 0) {
            self.situations.note(Situation::LaneBroke);
        }
        let near_us = self.rng.between(20, 500);
        let far_us = self.rng.between(20, 500);
        self.tell_requests(from, to, Direction::To, false, near_us);
        self.tell_requests(to, from, Direction::From, false, far_us);
        let after_us = self.rng.between(1_000, 30_000);
        self.at(after_us, Event::Dial { from, to });
    }

    /// All connections of a machine end.
    pub(super) fn break_all_requests(&mut self, at: usize) {
        for other in (0..MACHINES).filter(|other| *other != at) {
            self.break_requests(at, other);
            self.break_requests(other, at);
        }
    }

    /// A machine that starts is dialled, and dials.
    pub(super) fn dial_all(&mut self, at: usize) {
        for other in (0..MACHINES).filter(|other| *other != at) {
            for (from, to) in [(at, other), (other, at)] {
                let after_us = self.rng.between(200, 5_000);
                self.at(after_us, Event::Dial { from, to });
            }
        }
    }

    /// A frame vanished: whoever sent it finds out, if nothing else ends the connection before.
    pub(super) fn stuck(&mut self, from: usize, to: usize) {
        let link = (from, to, Lane::Requests);
        let after_us = self.rng.between(100_000, STUCK_US);
        let epoch = self.network.epoch(link);
        self.at(after_us, Event::Stuck { link, epoch });
    }

    /// The lane of requests alone has trouble.
    pub(super) fn trouble_requests(&mut self, at: usize) {
        let other = (at + 1) % MACHINES;
        match self.rng.below(4) {
            0 | 1 => {
                self.break_requests(at, other);
                if self.rng.percent(50) {
                    self.break_requests(other, at);
                }
            }
            2 => {
                self.network.slow_requests_us = self.rng.between(5_000, 300_000);
                self.situations.note(Situation::RequestsSlow);
                self.heal_later();
            }
            _ => {
                self.network.cut_requests(at, other);
                self.situations.note(Situation::RequestsCutOneWay);
                self.heal_later();
            }
        }
    }
}
