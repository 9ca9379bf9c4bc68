//! What the node of a replica that is far behind does: takes an attempt in, and has the snapshot become the group's.
//! One attempt is [`Receiving`].

use std::sync::Arc;

use domp_log::snapshot::{SnapshotHead, SnapshotOrigin};
use domp_log::{Job, JobResult};
use domp_protocol::generated::peer::{SnapshotFailure, SnapshotWord};

use super::receiving::{Failure, Receiving};
use super::wire::Saying;
use super::{RECEIVINGS_MAX, RETRY_US};
use crate::commands::{Notice, earliest};
use crate::node::Node;
use crate::shard::Arriving;
use crate::spaces::state_config;
use crate::storage::SnapshotJob;

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
    /// Whether that is of the attempt that is being taken in, and can still be given up.
    pub(super) fn is_receiving(&self, saying: &Saying) -> bool {
        self.transfers
            .receivings
            .get(&saying.group)
            .is_some_and(|one| one.base.attempt == saying.attempt && !one.is_installing())
    }

    pub(super) fn take_offer(&mut self, saying: &Saying, bytes: &[u8]) {
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

    pub(super) fn take_piece(&mut self, saying: &Saying, bytes: &[u8]) {
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

    pub(super) fn receive(&mut self, wake_at_us: &mut Option<u64>) {
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
    pub(super) fn give_up_receiving(&mut self, group: u64) {
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

    pub(super) fn forget_receiving(&mut self, group: u64) -> Option<Receiving> {
        self.transfers.numbers.retain(|_, of| *of != group);
        self.transfers.receivings.remove(&group)
    }
}
