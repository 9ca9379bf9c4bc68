//! A machine of a cluster: a node, its disk, its clocks, and what is on its way between them.

use std::collections::{BTreeMap, VecDeque};

use domp_log::memory::MemoryDisk;
use domp_log::{Drawn, Job, LogWrite};
use domp_node::{Applied, Clock, Config, HandingCounters, Node, Turn};

use crate::history::Broken;
use crate::power;
use crate::replicas::Replicas;
use crate::rng::Rng;
use crate::world::WALL_START_MS;

/// What a start finds.
pub struct Begun {
    /// By shard: the index of the snapshot that it begins with.
    pub restored: BTreeMap<u64, u64>,
    /// What was applied behind those.
    pub applied: Vec<Applied>,
}

/// See the module.
pub struct Machine {
    pub config: Config,
    pub node: Option<Node>,
    pub turn: Turn,
    pub disk: MemoryDisk,
    pub write: Option<LogWrite>,
    pub jobs: VecDeque<(u64, Job)>,
    /// Counts starts and ends: what belongs to another run is gone.
    pub run: u64,
    pub wake_at_us: Option<u64>,
    /// Its monotonic clock's zero is its own.
    monotonic_offset_us: u64,
    /// How far its wall clock is off.
    pub wall_offset_ms: i64,
    /// It does nothing before that.
    pub paused_until_us: u64,
    /// How much later than all else it then finds what others sent.
    pub peers_lag_us: u64,
    /// Power fails while the write after so many is on its way.
    pub fails_in_write: Option<u64>,
    /// The next write, or its flush, fails.
    pub flush_fails: bool,
    /// Its disk is full until then; 0: it is not.
    pub full_until_us: u64,
    /// What its door counted.
    pub handing: HandingCounters,
    /// What it applied.
    pub replicas: Replicas,
}

impl Machine {
    /// Number `at` of those with such a configuration.
    pub fn new(at: usize, config: &Config, rng: &mut Rng) -> Self {
        let mut machine = Self {
            config: config.clone(),
            node: None,
            turn: Turn {
                applied: Some(Vec::new()),
                ..Turn::default()
            },
            disk: MemoryDisk::new(),
            write: None,
            jobs: VecDeque::new(),
            run: 0,
            wake_at_us: None,
            monotonic_offset_us: rng.between(1_000_000, 1_000_000_000),
            wall_offset_ms: i64::try_from(rng.below(40)).expect("small") - 20,
            paused_until_us: 0,
            peers_lag_us: 0,
            fails_in_write: None,
            flush_fails: false,
            full_until_us: 0,
            handing: HandingCounters::default(),
            replicas: Replicas::default(),
        };
        machine.config.drawn.node = at as u64 + 1;
        machine
    }

    pub fn clock(&self, now_us: u64) -> Clock {
        let passed_ms = i64::try_from(now_us / 1000).unwrap_or(i64::MAX / 2);
        let wall_ms = WALL_START_MS + passed_ms + self.wall_offset_ms;
        Clock {
            monotonic_us: now_us + self.monotonic_offset_us,
            wall_ms: u64::try_from(wall_ms).unwrap_or(0),
        }
    }

    /// How long from now until its monotonic clock shows that.
    pub fn until_us(&self, at_us: u64, now_us: u64) -> u64 {
        at_us.saturating_sub(now_us + self.monotonic_offset_us)
    }

    /// Starts its node on what the disk holds. Returns what was applied.
    pub fn start(&mut self, now_us: u64, rng: &mut Rng) -> Result<Begun, Broken> {
        self.run += 1;
        self.write = None;
        self.jobs.clear();
        self.wake_at_us = None;
        self.config.seed = rng.next();
        self.config.drawn = Drawn {
            salt_seed: rng.next(),
            node: self.config.drawn.node,
            nonce: rng.next(),
        };
        let clock = self.clock(now_us);
        let (node, report) = crate::branch::boot(&self.config, &mut self.disk, clock)
            .map_err(|error| format!("Promise 1: a node does not start again: {error}"))?;
        if !report.damaged.is_empty() {
            return Err(format!(
                "Promise 6: sound bytes were taken for damage: {:?}",
                report.damaged
            ));
        }
        self.node = Some(node);
        self.handing = HandingCounters::default();
        self.replicas.clear();
        Ok(Begun {
            restored: report.begun,
            applied: report.applied,
        })
    }

    /// Power fails: what was not flushed survives as the disk likes.
    pub fn crash(&mut self, rng: &mut Rng) {
        self.node = None;
        self.run += 1;
        self.fails_in_write = None;
        self.flush_fails = false;
        self.jobs.clear();
        power::fail(&mut self.disk, self.write.take(), rng);
    }
}
