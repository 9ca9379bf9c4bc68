//! What waits in queues has its turn: a turn of the node judges of each connection as
//! much as that may spend, until judging has cost what it may.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::items_of_batch;
use domp_protocol::reply::{ErrorDetail, encode_error_detail};

use super::intake::Intake;
use super::queues::{Sender, Stalled, Visit, Waiting};
use crate::commands::{Turn, earliest};
use crate::node::Node;
use crate::replies::{Socket, refusal};

impl Node {
    /// Judges what waits. Returns whether all that is left is stalled.
    pub(crate) fn admit(&mut self, turn: &mut Turn) -> bool {
        let mut idle = 0;
        while self.intake_left > 0 && idle < self.queues.connections() {
            let Some(mut visit) = self.queues.visit() else {
                break;
            };
            // Waiting for another round brings its turn nearer: that is progress too.
            let progress = !visit.is_open() || self.admit_visited(&mut visit, turn);
            self.queues.end_visit(visit);
            idle = if progress { 0 } else { idle + 1 };
        }
        self.intake_left > 0
    }

    /// Judges what one connection may spend; whether that was anything.
    fn admit_visited(&mut self, visit: &mut Visit, turn: &mut Turn) -> bool {
        let mut any = false;
        while visit.is_open() && self.intake_left > 0 {
            if self.is_stalled(visit) {
                return any;
            }
            let Some(first) = visit.queue.frames.front_mut() else {
                return any;
            };
            let (mut taken, mut spent, mut at) = (0, 0, first.at);
            let mut stalled = None;
            for item in items_of_batch(&first.bytes[first.at..], first.count) {
                let Ok(item) = item else {
                    // The envelope was verified when it came; nothing is lost by it.
                    taken = first.count;
                    break;
                };
                let intake = Intake {
                    sender: &first.sender,
                    item,
                    space: first.space,
                    deadline_us: first.deadline_us,
                };
                match self.take(&intake, turn) {
                    Ok(cost) => spent += cost,
                    Err(why) => {
                        stalled = Some(why);
                        break;
                    }
                }
                taken += 1;
                at += item.bytes.len();
                if self.intake_left == 0 || spent >= visit.allowance {
                    break;
                }
            }
            first.at = at;
            first.count -= taken;
            any |= taken > 0;
            visit.queue.stalled = stalled;
            visit.spend(spent);
            self.queues.taken(visit, taken);
            if stalled.is_some() {
                return any;
            }
        }
        any
    }

    /// Whether the visited connection's next request must stay, without looking at its
    /// bytes again. A deadline that passed is answered all the same.
    fn is_stalled(&self, visit: &Visit) -> bool {
        let (Some(first), Some(stalled)) = (visit.queue.frames.front(), visit.queue.stalled) else {
            return false;
        };
        first.deadline_us > self.clock.monotonic_us && self.stalls(stalled, first.sender.socket)
    }

    /// Whether that still keeps a connection's requests where they are.
    pub(crate) fn stalls(&self, stalled: Stalled, socket: Socket) -> bool {
        self.is_full_of_unanswered()
            || match stalled {
                Stalled::Writes => !self.takes_writes(),
                Stalled::Room(bytes) => self.storage.awaits_room() && !self.storage.fits(bytes, 0),
                Stalled::Answers(reads) => {
                    let room = self.config.answers_bytes_max;
                    !self.remote.has_room(socket, reads, room)
                }
                Stalled::Reads(space) => self
                    .shards
                    .get(&u64::from(space))
                    .is_some_and(|shard| shard.are_reads_ahead(socket)),
            }
    }

    /// Says when what waits wants its next turn: at once, unless all of it is stalled;
    /// then when it can go on, or its deadline passes.
    pub(crate) fn note_queued(&mut self, all_stalled: bool, wake_at_us: &mut Option<u64>) {
        let now_us = self.clock.monotonic_us;
        if !all_stalled && !self.queues.is_empty() {
            earliest(wake_at_us, now_us);
            return;
        }
        for queue in self.queues.iter() {
            let Some(first) = queue.frames.front() else {
                continue;
            };
            let stays = queue
                .stalled
                .is_some_and(|stalled| self.stalls(stalled, first.sender.socket));
            if !stays {
                earliest(wake_at_us, now_us);
                return;
            }
            earliest(wake_at_us, first.deadline_us);
        }
    }

    /// Keeps a frame, or what is left of one, for its connection's turn. Where too much
    /// waits, whoever has the most waiting is refused the newest of it.
    pub(crate) fn enqueue(&mut self, waiting: Waiting, turn: &mut Turn) {
        self.queues.push(waiting);
        while self.queues.held_bytes() > self.config.queued_bytes_max
            && let Some(newest) = self.queues.pop_greediest()
        {
            self.refuse_crowded(&newest, turn);
        }
    }

    fn refuse_crowded(&mut self, waiting: &Waiting, turn: &mut Turn) {
        let detail = encode_error_detail(&ErrorDetail {
            message: "too much waits, and of this connection the most".to_owned(),
            retry_after_ms: ErrorCode::Overloaded.retry_after_ms(),
            ..ErrorDetail::default()
        });
        let Sender { socket, .. } = waiting.sender;
        let items = items_of_batch(&waiting.bytes[waiting.at..], waiting.count);
        for item in items.map_while(Result::ok) {
            let head = refusal(item.sequence, ErrorCode::Overloaded);
            turn.replies.push(socket, waiting.space, &head, &detail);
        }
        self.counters.refused += u64::from(waiting.count);
        self.counters.crowded += u64::from(waiting.count);
    }

    /// A connection is gone: what it asked and was neither proposed nor answered costs
    /// nothing more.
    pub(crate) fn forget_work(&mut self, socket: Socket) {
        self.counters.abandoned += self.queues.forget(socket);
        if !self.handing.is_quiet() {
            let incarnation = self.config.incarnation();
            self.counters.abandoned += self.handing.forget(socket, incarnation);
        }
        for shard in self.shards.values_mut() {
            self.counters.abandoned += shard.forget_reads(socket);
        }
    }
}
