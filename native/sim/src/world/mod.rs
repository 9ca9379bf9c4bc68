//! A world from a seed: one node, a disk, clients, and everything that can go
//! wrong between them. Time is an event queue; nothing else decides anything.

mod faults;
mod lease;
mod snapshots;
mod starts;
mod stopped;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use domp_log::memory::MemoryDisk;
use domp_log::{Job, LogWrite};
use domp_node::{Clock, Config, ControlRequest, Node, Socket, Turn};

use crate::Lived;
use crate::arrival::Arrival;
use crate::branch::{self, Shadow};
use crate::clients::Clients;
use crate::history::{Broken, History};
use crate::loss::{self, Loss};
use crate::rng::Rng;
use crate::situations::Situation;
use snapshots::Watch;
pub(crate) use starts::config as settings;
use stopped::Stopped;

/// Requests that a seed means at the least.
pub const REQUESTS_MIN: u64 = 2_000;
/// Faults that a seed means at the least.
pub const FAULTS_MIN: u64 = 20;
/// Lease time sessions live in a simulated world, milliseconds.
const SESSION_TTL_MS: u64 = 60_000;
/// Events after which a world that does not come to rest is broken.
const EVENTS_MAX: u64 = 2_000_000;

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// Something reaches the node.
    Arrive(Arrival),
    /// Bytes reach a client.
    Answer { socket: Socket, frame: Vec<u8> },
    /// The write of that run of the node ends.
    Written { run: u64 },
    /// The oldest job of that run ends.
    JobDone { run: u64 },
    /// The node asked to be woken.
    Wake { run: u64 },
    /// A client does something.
    Act { client: usize },
    /// Something breaks.
    Break,
    /// The node starts again.
    Start,
}

/// The world.
pub struct World {
    rng: Rng,
    config: Config,
    now_us: u64,
    /// How far the wall clock is off.
    wall_offset_ms: i64,
    events: BTreeMap<(u64, u64), Event>,
    event_last: u64,
    run: u64,
    node: Option<Node>,
    turn: Turn,
    disk: MemoryDisk,
    write: Option<LogWrite>,
    jobs: Vec<(u64, Job)>,
    shadow: Option<Shadow>,
    clients: Clients,
    history: History,
    faults: u64,
    digest: u64,
    wake_at_us: Option<u64>,
    settling: bool,
    full_until_us: u64,
    /// Whether neither power nor the log's disk fails: the node lives on.
    is_calm: bool,
    watch: Watch,
    /// Who the node is, once it was founded.
    node_id: Option<u64>,
    /// Number of its last start.
    incarnation: u64,
    /// The directory of some start, and the last frame of its log.
    earlier: Option<(MemoryDisk, u64)>,
    /// The frame that the identity stands on: a log that ends before it is missed.
    vouched: u64,
    /// What is missing now, and the disk that it was taken from.
    lost: Option<(Loss, MemoryDisk)>,
    /// The shard whose log holds what the present program does not know.
    stopped: Option<Stopped>,
    /// By shard: lease time when this run of the node was seen to serve it, and when that was.
    led: BTreeMap<u64, (u64, u64)>,
    /// Room for the replies of one turn.
    room_bytes: usize,
    /// Connections of which the node has heard that they are gone.
    gone: BTreeSet<Socket>,
    /// Requests that were forgotten with theirs in this run of the node.
    abandoned: u64,
}

/// Monotonic time at which worlds begin, microseconds.
const STARTS_US: u64 = 1_000_000;
/// Wall time at which worlds begin, milliseconds since 1970.
pub const WALL_START_MS: i64 = 1_700_000_000_000;

