//! Three nodes, and what is between them: everything arrives at once, in order, unless it is cut.

use std::collections::BTreeSet;

use domp_log::Drawn;
use domp_log::memory::{MemoryDisk, Tear};
use domp_node::{Config, Direction, Grants, Lane};
use domp_protocol::transaction::Operation;

use super::{Answer, Bench, SOCKET, SPACE, log_of};

/// See the module. A node's number is its place here.
pub struct Trio {
    pub benches: Vec<Bench>,
    /// What is sent from the one to the other is lost.
    pub cut: BTreeSet<(usize, usize)>,
    /// On the lane of requests alone: what is sent from the one to the other is lost.
    pub cut_requests: BTreeSet<(usize, usize)>,
    /// Frames of the lane of requests are kept here, and not passed on: from, to, bytes.
    pub held: Option<Vec<(usize, usize, Vec<u8>)>>,
    /// They have no turns for now.
    pub paused: BTreeSet<usize>,
    /// What each answered, since it was last looked at.
    pub answers: Vec<Vec<Answer>>,
    /// What comes on that lane arrives changed, or not at all: from, to, and the bytes.
    pub filter: Option<Filter>,
    /// A node, and its disk after each of its turns that changed it.
    pub watched: Option<(usize, Vec<MemoryDisk>)>,
    configure: fn(&mut Config),
}

/// See [`Trio::filter`]; false: it is lost.
pub type Filter = Box<dyn FnMut(usize, usize, Lane, &mut Vec<u8>) -> bool>;

fn config(node: u64, start: u64, configure: fn(&mut Config)) -> Config {
    let drawn = Drawn {
        salt_seed: node + start,
        node,
        nonce: node + start,
    };
    let mut config = Config::new(node + start, drawn, [7; 32]);
    config.log = log_of(SEGMENT_BYTES);
    config.founders = vec![1, 2, 3];
    config.cluster = 5;
    configure(&mut config);
    config
}

/// Small, so that what has no other is soon full.
const SEGMENT_BYTES: u64 = 512 << 10;

/// Rounds after which a test waits in vain.
const PATIENCE: usize = 20_000;
/// How much time a round takes.
const ROUND_US: u64 = 1_000;

impl Trio {
    /// Three that have elected somebody and have the space `default`.
    pub fn new() -> Self {
        Self::configured(|_| {})
    }

    /// The same, with something else in their configurations.
    pub fn configured(configure: fn(&mut Config)) -> Self {
        let benches = (1..=3).map(|node| {
            let config = config(node, 100, configure);
            Bench::unready(config, MemoryDisk::new(), false)
        });
        let mut trio = Self {
            benches: benches.collect(),
            cut: BTreeSet::new(),
            cut_requests: BTreeSet::new(),
            held: None,
            paused: BTreeSet::new(),
            answers: vec![Vec::new(); 3],
            filter: None,
            watched: None,
            configure,
        };
        for at in 0..3 {
            trio.connect(at);
        }
        trio.until(|trio| {
            trio.leader().is_some() && trio.benches.iter().all(|bench| bench.node.is_ready())
        });
        // Each has heard the others' clocks.
        for _ in 0..100 {
            trio.round();
        }
        for bench in &mut trio.benches {
            bench.attach(SOCKET, Grants::WRITE);
        }
        for answers in &mut trio.answers {
            answers.clear();
        }
        trio
    }

    /// A node's lanes of requests begin, both ways.
    fn connect(&mut self, at: usize) {
        for other in (0..3).filter(|other| *other != at) {
            self.connect_lane(at, other);
            self.connect_lane(other, at);
        }
    }

    /// The connection of the lane of requests from the one to the other begins, instead of the one before.
    pub fn connect_lane(&mut self, from: usize, to: usize) {
        let lane = Lane::Requests;
        self.benches[from]
            .turn(|node, _| node.on_peer_connected(to as u64 + 1, lane, Direction::To));
        self.pass_on(from);
        self.benches[to]
            .turn(|node, _| node.on_peer_connected(from as u64 + 1, lane, Direction::From));
        self.pass_on(to);
    }

    /// The connection of the lane of requests from the one to the other breaks.
    pub fn break_lane(&mut self, from: usize, to: usize) {
        let lane = Lane::Requests;
        self.benches[from].turn(|node, _| node.on_peer_lost(to as u64 + 1, lane, Direction::To));
        self.pass_on(from);
        self.benches[to].turn(|node, _| node.on_peer_lost(from as u64 + 1, lane, Direction::From));
        self.pass_on(to);
    }

