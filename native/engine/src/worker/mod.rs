//! The worker: the thread that owns the node and carries out its turns.
//!
//! One round of its loop is one turn:
//!
//! ```text
//! write ended?  -> on_written          then no frames are taken in this turn:
//! jobs ended?   -> on_job              what the flush released is answered first
//! commands      -> on_control
//! else frames   -> on_frame, ...       bounded in bytes; what is not its connection's turn
//!                                      waits in the node, not here before everybody else
//! end_turn -> replies into the outbound ring, one wake-up (none are made while enough
//!             is in it); jobs to the background;
//!             the log's write, here or on the log's thread
//! nothing of all that: sleep until the gateway, a thread or the clock wakes it
//! ```

mod notices;
mod owner;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domp_node::{Clock, Node, Replies, Turn};

use crate::arrivals::Arrivals;
use crate::background::Background;
use crate::clock::{EngineClock, thread_cpu_ns};
use crate::cluster::Link;
use crate::intake::{self, Taken};
use crate::log_writer::{LogWriter, Written};
use crate::outbound::Outbound;
use crate::poll::Poll;
use crate::probe::Probe;
use crate::report::Constants;
use crate::rings::{Chunk, Direction, RingReader, RingWriter, Word};
use crate::shared::{Answer, Shared};
use crate::statistics::Statistics;
use notices::Notices;
pub(crate) use notices::Said;
use owner::{Closing, HeldDrain};

/// Copied out of the ring at once: small enough to stay in the second-level cache.
const CHUNK_BYTES: u32 = 128 * 1024;

/// Taken in by one turn at most, beside the frame that passes it. Much more than a turn
/// judges: so a frame soon stands among those of its connection, whoever came before.
const TURN_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// With so much in the outbound ring no more replies are made: what is in it stands before
/// the answers of all who come later.
const OUTBOUND_WISH_BYTES: u32 = 4 << 20;

/// Memory for replies that is kept from turn to turn.
const REPLIES_KEEP_BYTES: usize = 4 << 20;
const REPLIES_KEEP_SPANS: usize = 1 << 16;

/// What reading the ring once counts for at least, so that faults end a turn too.
const ROUND_BYTES_MIN: u32 = 1024;

/// How long a worker that is to end waits for the gateway to fetch the last replies.
const LAST_REPLIES_US: u64 = 2_000_000;

/// How the worker's loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed after a complete drain.
    Drained,
    /// Closed, but the drain took longer than allowed.
    DrainTimedOut,
    /// The process is going away.
    Abandoned,
    /// The node or its disk failed.
    Fatal(String),
}

