//! A cluster from a seed: machines that crash and pause, disks that fail and fill, clocks of their own, a
//! network between them that loses and spoils; and the clients of before.
//!
//! One history for all: whatever is applied at an index anywhere is what is applied there everywhere, and what
//! a client was told before it asked is in what it is told then.

mod faults;
mod machine;
mod network;
mod requests;
mod rest;
mod situations;
mod snapshots;
mod turns;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use domp_node::{Config, Direction, Lane, Node, SnapshotTaken, Socket};

use crate::Lived;
use crate::arrival::Arrival;
use crate::clients::Clients;
use crate::history::{Broken, History};
use crate::rng::Rng;
use crate::world::{FAULTS_MIN, REQUESTS_MIN, settings};
use machine::Machine;
use network::{Flying, Link, Network};
pub use situations::{Situation, Situations};
use waiting::Waiting;

/// Machines of a cluster.
const MACHINES: usize = 3;
/// Events after which a world that does not come to rest is broken.
const EVENTS_MAX: u64 = 4_000_000;
/// After the last fault the world must be at rest within so long.
const REST_US: u64 = 120_000_000;

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// Something of a client reaches a machine.
    Arrive { at: usize, arrival: Arrival },
    /// Bytes reach a client.
    Answer { socket: Socket, frame: Vec<u8> },
    /// The write of that run of a machine ends.
    Written { at: usize, run: u64 },
    /// The oldest job of that run ends.
    JobDone { at: usize, run: u64 },
    /// The node asked to be woken.
    Wake { at: usize, run: u64 },
    /// A frame of another machine arrives.
    Peer(Flying),
    /// A machine hears that what it sent to another may be lost.
    Lost { at: usize, to: usize, lane: Lane },
    /// That run of a machine hears what became of a connection of the lane of requests.
    Requests {
        at: usize,
        run: u64,
        other: usize,
        direction: Direction,
        is_open: bool,
    },
    /// A connection of the lane of requests is tried for.
    Dial { from: usize, to: usize },
    /// A frame on that connection was not taken for too long.
    Stuck { link: Link, epoch: u64 },
    /// A machine hears that the process of another is gone, rightly or not.
    Gone { at: usize, to: usize },
    /// A client does something.
    Act { client: usize },
    /// Something breaks.
    Break,
    /// The network is whole again.
    Heal,
    /// Power fails on that machine in that run.
    Crash { at: usize, run: u64 },
    /// A machine starts.
    Start { at: usize },
}

/// The world.
pub struct Cluster {
    rng: Rng,
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    event_last: u64,
    machines: Vec<Machine>,
    network: Network,
    clients: Clients,
    /// The machine of each connection.
    homes: BTreeMap<Socket, usize>,
    history: History,
    situations: Situations,
    /// By shard and term: who led.
    leaders: BTreeMap<(u64, u64), usize>,
    faults: u64,
    digest: u64,
    /// Since when nothing breaks any more.
    settling_since_us: Option<u64>,
    /// Room for the replies of one turn.
    room_bytes: usize,
    waiting: Waiting,
    /// Machines that started and have not applied all that others had.
    behind: BTreeSet<usize>,
    /// How seldom a snapshot's job goes wrong: one in so many, by some small multiple.
    snapshot_faults: u64,
    /// By machine: the snapshots that it said to have taken at the end.
    taken: BTreeMap<usize, Vec<SnapshotTaken>>,
}