    /// Passes on what was held back, in its order.
    pub fn release(&mut self) {
        let held = self.held.take().unwrap_or_default();
        self.deliver(held);
    }

    /// Those frames of the lane of requests arrive.
    pub fn deliver(&mut self, frames: Vec<(usize, usize, Vec<u8>)>) {
        for (from, to, bytes) in frames {
            self.benches[to].turn(|node, _| node.on_peer(from as u64 + 1, Lane::Requests, &bytes));
            self.pass_on(to);
        }
    }

    /// Power fails on a node, nothing that was written is lost, and it starts again.
    pub fn restart(&mut self, at: usize) {
        self.restart_torn(at, Tear::Nothing);
    }

    /// The same; what was not flushed is lost as `tear` says.
    pub fn restart_torn(&mut self, at: usize, tear: Tear) {
        let disk = self.benches[at].disk.crash_torn(7, tear);
        let clock = self.benches[at].clock;
        let config = config(at as u64 + 1, 200, self.configure);
        self.benches[at] = Bench::unready(config, disk, false);
        self.benches[at].clock = clock;
        self.connect(at);
        self.benches[at].attach(SOCKET, Grants::WRITE);
        self.pass_on(at);
    }

    /// Who leads the space, as all that have turns say.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders = (0..3).filter(|at| !self.paused.contains(at) && self.leads(*at));
        let leader = leaders.next();
        leader.filter(|_| leaders.next().is_none())
    }

    /// Whether a node says that it leads the space.
    pub fn leads(&self, at: usize) -> bool {
        self.leads_group(at, u64::from(SPACE))
    }

    /// The same of any group.
    pub fn leads_group(&self, at: usize, group: u64) -> bool {
        let mut led = self.benches[at].node.leaderships();
        led.any(|(led, _)| led == group)
    }

    /// A turn of each, and a millisecond.
    pub fn round(&mut self) {
        for at in 0..3 {
            if !self.paused.contains(&at) {
                self.benches[at].clock.monotonic_us += ROUND_US;
                self.benches[at].turn(|_, _| {});
                self.pass_on(at);
            }
        }
    }

    /// Sends what the last turn of a node said, and takes down what it answered.
    pub fn pass_on(&mut self, at: usize) {
        if let Some((watched, disks)) = &mut self.watched
            && *watched == at
        {
            let disk = &self.benches[at].disk;
            let before = disks.last().map(MemoryDisk::operations);
            if before != Some(disk.operations()) {
                disks.push(disk.clone());
            }
        }
        let answers = self.benches[at].answers();
        self.answers[at].extend(answers);
        let sends = std::mem::take(&mut self.benches[at].turn.sends);
        for mut send in sends {
            let to = usize::try_from(send.node - 1).expect("one of three");
            if self.cut.contains(&(at, to)) || self.paused.contains(&to) {
                continue;
            }
            if send.lane == Lane::Requests {
                if self.cut_requests.contains(&(at, to)) {
                    continue;
                }
                if let Some(held) = &mut self.held {
                    held.push((at, to, send.bytes));
                    continue;
                }
            }
            if let Some(filter) = &mut self.filter
                && !filter(at, to, send.lane, &mut send.bytes)
            {
                continue;
            }
            self.benches[to].turn(|node, _| node.on_peer(at as u64 + 1, send.lane, &send.bytes));
            self.pass_on(to);
        }
    }

    /// Rounds until something is so.
    pub fn until(&mut self, so: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            if so(self) {
                return;
            }
            self.round();
        }
        panic!("it never comes to the point");
    }

    /// A node hears nobody, and nobody hears it.
    pub fn isolate(&mut self, at: usize) {
        for other in (0..3).filter(|other| *other != at) {
            self.cut.extend([(at, other), (other, at)]);
        }
    }

    /// Submits a transaction to a node, without waiting.
    pub fn submit(&mut self, at: usize, operations: Vec<Operation<'_>>) {
        self.submit_to(at, SPACE, operations);
    }

    /// The same about any space.
    pub fn submit_to(&mut self, at: usize, space: u32, operations: Vec<Operation<'_>>) {
        let (frame, _) = self.benches[at].frame(space, &[operations]);
        self.benches[at].submit(&frame);
        self.pass_on(at);
    }

    /// The same, and waits for its answer.
    pub fn ask(&mut self, at: usize, operations: Vec<Operation<'_>>) -> Answer {
        self.answers[at].clear();
        self.submit(at, operations);
        self.until(|trio| !trio.answers[at].is_empty());
        self.answers[at].remove(0)
    }
}
