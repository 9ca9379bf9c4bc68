//! Other nodes: what is said to them, what they say, and the time that both are measured by.
//!
//! What is said in a turn is gathered by node and lane and leaves with the turn. A leader's entries so leave
//! before its own disk has them; what claims that something is durable was held back until it was
//! (`domp_consensus::Group::on_persisted`).

mod clocks;
pub mod heartbeat;
pub mod requests;
mod wire;

use std::collections::BTreeMap;

use domp_consensus::{Dropped, Message, MessageType};
use domp_log::Timeline;
use domp_protocol::{Lane, limits};

use crate::commands::{PeerSend, Turn, earliest};
use crate::door::Happened;
use crate::fields::Malformed;
use crate::node::Node;
use crate::shard::Shard;
use heartbeat::Heard;
use wire::Envelope;

/// Which of the two connections of a lane between this node and another: each carries frames one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the other node: this one dialled.
    To,
    /// From the other node.
    From,
}

/// The lane that a message of Raft belongs on.
fn lane_of(kind: MessageType) -> Lane {
    match kind {
        MessageType::MsgAppend | MessageType::MsgAppendResponse => Lane::Log,
        _ => Lane::Control,
    }
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Messages told to other nodes.
    pub sent: u64,
    /// Messages that came and were taken.
    pub taken: u64,
    /// That did not read, or made no sense.
    pub senseless: u64,
    /// That contradict what is committed here: somebody has lost something, or lies.
    pub contradictions: u64,
    /// That found no room in the log for what they would bring about, or not for all their entries; who sent
    /// them sends them again.
    pub without_room: u64,
}

/// See the module.
#[derive(Default)]
pub struct Peers {
    /// The other nodes.
    nodes: Vec<u64>,
    outgoing: Outgoing,
    /// The last heartbeat of each.
    heard: BTreeMap<u64, Heard>,
    next_heartbeat_us: u64,
    /// That leave with this turn.
    heartbeats: Vec<PeerSend>,
    next_tick_us: u64,
    /// When the first of the groups stands whose leader's process is gone.
    stands_at_us: Option<u64>,
    pub counters: PeerCounters,
}

/// Messages are put into one frame until it has so many bytes. The last of them may be an entry of the longest.
const FRAME_BYTES: usize = 512 << 10;

/// What this turn says, by whom it is for, in frames.
#[derive(Default)]
pub struct Outgoing {
    lanes: BTreeMap<(u64, Lane), Vec<Vec<u8>>>,
    /// Snapshots that begin, by group and replica: they travel by another way.
    snapshots: Vec<(u64, u64)>,
    sent: u64,
}

impl Outgoing {
    /// The frame that takes the next message on a node's lane.
    fn frame(&mut self, node: u64, lane: Lane) -> &mut Vec<u8> {
        let frames = self.lanes.entry((node, lane)).or_default();
        if frames.last().is_none_or(|last| last.len() >= FRAME_BYTES) {
            frames.push(Vec::new());
        }
        frames.last_mut().expect("one was added")
    }

    /// Where the next message on a node's bulk lane is put.
    pub fn bulk(&mut self, node: u64) -> &mut Vec<u8> {
        self.frame(node, Lane::Bulk)
    }

    /// The snapshots that begin.
    pub fn take_snapshots(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.snapshots)
    }

    /// Adds a group's messages.
    pub fn push(&mut self, group: u64, timeline: Timeline, messages: Vec<Message>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.snapshots.push((group, message.to));
                continue;
            }
            // A replica has the id of its node.
            let (to, lane) = (message.to, lane_of(message.get_msg_type()));
            let envelope = Envelope {
                group,
                timeline,
                message,
            };
            self.sent += u64::from(wire::put(&envelope, self.frame(to, lane)));
        }
    }
}

impl Peers {
    /// With those, of which the node itself may be one.
    pub fn new(own: u64, nodes: &[u64]) -> Self {
        let others = nodes.iter().copied().filter(|node| *node != own);
        Self {
            nodes: others.collect(),
            ..Self::default()
        }
    }

    /// Whether there are any.
    pub fn are_none(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Hands what was said to the engine.
    pub fn end_turn(&mut self, turn: &mut Turn) {
        self.counters.sent += std::mem::take(&mut self.outgoing.sent);
        turn.sends.append(&mut self.heartbeats);
        for ((node, lane), frames) in std::mem::take(&mut self.outgoing.lanes) {
            // One that was begun for what does not travel has nothing.
            let sends = frames.into_iter().filter(|bytes| !bytes.is_empty());
            turn.sends
                .extend(sends.map(|bytes| PeerSend { node, lane, bytes }));
        }
    }
}

/// What a message takes in the log beside its entries' bytes, each.
const ENTRY_ROOM_BYTES: usize = 64;

impl Node {
    /// What another node said on a lane, in its order. `node`: who that is, as its connection proved.
    pub fn on_peer(&mut self, node: u64, lane: Lane, bytes: &[u8]) {
        if !self.peers.nodes.contains(&node) {
            return;
        }
        match lane {
            Lane::Requests => {
                // More than both may ever have under way is not even looked at.
                let bytes_max = 4 * limits::HANDED_ON_BYTES_MAX;
                if !self.handing.came(node, bytes, bytes_max) {
                    self.peers.counters.senseless += 1;
                }
            }
            Lane::Bulk => self.on_bulk(node, bytes),
            Lane::Control if self.take_heartbeat(node, bytes) => {}
            Lane::Control | Lane::Log => {
                for envelope in wire::envelopes(bytes) {
                    match envelope {
                        Ok(envelope) => self.take_envelope(node, envelope),
                        Err(Malformed) => self.peers.counters.senseless += 1,
                    }
                }
            }
        }
    }

