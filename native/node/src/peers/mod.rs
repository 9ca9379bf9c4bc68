//! Other nodes: what is said to them, what they say, and the time that both are measured by.
//!
//! What is said in a turn is gathered by node and lane and leaves with the turn. A leader's entries so leave
//! before its own disk has them; what claims that something is durable was held back until it was
//! (`domp_consensus::Group::on_persisted`).

mod wire;

use std::collections::BTreeMap;

use domp_consensus::{Dropped, Message, MessageType};
use domp_log::Timeline;
use domp_protocol::Lane;

use crate::commands::{PeerSend, Turn, earliest};
use crate::node::Node;
use crate::shard::Shard;
use wire::Envelope;

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
    next_tick_us: u64,
    /// When the first of the groups stands whose leader's process is gone.
    stands_at_us: Option<u64>,
    pub counters: PeerCounters,
}

/// What this turn says, by whom it is for.
#[derive(Default)]
pub struct Outgoing {
    lanes: BTreeMap<(u64, Lane), Vec<u8>>,
    /// Snapshots that begin, by group and replica: they travel by another way.
    snapshots: Vec<(u64, u64)>,
    sent: u64,
}

impl Outgoing {
    /// Bytes for a node's bulk lane.
    pub fn bulk(&mut self, node: u64) -> &mut Vec<u8> {
        self.lanes.entry((node, Lane::Bulk)).or_default()
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
            let lane = (message.to, lane_of(message.get_msg_type()));
            let envelope = Envelope {
                group,
                timeline,
                message,
            };
            self.sent += u64::from(wire::put(&envelope, self.lanes.entry(lane).or_default()));
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
        for ((node, lane), bytes) in std::mem::take(&mut self.outgoing.lanes) {
            turn.sends.push(PeerSend { node, lane, bytes });
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
        if !matches!(lane, Lane::Control | Lane::Log) {
            if lane == Lane::Bulk {
                return self.on_bulk(node, bytes);
            }
            // Nothing is said there yet.
            self.peers.counters.senseless += 1;
            return;
        }
        for envelope in wire::envelopes(bytes) {
            match envelope {
                Ok(envelope) => self.take_envelope(node, envelope),
                Err(wire::Malformed) => self.peers.counters.senseless += 1,
            }
        }
    }

    /// What was sent to that node lately may be lost: a lane broke, or was full.
    pub fn on_peer_lost(&mut self, node: u64) {
        for shard in self.shards.values_mut() {
            shard.on_unreachable(node);
        }
        self.transfers.on_lost(node);
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
