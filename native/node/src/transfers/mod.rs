//! Snapshots on their way between nodes, on the bulk lane: who is behind what its leader's log keeps is brought up
//! by one. [`sending`] and [`receiving`] are the two halves of an attempt; what they mean for shards, files and
//! other nodes is here.
//!
//! Whatever becomes of an attempt, the group hears of it ([`Shard::report_snapshot`]), and one that failed is
//! tried again with backoff. Few are under way at a time; what each may have in memory is bounded; all disk work
//! is jobs of one piece. So heartbeats, entries and other groups wait for none of it.
//!
//! [`Shard::report_snapshot`]: crate::shard::Shard::report_snapshot

mod receiving;
mod sending;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domp_log::snapshot::{SnapshotHead, SnapshotOrigin};
use domp_log::{Job, JobResult};
use domp_protocol::generated::peer::{SnapshotFailure, SnapshotWord};

use crate::commands::{Notice, Turn, earliest};
use crate::node::Node;
use crate::shard::Arriving;
use crate::spaces::state_config;
use crate::storage::SnapshotJob;
use receiving::{Failure, Receiving};
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

fn answer_of(receiving: &Receiving, word: SnapshotWord, failure: SnapshotFailure) -> Saying {
    let (offset, restored) = receiving.progress();
    Saying {
        offset,
        restored,
        ..answer_to(&receiving.base, word, failure)
    }
}

