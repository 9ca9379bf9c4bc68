//! Snapshots on their way between nodes, on the bulk lane: who is behind what its leader's log keeps is brought up
//! by one. [`sending`] and [`receiving`] are the two halves of an attempt; what they mean for shards, files and
//! other nodes is in [`outgoing`] and [`incoming`].
//!
//! Whatever becomes of an attempt, the group hears of it ([`Shard::report_snapshot`]), and one that failed is
//! tried again with backoff. Few are under way at a time; what each may have in memory is bounded; all disk work
//! is jobs of one piece. So heartbeats, entries and other groups wait for none of it.
//!
//! [`Shard::report_snapshot`]: crate::shard::Shard::report_snapshot

mod incoming;
mod outgoing;
mod receiving;
mod sending;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domp_protocol::generated::peer::SnapshotWord;

use crate::commands::{Notice, Turn, earliest};
use crate::node::Node;
use receiving::Receiving;
use sending::Sending;
use wire::{Attempt, Saying};

/// Attempts of this node's leaders at a time.
const SENDINGS_MAX: usize = 2;
/// Attempts of others' leaders that this node takes in at a time.
const RECEIVINGS_MAX: usize = 2;
/// Wait after the first failure; each further one in a row doubles it.
const RETRY_US: u64 = 500_000;
/// The longest wait.
const RETRY_MAX_US: u64 = 20_000_000;
/// For so long a snapshot is taken for whoever asked for it.
const ASKED_US: u64 = 5_000_000;

/// What became of attempts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounters {
    /// Begun to be sent.
    pub sent: u64,
    /// That failed while they were sent, or were given up.
    pub failed: u64,
    /// That held up more of the log than may be.
    pub outgrown: u64,
    /// Begun to be taken in.
    pub taken_in: u64,
    /// Of those, given up: something failed, or the leader went.
    pub given_up: u64,
    /// Of those, installed.
    pub installed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Backoff {
    failures: u32,
    until_us: u64,
}

/// See the module.
#[derive(Default)]
pub struct Transfers {
    /// Groups and replicas that asked for a snapshot since this was looked at last.
    asked: BTreeSet<(u64, u64)>,
    /// Groups of which a snapshot is needed, when that was last said, and by which replica.
    awaited: BTreeMap<u64, (u64, u64)>,
    /// By group and replica.
    sendings: BTreeMap<(u64, u64), Sending>,
    backoffs: BTreeMap<(u64, u64), Backoff>,
    /// By group.
    receivings: BTreeMap<u64, Receiving>,
    /// The number of each of those.
    numbers: BTreeMap<u64, u64>,
    /// The last attempt that was installed, by group.
    installed: BTreeMap<u64, Attempt>,
    /// Installed, and not told yet.
    news: Vec<(u64, u64)>,
    notices: Vec<Notice>,
    /// Counts attempts of both kinds.
    count: u64,
    pub counters: TransferCounters,
}

impl Transfers {
    /// Those replicas need a snapshot of the group.
    pub fn ask(&mut self, group: u64, replicas: Vec<u64>) {
        self.asked
            .extend(replicas.into_iter().map(|replica| (group, replica)));
    }

    /// Whether a replica waits for the next snapshot of the group.
    pub fn is_awaited(&self, group: u64, now_us: u64) -> bool {
        self.awaited
            .get(&group)
            .is_some_and(|(at_us, _)| now_us < at_us.saturating_add(ASKED_US))
    }

    /// Whether a snapshot of another replica is about to become that of the group.
    pub fn installs(&self, group: u64) -> bool {
        self.receivings
            .get(&group)
            .is_some_and(|one| one.is_ready() || one.is_installing())
    }

    /// Whether that file is being sent.
    pub fn reads(&self, file: &str) -> bool {
        let mut files = self.sendings.values().map(|sending| &sending.info.file);
        files.any(|one| **one == *file)
    }