    /// A lane's connection to that node, or from it, began: with the process that said the last heartbeat, or
    /// with a later one. To be told in the order in which frames came and connections began and ended.
    pub fn on_peer_connected(&mut self, node: u64, lane: Lane, direction: Direction) {
        if lane == Lane::Requests && self.peers.nodes.contains(&node) {
            let happened = Happened::Connected(direction);
            self.handing.happened.push_back((node, happened));
        }
    }

    /// What was sent on a lane lately may be lost: its connection to that node, or from it, ended, or
    /// ([`Direction::To`], but never on the requests lane) it was full. On the requests lane whatever is lost ends
    /// the connection; on the bulk lane it is said again unasked.
    pub fn on_peer_lost(&mut self, node: u64, lane: Lane, direction: Direction) {
        if !self.peers.nodes.contains(&node) {
            return;
        }
        match (lane, direction) {
            (Lane::Requests, _) => {
                let happened = Happened::Lost(direction);
                self.handing.happened.push_back((node, happened));
            }
            (Lane::Bulk, Direction::To) => self.transfers.on_lost(node),
            (Lane::Control | Lane::Log, Direction::To) => {
                for shard in self.shards.values_mut() {
                    shard.on_unreachable(node);
                }
            }
            // What does not come any more is said again by whoever said it.
            (_, Direction::From) => {}
        }
    }

    /// That node's process is gone: its connections were reset, and it takes no new ones. Whoever it led stands
    /// before long; should it be there all the same, it goes on leading.
    pub fn on_peer_gone(&mut self, node: u64) {
        for shard in self.shards.values_mut() {
            shard.on_gone(node, self.clock.monotonic_us);
            if let Some(at_us) = shard.stands_at_us() {
                earliest(&mut self.peers.stands_at_us, at_us);
            }
        }
        self.transfers_gone(node);
    }

    fn take_envelope(&mut self, node: u64, envelope: Envelope) {
        let Envelope {
            group,
            timeline,
            mut message,
        } = envelope;
        let counters = &mut self.peers.counters;
        let Some(shard) = self.shards.get_mut(&group) else {
            // Not founded here yet, or gone.
            return;
        };
        if shard.is_stopped() || shard.replica.timeline != timeline {
            return;
        }
        if message.from != node {
            counters.senseless += 1;
            return;
        }
        // Any may bring about another term or vote, which has to be written: who has no room for that hears
        // nobody, and the others go on without it.
        if !self.storage.reserve_control() {
            counters.without_room += 1;
            return;
        }
        if !message.entries.is_empty() {
            // As many as there is room for: the leader hears how far they reach, and sends the rest again.
            let fits = message.entries.iter().take_while(|entry| {
                let bytes = entry.data.len() + ENTRY_ROOM_BYTES;
                self.storage.reserve(bytes).is_ok()
            });
            let fitting = fits.count();
            if fitting < message.entries.len() {
                counters.without_room += 1;
                message.mut_entries().truncate(fitting);
                if fitting == 0 {
                    return;
                }
            }
        }
        match shard.step(message, self.clock) {
            Ok(()) => counters.taken += 1,
            Err(Dropped::Senseless(_)) => counters.senseless += 1,
            Err(Dropped::Contradiction(_)) => counters.contradictions += 1,
            Err(Dropped::Late) => {}
        }
        if let Some(at_us) = shard.stands_at_us() {
            earliest(&mut self.peers.stands_at_us, at_us);
        }
        self.touched.push(group);
    }

    /// Lets time pass for the groups. What was missed in a pause is not made up for: nobody stands, or steps
    /// down, for a time in which this node could not have heard anybody.
    pub(crate) fn tick(&mut self) {
        let now_us = self.clock.monotonic_us;
        if self.peers.are_none() {
            return;
        }
        self.stand_if_due();
        self.say_heartbeat();
        if now_us < self.peers.next_tick_us {
            return;
        }
        self.peers.next_tick_us = now_us.saturating_add(self.config.tick_us);
        for (id, shard) in &mut self.shards {
            if shard.tick(self.clock) {
                self.touched.push(*id);
            }
        }
    }

    /// Lets those groups stand that are to, after a leader's process was gone.
    fn stand_if_due(&mut self) {
        let now_us = self.clock.monotonic_us;
        if self.peers.stands_at_us.is_none_or(|at_us| at_us > now_us) {
            return;
        }
        self.peers.stands_at_us = None;
        for (id, shard) in &mut self.shards {
            if shard.stand_if_due(self.clock) {
                self.touched.push(*id);
            }
            if let Some(at_us) = shard.stands_at_us() {
                earliest(&mut self.peers.stands_at_us, at_us);
            }
        }
    }

    /// When time passes next.
    pub(crate) fn note_tick(&self, wake_at_us: &mut Option<u64>) {
        if self.peers.are_none() {
            return;
        }
        earliest(wake_at_us, self.peers.next_tick_us);
        earliest(wake_at_us, self.peers.next_heartbeat_us);
        if let Some(at_us) = self.peers.stands_at_us {
            earliest(wake_at_us, at_us);
        }
    }

    /// The groups that this node leads, and in which terms.
    pub fn leaderships(&self) -> impl Iterator<Item = (u64, u64)> {
        let led = self.shards.values().filter(|shard| shard.is_leader());
        led.map(|shard| (shard.id(), shard.term()))
    }

    /// Where this node's replica of a group stands, for a person.
    pub fn describe(&self, group: u64) -> Option<String> {
        self.shards.get(&group).map(Shard::describe)
    }

    /// What became of the messages between nodes.
    pub fn peer_counters(&self) -> PeerCounters {
        self.peers.counters
    }
}
