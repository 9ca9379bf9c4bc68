//! A world from a seed: one node, a disk, clients, and everything that can go
//! wrong between them. Time is an event queue; nothing else decides anything.

mod faults;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use domp_log::memory::MemoryDisk;
use domp_log::{Drawn, Job, LogConfig, LogWrite, run_write};
use domp_node::{BootReport, Clock, Config, Node, Socket, StateLimits, Turn};
use domp_protocol::reply::parse_replies;

use crate::arrival::Arrival;
use crate::branch::{self, Shadow};
use crate::clients::Clients;
use crate::history::{Answer, Broken, History};
use crate::loss::{self, Loss};
use crate::rng::Rng;
use crate::situations::{Situation, Situations};
use snapshots::Watch;

/// Requests that a seed means at the least.
pub const REQUESTS_MIN: u64 = 2_000;
/// Faults that a seed means at the least.
pub const FAULTS_MIN: u64 = 20;
/// Lease time sessions live in a simulated world, milliseconds.
const SESSION_TTL_MS: u64 = 60_000;
/// What lease time may lack: it counts whole milliseconds, and a sweep takes a turn or two.
const LEASE_SLACK_MS: u64 = 30;
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

/// What a seed came to.
#[derive(Debug)]
pub struct Report {
    /// What it met, and how often.
    pub situations: Situations,
    /// Requests that clients made.
    pub requests: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Over everything the node said: the same seed gives the same digest.
    pub digest: u64,
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
    /// The directory of some start, and the number of the start before it.
    earlier: Option<(MemoryDisk, u64)>,
    /// What is missing now, and the disk that it was taken from.
    lost: Option<(Loss, MemoryDisk)>,
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
const WALL_START_MS: i64 = 1_700_000_000_000;

impl World {
    /// The world of a seed, before anything happened.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = config(&mut rng);
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
            lost: None,
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
    pub fn live(mut self) -> Result<Report, Broken> {
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
                if self.lost.is_some() {
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

    fn arrive(&mut self, arrival: &Arrival) -> Result<(), Broken> {
        if self.node.is_none() {
            self.clients.lost(arrival);
            return Ok(());
        }
        let waited_us = if self.rng.percent(1) { 5_000_000 } else { 0 };
        // What comes in quick succession is often found together, in one turn.
        let mut together = vec![arrival.clone()];
        while self.rng.percent(60)
            && let Some(entry) = self.events.first_entry()
            && matches!(entry.get(), Event::Arrive(_))
        {
            if let Event::Arrive(next) = entry.remove() {
                together.push(next);
            }
        }
        for arrival in &together {
            match arrival {
                Arrival::Detach { socket } => {
                    self.gone.insert(*socket);
                }
                // One that was on its way when its farewell overtook it.
                Arrival::Attach { socket, .. } => {
                    self.gone.remove(socket);
                }
                _ => {}
            }
            self.clients.arrives(arrival, &mut self.history);
        }
        self.node_turn(move |node, turn| {
            for arrival in &together {
                arrival.deliver(node, waited_us, turn);
            }
        })
    }

    fn node_turn(&mut self, event: impl FnOnce(&mut Node, &mut Turn)) -> Result<(), Broken> {
        let clock = self.clock();
        let Some(mut node) = self.node.take() else {
            return Ok(());
        };
        self.turn.clear();
        self.turn.replies.room_bytes = self.room_bytes;
        node.begin_turn(clock);
        event(&mut node, &mut self.turn);
        node.end_turn(&mut self.turn);
        if self.turn.replies.is_full() && self.turn.wake_at_us == Some(clock.monotonic_us) {
            self.history.situations.note(Situation::RepliesFull);
        }
        let pressure = node.pressure();
        if pressure.queued > 0 {
            self.history.situations.note(Situation::Queued);
        }
        if pressure.abandoned > self.abandoned {
            self.history.situations.note(Situation::Abandoned);
        }
        self.abandoned = pressure.abandoned;
        self.node = Some(node);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<(), Broken> {
        let mut turn = std::mem::take(&mut self.turn);
        let result = self.carry_out_turn(&mut turn);
        self.turn = turn;
        result
    }

    fn carry_out_turn(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        if let Some(why) = &turn.fatal {
            return Err(format!("the node ended by itself: {why}"));
        }
        self.digest_turn(turn);
        self.watch_snapshots(turn)?;
        let applied = turn.applied.take().unwrap_or_default();
        if self.is_snapshotting() && applied.iter().any(|entry| !entry.entry.is_empty()) {
            self.history.situations.note(Situation::WriteDuringSnapshot);
        }
        let answers = self.answers(turn)?;
        self.history.turn(&applied, &answers)?;
        self.check_lease_time()?;
        self.note_leads();
        turn.applied = Some(applied);
        self.send(turn);
        if let Some(write) = turn.write.take() {
            if self.write.is_some() {
                return Err("two log writes at a time".to_owned());
            }
            self.write = Some(write);
            let after_us = self.rng.between(40, 400);
            let run = self.run;
            self.at(after_us, Event::Written { run });
        }
        for job in turn.jobs.drain(..) {
            let idle = self.jobs.is_empty();
            self.jobs.push(job);
            if idle {
                self.start_job();
            }
        }
        if let Some(at_us) = turn.wake_at_us {
            self.wake_at_us = Some(at_us);
            let run = self.run;
            self.at(at_us.saturating_sub(self.now_us), Event::Wake { run });
        }
        Ok(())
    }

    /// Lease time runs no faster than the monotonic clock, whatever walls say.
    fn check_lease_time(&self) -> Result<(), Broken> {
        let lived_ms = (self.now_us - STARTS_US) / 1000;
        let ahead = self
            .history
            .shards
            .iter()
            .find(|(_, shard)| shard.lease_ms > lived_ms + 1);
        match ahead {
            None => Ok(()),
            Some((group, shard)) => Err(format!(
                "Promise 8: shard {group} counts {} ms of lease time in a world {lived_ms} ms old",
                shard.lease_ms
            )),
        }
    }

    /// Takes note of when a shard is served first in this run.
    fn note_leads(&mut self) {
        if !self.node.as_ref().is_some_and(Node::is_ready) {
            return;
        }
        for (group, shard) in &self.history.shards {
            let now = (shard.lease_ms, self.now_us);
            self.led.entry(*group).or_insert(now);
        }
    }

    /// Lease time is not slower than the monotonic clock while a shard is led, and what is due goes
    /// although nobody writes.
    fn check_lease_kept(&mut self) -> Result<(), Broken> {
        // Somebody waits, and nothing else happens.
        for _ in 0..200 {
            self.now_us += 5_000;
            while self.write.is_some() {
                self.written()?;
            }
            while !self.jobs.is_empty() {
                self.job_done()?;
            }
            self.node_turn(|_, _| {})?;
        }
        while self.write.is_some() {
            self.written()?;
        }
        let Some(told) = self.statistics()? else {
            return Err("a node at rest tells nothing".to_owned());
        };
        for shard in &told.shards {
            let Some((base_ms, since_us)) = self.led.get(&shard.group) else {
                continue;
            };
            let least_ms = base_ms + (self.now_us - since_us) / 1000 - LEASE_SLACK_MS;
            if shard.lease_ms < least_ms {
                return Err(format!(
                    "Promise 8: lease time of shard {} is {}, and {least_ms} at the least",
                    shard.group, shard.lease_ms
                ));
            }
            let overdue = self.history.shards.get(&shard.group).and_then(|model| {
                let due = model
                    .keys
                    .map
                    .values()
                    .filter_map(|entry| entry.expires_at_ms);
                due.min()
                    .filter(|due_ms| due_ms + LEASE_SLACK_MS < least_ms)
            });
            if let Some(due_ms) = overdue {
                return Err(format!(
                    "Promise 8: a key of shard {} was due at {due_ms}, and lease time is {least_ms}",
                    shard.group
                ));
            }
        }
        self.history.situations.note(Situation::LeaseKept);
        Ok(())
    }

    fn start_job(&mut self) {
        let after_us = self.rng.between(100, 1_500);
        let run = self.run;
        self.at(after_us, Event::JobDone { run });
    }

    /// What the items of a turn's replies answer.
    fn answers(&mut self, turn: &Turn) -> Result<Vec<Answer>, Broken> {
        let mut answers = Vec::new();
        for span in &turn.replies.spans {
            if span.frame {
                continue;
            }
            let bytes = &turn.replies.bytes[span.start as usize..span.end as usize];
            let frame = branch::replies_frame(span.space, &[bytes]);
            let replies = parse_replies(&frame)
                .map_err(|code| format!("a reply does not parse: {code:?}"))?;
            for reply in replies {
                let (head, payload) = reply;
                let candidates = self
                    .clients
                    .sent(span.socket, span.space.into(), head.sequence);
                let reads = candidates.iter().all(|sent| sent.reads);
                if head.code.is_none() && reads && self.gone.contains(&span.socket) {
                    return Err(format!(
                        "Promise 7: {} was read for a connection that is gone ({:?}, {candidates:?})",
                        head.sequence, span.socket
                    ));
                }
                answers.push(Answer {
                    candidates,
                    head,
                    payload: payload.to_vec(),
                });
            }
        }
        Ok(answers)
    }

    /// Puts the replies on the wire, a frame a connection and space.
    fn send(&mut self, turn: &Turn) {
        let mut order: Vec<(Socket, u32)> = Vec::new();
        let mut items: BTreeMap<(Socket, u32), Vec<&[u8]>> = BTreeMap::new();
        let mut frames: Vec<(Socket, Vec<u8>)> = Vec::new();
        for span in &turn.replies.spans {
            let bytes = &turn.replies.bytes[span.start as usize..span.end as usize];
            if span.frame {
                frames.push((span.socket, bytes.to_vec()));
            } else {
                let lane = (span.socket, span.space);
                if !items.contains_key(&lane) {
                    order.push(lane);
                }
                items.entry(lane).or_default().push(bytes);
            }
        }
        for (socket, space) in order {
            let items = &items[&(socket, space)];
            frames.push((socket, branch::replies_frame(space, items)));
        }
        for (socket, frame) in frames {
            // A connection keeps its order; the network only delays.
            let after_us = self
                .clients
                .delay_us(socket, self.now_us, self.rng.between(5, 400));
            self.at(after_us, Event::Answer { socket, frame });
        }
    }

    fn digest_turn(&mut self, turn: &Turn) {
        let mut digest = self.digest;
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        mix(&turn.replies.bytes);
        if let Some(write) = &turn.write {
            for part in write.parts() {
                mix(&part.bytes.as_slice()[..part.bytes.len().min(512)]);
            }
        }
        self.digest = digest;
    }

    fn written(&mut self) -> Result<(), Broken> {
        let Some(write) = self.write.take() else {
            return Ok(());
        };
        if let Some(shadow) = &mut self.shadow {
            shadow.write(&write);
        }
        if run_write(&mut self.disk, &write).is_err() {
            // The engine ends the process; the write is never tried again.
            self.crash();
            return Ok(());
        }
        self.node_turn(|node, _| node.on_written(write))?;
        self.judge_shadow()
    }

    fn job_done(&mut self) -> Result<(), Broken> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let (id, job) = self.jobs.remove(0);
        let (result, struck) = self.run_job(&job);
        if let Some(shadow) = &mut self.shadow
            && !struck
        {
            shadow.job(&job);
        }
        if !self.jobs.is_empty() {
            self.start_job();
        }
        self.node_turn(move |node, turn| node.on_job(id, result, turn))
    }

    /// Starts the node on what the disk holds.
    fn start(&mut self) -> Result<(), Broken> {
        self.run += 1;
        self.write = None;
        self.jobs.clear();
        self.shadow = None;
        self.watch = Watch::default();
        self.gone.clear();
        self.abandoned = 0;
        self.led.clear();
        if self.run > 1 && self.rng.percent(10) {
            self.change_limits();
        }
        while self.rng.percent(10) {
            self.crash_in_boot();
        }
        self.draw_start();
        if self.run > 1 {
            self.live_damaged();
        }
        if self.run > 1 && self.lost.is_none() {
            self.lose_files()?;
        }
        if self.run > 1 && !self.settling && self.rng.percent(8) {
            // Not a byte is left, for a while.
            self.disk.set_capacity(self.disk.used_bytes());
            self.full_until_us = self.now_us + self.rng.between(5_000, 200_000);
        }
        let clock = self.clock();
        let whole = branch::is_whole(&mut self.disk.clone());
        if whole != Some(self.lost.is_none()) {
            return Err(format!(
                "Promise 6: the check says whole: {whole:?}, missing: {:?}",
                self.lost.as_ref().map(|(loss, _)| &loss.what)
            ));
        }
        let (node, report) = branch::boot(&self.config, &mut self.disk, clock)
            .map_err(|error| format!("Promise 1: the node does not start again: {error}"))?;
        if !report.damaged.keys().eq(&self.history.damaged) {
            return Err(format!(
                "Promise 6: damaged is {:?}, and should be {:?}",
                report.damaged, self.history.damaged
            ));
        }
        self.check_start(&report)?;
        if report.log.torn.is_some() {
            self.history.situations.note(Situation::TornTail);
        }
        if report.snapshots > 0 {
            self.history.situations.note(Situation::SnapshotRestored);
        }
        for entry in &report.applied {
            self.history.apply(entry)?;
        }
        self.node = Some(node);
        self.clients.on_start();
        self.node_turn(|_, _| {})
    }

    /// Fresh random numbers for a start.
    fn draw_start(&mut self) {
        self.config.seed = self.rng.next();
        self.config.drawn = draw(&mut self.rng);
    }

    /// The node stays who it is, and no start has the number of another.
    fn check_start(&mut self, report: &BootReport) -> Result<(), Broken> {
        let node = *self.node_id.get_or_insert(report.identity.node);
        if node != report.identity.node {
            return Err(format!(
                "Promise 1: node {node:016x} starts as {:016x}",
                report.identity.node
            ));
        }
        let Some(incarnation) = report.incarnation else {
            self.history.situations.note(Situation::StartWithoutRoom);
            return Ok(());
        };
        if incarnation.number <= self.incarnation {
            return Err(format!(
                "start {} comes after start {}",
                incarnation.number, self.incarnation
            ));
        }
        self.incarnation = incarnation.number;
        Ok(())
    }

    fn judge_shadow(&mut self) -> Result<(), Broken> {
        let clock = self.clock();
        let Some(shadow) = &mut self.shadow else {
            return Ok(());
        };
        if !shadow.is_due() || !self.node.as_ref().is_some_and(Node::is_ready) {
            return Ok(());
        }
        let shadow = self.shadow.take().expect("it is due");
        branch::judge(shadow, &self.config, clock, &mut self.history)
    }

    /// Reads everything back, before and after one more restart.
    fn end(mut self) -> Result<Report, Broken> {
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
        Ok(Report {
            situations: self.history.situations,
            requests: self.clients.issued,
            faults: self.faults,
            digest: self.digest,
        })
    }

    /// Stops the node in good order.
    fn drain(&mut self) -> Result<(), Broken> {
        use domp_node::ControlRequest;
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

/// What a start draws.
fn draw(rng: &mut Rng) -> Drawn {
    Drawn {
        salt_seed: rng.next(),
        node: rng.between(1, 1 << 60),
        nonce: rng.next(),
    }
}

/// Small sizes, so that segments end and snapshots happen all the time.
fn config(rng: &mut Rng) -> Config {
    let mut config = Config::new(rng.next(), draw(rng), [7; 32]);
    config.limits = StateLimits {
        session_ttl_ms: SESSION_TTL_MS,
        session_window: 64,
        sessions_max: 60,
        idempotency_ttl_ms: SESSION_TTL_MS,
        idempotency_keys_max: 40,
    };
    config.log = LogConfig {
        first_segment_bytes: 192 << 10,
        segment_bytes: 384 << 10,
        frame_bytes_max: 64 << 10,
        reserve_bytes: 32 << 10,
        low_space_bytes: 64 << 10,
        keep_free_bytes: 64 << 10,
    };
    config.snapshot_after_bytes = rng.between(16 << 10, 96 << 10);
    config.snapshot_slice_bytes = 600;
    config.report_applied = true;
    // In most worlds connections have to take turns.
    config.turn_intake_cost_max = rng.between(500, 20_000);
    config.queued_bytes_max = rng.between(1_000, 16_000);
    config
}
