//! What a request costs the node, without sockets, rings and disk: 64 connections hand in frames, turn
//! after turn, and everything that is to be written is reported as written at once.
//!
//! `cargo run --release -p domp-node --example turn_bench [workload | all] [keys] [turns]`
//!
//! Nanoseconds follow the machine. What follows the code alone is the count of instructions:
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' \
//!     target/release/examples/turn_bench transfer 250000 40
//! ```

use domp_log::Drawn;
use domp_log::JobResult;
use domp_log::memory::MemoryDisk;
use domp_node::{Attach, Clock, Config, Grants, Node, Socket, Turn};
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::reply::{ReplyHead, parse_replies};
use domp_protocol::{Guard, Operation, TransactionBuilder, ValueRef, frame};
use std::time::Instant;

const CONNECTIONS: u32 = 64;
/// Frames of each connection in one turn.
const DEPTH: usize = 4;
/// Turns between two looks at the clock, so that building requests stays outside.
const CHUNK: usize = 20;
const SPACE: u32 = 1;
const TIMEOUT_MS: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// Two guards and two additions, one transaction a frame.
    Transfer,
    /// One put of 64 bytes a frame.
    Put,
    /// 64 puts of 64 bytes a frame.
    PutFrames,
    /// One get a frame.
    Get,
    /// 64 gets a frame.
    GetFrames,
}

const ALL: [(&str, Workload); 5] = [
    ("transfer", Workload::Transfer),
    ("put", Workload::Put),
    ("put-frames", Workload::PutFrames),
    ("get", Workload::Get),
    ("get-frames", Workload::GetFrames),
];

impl Workload {
    fn items(self) -> u64 {
        match self {
            Self::Transfer | Self::Put | Self::Get => 1,
            Self::PutFrames | Self::GetFrames => 64,
        }
    }

    fn transaction(self, keys: u64, random: &mut Random) -> Vec<u8> {
        let builder = TransactionBuilder::new(SPACE);
        match self {
            Self::Transfer => {
                let (from, to) = (random.key("account/", keys), random.key("account/", keys));
                let guard = |key| Guard::AtLeast { key, number: 1 };
                let add = |key, delta| Operation::Add {
                    key,
                    delta,
                    floor: None,
                    ceiling: None,
                };
                builder
                    .guard(guard(&from))
                    .guard(guard(&to))
                    .then(add(&from, -1))
                    .then(add(&to, 1))
                    .finish()
            }
            Self::Put | Self::PutFrames => {
                let value = [random.next().to_le_bytes(); 8].concat();
                put(
                    &random.key("entries/", keys),
                    ValueRef::Bytes(&value),
                    builder,
                )
            }
            Self::Get | Self::GetFrames => {
                let key = random.key("entries/", keys);
                builder.then(Operation::Get { key: &key }).finish()
            }
        }
    }
}

fn put(key: &[u8], value: ValueRef<'_>, builder: TransactionBuilder) -> Vec<u8> {
    let put = Operation::Put {
        key,
        value,
        expire_after_ms: None,
    };
    builder.then(put).finish()
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn key(&mut self, family: &str, keys: u64) -> Vec<u8> {
        key(family, self.next() % keys)
    }
}

fn key(family: &str, number: u64) -> Vec<u8> {
    format!("{family}{number:08}").into_bytes()
}

/// The node with all that the engine would keep for it.
struct Bench {
    node: Node,
    turn: Turn,
    clock: Clock,
    /// By connection: the next sequence.
    sequences: Vec<u64>,
    frame: FrameBuilder,
    answered: u64,
}

fn socket(slot: u32) -> Socket {
    Socket {
        slot,
        generation: 1,
        door: 0,
    }
}

impl Bench {
    fn new() -> Self {
        let clock = Clock {
            monotonic_us: 1,
            wall_ms: 1_700_000_000_000,
        };
        let mut config = Config::new(
            7,
            Drawn {
                salt_seed: 11,
                node: 1,
                nonce: 13,
            },
            [7; 32],
        );
        config.snapshot_after_bytes = u64::MAX;
        let mut disk = MemoryDisk::new();
        let (node, _) = Node::boot(config, &mut disk, clock, &mut |_| {}).expect("an empty disk");
        let mut bench = Self {
            node,
            turn: Turn::default(),
            clock,
            sequences: vec![1; CONNECTIONS as usize],
            frame: FrameBuilder::new(FrameKind::Submit),
            answered: 0,
        };
        while !bench.node.is_ready() {
            bench.turn(&[]);
        }
        for slot in 0..CONNECTIONS {
            let attach = Attach {
                principal: 1,
                grants: Grants::WRITE,
                resume: &[],
            };
            bench.node.on_attach(socket(slot), &attach, &mut bench.turn);
        }
        bench.turn(&[]);
        bench
    }

