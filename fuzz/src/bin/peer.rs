//! What other nodes say: a node of three that hears anything at all, carries out what its turns say, and lets
//! time pass. It may take nothing in, but it must not end, and must come to rest when nobody speaks.
#![no_main]

use domp_log::memory::MemoryDisk;
use domp_log::snapshot::SnapshotHead;
use domp_log::{Drawn, Job, LogConfig, run_job, run_write};
use domp_node::{Clock, Config, Direction, Lane, Node, Turn};
use domp_protocol::ErrorCode;
use domp_protocol::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameKind, ItemKind};
use domp_protocol::generated::layout::{
    answer_batch, answers_taken, handed_batch, node_heartbeat, raft_entry, raft_message as place,
    snapshot_message, stream_forgotten,
};
use domp_protocol::reply::{ReplyHead, encode_reply};
use libfuzzer_sys::fuzz_target;

const CLUSTER: u128 = 0x5eed;

fn config() -> Config {
    let drawn = Drawn {
        salt_seed: 1,
        node: 1,
        nonce: 3,
    };
    let mut config = Config::new(7, drawn, [7; 32]);
    config.founders = vec![1, 2, 3];
    config.cluster = CLUSTER;
    config.log = LogConfig {
        founding_segment_bytes: 192 << 10,
        first_segment_bytes: 384 << 10,
        segment_bytes: 384 << 10,
        frame_bytes_max: 64 << 10,
        reserve_bytes: 32 << 10,
        low_space_bytes: 64 << 10,
        keep_free_bytes: 0,
        spare_segments_max: 3,
    };
    config
}

struct Bench {
    node: Node,
    disk: MemoryDisk,
    turn: Turn,
    now_us: u64,
}

impl Bench {
    fn new() -> Self {
        let mut disk = MemoryDisk::new();
        let clock = Clock {
            monotonic_us: 1_000,
            wall_ms: 1_700_000_000_000,
        };
        let (node, _) = Node::boot(config(), &mut disk, clock, &mut |_| {}).expect("it boots");
        Self {
            node,
            disk,
            turn: Turn::default(),
            now_us: 1_000,
        }
    }

    fn turn(&mut self, after_us: u64, event: impl FnOnce(&mut Node)) {
        self.now_us += after_us;
        let clock = Clock {
            monotonic_us: self.now_us,
            wall_ms: 1_700_000_000_000 + self.now_us / 1_000,
        };
        self.turn.clear();
        self.node.begin_turn(clock);
        event(&mut self.node);
        self.node.end_turn(&mut self.turn);
        // What is handed out ends at once; what follows from that too.
        for _ in 0..1_000 {
            assert_eq!(self.turn.fatal, None);
            let write = self.turn.write.take();
            let jobs: Vec<(u64, Job)> = self.turn.jobs.drain(..).collect();
            if write.is_none() && jobs.is_empty() {
                return;
            }
            if let Some(write) = &write {
                run_write(&mut self.disk, write).expect("the disk writes");
            }
            self.turn.clear();
            self.node.begin_turn(clock);
            if let Some(write) = write {
                self.node.on_written(write);
            }
            for (id, job) in jobs {
                let result = run_job(&mut self.disk, &job);
                self.node.on_job(id, result, &mut self.turn);
            }
            self.node.end_turn(&mut self.turn);
        }
        panic!("it does not come to rest");
    }
}

