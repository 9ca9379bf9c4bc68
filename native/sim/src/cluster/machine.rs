//! A machine of a cluster: a node, its disk, its clocks, and what is on its way between them.

use std::collections::{BTreeMap, VecDeque};

use domp_log::memory::MemoryDisk;
use domp_log::{Disk, Drawn, Job, LogWrite};
use domp_node::{Applied, Clock, Config, Node, Turn};
use domp_oracle::Shard;

use crate::history::{Broken, FOUNDING_INDEX};
use crate::rng::Rng;

/// Wall time at which worlds begin, milliseconds since 1970.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// A shard as a machine applied it.
#[derive(Debug)]
pub struct Replica {
    pub shard: Shard,
    /// Of the last entry.
    pub index: u64,
}

impl Replica {
    pub fn new(group: u64) -> Self {
        Self {
            shard: Shard::new(group),
            index: FOUNDING_INDEX,
        }
    }
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
    /// Its disk is full until then; 0: it is not.
    pub full_until_us: u64,
    /// By shard, what it applied, judged by the oracle.
    pub replicas: BTreeMap<u64, Replica>,
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
            full_until_us: 0,
            replicas: BTreeMap::new(),
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
    pub fn start(&mut self, now_us: u64, rng: &mut Rng) -> Result<Vec<Applied>, Broken> {
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
        self.replicas.clear();
        Ok(report.applied)
    }

    /// Power fails: what was not flushed survives as the disk likes.
    pub fn crash(&mut self, rng: &mut Rng) {
        if let Some(write) = self.write.take() {
            // The parts before this one are durable, this one was on its way.
            let parts = u64::try_from(write.parts().count()).expect("few parts");
            let on_its_way = rng.below(parts + 1);
            for (at, part) in (0..).zip(write.parts()) {
                let (file, bytes) = (&part.file, part.bytes.as_slice());
                if at <= on_its_way {
                    let _ = self.disk.write(file, part.offset, bytes);
                }
                if at < on_its_way {
                    let _ = self.disk.sync(file);
                }
            }
        }
        self.node = None;
        self.run += 1;
        self.fails_in_write = None;
        self.jobs.clear();
        self.disk = self.disk.crash(rng.next());
    }

    /// The oracle's word on an entry that this machine applied.
    pub fn apply(&mut self, applied: &Applied) -> Result<(), Broken> {
        let replica = self.replicas.entry(applied.group);
        let replica = replica.or_insert_with(|| Replica::new(applied.group));
        if applied.index != replica.index + 1 {
            return Err(format!(
                "Promise 1: entry {} of shard {} follows entry {}",
                applied.index, applied.group, replica.index
            ));
        }
        replica.index = applied.index;
        replica.shard.apply(&applied.entry).map(|_| ())
    }
}
