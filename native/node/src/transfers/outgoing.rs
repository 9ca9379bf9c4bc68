//! What the node of a leader does for a replica that is far behind: begins attempts, takes them further, and tells
//! the group how they end. One attempt is [`Sending`].

use domp_log::JobResult;
use domp_protocol::generated::peer::{SnapshotFailure, SnapshotWord};

use super::sending::Sending;
use super::wire::{self, Attempt, Saying};
use super::{ASKED_US, RETRY_MAX_US, RETRY_US, SENDINGS_MAX};
use crate::commands::Notice;
use crate::node::Node;
use crate::storage::SnapshotJob;

impl Node {
    /// A replica answers a leader of this node.
    pub(super) fn take_answer(&mut self, saying: &Saying) {
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

    pub(super) fn begin_sendings(&mut self) {
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
    pub(super) fn check_sendings(&mut self) {
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
    pub(super) fn end_sending(&mut self, key: (u64, u64), is_installed: bool) {
        if is_installed {
            self.transfers.backoffs.remove(&key);
        } else {
            self.transfers.counters.failed += 1;
            self.say_cancel(key);
        }
        self.transfers.sendings.remove(&key);
        self.report_snapshot(key, is_installed);
    }

    pub(super) fn report_snapshot(&mut self, (group, to): (u64, u64), is_installed: bool) {
        if let Some(shard) = self.shards.get_mut(&group) {
            shard.report_snapshot(to, is_installed);
        }
    }

    pub(super) fn back_off(&mut self, key: (u64, u64), counts: bool) {
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

    pub(super) fn send(&mut self) {
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
}