fn answer_to(saying: &Saying, word: SnapshotWord, failure: SnapshotFailure) -> Saying {
    Saying {
        from: saying.to,
        to: saying.from,
        offset: 0,
        restored: 0,
        word,
        failure,
        ..*saying
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

    /// Whether that is of the attempt that is being taken in, and can still be given up.
    fn is_receiving(&self, saying: &Saying) -> bool {
        self.transfers
            .receivings
            .get(&saying.group)
            .is_some_and(|one| one.base.attempt == saying.attempt && !one.is_installing())
    }

    fn take_offer(&mut self, saying: &Saying, bytes: &[u8]) {
        let group = saying.group;
        if self.transfers.installed.get(&group) == Some(&saying.attempt) {
            let said = answer_to(saying, SnapshotWord::installed, SnapshotFailure::none);
            return self.say(&said, &[]);
        }
        if let Some(present) = self.transfers.receivings.get_mut(&group) {
            if present.base.attempt == saying.attempt {
                present.is_news = true;
                return;
            }
            let is_older = present.base.attempt.incarnation == saying.attempt.incarnation
                && present.base.attempt > saying.attempt;
            if is_older || present.is_installing() {
                return;
            }
        }
        let at = (saying.name.index, saying.name.term);
        let Some(shard) = self.shards.get_mut(&group) else {
            return;
        };
        if !shard.follows(saying.from, saying.term) {
            // Who leads is heard on another lane, and this is said again.
            return;
        }
        let head = SnapshotHead::decode(bytes).filter(|head| {
            (head.group, head.index, head.term) == (group, at.0, at.1)
                && head.timeline == saying.timeline
        });
        let Some(head) = head else {
            self.peers.counters.senseless += 1;
            return;
        };
        if at.0 <= shard.state.applied_index() {
            let said = answer_to(saying, SnapshotWord::installed, SnapshotFailure::none);
            return self.say(&said, &[]);
        }
        if !shard.lacks(at) {
            // Its log holds all of that: it need only be told how far it is committed.
            if shard.skip_install(saying.from, &head).is_ok() {
                self.touched.push(group);
            }
            return;
        }
        self.give_up_receiving(group);
        let is_busy = self.transfers.receivings.len() >= RECEIVINGS_MAX || self.draining;
        let refusal = if is_busy {
            SnapshotFailure::busy
        } else if self.storage.is_low() {
            SnapshotFailure::disk
        } else {
            SnapshotFailure::none
        };
        if refusal != SnapshotFailure::none {
            let said = answer_to(saying, SnapshotWord::failed, refusal);
            return self.say(&said, &[]);
        }
        let origin = SnapshotOrigin {
            node: self.identity.node,
            replica: saying.to,
            position: self.storage.position(),
        };
        let config = state_config(group, self.config.apply_version_known);
        let now_us = self.clock.monotonic_us;
        let salt = self.door.draw();
        let receiving = Receiving::new(*saying, head, &origin, config, salt, now_us);
        let number = self.transfers.next_count();
        self.transfers.numbers.insert(number, group);
        self.transfers.counters.taken_in += 1;
        self.transfers.receivings.insert(group, receiving);
    }

    fn take_piece(&mut self, saying: &Saying, bytes: &[u8]) {
        let now_us = self.clock.monotonic_us;
        let group = saying.group;
        let receiving = self.transfers.receivings.get_mut(&group);
        let Some(receiving) = receiving.filter(|one| one.base.attempt == saying.attempt) else {
            let is_installed = self.transfers.installed.get(&group) == Some(&saying.attempt);
            let said = if is_installed {
                answer_to(saying, SnapshotWord::installed, SnapshotFailure::none)
            } else {
                // Of one that is over here, or that another start of this node knew.
                answer_to(saying, SnapshotWord::failed, SnapshotFailure::busy)
            };
            return self.say(&said, &[]);
        };
        let taken = match saying.word {
            SnapshotWord::end => receiving.on_end(saying.offset, now_us),
            _ => receiving.on_piece(saying.offset, bytes, now_us),
        };
        if let Err(failure) = taken {
            self.fail_receiving(group, failure);
        }
    }

    /// A replica answers a leader of this node.
    fn take_answer(&mut self, saying: &Saying) {
        let now_us = self.clock.monotonic_us;
        let key = (saying.group, saying.from);
        let sending = self.transfers.sendings.get_mut(&key);
        let Some(sending) = sending.filter(|one| one.base.attempt == saying.attempt) else {
            return;
        };
        match saying.word {
            SnapshotWord::taken => sending.on_taken(saying.offset, saying.restored, now_us),
            SnapshotWord::installed => self.end_sending(key, true),
            _ => {
                let is_busy = saying.failure == SnapshotFailure::busy;
                if !is_busy {
                    let why = saying.failure.variant_name().unwrap_or_default();
                    self.note_failed_sending(key, &format!("node {} says: {why}", key.1));
                }
                self.back_off(key, !is_busy);
                self.end_sending(key, false);
            }
        }
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

    fn begin_sendings(&mut self) {
        let now_us = self.clock.monotonic_us;
        self.check_awaited();
        for key in std::mem::take(&mut self.transfers.asked) {
            let (group, to) = key;
            let backoff = self.transfers.backoffs.get(&key);
            let rests = backoff.is_some_and(|backoff| now_us < backoff.until_us);
            let is_full = self.transfers.sendings.len() >= SENDINGS_MAX;
            if self.transfers.sendings.contains_key(&key) || rests || is_full || self.draining {
                // Who needs one asks again and again.
                continue;
            }
            let Some(shard) = self.shards.get_mut(&group).filter(|one| one.is_leader()) else {
                continue;
            };
            let name = shard.replica.named;
            let file = self.snapshots.file(group);
            let Some(info) = file.filter(|info| {
                info.index == name.index && info.index > 0 && shard.keeps_behind(info.index)
            }) else {
                // A newer one is needed. What follows it is held for whoever waits.
                self.transfers.awaited.insert(group, (now_us, to));
                self.snapshots.want(group, now_us);
                continue;
            };
            let info = info.clone();
            shard.take_broken_hold();
            shard.offer_snapshot(to, (name.index, name.term));
            self.transfers.awaited.remove(&group);
            let base = Saying {
                group,
                timeline: shard.replica.timeline,
                from: self.identity.node,
                to,
                term: shard.term(),
                attempt: Attempt {
                    incarnation: self.config.drawn.nonce,
                    count: self.transfers.next_count(),
                },
                name,
                offset: 0,
                restored: 0,
                word: SnapshotWord::none,
                failure: SnapshotFailure::none,
            };
            self.transfers.counters.sent += 1;
            let sending = Sending::new(base, info, now_us);
            self.transfers.sendings.insert(key, sending);
        }
    }

    /// What is held for a snapshot that is being taken is let go when nobody asks any more; and when it became
    /// too much, the next is taken later.
    fn check_awaited(&mut self) {
        let now_us = self.clock.monotonic_us;
        let awaited = self.transfers.awaited.iter();
        let awaited: Vec<_> = awaited.map(|(group, asked)| (*group, *asked)).collect();
        for (group, (at_us, to)) in awaited {
            let shard = self.shards.get_mut(&group);
            let is_broken = shard.is_some_and(|shard| {
                if now_us >= at_us.saturating_add(ASKED_US) {
                    shard.let_go();
                }
                shard.take_broken_hold()
            });
            if is_broken {
                self.transfers.counters.outgrown += 1;
                self.back_off((group, to), true);
            }
            if is_broken || now_us >= at_us.saturating_add(ASKED_US) {
                self.transfers.awaited.remove(&group);
            }
        }
    }

    /// Ends the attempts that have no sense any more.
    fn check_sendings(&mut self) {
        let now_us = self.clock.monotonic_us;
        let keys: Vec<(u64, u64)> = self.transfers.sendings.keys().copied().collect();
        for key in keys {
            let Some(sending) = self.transfers.sendings.get(&key) else {
                continue;
            };
            let (has_begun, is_stalled) = (sending.has_begun(), sending.is_stalled(now_us));
            let term = sending.base.term;
            let shard = self.shards.get_mut(&key.0);
            let Some(shard) = shard.filter(|one| one.is_leader() && one.term() == term) else {
                self.end_sending(key, false);
                continue;
            };
            if shard.take_broken_hold() {
                self.transfers.counters.outgrown += 1;
                self.outgrown(key.0);
            } else if has_begun && !shard.awaits_snapshot(key.1) {
                // It has what it needs, or is no more.
                self.transfers.backoffs.remove(&key);
                self.say_cancel(key);
                self.transfers.sendings.remove(&key);
            } else if is_stalled {
                if has_begun {
                    self.note_failed_sending(key, &format!("node {} does not take it", key.1));
                    self.back_off(key, true);
                }
                self.end_sending(key, false);
            }
        }
    }

    /// What the group's leader wrote meanwhile is more than may be held: what is being sent leads nowhere.
    fn outgrown(&mut self, group: u64) {
        let keys = self.transfers.sendings.keys();
        let keys: Vec<_> = keys.filter(|key| key.0 == group).copied().collect();
        for key in keys {
            self.note_failed_sending(key, "it was written to faster than it could be sent");
            self.back_off(key, true);
            self.end_sending(key, false);
        }
    }

    fn say_cancel(&mut self, key: (u64, u64)) {
        if let Some(sending) = self.transfers.sendings.get(&key) {
            let said = Saying {
                word: SnapshotWord::cancel,
                ..sending.base
            };
            self.say(&said, &[]);
        }
    }

    /// An attempt is over.
    fn end_sending(&mut self, key: (u64, u64), is_installed: bool) {
        if is_installed {
            self.transfers.backoffs.remove(&key);
        } else {
            self.transfers.counters.failed += 1;
            self.say_cancel(key);
        }
        self.transfers.sendings.remove(&key);
        self.report_snapshot(key, is_installed);
    }

    fn report_snapshot(&mut self, (group, to): (u64, u64), is_installed: bool) {
        if let Some(shard) = self.shards.get_mut(&group) {
            shard.report_snapshot(to, is_installed);
        }
    }

    fn back_off(&mut self, key: (u64, u64), counts: bool) {
        let now_us = self.clock.monotonic_us;
        let backoff = self.transfers.backoffs.entry(key).or_default();
        let times = 1_u64 << backoff.failures.min(10);
        let wait_us = RETRY_US.saturating_mul(times).min(RETRY_MAX_US);
        backoff.failures += u32::from(counts);
        backoff.until_us = now_us.saturating_add(wait_us);
    }

    fn note_failed_sending(&mut self, key: (u64, u64), why: &str) {
        let backoff = self.transfers.backoffs.get(&key).copied();
        let failures = backoff.unwrap_or_default().failures;
        let wait_us = RETRY_US << failures.min(10);
        self.transfers.notices.push(Notice::SnapshotFailed {
            group: key.0,
            space: self.names.get(&key.0).cloned().unwrap_or_default(),
            why: format!("node {} needs a snapshot and does not get it: {why}", key.1),
            retry_ms: wait_us.min(RETRY_MAX_US) / 1_000,
        });
    }

    fn send(&mut self) {
        let now_us = self.clock.monotonic_us;
        let Self {
            transfers,
            peers,
            storage,
            ..
        } = self;
        for ((_, to), sending) in &mut transfers.sendings {
            if let Some(job) = sending.take_job() {
                let what = SnapshotJob::Send(sending.base.attempt.count);
                storage.want_snapshot_job(what, job);
            }
            sending.say(now_us, |saying, bytes| {
                wire::put(saying, bytes, peers.outgoing().bulk(*to));
            });
        }
    }

    /// A piece was read for another replica.
    pub(crate) fn piece_read(&mut self, attempt: u64, result: JobResult) {
        let now_us = self.clock.monotonic_us;
        let mut sendings = self.transfers.sendings.iter_mut();
        let of_attempt = |one: &(&(u64, u64), &mut Sending)| one.1.base.attempt.count == attempt;
        let Some((&key, sending)) = sendings.find(of_attempt) else {
            return;
        };
        match result {
            JobResult::Piece(piece) => sending.on_piece(piece, now_us),
            JobResult::Failed { message, .. } => {
                self.note_failed_sending(key, &message);
                self.back_off(key, true);
                self.end_sending(key, false);
                // Another one may be in a better state.
                self.snapshots.want(key.0, now_us);
            }
            _ => {}
        }
    }

    fn receive(&mut self, wake_at_us: &mut Option<u64>) {
        let groups: Vec<u64> = self.transfers.receivings.keys().copied().collect();
        for group in groups {
            if let Err(failure) = self.receive_one(group, wake_at_us) {
                self.fail_receiving(group, failure);
            }
        }
    }

    fn receive_one(&mut self, group: u64, wake_at_us: &mut Option<u64>) -> Result<(), Failure> {
        let now_us = self.clock.monotonic_us;
        let Some(receiving) = self.transfers.receivings.get_mut(&group) else {
            return Ok(());
        };
        if receiving.is_installing() {
            return Ok(());
        }
        let base = receiving.base;
        let shard = self.shards.get(&group);
        let is_led = shard.is_some_and(|shard| shard.follows(base.from, base.term));
        if !is_led || now_us >= receiving.ends_us() {
            self.give_up_receiving(group);
            return Ok(());
        }
        if receiving.restore_slice()? {
            earliest(wake_at_us, now_us);
        }
        earliest(wake_at_us, receiving.ends_us());
        if let Some(job) = receiving.take_job() {
            if let Job::SnapshotWrite { file, .. } | Job::SnapshotFinish { file, .. } = &job {
                let file = Arc::clone(file);
                self.file_is_written_anew(&file);
            }
            let number = self.number_of(group);
            self.storage
                .want_snapshot_job(SnapshotJob::Receive(number), job);
        }
        self.say_news(group);
        if self.transfers.installs(group) {
            self.install(group, wake_at_us)?;
        }
        Ok(())
    }

    fn number_of(&self, group: u64) -> u64 {
        let mut numbers = self.transfers.numbers.iter().rev();
        numbers
            .find(|(_, of)| **of == group)
            .map_or(0, |(number, _)| *number)
    }

    fn say_news(&mut self, group: u64) {
        let Some(receiving) = self.transfers.receivings.get_mut(&group) else {
            return;
        };
        if std::mem::take(&mut receiving.is_news) {
            let said = answer_of(receiving, SnapshotWord::taken, SnapshotFailure::none);
            self.say(&said, &[]);
        }
    }

    /// A job of an attempt that is taken in ended.
    pub(crate) fn receiving_job_ended(&mut self, number: u64, result: JobResult) {
        let Some(group) = self.transfers.numbers.get(&number).copied() else {
            return;
        };
        let receiving = self.transfers.receivings.get_mut(&group);
        let ended = receiving.map_or(Ok(()), |receiving| receiving.on_job(result));
        if let Err(failure) = ended {
            self.fail_receiving(group, failure);
        }
    }

    /// What came is here and restored: has it become the group's, as soon as nothing of the group's own is
    /// under way that could name another.
    fn install(&mut self, group: u64, wake_at_us: &mut Option<u64>) -> Result<(), Failure> {
        if !self.snapshots.leaves_room_to_install(group) || !self.storage.has_control_room() {
            self.storage.starve();
            return Ok(());
        }
        let (Some(receiving), Some(shard)) = (
            self.transfers.receivings.get_mut(&group),
            self.shards.get_mut(&group),
        ) else {
            return Ok(());
        };
        let base = receiving.base;
        let Some(state) = receiving.take_state() else {
            return Ok(());
        };
        let arriving = Arriving::new(state, base.name, receiving.head.clone());
        match shard.begin_install(base.from, arriving) {
            Ok(true) => {}
            // Its own log came as far meanwhile.
            Ok(false) => self.drop_receiving(group),
            Err(dropped) => return Err((SnapshotFailure::unfit, dropped.to_string())),
        }
        self.touched.push(group);
        earliest(wake_at_us, self.clock.monotonic_us);
        Ok(())
    }

    /// The record that makes a snapshot the group's is durable.
    pub(crate) fn snapshot_installed(&mut self, group: u64) {
        let Some(receiving) = self.transfers.receivings.get(&group) else {
            return;
        };
        let (base, info) = (receiving.base, receiving.info.clone());
        let said = answer_of(receiving, SnapshotWord::installed, SnapshotFailure::none);
        self.forget_receiving(group);
        self.transfers.installed.insert(group, base.attempt);
        self.transfers.news.push((group, base.name.index));
        self.transfers.counters.installed += 1;
        self.say(&said, &[]);
        if let Some(shard) = self.shards.get_mut(&group) {
            let now_us = self.clock.monotonic_us;
            shard.snapshot_rests_until_us = now_us.saturating_add(self.config.snapshot_rest_us);
            self.hlc.observe(shard.heard_revision);
        }
        if let Some(info) = info {
            self.file_installed(group, &info, base.name.digest);
        }
    }

    /// An attempt can't be taken in; whoever sends hears why.
    fn fail_receiving(&mut self, group: u64, (failure, why): Failure) {
        let Some(receiving) = self.transfers.receivings.get(&group) else {
            return;
        };
        let from = receiving.base.from;
        let said = answer_of(receiving, SnapshotWord::failed, failure);
        self.say(&said, &[]);
        self.transfers.notices.push(Notice::SnapshotFailed {
            group,
            space: self.names.get(&group).cloned().unwrap_or_default(),
            why: format!("taking it in from node {from}: {why}"),
            retry_ms: RETRY_US / 1_000,
        });
        self.give_up_receiving(group);
    }

    /// An attempt is over that was not installed.
    fn give_up_receiving(&mut self, group: u64) {
        if self.transfers.receivings.contains_key(&group) {
            self.transfers.counters.given_up += 1;
            self.drop_receiving(group);
        }
    }

    /// What there is of it on the disk goes.
    fn drop_receiving(&mut self, group: u64) {
        if let Some(receiving) = self.forget_receiving(group) {
            self.remove_received(group, receiving.names());
        }
    }

    fn forget_receiving(&mut self, group: u64) -> Option<Receiving> {
        self.transfers.numbers.retain(|_, of| *of != group);
        self.transfers.receivings.remove(&group)
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
