//! A node on a disk in memory, run turn by turn: what it says is carried out at once.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod trio;

use std::collections::VecDeque;

use domp_log::memory::{MemoryDisk, Tear};
use domp_log::{Drawn, Job, LogConfig, LogWrite, run_job, run_write};
use domp_node::{
    Attach, Clock, Config, ControlReply, ControlRequest, Grants, Node, NodeStatistics, Notice,
    Replies, Socket, Turn,
};
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind, frame_header};
use domp_protocol::handshake::parse_welcome;
use domp_protocol::reply::{ReplyHead, parse_replies};
use domp_protocol::transaction::{Operation, TransactionBuilder, ValueRef};

/// The space `default`.
pub const SPACE: u32 = 1;
/// The one connection.
pub const SOCKET: Socket = Socket {
    slot: 0,
    generation: 1,
    door: 0,
};
/// Turns after which a test waits in vain.
const PATIENCE: usize = 10_000;

/// A reply as it left.
pub type Answer = (ReplyHead, Vec<u8>);

/// The configuration of a node that is founded when it starts.
pub fn config() -> Config {
    let drawn = Drawn {
        salt_seed: 11,
        node: 1,
        nonce: 13,
    };
    Config::new(7, drawn, [7; 32])
}

/// A log of segments of one length, from the first on.
pub fn log_of(segment_bytes: u64) -> LogConfig {
    LogConfig {
        founding_segment_bytes: segment_bytes,
        first_segment_bytes: segment_bytes,
        segment_bytes,
        frame_bytes_max: 64 << 10,
        reserve_bytes: 32 << 10,
        low_space_bytes: 16 << 10,
        keep_free_bytes: 0,
        spare_segments_max: 3,
    }
}

/// One put.
pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Vec<Operation<'a>> {
    vec![Operation::Put {
        key,
        value: ValueRef::Bytes(value),
        expire_after_ms: None,
    }]
}

/// See the module.
pub struct Bench {
    pub node: Node,
    pub clock: Clock,
    pub turn: Turn,
    /// Room for the replies of each turn.
    pub room_bytes: usize,
    pub disk: MemoryDisk,
    /// Handed out and not run yet.
    pub jobs: VecDeque<(u64, Job)>,
    /// Whether jobs are left undone for now.
    pub holds_jobs: bool,
    /// Whether the node is not told for now that its writes are durable.
    pub holds_writes: bool,
    /// All that it had to say to an operator.
    pub notices: Vec<Notice>,
    /// Durable, and not told yet.
    written: Option<LogWrite>,
    /// Sequence of the next item.
    next: u64,
    /// The token of the session that was let in last.
    pub session: Vec<u8>,
}

impl Bench {
    /// A node on an empty disk, with a connection; ready.
    pub fn new() -> Self {
        Self::with(config())
    }

    /// The same, configured otherwise.
    pub fn with(config: Config) -> Self {
        Self::on(config, MemoryDisk::new())
    }

    /// The same, and no job is run: the log has its first segment only.
    pub fn holding_jobs(config: Config) -> Self {
        Self::begin(config, MemoryDisk::new(), true)
    }

    /// The same with something else in its configuration.
    pub fn configured(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        configure(&mut config);
        Self::with(config)
    }

    /// Power fails, nothing that was written is lost, and the node starts again.
    pub fn restart(self) -> Self {
        self.restart_as(config())
    }

    /// The same, configured otherwise.
    pub fn restart_as(self, config: Config) -> Self {
        let disk = self.disk.crash_torn(0, Tear::Nothing);
        Self::on(Config { seed: 8, ..config }, disk)
    }

    fn on(config: Config, disk: MemoryDisk) -> Self {
        Self::begin(config, disk, false)
    }

    fn begin(config: Config, disk: MemoryDisk, holds_jobs: bool) -> Self {
        let mut bench = Self::unready(config, disk, holds_jobs);
        bench.until(|bench| bench.node.is_ready());
        bench.attach(SOCKET, Grants::WRITE);
        bench
    }

    /// The same of a node that has not had a turn and, of several, waits for others.
    pub fn unready(config: Config, mut disk: MemoryDisk, holds_jobs: bool) -> Self {
        let clock = Clock {
            monotonic_us: 1_000_000,
            wall_ms: 1_700_000_000_000,
        };
        let (node, _) = Node::boot(config, &mut disk, clock, &mut |_| {}).expect("it boots");
        Self {
            node,
            clock,
            turn: Turn::default(),
            room_bytes: Replies::ROOM_BYTES,
            disk,
            jobs: VecDeque::new(),
            holds_jobs,
            holds_writes: false,
            notices: Vec::new(),
            written: None,
            next: 1,
            session: Vec::new(),
        }
    }