/// Bytes of the input, one after the other; zeros behind its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Mostly small, since what makes sense is.
    fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=250 => u64::from(byte % 16),
            251 => u64::from(u32::MAX) + 1,
            252 => u64::MAX - 1,
            _ => u64::MAX,
        }
    }

    /// A heartbeat.
    fn heartbeat(&mut self) -> Vec<u8> {
        let mut out = vec![0; node_heartbeat::STRUCT_BYTES];
        for at in [
            node_heartbeat::INCARNATION,
            node_heartbeat::STAMP_US,
            node_heartbeat::HYBRID,
        ] {
            out[at..at + 8].copy_from_slice(&self.number().to_le_bytes());
        }
        out
    }

    /// A word of the requests lane whose form is right.
    fn word(&mut self) -> Vec<u8> {
        let kind = 1 + self.byte() % 4;
        let mut tail = Vec::new();
        let mut count = 0;
        let space = u32::from(self.byte() % 4);
        match kind {
            1 => {
                let mut builder = FrameBuilder::new(FrameKind::Submit);
                for _ in 0..=self.byte() % 3 {
                    let length = usize::from(self.byte() % 64).min(self.0.len());
                    let (payload, rest) = self.0.split_at(length);
                    self.0 = rest;
                    let sequence = 1 + u64::from(self.byte() % 4);
                    let kinds = [
                        ItemKind::Transaction,
                        ItemKind::Outcome,
                        ItemKind::OutcomeOf,
                    ];
                    let kind = kinds[usize::from(self.byte()) % kinds.len()];
                    builder.push_item(sequence, kind, payload);
                }
                count = builder.items();
                tail = builder.finish(0, 1, space).split_off(FRAME_HEADER_BYTES);
            }
            2 => {
                for _ in 0..=self.byte() % 3 {
                    let head = ReplyHead {
                        sequence: u64::from(self.byte() % 4),
                        code: ErrorCode::from_number(u16::from(self.byte() % 40)),
                        ..ReplyHead::default()
                    };
                    encode_reply(&mut tail, &head, &[]);
                    count += 1;
                }
            }
            _ => {}
        }
        let (bytes, words): (usize, &[usize]) = match kind {
            1 => (
                handed_batch::STRUCT_BYTES,
                &[
                    handed_batch::DOOR_INCARNATION,
                    handed_batch::STREAM,
                    handed_batch::LEADER_INCARNATION,
                    handed_batch::STAMP_US,
                    handed_batch::WITHIN_US,
                    handed_batch::BIRTH,
                    handed_batch::NONCE,
                    handed_batch::PRINCIPAL,
                    handed_batch::EPOCH,
                    handed_batch::ACKED_BELOW,
                ],
            ),
            2 => (
                answer_batch::STRUCT_BYTES,
                &[
                    answer_batch::DOOR_INCARNATION,
                    answer_batch::STREAM,
                    answer_batch::CONNECTION,
                    answer_batch::TERM,
                    answer_batch::LEADER,
                ],
            ),
            3 => (
                answers_taken::STRUCT_BYTES,
                &[answers_taken::CONNECTION, answers_taken::BYTES],
            ),
            _ => (
                stream_forgotten::STRUCT_BYTES,
                &[stream_forgotten::DOOR_INCARNATION, stream_forgotten::STREAM],
            ),
        };
        let mut out = vec![0; bytes];
        out[0] = kind;
        for at in words {
            out[*at..*at + 8].copy_from_slice(&self.number().to_le_bytes());
        }
        if kind <= 2 {
            if kind == 1 {
                out[handed_batch::SESSION] = self.byte() % 2;
                out[handed_batch::GRANTS] = self.byte() % 2;
            }
            let length = u32::try_from(tail.len()).expect("short");
            out[handed_batch::SPACE..][..4].copy_from_slice(&space.to_le_bytes());
            out[handed_batch::COUNT..][..4].copy_from_slice(&count.to_le_bytes());
            out[handed_batch::BYTES..][..4].copy_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&tail);
        }
        out
    }

    /// A message whose form is right.
    fn message(&mut self, from: u64) -> Vec<u8> {
        let mut out = vec![0; place::STRUCT_BYTES];
        let mut word =
            |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        word(place::TIMELINE_COUNTER, 1);
        word(place::TIMELINE_RANDOM_LOW, 0x5eed);
        word(place::FROM, from);
        word(place::TO, 1);
        word(place::TERM, self.number());
        word(place::INDEX, self.number());
        word(place::LOG_TERM, self.number());
        word(place::COMMIT, self.number());
        word(place::COMMIT_TERM, self.number());
        word(place::REJECT_HINT, self.number());
        out[place::KIND] = self.byte() % 11;
        out[place::REJECT] = self.byte() % 2;
        match self.byte() % 3 {
            1 => {
                out[place::CONTEXT] = 1;
                out[place::READ_REPLICA] = 1;
                out[place::READ_INCARNATION] = 3;
                out[place::READ_COUNT] = self.byte() % 8;
            }
            context => out[place::CONTEXT] = context,
        }
        let entries = self.byte() % 4;
        out[place::ENTRIES] = entries;
        for _ in 0..entries {
            let mut head = [0; raft_entry::STRUCT_BYTES];
            head[raft_entry::INDEX..][..8].copy_from_slice(&self.number().to_le_bytes());
            head[raft_entry::TERM..][..8].copy_from_slice(&self.number().to_le_bytes());
            let length = usize::from(self.byte() % 64).min(self.0.len());
            head[raft_entry::LENGTH] = u8::try_from(length).expect("short");
            out.extend_from_slice(&head);
            let (data, rest) = self.0.split_at(length);
            out.extend_from_slice(data);
            self.0 = rest;
            out.resize(out.len() + domp_protocol::padding(length), 0);
        }
        let bytes = u32::try_from(out.len() - place::STRUCT_BYTES).expect("short");
        out[place::BYTES..][..4].copy_from_slice(&bytes.to_le_bytes());
        out
    }
}