impl World {
    /// The world of a seed, before anything happened.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = starts::config(&mut rng);
        let clients = Clients::new(&mut rng);
        // Some worlds answer almost everything over several turns.
        let room_bytes = usize::try_from(rng.between(64, 6_000)).unwrap_or(usize::MAX);
        Self {
            config,
            now_us: STARTS_US,
            wall_offset_ms: 0,
            events: BTreeMap::new(),
            event_last: 0,
            run: 0,
            node: None,
            turn: Turn {
                applied: Some(Vec::new()),
                ..Turn::default()
            },
            disk: MemoryDisk::new(),
            write: None,
            jobs: Vec::new(),
            shadow: None,
            clients,
            history: History::new(),
            faults: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            wake_at_us: None,
            settling: false,
            full_until_us: 0,
            is_calm: seed.is_multiple_of(4),
            watch: Watch::default(),
            node_id: None,
            incarnation: 0,
            led: BTreeMap::new(),
            earlier: None,
            vouched: 0,
            lost: None,
            stopped: None,
            room_bytes,
            gone: BTreeSet::new(),
            abandoned: 0,
            rng,
        }
    }

    /// Lives until enough was tried, then until everything came to rest.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn live(mut self) -> Result<Lived<Situation>, Broken> {
        self.at(0, Event::Start);
        for client in 0..self.clients.len() {
            self.at(1_000 * client as u64, Event::Act { client });
        }
        self.at(3_000, Event::Break);
        let mut events = 0;
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.now_us = self.now_us.max(at_us);
            self.happen(event)?;
            events += 1;
            if events > EVENTS_MAX {
                return Err(format!(
                    "Promise 11: the world does not come to rest (node {}, write under way {}, jobs {}, {})",
                    if self.node.as_ref().is_some_and(Node::is_ready) {
                        "ready"
                    } else {
                        "not ready"
                    },
                    self.write.is_some(),
                    self.jobs.len(),
                    self.clients.unsettled(),
                ));
            }
            let enough = self.clients.issued >= REQUESTS_MIN && self.faults >= FAULTS_MIN;
            if enough && !self.settling {
                self.settling = true;
                self.shadow = None;
                self.disk.set_capacity(u64::MAX);
                self.clients.settle();
                if self.serves_less() {
                    self.crash();
                }
            }
            if self.settling && self.is_at_rest() {
                break;
            }
        }
        self.end()
    }

    fn clock(&self) -> Clock {
        let wall_ms = WALL_START_MS
            + i64::try_from(self.now_us / 1000).unwrap_or(i64::MAX / 2)
            + self.wall_offset_ms;
        Clock {
            monotonic_us: self.now_us,
            wall_ms: u64::try_from(wall_ms).unwrap_or(0),
        }
    }

    fn at(&mut self, after_us: u64, event: Event) {
        self.event_last += 1;
        self.events
            .insert((self.now_us + after_us, self.event_last), event);
    }

    /// Whether some shard serves nothing, and should not.
    fn serves_less(&self) -> bool {
        self.lost.is_some() || self.stopped.is_some()
    }

    fn is_at_rest(&self) -> bool {
        self.node.as_ref().is_some_and(Node::is_ready)
            && self.clients.is_settled()
            && self.write.is_none()
            && self.shadow.is_none()
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Arrive(arrival) => self.arrive(&arrival),
            Event::Answer { socket, frame } => {
                self.clients
                    .on_frame(socket, &frame, self.now_us, &mut self.history);
                self.history.wrong.take().map_or(Ok(()), Err)
            }
            Event::Written { run } if run == self.run => self.written(),
            Event::JobDone { run } if run == self.run => self.job_done(),
            Event::Wake { run } if run == self.run => {
                if self.wake_at_us.is_some_and(|at_us| at_us <= self.now_us) {
                    self.wake_at_us = None;
                    return self.node_turn(|_, _| {});
                }
                Ok(())
            }
            Event::Written { .. } | Event::JobDone { .. } | Event::Wake { .. } => Ok(()),
            Event::Act { client } => {
                self.act(client);
                Ok(())
            }
            Event::Break => self.break_something(),
            Event::Start => self.start(),
        }
    }

    fn act(&mut self, client: usize) {
        let spaces = self.history.spaces();
        let arrivals = self.clients.act(
            client,
            self.now_us,
            &mut self.rng,
            &mut self.history,
            &spaces,
        );
        for arrival in arrivals {
            let delay_us = self.rng.between(5, 400);
            self.at(delay_us, Event::Arrive(arrival));
        }
        let again_us = if self.settling {
            3_000
        } else {
            self.rng.between(50, 2_500)
        };
        self.at(again_us, Event::Act { client });
    }

    /// Reads everything back, before and after one more restart.
    fn end(mut self) -> Result<Lived<Situation>, Broken> {
        self.quiesce()?;
        self.check_lease_kept()?;
        self.check_files()?;
        self.drain()?;
        for _ in 0..2 {
            let clock = self.clock();
            branch::audit(&mut self.disk, &self.config, clock, &mut self.history)?;
        }
        let files = loss::snapshots(&self.disk);
        if files
            .windows(2)
            .any(|two| loss::group_of(&two[0]) == loss::group_of(&two[1]))
        {
            return Err(format!("two starts left older snapshots: {files:?}"));
        }
        Ok(Lived {
            situations: self.history.situations,
            requests: self.clients.issued,
            faults: self.faults,
            digest: self.digest,
        })
    }

    /// Stops the node in good order.
    fn drain(&mut self) -> Result<(), Broken> {
        self.node_turn(|node, turn| node.on_control(1, ControlRequest::Drain, turn))?;
        for _ in 0..10_000 {
            if self.turn.drained {
                self.history.situations.note(Situation::Drained);
                return Ok(());
            }
            if self.write.is_some() {
                self.written()?;
            } else {
                self.now_us += 1_000;
                self.node_turn(|_, _| {})?;
            }
        }
        Err("Promise 11: the node does not drain".to_owned())
    }
}