    /// One turn that lets a connection in.
    pub fn attach(&mut self, socket: Socket, grants: Grants) {
        let attach = Attach {
            principal: 1,
            grants,
            resume: &[],
        };
        self.turn(|node, turn| node.on_attach(socket, &attach, turn));
        if let Ok(welcome) = parse_welcome(&self.turn.replies.bytes) {
            self.session = welcome.session.to_bytes().to_vec();
        }
    }

    /// One turn; its replies stay in `turn`. What it writes is written when this returns, and
    /// told to the node at the begin of the next turn.
    pub fn turn(&mut self, event: impl FnOnce(&mut Node, &mut Turn)) {
        self.clock.monotonic_us += 1;
        if let Some(write) = self.turn.write.take() {
            self.written = Some(write);
        }
        self.turn.clear();
        self.turn.replies.room_bytes = self.room_bytes;
        self.node.begin_turn(self.clock);
        if !self.holds_writes
            && let Some(write) = self.written.take()
        {
            self.node.on_written(write);
        }
        if !self.holds_jobs
            && let Some((id, job)) = self.jobs.pop_front()
        {
            let result = run_job(&mut self.disk, &job);
            self.node.on_job(id, result, &mut self.turn);
        }
        event(&mut self.node, &mut self.turn);
        self.node.end_turn(&mut self.turn);
        assert_eq!(self.turn.fatal, None);
        if let Some(write) = &self.turn.write {
            run_write(&mut self.disk, write).expect("the disk writes");
        }
        self.notices.append(&mut self.turn.notices);
        self.jobs.extend(self.turn.jobs.drain(..));
    }

    /// Turns until something is so.
    pub fn until(&mut self, so: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            self.turn(|_, _| {});
            if so(self) {
                return;
            }
        }
        panic!("it never comes to the point");
    }

    /// A submit frame of such transactions, a sequence each; and the first sequence.
    pub fn frame(&mut self, space: u32, each: &[Vec<Operation<'_>>]) -> (Vec<u8>, u64) {
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        let first = self.next;
        for operations in each {
            let mut transaction = TransactionBuilder::new(space);
            for operation in operations {
                transaction = transaction.then(*operation);
            }
            builder.push_item(self.next, ItemKind::Transaction, &transaction.finish());
            self.next += 1;
        }
        (builder.finish(first, 60_000, space), first)
    }

    /// One turn that takes a frame in.
    pub fn submit(&mut self, frame: &[u8]) {
        self.submit_from(SOCKET, frame);
    }

    /// The same from another connection.
    pub fn submit_from(&mut self, socket: Socket, frame: &[u8]) {
        self.turn(|node, turn| node.on_frame(socket, frame, 0, turn));
    }

    /// What the node says of itself.
    pub fn statistics(&mut self) -> NodeStatistics {
        self.turn(|node, turn| node.on_control(0, ControlRequest::Statistics, turn));
        match self.turn.controls.pop() {
            Some((_, ControlReply::Statistics(statistics))) => *statistics,
            other => panic!("statistics are answered in their turn, not {other:?}"),
        }
    }

    /// Submits one transaction and waits for its answer.
    pub fn ask(&mut self, space: u32, operations: Vec<Operation<'_>>) -> Answer {
        let (frame, _) = self.frame(space, &[operations]);
        self.submit(&frame);
        if self.turn.replies.spans.is_empty() {
            self.until(|bench| !bench.turn.replies.spans.is_empty());
        }
        self.answers().remove(0)
    }

    /// What the last turn answered.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers_where(|_| true)
    }

    /// What it answered to one connection.
    pub fn answers_to(&self, socket: Socket) -> Vec<Answer> {
        self.answers_where(|to| to == socket)
    }

    fn answers_where(&self, wanted: impl Fn(Socket) -> bool) -> Vec<Answer> {
        let replies = &self.turn.replies;
        let mut answers = Vec::new();
        let items = replies.spans.iter().filter(|span| !span.frame);
        for span in items.filter(|span| wanted(span.socket)) {
            let mut frame = frame_header(FrameKind::Replies, 1, 0, 0, span.space).to_vec();
            frame.extend_from_slice(&replies.bytes[span.start as usize..span.end as usize]);
            let parsed = parse_replies(&frame).expect("replies are well-formed");
            answers.extend(parsed.map(|(head, payload)| (head, payload.to_vec())));
        }
        answers
    }
}
