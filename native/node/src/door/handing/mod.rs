//! The door's side of a hop: what is for a shard that another node leads goes there once, and the answer comes
//! back by name.
//!
//! ```text
//! item ─► waiting, by shard ─► handed to the leader ─► its answer ─► the connection that asked
//!            ▲    │ nobody leads for long: unavailable       │ the lane broke: leader_changed
//!            └────┼─────── once, if it was not proposed ─────┘
//! ```
//! Invariants:
//! - what was handed on is answered once: by its leader, or with `leader_changed` when the lane breaks on which it
//!   went or on which the answer would come. `unavailable` is said only of what surely was not proposed;
//! - names are given once: an answer whose name is not open reaches nobody;
//! - items of one connection and space keep their order while they wait, and on their way;
//! - what waits here is in nobody's way: neither in that of connections nor of shards led here.

mod answers;
mod dispatch;
mod link;
mod names;
mod waiting;

use std::collections::{BTreeMap, VecDeque};

use domp_protocol::Lane;

use crate::peers::Direction;
use crate::replies::Socket;
pub use link::Link;
use names::Names;
use waiting::Waiting;
pub use waiting::held_bytes;

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandingCounters {
    /// Items handed on to another node.
    pub handed: u64,
    /// Answers to those that reached whoever asked.
    pub answered: u64,
    /// Items tried once more, since they were not proposed.
    pub retried: u64,
    /// Items whose lane broke, or that were not answered for too long.
    pub lost: u64,
    /// Answers that nobody waits for: of an earlier connection or process.
    pub late: u64,
    /// Items that waited until somebody led.
    pub waited: u64,
    /// Items refused since too much is handed on already, or waits.
    pub spent: u64,
    /// Items of other doors that came past their deadline, or on another process's clock.
    pub overdue: u64,
    /// Items of other doors beyond what they may hand on, or whose clock is too far ahead.
    pub refused: u64,
}

/// What happened on a lane of requests, in order.
pub enum Happened {
    Came(Box<[u8]>),
    Connected(Direction),
    Lost(Direction),
}

/// See the module.
#[derive(Default)]
pub struct Handing {
    /// To be looked at when the turn ends.
    pub happened: VecDeque<(u64, Happened)>,
    /// By node: bytes of it.
    happened_bytes: BTreeMap<u64, u64>,
    waiting: Waiting,
    links: BTreeMap<u64, Link>,
    /// By group: term and leader as others told.
    told: BTreeMap<u64, (u64, u64)>,
    names: Names,
    /// Groups that nobody was found to lead when this turn looked.
    nowhere: Vec<u64>,
    next_stream: u64,
    pub counters: HandingCounters,
}

impl Handing {
    /// Whether nothing waits and nothing is handed on.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.links.values().all(Link::is_quiet)
    }

    /// Whether something of that shard waits, so that what comes goes behind it.
    pub fn holds(&self, group: u64) -> bool {
        self.waiting.holds(group)
    }

    /// Takes note of bytes that came; false: that node sends more than is ever under way.
    pub fn came(&mut self, node: u64, bytes: &[u8], bytes_max: u64) -> bool {
        let held = self.happened_bytes.entry(node).or_default();
        *held += bytes.len() as u64;
        if *held > bytes_max {
            *held -= bytes.len() as u64;
            return false;
        }
        self.happened
            .push_back((node, Happened::Came(bytes.into())));
        true
    }

    /// The next that happened.
    pub fn take_happened(&mut self) -> Option<(u64, Happened)> {
        let (node, happened) = self.happened.pop_front()?;
        if let Happened::Came(bytes) = &happened
            && let Some(held) = self.happened_bytes.get_mut(&node)
        {
            *held = held.saturating_sub(bytes.len() as u64);
        }
        Some((node, happened))
    }

    fn link(&mut self, node: u64) -> &mut Link {
        self.links.entry(node).or_default()
    }

    /// Who leads a group, as others told: the seam for whoever knows more than this node's own replica.
    pub fn hear_leader(&mut self, group: u64, term: u64, leader: u64) {
        let known = self.told.entry(group).or_default();
        if leader != 0 && term > known.0 {
            *known = (term, leader);
        }
    }

    /// There is no such group any more.
    pub fn forget_group(&mut self, group: u64) {
        self.told.remove(&group);
    }

    /// A connection is gone. Returns how many requests nobody waits for.
    pub fn forget(&mut self, socket: Socket, incarnation: u64) -> u64 {
        let mut forgotten = self.waiting.forget(socket);
        for link in self.links.values_mut() {
            forgotten += link.forget(socket, incarnation);
        }
        forgotten
    }

    /// Adds what is to be sent on lanes of requests to a turn's sends.
    pub fn take_sends(&mut self, answers_bytes_max: u64, mut send: impl FnMut(u64, Lane, Vec<u8>)) {
        for (node, link) in &mut self.links {
            for bytes in link.take_sends(answers_bytes_max) {
                send(*node, Lane::Requests, bytes);
            }
        }
    }

    /// Where words for a node are put.
    pub fn words_to(&mut self, node: u64) -> &mut Vec<u8> {
        self.link(node).words()
    }
}

impl crate::Node {
    /// What became of requests that other nodes' shards are for, and of those that other doors handed on.
    pub fn handing_counters(&self) -> HandingCounters {
        self.handing.counters
    }

    /// Requests that are handed on and not answered.
    pub fn handed_on(&self) -> usize {
        self.handing.links.values().map(Link::len).sum()
    }
}