    /// One turn that takes frames in, and others until all of them are answered.
    #[inline(never)]
    fn turn(&mut self, frames: &[(u32, Vec<u8>)]) {
        let mut frames = frames;
        loop {
            self.clock.monotonic_us += 100;
            self.node.begin_turn(self.clock);
            for (slot, bytes) in std::mem::take(&mut frames) {
                self.node.on_frame(socket(*slot), bytes, 1, &mut self.turn);
            }
            self.node.end_turn(&mut self.turn);
            assert!(self.turn.fatal.is_none(), "{:?}", self.turn.fatal);
            self.answered += self.turn.replies.spans.len() as u64;
            let write = self.turn.write.take();
            let jobs = std::mem::take(&mut self.turn.jobs);
            let done = write.is_none() && jobs.is_empty();
            self.turn.clear();
            if done {
                return;
            }
            if let Some(write) = write {
                self.node.on_written(write);
            }
            for (id, _) in jobs {
                self.node.on_job(id, JobResult::Done, &mut self.turn);
            }
        }
    }

    /// The next frames of all connections.
    fn frames(&mut self, items: u64, mut next: impl FnMut() -> Vec<u8>) -> Vec<(u32, Vec<u8>)> {
        let acked: Vec<u64> = self.sequences.clone();
        let mut frames = Vec::new();
        for _ in 0..DEPTH {
            for slot in 0..CONNECTIONS {
                let sequence = &mut self.sequences[slot as usize];
                for _ in 0..items {
                    self.frame
                        .push_item(*sequence, ItemKind::Transaction, &next());
                    *sequence += 1;
                }
                let acked_below = acked[slot as usize];
                frames.push((slot, self.frame.finish(acked_below, TIMEOUT_MS, SPACE)));
            }
        }
        frames
    }

    fn load(&mut self, family: &str, keys: u64, value: ValueRef<'_>) {
        let mut numbers = 0..keys;
        while numbers.start < keys {
            let frames = self.frames(64, || {
                let number = numbers.next().unwrap_or(keys - 1);
                put(&key(family, number), value, TransactionBuilder::new(SPACE))
            });
            self.turn(&frames);
        }
    }

    #[inline(never)]
    fn measured(&mut self, turns: &[Vec<(u32, Vec<u8>)>]) {
        for frames in turns {
            self.turn(frames);
        }
    }

    /// The answer to a single request.
    fn ask(&mut self, transaction: &[u8]) -> ReplyHead {
        let sequence = self.sequences[0];
        self.sequences[0] += 1;
        self.frame
            .push_item(sequence, ItemKind::Transaction, transaction);
        let bytes = self.frame.finish(sequence, TIMEOUT_MS, SPACE);
        self.node.begin_turn(self.clock);
        self.node.on_frame(socket(0), &bytes, 1, &mut self.turn);
        loop {
            self.node.end_turn(&mut self.turn);
            if let Some(span) = self.turn.replies.spans.first() {
                let items = &self.turn.replies.bytes[span.start as usize..span.end as usize];
                let mut replies = frame::frame_header(FrameKind::Replies, 1, 0, 0, SPACE).to_vec();
                replies.extend_from_slice(items);
                let head = parse_replies(&replies)
                    .ok()
                    .and_then(|mut replies| replies.next())
                    .map(|(head, _)| head);
                self.turn.clear();
                return head.expect("a reply");
            }
            if let Some(write) = self.turn.write.take() {
                self.node.on_written(write);
            }
        }
    }
}

fn run(name: &str, workload: Workload, keys: u64, turns: usize) {
    let mut bench = Bench::new();
    match workload {
        Workload::Transfer => bench.load("account/", keys, ValueRef::Number(1 << 40)),
        _ => bench.load("entries/", keys, ValueRef::Bytes(&[7; 64])),
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let sample = workload.transaction(keys, &mut random);
    let head = bench.ask(&sample);
    assert!(head.applied && head.code.is_none(), "{head:?}");

    let (mut took_ns, mut count, mut left) = (0, 0, turns);
    while left > 0 {
        let chunk = left.min(CHUNK);
        let frames: Vec<_> = (0..chunk)
            .map(|_| bench.frames(workload.items(), || workload.transaction(keys, &mut random)))
            .collect();
        bench.answered = 0;
        let begin = Instant::now();
        bench.measured(&frames);
        took_ns += begin.elapsed().as_nanos();
        let asked = (chunk * frames[0].len()) as u64 * workload.items();
        assert_eq!(bench.answered, asked, "every request is answered");
        count += asked;
        left -= chunk;
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let each_ns = took_ns as f64 / count as f64;
    println!("{name:12} {each_ns:8.0} ns, {count} requests, {keys} keys");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let workload = arguments.next().unwrap_or_else(|| "all".to_owned());
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (keys, turns) = (number(1_000_000), number(400));
    for (name, kind) in ALL {
        if workload == "all" || workload == name {
            let turns = usize::try_from(turns / kind.items().isqrt()).unwrap_or(1);
            run(name, kind, keys, turns.max(1));
        }
    }
}
