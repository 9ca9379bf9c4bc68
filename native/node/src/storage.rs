//! The node's log: what waits for the disk, what is on its way, what the
//! background works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use domp_log::{
    AppendError, Job, JobResult, JobTag, LogWrite, Position, Record, Space, Statistics, Writer,
};

use crate::commands::{Turn, earliest};
use crate::config::Clock;

/// What a snapshot's job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotJob {
    /// Goes on with that group's.
    Write(u64),
    /// Removes a file that is not needed.
    Remove(Arc<str>),
    /// Gives a received one of that group its name.
    Name(u64),
    /// Reads a piece for another replica, in that attempt.
    Send(u64),
    /// Takes one in from another replica, in that attempt.
    Receive(u64),
}

/// What snapshots wait for: that a record is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The hard state that names the group's snapshot.
    Snapshot(u64),
    /// The record that ends the group.
    Drop(u64),
}

/// Idleness after which the log says that all before was synced.
const IDLE_US: u64 = 5_000;
/// Wait between attempts to prepare a segment on a full disk.
const RETRY_US: u64 = 1_000_000;
/// Room that one turn's hard states and headers may take beside its items.
const TURN_ROOM_BYTES: u64 = 128 << 10;
/// Room in the present segment from which on hard states may be written that can wait.
const CONTROL_ROOM_BYTES: u64 = 16 << 10;

/// What a hard state takes in the log, its header included.
const CONTROL_RECORD_BYTES: u64 = 128;

/// Who hears of a job's end.
#[derive(Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// Nobody has to.
    Nothing,
    /// The snapshots.
    Snapshot(SnapshotJob, JobResult),
    /// The node: it can't go on.
    Fatal(String),
}

/// Whose a running job is.
#[derive(Clone, Debug)]
enum Running {
    Log(JobTag),
    Snapshot(SnapshotJob),
}

impl Running {
    fn of(job: &Job) -> Self {
        match job {
            Job::Remove { file } => Self::Snapshot(SnapshotJob::Remove(Arc::clone(file))),
            _ => Self::Log(job.tag()),
        }
    }
}

/// The log's writer and who waits for it.
///
/// Invariant: `waiting` names the batches whose records were appended since the
/// last seal, `in_flight` those of the write that is on its way. Nothing moves
/// from one to the other, or out, but by a seal and by its completion. The same
/// holds for `naming` and `naming_in_flight`, the records that snapshots wait for.
pub struct Storage {
    writer: Writer,
    waiting: Vec<(u64, u64)>,
    in_flight: Vec<(u64, u64)>,
    naming: Vec<Durable>,
    naming_in_flight: Vec<Durable>,
    /// On stable storage since somebody last looked.
    durable: Vec<Durable>,
    in_flight_bytes: u64,
    /// Jobs running in the background.
    running: BTreeMap<u64, Running>,
    /// Jobs to hand out at the end of the turn.
    wanted: Vec<(Running, Job)>,
    next_job: u64,
    last_activity_us: u64,
    retry_at_us: u64,
    /// Bytes of items taken in this turn, which are still on their way to `append`.
    taken_bytes: u64,
    /// The same of hard states that other nodes' words may bring about.
    taken_control_bytes: u64,
    /// Something was refused for want of room since a segment was last tried for.
    starved: bool,
    failure: Option<String>,
}

/// Why an item is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// There will be: see [`Storage::awaits_room`].
    Yet,
    /// The disk is full.
    Full,
}

/// Room that an item takes: batch and entry headers, a record's header, and checksums of the blocks.
fn needed_bytes(item_bytes: usize) -> u64 {
    item_bytes as u64 + item_bytes as u64 / 256 + 192
}

impl Storage {
    pub fn new(writer: Writer) -> Self {
        Self {
            writer,
            waiting: Vec::new(),
            in_flight: Vec::new(),
            naming: Vec::new(),
            naming_in_flight: Vec::new(),
            durable: Vec::new(),
            in_flight_bytes: 0,
            running: BTreeMap::new(),
            wanted: Vec::new(),
            next_job: 1,
            last_activity_us: 0,
            retry_at_us: 0,
            taken_bytes: 0,
            taken_control_bytes: 0,
            starved: false,
            failure: None,
        }
    }

    /// Takes an item of that many bytes into account.
    ///
    /// # Errors
    /// The log has no room for it now.
    pub fn reserve(&mut self, item_bytes: usize) -> Result<(), NoRoom> {
        if self.reserve_spare(item_bytes, 0) {
            Ok(())
        } else if self.awaits_room() {
            Err(NoRoom::Yet)
        } else {
            self.starved = true;
            Err(NoRoom::Full)
        }
    }