impl Cluster {
    /// The world of a seed, before anything happened.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xc105_7e25);
        let config = config(&mut rng);
        let mut clients = Clients::new(&mut rng);
        clients.wanders = true;
        let machines = (0..MACHINES)
            .map(|at| Machine::new(at, &config, &mut rng))
            .collect();
        let mut network = Network::default();
        network.spoilt = rng.below(30);
        let room_bytes = usize::try_from(rng.between(500, 60_000)).unwrap_or(usize::MAX);
        Self {
            now_us: 0,
            events: BTreeMap::new(),
            event_last: 0,
            machines,
            network,
            clients,
            homes: BTreeMap::new(),
            history: History::new(),
            situations: Situations::default(),
            leaders: BTreeMap::new(),
            faults: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            settling_since_us: None,
            room_bytes,
            waiting: Waiting::default(),
            behind: BTreeSet::new(),
            snapshot_faults: rng.between(60, 600),
            taken: BTreeMap::new(),
            rng,
        }
    }

    /// Lives until enough was tried, then until everything came to rest.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn live(mut self) -> Result<Lived<Situation>, Broken> {
        for at in 0..MACHINES {
            let after_us = self.rng.between(0, 30_000);
            self.at(after_us, Event::Start { at });
        }
        for client in 0..self.clients.len() {
            self.at(1_000 * client as u64, Event::Act { client });
        }
        self.at(900_000, Event::Break);
        let mut events = 0;
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.now_us = self.now_us.max(at_us);
            self.happen(event)?;
            events += 1;
            let is_late = self
                .settling_since_us
                .is_some_and(|since_us| self.now_us > since_us + REST_US);
            if events > EVENTS_MAX || is_late {
                return Err(self.restless());
            }
            let enough = self.clients.issued >= REQUESTS_MIN && self.faults >= FAULTS_MIN;
            if enough && self.settling_since_us.is_none() {
                self.settle();
            }
            if self.settling_since_us.is_some() && self.is_at_rest() {
                break;
            }
        }
        self.check_rest()?;
        Ok(Lived {
            situations: self.situations,
            requests: self.clients.issued,
            faults: self.faults,
            digest: self.digest,
        })
    }

    fn at(&mut self, after_us: u64, event: Event) {
        self.event_last += 1;
        self.events
            .insert((self.now_us + after_us, self.event_last), event);
    }

    fn is_settling(&self) -> bool {
        self.settling_since_us.is_some()
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        // A machine that pauses finds it all when it goes on.
        if let Some(at) = machine_of(&event)
            && let machine = &self.machines[at]
            && machine.paused_until_us > self.now_us
        {
            // Clients' sockets may be read before those of the others, who know what happened meanwhile.
            let is_peer = matches!(event, Event::Peer(_));
            let lag_us = if is_peer { machine.peers_lag_us } else { 0 };
            let after_us = machine.paused_until_us - self.now_us + lag_us;
            self.at(after_us, event);
            return Ok(());
        }
        let runs: Vec<u64> = self.machines.iter().map(|machine| machine.run).collect();
        let is_of_run = |at: usize, run: u64| runs[at] == run;
        match event {
            Event::Arrive { at, arrival } => self.arrive(at, &arrival),
            Event::Answer { socket, frame } => self.answer(socket, &frame),
            Event::Written { at, run } if is_of_run(at, run) => self.written(at),
            Event::JobDone { at, run } if is_of_run(at, run) => self.job_done(at),
            Event::Wake { at, run } if is_of_run(at, run) => {
                let machine = &mut self.machines[at];
                let clock_us = machine.clock(self.now_us).monotonic_us;
                if machine.wake_at_us.is_some_and(|at_us| at_us <= clock_us) {
                    machine.wake_at_us = None;
                    return self.node_turn(at, |_, _| {});
                }
                Ok(())
            }
            Event::Peer(flying) => self.peer(flying),
            Event::Lost { at, to, lane } => {
                let to = to as u64 + 1;
                self.node_turn(at, |node, _| node.on_peer_lost(to, lane, Direction::To))
            }
            Event::Requests {
                at,
                run,
                other,
                direction,
                is_open,
            } if is_of_run(at, run) => {
                let other = other as u64 + 1;
                self.node_turn(at, |node, _| {
                    if is_open {
                        node.on_peer_connected(other, Lane::Requests, direction);
                    } else {
                        node.on_peer_lost(other, Lane::Requests, direction);
                    }
                })
            }
            Event::Written { .. }
            | Event::JobDone { .. }
            | Event::Wake { .. }
            | Event::Requests { .. } => Ok(()),
            Event::Dial { from, to } => {
                self.dial(from, to);
                Ok(())
            }
            Event::Stuck { link, epoch } => {
                if self.network.is_of(link, epoch) {
                    self.break_requests(link.0, link.1);
                }
                Ok(())
            }
            Event::Gone { at, to } => {
                let to = to as u64 + 1;
                self.node_turn(at, |node, _| node.on_peer_gone(to))
            }
            Event::Act { client } => {
                self.act(client);
                Ok(())
            }
            Event::Break => self.break_something(),
            Event::Heal => {
                self.heal();
                Ok(())
            }
            Event::Crash { at, run } => {
                if self.machines[at].run == run && !self.is_settling() {
                    self.crash(at);
                }
                Ok(())
            }
            Event::Start { at } => self.start(at),
        }
    }

    /// The node that leads a shard, if one says so.
    fn leader_of(&self, group: u64) -> Option<usize> {
        let leads = |machine: &Machine| {
            let node = machine.node.as_ref();
            node.is_some_and(|node: &Node| node.leaderships().any(|(led, _)| led == group))
        };
        self.machines.iter().position(leads)
    }
}

/// The machine that an event happens on, if it can wait for that.
fn machine_of(event: &Event) -> Option<usize> {
    match event {
        Event::Arrive { at, .. }
        | Event::Written { at, .. }
        | Event::JobDone { at, .. }
        | Event::Wake { at, .. }
        | Event::Lost { at, .. }
        | Event::Requests { at, .. }
        | Event::Gone { at, .. } => Some(*at),
        Event::Peer(Flying {
            link: (_, to, _), ..
        }) => Some(*to),
        Event::Answer { .. }
        | Event::Dial { .. }
        | Event::Stuck { .. }
        | Event::Act { .. }
        | Event::Break
        | Event::Heal
        | Event::Crash { .. }
        | Event::Start { .. } => None,
    }
}

/// Small sizes, as in the world of one node. In most worlds who was away for a while needs a snapshot; in the
/// others logs are kept whole, and nobody has to be told what they held before.
fn config(rng: &mut Rng) -> Config {
    let mut config = settings(rng);
    if rng.percent(30) {
        config.snapshot_after_bytes = 1 << 40;
        config.entries_kept_bytes_max = u64::MAX;
    } else {
        config.entries_kept_bytes_max = rng.between(0, 24 << 10);
        config.entries_held_bytes_max = rng.between(4 << 10, 256 << 10);
    }
    // Mostly ample, sometimes so small that few requests fit.
    if rng.percent(40) {
        config.handed_on_bytes_max = rng.between(1_000, 20_000);
        config.waiting_for_leader_bytes_max = rng.between(1_000, 20_000);
        config.answers_bytes_max = rng.between(2_000, 20_000);
    }
    config.founders = (1..=MACHINES as u64).collect();
    config.cluster = u128::from(rng.next());
    config
}