    /// What was said to that node lately may be lost.
    pub fn on_lost(&mut self, node: u64) {
        let sendings = self.sendings.iter_mut();
        for (_, sending) in sendings.filter(|((_, to), _)| *to == node) {
            sending.on_lost();
        }
    }

    fn next_count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

impl Node {
    /// What another node said on the bulk lane.
    pub(crate) fn on_bulk(&mut self, node: u64, bytes: &[u8]) {
        for read in wire::sayings(bytes) {
            let Ok((saying, bytes)) = read else {
                self.peers.counters.senseless += 1;
                return;
            };
            // A replica has the id of its node.
            if saying.from != node || saying.to != self.identity.node {
                self.peers.counters.senseless += 1;
                continue;
            }
            let shard = self.shards.get(&saying.group);
            if !shard.is_some_and(|shard| shard.is_of(saying.timeline)) {
                continue;
            }
            self.peers.counters.taken += 1;
            match saying.word {
                SnapshotWord::offer => self.take_offer(&saying, bytes),
                SnapshotWord::piece | SnapshotWord::end => self.take_piece(&saying, bytes),
                SnapshotWord::cancel => {
                    let is_it = self.is_receiving(&saying);
                    if is_it {
                        self.give_up_receiving(saying.group);
                    }
                }
                _ => self.take_answer(&saying),
            }
        }
    }

    fn say(&mut self, saying: &Saying, bytes: &[u8]) {
        wire::put(saying, bytes, self.peers.outgoing().bulk(saying.to));
    }

    /// Takes every attempt a step further, and begins those that are wanted.
    pub(crate) fn advance_transfers(&mut self, turn: &mut Turn, wake_at_us: &mut Option<u64>) {
        self.begin_sendings();
        for key in self.peers.outgoing().take_snapshots() {
            let now_us = self.clock.monotonic_us;
            match self.transfers.sendings.get_mut(&key) {
                Some(sending) => sending.begin(now_us),
                None => self.report_snapshot(key, false),
            }
        }
        self.check_sendings();
        self.send();
        self.receive(wake_at_us);
        self.let_go_of_files();
        for sending in self.transfers.sendings.values() {
            earliest(wake_at_us, sending.next_us());
        }
        turn.installed.append(&mut self.transfers.news);
        turn.notices.append(&mut self.transfers.notices);
    }

    /// That node's process is gone, and with it what it sends and what it had taken in.
    pub(crate) fn transfers_gone(&mut self, node: u64) {
        let keys = self.transfers.sendings.keys();
        let keys: Vec<_> = keys.filter(|key| key.1 == node).copied().collect();
        for key in keys {
            self.end_sending(key, false);
        }
        let receivings = self.transfers.receivings.iter();
        let from_it = receivings.filter(|(_, one)| one.base.from == node && !one.is_installing());
        let groups: Vec<u64> = from_it.map(|(group, _)| *group).collect();
        for group in groups {
            self.give_up_receiving(group);
        }
    }

    /// The group is being dropped. Returns files that go with it.
    pub(crate) fn forget_transfers(&mut self, group: u64) -> Vec<Arc<str>> {
        let keys = self.transfers.sendings.keys();
        let keys: Vec<_> = keys.filter(|key| key.0 == group).copied().collect();
        for key in keys {
            self.end_sending(key, false);
        }
        self.transfers.backoffs.retain(|key, _| key.0 != group);
        self.transfers.awaited.remove(&group);
        self.transfers.installed.remove(&group);
        let receiving = self.forget_receiving(group);
        receiving.map_or(Vec::new(), |receiving| receiving.names().to_vec())
    }

    /// How many snapshots are on their way: from this node, and to it.
    pub fn transfers_under_way(&self) -> (usize, usize) {
        let transfers = &self.transfers;
        (transfers.sendings.len(), transfers.receivings.len())
    }

    /// What became of snapshots on their way between nodes.
    pub fn transfer_counters(&self) -> TransferCounters {
        self.transfers.counters
    }
}