    /// The same for what can wait, which must leave `spare_bytes` of the room to others; nothing is done to
    /// make room for it.
    pub fn reserve_spare(&mut self, item_bytes: usize, spare_bytes: u64) -> bool {
        let fits = self.fits(item_bytes, spare_bytes);
        if fits {
            self.taken_bytes += needed_bytes(item_bytes);
        }
        fits
    }

    /// Whether there is room for an item of that many bytes beside those taken and `spare_bytes`.
    pub fn fits(&self, item_bytes: usize, spare_bytes: u64) -> bool {
        let most = self.taken_bytes + needed_bytes(item_bytes) + TURN_ROOM_BYTES + spare_bytes;
        !self.writer.low_space() && self.writer.room() >= most
    }

    /// Whether what finds no room need only wait: for the next segment, which is being made, or for the turn
    /// after this, whose items took the room.
    pub fn awaits_room(&self) -> bool {
        self.writer.awaits_segment() || self.taken_bytes > 0
    }

    /// Adds a record to the next group commit.
    pub fn append(&mut self, record: &Record<'_>) {
        if let Err(error) = self.writer.append(record) {
            // Room was reserved before the entry was proposed: Raft counts on
            // the record, so there is no going on without it.
            let why = match error {
                AppendError::Failed => self.writer.failure().unwrap_or("unknown").to_owned(),
                AppendError::TooLarge | AppendError::NoRoom | AppendError::Malformed => {
                    error.to_string()
                }
            };
            self.fail(&why);
        }
    }

    /// The batch `number` of `group` is persisted when the next commit is.
    pub fn await_persisted(&mut self, group: u64, number: u64) {
        match self.waiting.last_mut() {
            // Numbers grow, and persisting one covers those before.
            Some(last) if last.0 == group => last.1 = number,
            _ => self.waiting.push((group, number)),
        }
    }

    /// To be told by [`Self::take_durable`] when all that was appended is on stable storage.
    pub fn await_durable(&mut self, record: Durable) {
        self.naming.push(record);
    }

    /// What was waited for and is on stable storage by now.
    pub fn take_durable(&mut self) -> Vec<Durable> {
        std::mem::take(&mut self.durable)
    }

    /// The write is durable: returns the batches it persisted.
    pub fn on_written(&mut self, write: LogWrite, clock: Clock) -> Vec<(u64, u64)> {
        self.last_activity_us = clock.monotonic_us;
        self.in_flight_bytes = 0;
        self.writer.on_written(write.ticket);
        self.writer.recycle(write);
        self.durable.append(&mut self.naming_in_flight);
        std::mem::take(&mut self.in_flight)
    }

    /// A job ended.
    pub fn on_job(&mut self, id: u64, result: JobResult, clock: Clock) -> JobOutcome {
        let Some(running) = self.running.remove(&id) else {
            return JobOutcome::Fatal(format!("job {id} was reported to end but is not running"));
        };
        if result.is_full() {
            // Whatever lacks space needs it more than a segment to come.
            self.writer.remove_spares();
        }
        match running {
            Running::Snapshot(job) => JobOutcome::Snapshot(job, result),
            Running::Log(tag) => {
                self.writer.on_job(tag, &result);
                // Only a segment is tried for again: one that was not kept gave its space back.
                if result.is_full() && matches!(tag, JobTag::PrepareSegment(_)) {
                    self.retry_at_us = clock.monotonic_us.saturating_add(RETRY_US);
                }
                match self.writer.failure() {
                    Some(why) => JobOutcome::Fatal(why.to_owned()),
                    None => JobOutcome::Nothing,
                }
            }
        }
    }

    /// Queues a job for the background.
    pub fn want(&mut self, job: Job) {
        self.wanted.push((Running::of(&job), job));
    }

    /// Queues a job of a snapshot.
    pub fn want_snapshot_job(&mut self, what: SnapshotJob, job: Job) {
        self.wanted.push((Running::Snapshot(what), job));
    }

    /// Whether the log takes a few hard states, whatever becomes of the disk.
    pub fn has_control_room(&self) -> bool {
        let statistics = self.writer.statistics();
        let left = statistics
            .segment_bytes
            .saturating_sub(statistics.segment_used_bytes);
        self.writer.room() > 0 || left >= CONTROL_ROOM_BYTES
    }