impl Input<'_> {
    /// What is said on the bulk lane, its form right.
    fn saying(&mut self, from: u64) -> Vec<u8> {
        use snapshot_message as place;
        let mut out = vec![0; place::STRUCT_BYTES];
        let mut word =
            |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let (term, index) = (self.number(), self.number());
        word(place::TIMELINE_COUNTER, 1);
        word(place::TIMELINE_RANDOM_LOW, 0x5eed);
        word(place::FROM, from);
        word(place::TO, 1);
        word(place::TERM, term);
        word(place::ATTEMPT_INCARNATION, 3);
        word(place::ATTEMPT_COUNT, u64::from(self.byte() % 3));
        word(place::INDEX, index);
        word(place::INDEX_TERM, term);
        word(place::OFFSET, self.number());
        word(place::RESTORED, self.number());
        let said = 1 + self.byte() % 7;
        out[place::WORD] = said;
        if said == 7 {
            out[place::FAILURE] = 1 + self.byte() % 4;
        }
        let bytes = match said {
            1 => {
                let mut head = SnapshotHead {
                    index,
                    term,
                    apply_version: 1,
                    ..SnapshotHead::default()
                };
                head.timeline.counter = 1;
                head.timeline.random = CLUSTER;
                head.conf.voters = (0..self.byte() % 5).map(|_| self.number()).collect();
                head.encode()
            }
            2 => {
                let length = usize::from(self.byte()).clamp(1, self.0.len().max(1));
                let (data, rest) = self.0.split_at(length.min(self.0.len()));
                self.0 = rest;
                if data.is_empty() {
                    vec![0]
                } else {
                    data.to_vec()
                }
            }
            _ => Vec::new(),
        };
        let length = u32::try_from(bytes.len()).expect("short");
        out[place::BYTES..][..4].copy_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&bytes);
        out.resize(out.len() + domp_protocol::padding(bytes.len()), 0);
        out
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bench = Bench::new();
    let mut input = Input(data);
    while !input.0.is_empty() {
        let what = input.byte();
        let from = 2 + u64::from(what & 1);
        match what >> 1 & 15 {
            0 => {
                let length = usize::from(input.byte());
                let lane = Lane::ALL[length % Lane::COUNT];
                let length = length.min(input.0.len());
                let (bytes, rest) = input.0.split_at(length);
                let bytes = bytes.to_vec();
                input.0 = rest;
                bench.turn(10, |node| node.on_peer(from, lane, &bytes));
            }
            1 => {
                let ticks = u64::from(input.byte() % 32);
                for _ in 0..ticks {
                    bench.turn(25_000, |_| {});
                }
            }
            2 => bench.turn(10, |node| node.on_peer_gone(from)),
            3 => {
                let lane = Lane::ALL[usize::from(input.byte()) % Lane::COUNT];
                let direction = if input.byte() & 1 == 0 {
                    Direction::To
                } else {
                    Direction::From
                };
                let is_open = input.byte() & 1 == 0;
                bench.turn(10, |node| {
                    if is_open {
                        node.on_peer_connected(from, lane, direction);
                    } else {
                        node.on_peer_lost(from, lane, direction);
                    }
                });
            }
            4 => {
                let heartbeat = input.heartbeat();
                bench.turn(10, |node| node.on_peer(from, Lane::Control, &heartbeat));
            }
            5 => {
                let mut words = Vec::new();
                for _ in 0..=input.byte() % 3 {
                    words.extend(input.word());
                }
                bench.turn(10, |node| node.on_peer(from, Lane::Requests, &words));
            }
            6 => {
                let saying = input.saying(from);
                bench.turn(10, |node| node.on_peer(from, Lane::Bulk, &saying));
            }
            _ => {
                let message = input.message(from);
                bench.turn(10, |node| node.on_peer(from, Lane::Log, &message));
            }
        }
    }
});