/// See the module.
pub(crate) struct Worker {
    node: Node,
    turn: Turn,
    clock: EngineClock,
    shared: Arc<Shared>,
    reader: RingReader,
    chunk: Chunk,
    arrivals: Arrivals,
    outbound: Outbound,
    log: LogWriter,
    background: Background,
    /// To the other nodes, if there are any.
    link: Option<Link>,
    poll: Poll,
    statistics: Statistics,
    probe: Probe,
    engine_report: Constants,
    notices: Notices,
    /// Control requests the node has not answered yet.
    asked: BTreeMap<u32, Answer>,
    next_request: u32,
    /// Drains that wait until what was pushed before them is taken in.
    held_drains: VecDeque<HeldDrain>,
    drain_waiters: Vec<Answer>,
    closing: Option<Closing>,
    drain_timeout_ms: u64,
    /// When the node wants a turn at the latest.
    wake_at_us: Option<u64>,
    /// The last turn made no replies for want of room.
    waits_for_room: bool,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub node: Node,
    pub clock: EngineClock,
    pub shared: Arc<Shared>,
    pub log: LogWriter,
    pub background: Background,
    /// To the other nodes, if there are any.
    pub link: Option<Link>,
    /// Whether to look for work for a moment before sleeping.
    pub busy_poll: bool,
    /// The longest that closing waits for what was accepted.
    pub drain_timeout_ms: u64,
    /// What does not change about this engine, shown with its statistics.
    pub engine_report: Constants,
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let memory = &parts.shared.memory;
        let reader = RingReader::new(memory.clone(), Direction::Inbound);
        let outbound = Outbound::new(RingWriter::new(memory.clone(), Direction::Outbound));
        let arrivals = Arrivals::new(reader.head(), parts.clock.now_us());
        Self {
            node: parts.node,
            turn: Turn::default(),
            clock: parts.clock,
            reader,
            chunk: Chunk::new(),
            arrivals,
            outbound,
            log: parts.log,
            background: parts.background,
            link: parts.link,
            poll: Poll::new(parts.busy_poll),
            statistics: Statistics::new(),
            probe: Probe::default(),
            engine_report: parts.engine_report,
            notices: Notices::default(),
            asked: BTreeMap::new(),
            next_request: 0,
            held_drains: VecDeque::new(),
            drain_waiters: Vec::new(),
            closing: None,
            drain_timeout_ms: parts.drain_timeout_ms,
            wake_at_us: Some(0),
            waits_for_room: false,
            shared: parts.shared,
        }
    }

    /// Runs turns until the node serves, or the time is over; takes no frames yet.
    pub fn run_until_ready(&mut self, timeout_ms: u64) -> Result<bool, End> {
        let until_us = self.clock.now_us() + timeout_ms * 1000;
        loop {
            if let Some(end) = self.round(false, Some(until_us)) {
                return Err(end);
            }
            if self.node.is_ready() {
                return Ok(true);
            }
            if self.clock.now_us() >= until_us {
                return Ok(false);
            }
        }
    }

    /// Runs turns until something ends it.
    pub fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.round(true, None) {
                return end;
            }
        }
    }

    /// Monotonic time since the engine's start.
    pub fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// Ends the engine's other threads, after what they are at; gives the node back.
    pub fn stop(self) -> Node {
        let Self {
            node,
            log,
            background,
            link,
            ..
        } = self;
        if let Some(link) = link {
            link.close();
        }
        drop(log);
        drop(background);
        node
    }

    /// One round: a turn if there is cause for one, else a sleep.
    fn round(&mut self, serving: bool, until_us: Option<u64>) -> Option<End> {
        if self.shared.is_abandoned() {
            return Some(End::Abandoned);
        }
        let begun_ns = self.clock.now_ns();
        let now_us = begun_ns / 1000 + 1;
        let mut cause = self.wake_at_us.is_some_and(|at_us| at_us <= now_us);
        if self.outbound.is_blocked() {
            self.outbound.retry();
            self.publish();
        }
        if self.waits_for_room && self.outbound.has_room(OUTBOUND_WISH_BYTES) {
            // What the node held back for want of room goes on now.
            cause = true;
        }
        self.arrivals.note(self.reader.tail(), now_us);

        let clock = self.read_clock();
        self.node.begin_turn(clock);
        let released = match self.take_written() {
            Ok(released) => released,
            Err(end) => return Some(end),
        };
        cause |= released;
        cause |= self.take_jobs();
        match self.take_peers() {
            Ok(any) => cause |= any,
            Err(end) => return Some(end),
        }
        if serving {
            cause |= self.take_commands(now_us);
        }
        if serving && !released {
            cause |= self.take_frames(now_us);
        }
        cause |= self.begin_drains(now_us);
        if cause {
            if let Some(end) = self.end_turn(begun_ns, released) {
                return Some(end);
            }
        } else {
            self.sleep(now_us, serving, until_us);
        }
        self.end_closing()
    }

    /// Both clocks, for a turn. Says so where the machine's has left.
    fn read_clock(&mut self) -> Clock {
        let clock = self.clock.read();
        self.statistics.clock_skew_ms = self.clock.skew_ms();
        if let Some(jump) = self.clock.take_jump() {
            self.notices.add([Said::ClockLeft(jump)]);
            self.announce_notices();
        }
        clock
    }

    /// Tells the node of the write that ended, if one did.
    fn take_written(&mut self) -> Result<bool, End> {
        let Some(Written {
            write,
            result,
            took_ns,
        }) = self.log.poll()
        else {
            return Ok(false);
        };
        if let Err(error) = result {
            // What is on the disk is unknown, and a flush that failed once may
            // claim success the next time: nothing is written after this.
            return Err(End::Fatal(format!("writing the log failed: {error}")));
        }
        self.statistics.written(&write, took_ns);
        if let Some(link) = &mut self.link
            && let Err(error) = link.note_durable()
        {
            let what = "can't write down that this node was founded";
            return Err(End::Fatal(format!("{what}: {error}")));
        }
        self.node.on_written(write);
        // Here it would make the answers wait for a second flush.
        if self.log.hands_over(self.node.waiting_log_bytes())
            && let Some(next) = self.node.next_write()
        {
            self.log.begin(next);
        }
        Ok(true)
    }

    /// Hands the node what others said, and what became of the connections to them.
    fn take_peers(&mut self) -> Result<bool, End> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        if !link.has_events() {
            return Ok(false);
        }
        if !link.is_running() {
            return Err(End::Fatal(
                "the thread of the connections to other nodes has ended".to_owned(),
            ));
        }
        let said = link.take(&mut self.node);
        if !said.is_empty() {
            self.notices.add(said.into_iter().map(Said::Standing));
            self.announce_notices();
        }
        Ok(true)
    }

    fn take_jobs(&mut self) -> bool {
        let mut any = false;
        while let Some(ended) = self.background.poll() {
            any = true;
            self.statistics.jobs += 1;
            if matches!(ended.result, domp_log::JobResult::Failed { .. }) {
                self.statistics.jobs_failed += 1;
            }
            self.node.on_job(ended.id, ended.result, &mut self.turn);
        }
        any
    }

    /// Takes frames in, unless replies wait for room in the ring: then the gateway has not
    /// drained it for long, on which no single connection has any influence.
    fn take_frames(&mut self, now_us: u64) -> bool {
        if !self.takes_frames() {
            return false;
        }
        let fill = self.reader.fill();
        if fill == 0 && self.reader.is_empty() {
            return false;
        }
        self.statistics.inbound_fill_bytes.record(u64::from(fill));
        let before = self.reader.head();
        let mut left = TURN_BYTES_MAX;
        let mut any = false;
        while left > 0 {
            let waited_us = self.arrivals.waited_us(self.reader.head(), now_us);
            match self
                .reader
                .fill_chunk(&mut self.chunk, left.min(CHUNK_BYTES))
            {
                Ok(false) => break,
                Ok(true) => self.take_chunk(waited_us),
                Err(_) => self.statistics.inbound_faults += 1,
            }
            any = true;
            let taken = u32::try_from(self.chunk.bytes()).unwrap_or(u32::MAX);
            left = left.saturating_sub(taken.max(ROUND_BYTES_MIN));
        }
        // Room may have come of a wrap marker alone.
        if self.reader.head() != before
            && self.shared.memory.take_flag(Word::InboundBlocked)
            && self.shared.wake_gateway()
        {
            self.statistics.wake_ups += 1;
        }
        any
    }

    fn takes_frames(&self) -> bool {
        !self.outbound.is_blocked()
    }

    fn take_chunk(&mut self, waited_us: u64) {
        let arrived_ns = self.clock.now_ns().saturating_sub(waited_us * 1000);
        self.statistics.inbound_bytes += self.chunk.bytes() as u64;
        while let Some(record) = self.chunk.next() {
            self.statistics.inbound_records += 1;
            match intake::take(&mut self.node, &record, waited_us, &mut self.turn) {
                Taken::Frame => {
                    let socket = intake::socket(&record);
                    self.probe.watch(socket, record.body, arrived_ns);
                }
                Taken::Other => {}
                Taken::Malformed => self.statistics.inbound_malformed += 1,
            }
        }
    }

    /// Ends the node's turn and carries out what it says.
    fn end_turn(&mut self, begun_ns: u64, released: bool) -> Option<End> {
        // What the gateway has not fetched would stand before all that is made now.
        self.turn.replies.room_bytes = if self.outbound.has_room(OUTBOUND_WISH_BYTES) {
            Replies::ROOM_BYTES
        } else {
            0
        };
        self.waits_for_room = self.turn.replies.room_bytes == 0;
        self.node.end_turn(&mut self.turn);
        if let Some(why) = self.turn.fatal.take() {
            return Some(End::Fatal(why));
        }
        // Before all else: others write and answer while this node does.
        if let Some(link) = &mut self.link {
            link.send(&mut self.turn.sends);
        }
        let emitted = self.outbound.emit(&self.turn.replies);
        if emitted.blocked > 0 {
            self.outbound.retry();
        }
        self.publish();

        let statistics = &mut self.statistics;
        statistics.turns += 1;
        statistics.outbound_replies += emitted.replies;
        statistics.outbound_frames += emitted.frames;
        statistics.outbound_bytes += emitted.bytes;
        statistics.outbound_blocked += emitted.blocked;
        if released {
            statistics.batch_replies.record(emitted.replies);
        }
        let now_ns = self.clock.now_ns();
        if let Some(took_ns) = self.probe.look(&self.turn.replies, now_ns) {
            statistics.request_ns.record(took_ns);
        }
        statistics.turn_ns.record(now_ns - begun_ns);

        for job in self.turn.jobs.drain(..) {
            self.background.push(job);
        }
        self.pass_on_notices();
        for (id, reply) in std::mem::take(&mut self.turn.controls) {
            self.answer(id, reply);
        }
        if self.turn.drained {
            self.drained();
        }
        self.wake_at_us = self.turn.wake_at_us;
        let write = self.turn.write.take();
        self.turn.clear();
        // A burst's memory is not kept for ever.
        self.turn.replies.bytes.shrink_to(REPLIES_KEEP_BYTES);
        self.turn.replies.spans.shrink_to(REPLIES_KEEP_SPANS);
        if let Some(write) = write {
            self.log.begin(write);
        }
        None
    }

    /// Keeps what the node has to say to an operator, and has the gateway ask for it.
    fn pass_on_notices(&mut self) {
        if self.turn.notices.is_empty() {
            return;
        }
        self.notices
            .add(self.turn.notices.drain(..).map(Said::Node));
        self.announce_notices();
    }

    fn announce_notices(&mut self) {
        self.shared.memory.announce(Word::Notices);
        if self.shared.wake_gateway() {
            self.statistics.wake_ups += 1;
        }
    }

    /// Shows the gateway what was placed, and wakes it once.
    fn publish(&mut self) {
        if self.outbound.publish() {
            if self.shared.wake_gateway() {
                self.statistics.wake_ups += 1;
            }
            let fill = self.outbound.fill();
            self.statistics.outbound_fill_bytes.record(u64::from(fill));
        }
    }

    /// Sleeps until something happens. The order (say so, look again, park) loses
    /// no wake-up: whoever came before the look is seen by it, whoever comes after
    /// sees the flag. The engine's own threads and commands unpark without looking
    /// at the flag, which makes the park return at once.
    fn sleep(&mut self, now_us: u64, serving: bool, until_us: Option<u64>) {
        let begun_ns = self.clock.now_ns();
        let may_take = serving && self.takes_frames();
        let begun_cpu_ns = self.poll.looks().then(thread_cpu_ns);
        let found = self.is_found(serving, may_take);
        if let Some(begun_cpu_ns) = begun_cpu_ns {
            self.statistics.poll_cpu_ns += thread_cpu_ns() - begun_cpu_ns;
        }
        if found {
            self.statistics.polled += 1;
            self.waited(serving, begun_ns);
            return;
        }
        let memory = &self.shared.memory;
        memory.announce(Word::Sleeping);
        if !may_take || self.reader.is_empty() {
            self.statistics.parks += 1;
            match [self.wake_at_us, self.owner_waits_until_us(now_us), until_us]
                .into_iter()
                .flatten()
                .min()
            {
                Some(at_us) => {
                    std::thread::park_timeout(Duration::from_micros(at_us.saturating_sub(now_us)));
                }
                None => std::thread::park(),
            }
        }
        memory.take_flag(Word::Sleeping);
        self.waited(serving, begun_ns);
    }

    /// Waiting is over. If the ring was empty before, what is in it now just came.
    fn waited(&mut self, serving: bool, begun_ns: u64) {
        let now_ns = self.clock.now_ns();
        self.poll.waited(now_ns - begun_ns);
        if serving && self.arrivals.is_read_up(self.reader.head()) {
            self.arrivals.woken(now_ns / 1000);
        }
    }

    /// Looks for work before sleeping, where that tends to pay. What is not looked
    /// for here (a job that ended, the clock) can wait that long.
    fn is_found(&self, serving: bool, may_take: bool) -> bool {
        self.poll.look(
            || {
                (may_take && !self.reader.is_empty())
                    || self.log.has_written()
                    || self.link.as_ref().is_some_and(Link::has_events)
                    || (serving && self.shared.has_command())
            },
            || self.clock.now_ns(),
        )
    }
}
