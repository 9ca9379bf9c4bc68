//! The clocks of other nodes, as their heartbeats tell: how long a request may still wait at a leader, and how far
//! ahead a session may be born.

use domp_consensus::HEARTBEAT_TICKS;
use domp_protocol::{Lane, limits};
use domp_state::hlc::{COUNTER_BITS, WALL_MS_MAX};

use super::heartbeat::{Heard, Heartbeat};
use crate::commands::PeerSend;
use crate::node::Node;

impl Node {
    /// Says a heartbeat to every other node, if it is time to.
    pub(super) fn say_heartbeat(&mut self) {
        let now_us = self.clock.monotonic_us;
        if now_us < self.peers.next_heartbeat_us {
            return;
        }
        self.peers.next_heartbeat_us = now_us + HEARTBEAT_TICKS as u64 * self.config.tick_us;
        let bytes = Heartbeat {
            incarnation: self.config.incarnation(),
            stamp_us: now_us,
            hybrid: self.hybrid_now(),
        }
        .to_bytes();
        for node in self.peers.nodes.clone() {
            self.peers.heartbeats.push(PeerSend {
                node,
                lane: Lane::Control,
                bytes: bytes.to_vec(),
            });
        }
    }

    /// Takes a frame of the control lane that is a heartbeat; false: it is not.
    pub(super) fn take_heartbeat(&mut self, node: u64, bytes: &[u8]) -> bool {
        let Some(heartbeat) = Heartbeat::from_bytes(bytes) else {
            return false;
        };
        let heard = Heard {
            heartbeat,
            at_us: self.clock.monotonic_us,
        };
        self.peers.heard.insert(node, heard);
        if heartbeat.hybrid <= self.clock_ceiling() {
            self.hlc.observe(heartbeat.hybrid);
        }
        true
    }

    /// The last heartbeat of a node, unless that is longer ago than leaders are believed in.
    pub(crate) fn heard_lately(&self, node: u64) -> Option<&Heard> {
        let heard = self.peers.heard.get(&node)?;
        let ago_us = self.clock.monotonic_us.saturating_sub(heard.at_us);
        (ago_us < self.config.lease_us()).then_some(heard)
    }

    /// The hybrid clock, without taking a stamp of it.
    fn hybrid_now(&self) -> u64 {
        let wall = self.clock.wall_ms.min(WALL_MS_MAX) << COUNTER_BITS;
        self.hlc.last().max(wall)
    }

    /// What most nodes' clocks have reached, as far as this one knows, and a little: what is stamped elsewhere is
    /// believed up to there. A clock that runs far ahead of the others carries nobody along.
    pub(crate) fn clock_ceiling(&self) -> u64 {
        self.hybrid_now()
            .max(self.most_have_reached())
            .saturating_add(OFFSET)
    }

    /// Whether sessions may be born at a stamp: most nodes' clocks are as far, but for the allowed offset. Others
    /// could not take a session that is born later.
    pub(crate) fn may_mint(&self, stamp: u64) -> bool {
        self.peers.are_none() || stamp <= self.most_have_reached().saturating_add(OFFSET)
    }

    /// What the clocks of a majority have reached.
    fn most_have_reached(&self) -> u64 {
        let now_us = self.clock.monotonic_us;
        let mut clocks: Vec<u64> = self
            .peers
            .nodes
            .iter()
            .filter_map(|node| Some(self.heard_lately(*node)?.hybrid(now_us)))
            .collect();
        clocks.push(self.hybrid_now());
        clocks.sort_unstable_by(|left, right| right.cmp(left));
        let majority = self.peers.nodes.len().div_ceil(2) + 1;
        clocks.get(majority - 1).copied().unwrap_or_default()
    }
}

/// The allowed offset, as revisions differ.
const OFFSET: u64 = limits::CLOCK_OFFSET_MS_MAX << COUNTER_BITS;
