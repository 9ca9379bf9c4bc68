//! The steps that the end of a turn is made of.

use domp_protocol::error::ErrorCode;

use crate::commands::{Notice, Turn, earliest};
use crate::node::Node;
use crate::shard::{Shard, Stamper};
use crate::spaces::{FIRST_TERM, META, create_default};

impl Node {
    /// First turn: the meta group stands for election, and a node that never
    /// had a space gets `default`.
    pub(crate) fn start(&mut self) {
        self.started = true;
        self.lead_meta();
    }

    /// The meta group stands for election, as soon as the log has room for that.
    pub(crate) fn lead_meta(&mut self) {
        // The others wait until the meta group has said which spaces there are:
        // it may hold entries of an earlier run that drop some.
        if self.is_alone(META) && self.campaign(META) {
            self.create_default();
        }
    }

    /// Whether this node's replica of a group is its only voter.
    pub(crate) fn is_alone(&self, id: u64) -> bool {
        self.shards.get(&id).is_some_and(Shard::is_alone)
    }

    /// Proposes the space `default`, where there was never a space.
    pub(crate) fn create_default(&mut self) {
        let Some(meta) = self.shards.get_mut(&META) else {
            return;
        };
        if meta.state.spaces_revision() == 0 && meta.may_propose() {
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            create_default(meta, &mut stamper);
            self.touched.push(META);
        }
    }

    /// A shard stands for election. False: the log has no room for what that writes; it is tried again.
    pub(crate) fn campaign(&mut self, id: u64) -> bool {
        if !self.storage.has_control_room() {
            self.storage.starve();
            self.is_settling = true;
            return false;
        }
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.campaign(self.clock);
            self.touched.push(id);
        }
        true
    }

    /// Proposes to expire what is due; whether there was room for it.
    pub(crate) fn expire(&mut self) -> bool {
        if self.storage.is_low() {
            // Expiry is an entry too; it waits until the disk has room.
            return false;
        }
        for id in self.agenda.awake() {
            let Some(shard) = self.shards.get_mut(&id) else {
                continue;
            };
            if !shard.is_due(self.clock) {
                continue;
            }
            // An entry that only expires is small, but it is one.
            if self.storage.reserve(64).is_err() {
                return false;
            }
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.expire(&mut stamper);
            self.touched.push(id);
        }
        true
    }

    pub(crate) fn drive_touched(&mut self, turn: &mut Turn) {
        self.touched.sort_unstable();
        self.touched.dedup();
        // Whoever filled the replies of the last full turn has waited least.
        let behind = self.touched.partition_point(|id| *id <= self.filled_by);
        self.touched.rotate_left(behind);
        let touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            let was_spent = turn.replies.is_spent();
            turn.replies.begin_slice(touched.len());
            let Some(shard) = self.shards.get_mut(&id) else {
                continue;
            };
            self.agenda.wake(id);
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.propose(&mut stamper);
            let peers = self.peers.outgoing();
            let driven = shard.drive(self.clock, &mut self.storage, peers, turn);
            self.hlc.observe(shard.heard_revision);
            self.transfers.ask(id, shard.take_snapshot_wants());
            if shard.take_began_to_lead() {
                self.is_settling = true;
                // The first election of a space is no news.
                if let Some((cause, vacant_ms)) = shard.take_vacancy(self.clock)
                    && shard.term() > FIRST_TERM
                {
                    turn.notices.push(Notice::LeaderElected {
                        group: id,
                        space: self.names.get(&id).cloned().unwrap_or_default(),
                        term: shard.term(),
                        cause,
                        vacant_ms,
                    });
                }
            }
            if let Err(why) = driven {
                self.stop_shard(id, why, turn);
            }
            if turn.replies.is_spent() && !was_spent {
                self.filled_by = id;
            }
        }
    }

    /// What a shard's log says can't be applied here: it serves nothing any more, the others do. Its
    /// records and its snapshots stay for whoever can read them.
    fn stop_shard(&mut self, id: u64, why: String, turn: &mut Turn) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        shard.refuse_proposed(ErrorCode::Internal, &mut turn.replies);
        shard.refuse_unproposed(ErrorCode::ShardDamaged, &mut turn.replies);
        shard.stop();
        turn.notices.push(Notice::ShardStopped {
            group: id,
            space: self.names.get(&id).cloned().unwrap_or_default(),
            why: why.clone(),
        });
        self.damaged.insert(id, why);
    }

    /// What found no room in this turn's replies goes on in the next: at once,
    /// unless there was no room at all; then when the engine has some.
    pub(crate) fn note_unanswered(&mut self, wake_at_us: &mut Option<u64>, turn: &Turn) {
        self.unanswered_bytes = 0;
        for id in self.agenda.awake() {
            let Some(shard) = self.shards.get(&id) else {
                continue;
            };
            self.unanswered_bytes += shard.unanswered_bytes();
            if let Some(at_us) = shard.next_late_us() {
                earliest(wake_at_us, at_us);
            }
            if shard.wants_room(&turn.replies) {
                self.touched.push(id);
                if turn.replies.room_bytes > 0 {
                    earliest(wake_at_us, self.clock.monotonic_us);
                }
            }
        }
    }

    /// What waits past its deadline is refused before anything is done for it.
    pub(crate) fn refuse_late_reads(&mut self, turn: &mut Turn) {
        for id in self.agenda.awake() {
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.refuse_late_reads(self.clock.monotonic_us, &mut turn.replies);
            }
        }
    }

    pub(crate) fn write_commits(&mut self) {
        for id in self.agenda.awake() {
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.write_commit(&mut self.storage);
            }
        }
    }

    /// Lets every shard rest that has nothing open, and notes when one must be looked at again. What is
    /// due and found no room (`has_room`) waits for room, not for time.
    pub(crate) fn rest(&mut self, has_room: bool, wake_at_us: &mut Option<u64>) {
        let now_us = self.clock.monotonic_us;
        let limit = self.config.snapshot_after_bytes;
        let awake: Vec<u64> = self.agenda.awake().collect();
        for id in awake {
            let Some(shard) = self.shards.get(&id) else {
                self.agenda.forget(id);
                continue;
            };
            let due_us = shard.due_us(self.clock);
            let is_due = due_us.is_some_and(|at_us| at_us <= now_us);
            if shard.is_at_rest(limit) && !is_due {
                self.agenda.rest(id, due_us);
            } else if let Some(at_us) = due_us
                && (has_room || !is_due)
            {
                earliest(wake_at_us, at_us);
            }
        }
        if let Some(at_us) = self.agenda.next_us() {
            earliest(wake_at_us, at_us);
        }
        debug_assert!(
            self.shards
                .iter()
                .all(|(id, shard)| self.agenda.is_awake(*id) || shard.is_at_rest(limit)),
            "a shard rests with something open"
        );
    }
}