    /// Takes a hard state into account that a peer's message may bring about; false if the log has no room for
    /// it now, and the message must not be heard.
    pub fn reserve_control(&mut self) -> bool {
        let taken = self.taken_control_bytes + CONTROL_RECORD_BYTES;
        let is_ample = self.writer.room() > self.taken_bytes + taken + TURN_ROOM_BYTES;
        let fits = is_ample || self.has_control_room() && taken <= CONTROL_ROOM_BYTES / 2;
        if fits {
            self.taken_control_bytes = taken;
        } else {
            self.starved = true;
        }
        fits
    }

    /// Something waits for room: a segment is tried for again after a while.
    pub fn starve(&mut self) {
        self.starved = true;
    }

    /// Segments may go that hold nothing but what durable hard states say is covered.
    pub fn reclaim(&mut self) {
        self.writer.reclaim();
    }

    /// The groups that keep the oldest segment alive.
    pub fn pinned_by(&self) -> Vec<domp_log::Pin> {
        self.writer.pinned_by()
    }

    /// Whether the disk is so full that nothing may be written but what keeps
    /// the log sound.
    pub fn is_low(&self) -> bool {
        self.writer.low_space()
    }

    /// Whether frames may come in: room is ready for what they may hold.
    pub fn has_room(&self) -> bool {
        self.writer.space() != Space::Waiting
    }

    /// Bytes that wait for the disk or are on their way.
    pub fn backlog_bytes(&self) -> u64 {
        self.writer.pending_bytes() + self.in_flight_bytes
    }

    /// Whether the log was idle long enough to be marked, and is not yet.
    pub fn is_idle(&self, clock: Clock) -> bool {
        self.is_quiet()
            && self.writer.wants_mark()
            && clock.monotonic_us >= self.last_activity_us.saturating_add(IDLE_US)
    }

    fn is_quiet(&self) -> bool {
        !self.writer.is_pending() && !self.writer.is_writing()
    }

    /// Whether everything is durable and marked.
    pub fn is_settled(&self) -> bool {
        self.is_quiet() && (!self.writer.wants_mark() || self.is_low())
    }

    /// The last durable place of the log.
    pub fn position(&self) -> Position {
        self.writer.position()
    }

    pub fn statistics(&self) -> Statistics {
        self.writer.statistics()
    }

    /// Makes one commit of all that waits, if no other is on its way.
    pub fn seal(&mut self, clock: Clock) -> Option<LogWrite> {
        let write = self.writer.seal();
        self.sealed(write.as_ref(), clock);
        write
    }

    fn sealed(&mut self, write: Option<&LogWrite>, clock: Clock) {
        let Some(write) = write else {
            return;
        };
        self.last_activity_us = clock.monotonic_us;
        self.in_flight = std::mem::take(&mut self.waiting);
        self.naming_in_flight.append(&mut self.naming);
        self.in_flight_bytes = write.bytes();
    }

    /// Bytes that wait to be sealed.
    pub fn waiting_bytes(&self) -> u64 {
        self.writer.pending_bytes()
    }

    /// Says what to write and to run, and when to look again. `mark`: the log
    /// is to be marked if there is nothing else to write.
    pub fn end_turn(
        &mut self,
        clock: Clock,
        mark: bool,
        turn: &mut Turn,
        wake_at_us: &mut Option<u64>,
    ) -> Result<(), String> {
        self.taken_bytes = 0;
        self.taken_control_bytes = 0;
        let now_us = clock.monotonic_us;
        if turn.write.is_none() {
            turn.write = self.seal(clock);
        }
        if turn.write.is_none() && mark {
            turn.write = self.writer.idle_mark();
            self.sealed(turn.write.as_ref(), clock);
        }
        if turn.write.is_some() || self.writer.is_writing() {
            // What is on its way wakes whoever waits for it.
        } else if self.is_quiet() && self.writer.wants_mark() && !self.is_low() {
            let at_us = self.last_activity_us.saturating_add(IDLE_US);
            earliest(wake_at_us, at_us.max(now_us + 1));
        }
        if self.starved || self.writer.low_space() {
            if now_us >= self.retry_at_us {
                self.writer.retry_prepare();
                self.starved = false;
                self.retry_at_us = now_us.saturating_add(RETRY_US);
            }
            earliest(wake_at_us, self.retry_at_us);
        }
        while let Some(job) = self.writer.take_job() {
            self.want(job);
        }
        for (running, job) in self.wanted.drain(..) {
            self.running.insert(self.next_job, running);
            turn.jobs.push((self.next_job, job));
            self.next_job += 1;
        }
        if let Some(why) = self.writer.failure() {
            return Err(why.to_owned());
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn fail(&mut self, why: &str) {
        self.failure
            .get_or_insert(format!("the log can't take a record: {why}"));
    }
}
