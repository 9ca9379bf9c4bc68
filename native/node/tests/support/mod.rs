//! A node on a disk in memory, run turn by turn: what it says is carried out at once.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::VecDeque;

use domp_log::memory::MemoryDisk;
use domp_log::{Job, LogWrite, run_job, run_write};
use domp_node::{
    Attach, Clock, Config, ControlReply, ControlRequest, Grants, Node, NodeStatistics, Replies,
    Socket, Turn,
};
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind, frame_header};
use domp_protocol::reply::{ReplyHead, parse_replies};
use domp_protocol::transaction::{Operation, TransactionBuilder};

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

/// See the module.
pub struct Bench {
    pub node: Node,
    pub clock: Clock,
    pub turn: Turn,
    /// Room for the replies of each turn.
    pub room_bytes: usize,
    /// Whether the write under way takes for ever.
    pub disk_is_stuck: bool,
    written: Option<LogWrite>,
    disk: MemoryDisk,
    jobs: VecDeque<(u64, Job)>,
    /// Sequence of the next item.
    next: u64,
}

impl Bench {
    /// A node on an empty disk, with a connection; ready.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with something else in its configuration.
    pub fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut disk = MemoryDisk::new();
        let clock = Clock {
            monotonic_us: 1_000_000,
            wall_ms: 1_700_000_000_000,
        };
        let mut config = Config::new(1, 7, [7; 32]);
        configure(&mut config);
        let (node, _) = Node::boot(config, &mut disk, clock, &mut |_| {}).expect("it boots");
        let mut bench = Self {
            node,
            clock,
            turn: Turn::default(),
            room_bytes: Replies::ROOM_BYTES,
            disk_is_stuck: false,
            written: None,
            disk,
            jobs: VecDeque::new(),
            next: 1,
        };
        bench.until(|bench| bench.node.is_ready());
        bench.attach(SOCKET, Grants::WRITE);
        bench
    }

    /// One turn that lets a connection in.
    pub fn attach(&mut self, socket: Socket, grants: Grants) {
        let attach = Attach {
            principal: 1,
            grants,
            resume: &[],
        };
        self.turn(|node, turn| node.on_attach(socket, &attach, turn));
    }

    /// One turn; its replies stay in `turn`. What it writes is written when this returns, and
    /// told to the node at the begin of the next turn.
    pub fn turn(&mut self, event: impl FnOnce(&mut Node, &mut Turn)) {
        self.clock.monotonic_us += 1;
        self.written = self.turn.write.take().or(self.written.take());
        self.turn.clear();
        self.turn.replies.room_bytes = self.room_bytes;
        self.node.begin_turn(self.clock);
        if !self.disk_is_stuck
            && let Some(write) = self.written.take()
        {
            self.node.on_written(write);
        }
        if let Some((id, job)) = self.jobs.pop_front() {
            let result = run_job(&mut self.disk, &job);
            self.node.on_job(id, result, &mut self.turn);
        }
        event(&mut self.node, &mut self.turn);
        self.node.end_turn(&mut self.turn);
        assert_eq!(self.turn.fatal, None);
        if let Some(write) = &self.turn.write {
            run_write(&mut self.disk, write).expect("the disk writes");
        }
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
