//! What waits goes to whoever leads: here, or to another node.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::items_of_batch;
use domp_protocol::reply::{ErrorDetail, encode_error_detail};

use super::waiting::Item;
use crate::commands::{PeerSend, Turn, earliest};
use crate::door::Sender;
use crate::door::intake::Intake;
use crate::node::Node;
use crate::peers::requests::{Handed, Name};
use crate::replies::refusal;
use crate::shard::Shard;

/// So many election timeouts an item waits for a leader.
const WAIT_TIMES: u64 = 2;
/// So many behind its deadline it has to be answered by the node that has it, which gives up leading before.
const ANSWER_TIMES: u64 = 4;
/// Whoever waited for a leader in vain is asked to wait for so long and up to twice that.
const RETRY_MS: u32 = 25;

/// Said with `unavailable`: nobody leads.
const NO_LEADER: &str = "no_leader: nobody is known to lead the space";
/// Said with it: another door may do.
const UNREACHABLE: &str = "unreachable_from_here: this node does not reach the space's leader";
/// Said with it: whether there is such a space.
const UNKNOWN: &str = "no_leader: whether there is such a space can't be told";
/// Said with `overloaded`.
const SPENT: &str = "peer: as much as may be is on its way to the space's leader";
/// Said with it too.
const CROWDED: &str = "peer: too much waits until somebody leads";

/// Where an item goes.
enum Route {
    Here,
    /// To that node, which leads in that term.
    To(u64, u64),
    /// Nowhere yet, and what is said if that lasts.
    Nowhere(&'static str),
    /// The shard is not known here.
    Unknown,
}

impl Node {
    /// Keeps an item of a shard that is not led here, or not yet. `reads`: it needs no entry.
    pub(crate) fn keep_waiting(
        &mut self,
        intake: &Intake<'_>,
        reads: bool,
    ) -> Result<(), &'static str> {
        let room = self.config.waiting_for_leader_bytes_max;
        if !self.handing.waiting.has_room(intake.item.bytes.len(), room) {
            self.handing.counters.spent += 1;
            return Err(CROWDED);
        }
        let item = Item {
            sender: *intake.sender,
            space: intake.space,
            sequence: intake.item.sequence,
            deadline_us: intake.deadline_us,
            reads,
            bytes: intake.item.bytes.into(),
            number: self.handing.waiting.next_number(),
            until_us: self.waits_until_us(),
            refused: None,
        };
        self.handing.waiting.put(item);
        Ok(())
    }

    pub(super) fn waits_until_us(&self) -> u64 {
        let wait_us = WAIT_TIMES * self.config.election_timeout_us();
        self.clock.monotonic_us.saturating_add(wait_us)
    }

    /// Sends on what waits, as far as anybody leads; refuses what has waited for too long.
    pub(crate) fn dispatch(&mut self, turn: &mut Turn) {
        if self.handing.is_quiet() {
            return;
        }
        let now_us = self.clock.monotonic_us;
        for item in self.handing.waiting.take_late(now_us) {
            let (code, what) = if item.deadline_us <= now_us {
                (ErrorCode::DeadlineExceeded, "")
            } else {
                (ErrorCode::Unavailable, self.why_nowhere(&item))
            };
            self.refuse_item(&item, code, what, turn);
        }
        self.handing.nowhere.clear();
        for group in self.handing.waiting.groups() {
            while self.dispatch_first(group, turn) {}
            if let Some(first) = self.handing.waiting.first(group)
                && matches!(
                    self.route(group, first.reads),
                    Route::Nowhere(_) | Route::Unknown
                )
            {
                self.handing.nowhere.push(group);
            }
        }
        self.lose_replaced(turn);
        let links = self.handing.links.values_mut();
        let overdue: Vec<Item> = links.flat_map(|link| link.take_overdue(now_us)).collect();
        self.lose_items(overdue, turn);
    }

    /// Another leads now than whoever has an item: that may have proposed it, or is halted and would answer when
    /// nobody waits any more. Who asks again finds the new one.
    fn lose_replaced(&mut self, turn: &mut Turn) {
        let mut replaced = Vec::new();
        for (node, link) in &self.handing.links {
            for (space, handed_in) in link.spaces() {
                let (term, leader) = self.leader_of(space.into());
                if leader != 0 && leader != *node && term > handed_in {
                    replaced.push((*node, space));
                }
            }
        }
        for (node, space) in replaced {
            let lost = self.handing.link(node).lose_space(space);
            self.lose_items(lost, turn);
        }
    }

    /// Term and leader of a group, as far as this node knows; 0: nobody.
    fn leader_of(&self, group: u64) -> (u64, u64) {
        let own = self.shards.get(&group).map_or((0, 0), |shard| {
            (shard.term(), shard.leader().unwrap_or_default())
        });
        let told = self.handing.told.get(&group).copied().unwrap_or_default();
        if told.0 > own.0 { told } else { own }
    }

    /// Sends the first item of a group on. False: none, or it stays.
    fn dispatch_first(&mut self, group: u64, turn: &mut Turn) -> bool {
        let Some(first) = self.handing.waiting.first(group) else {
            return false;
        };
        let (socket, reads, refused) = (first.sender.socket, first.reads, first.refused);
        let (number, until_us, bytes) = (first.number, first.until_us, first.bytes.len());
        match self.route(group, reads) {
            Route::Nowhere(_) if !socket.is_remote() || self.is_about_to_lead(group) => false,
            Route::Here => self.take_here(group, turn),
            Route::Unknown => match self.is_no_space(group, number, until_us) {
                Some(true) => self.refuse_first(group, ErrorCode::UnknownSpace, "", turn),
                Some(false) | None => false,
            },
            // One hop, and no more.
            Route::To(..) | Route::Nowhere(_) if socket.is_remote() => {
                self.refuse_first(group, ErrorCode::Unavailable, NO_LEADER, turn)
            }
            Route::Nowhere(_) => false,
            Route::To(node, term) => {
                let stays = refused.is_some_and(|(by, before, again_us)| {
                    (by, before) == (node, term) && self.clock.monotonic_us < again_us
                });
                if stays {
                    return false;
                }
                let space = u32::try_from(group).unwrap_or(u32::MAX);
                let credit = self.config.handed_on_bytes_max;
                if !self.handing.link(node).has_credit(space, bytes, credit) {
                    self.handing.counters.spent += 1;
                    return self.refuse_first(group, ErrorCode::Overloaded, SPENT, turn);
                }
                if let Some(item) = self.handing.waiting.pop(group) {
                    self.hand(item, node, term);
                }
                true
            }
        }
    }

    fn refuse_first(&mut self, group: u64, code: ErrorCode, what: &str, turn: &mut Turn) -> bool {
        let Some(item) = self.handing.waiting.pop(group) else {
            return false;
        };
        self.refuse_item(&item, code, what, turn);
        true
    }

    /// Judges the first item of a group as if it came now. False: it can't be taken yet.
    fn take_here(&mut self, group: u64, turn: &mut Turn) -> bool {
        let Some(item) = self.handing.waiting.pop(group) else {
            return false;
        };
        let Some(Ok(parsed)) = items_of_batch(&item.bytes, 1).next() else {
            return true;
        };
        let intake = Intake {
            sender: &item.sender,
            item: parsed,
            space: item.space,
            deadline_us: item.deadline_us,
        };
        let taken = self.take_led(&intake, turn).is_ok();
        if !taken {
            self.handing.waiting.put(item);
        }
        taken
    }

    fn route(&self, group: u64, reads: bool) -> Route {
        let Some(shard) = self.shards.get(&group) else {
            return Route::Unknown;
        };
        if shard.is_stopped() || shard.takes(reads) {
            return Route::Here;
        }
        let (term, leader) = self.leader_of(group);
        if leader == 0 || leader == self.identity.node {
            return Route::Nowhere(NO_LEADER);
        }
        let is_open = self
            .handing
            .links
            .get(&leader)
            .is_some_and(super::Link::is_open);
        // Without a word of its clock no deadline can be told.
        let is_heard = self.heard_lately(leader).is_some();
        if is_open && is_heard {
            Route::To(leader, term)
        } else {
            Route::Nowhere(UNREACHABLE)
        }
    }

    fn is_about_to_lead(&self, group: u64) -> bool {
        self.shards.get(&group).is_some_and(Shard::is_leader)
    }

    fn why_nowhere(&self, item: &Item) -> &'static str {
        match self.route(item.space.into(), item.reads) {
            Route::Nowhere(why) => why,
            Route::Unknown => UNKNOWN,
            Route::Here | Route::To(..) => NO_LEADER,
        }
    }

    fn hand(&mut self, item: Item, node: u64, term: u64) {
        let now_us = self.clock.monotonic_us;
        let Some(clock) = self.heard_lately(node).copied() else {
            return;
        };
        let Sender {
            socket,
            grants,
            batch,
            ..
        } = item.sender;
        let stream = self.handing.link(node).stream_of(socket);
        let stream = stream.unwrap_or_else(|| {
            self.handing.next_stream += 1;
            self.handing.next_stream
        });
        let head = Handed {
            space: item.space,
            count: 0,
            name: Name {
                incarnation: self.config.incarnation(),
                stream,
            },
            deadline: clock.point(item.deadline_us),
            grants,
            batch,
        };
        let patience_us = ANSWER_TIMES * self.config.election_timeout_us();
        let overdue_us = item.deadline_us.max(now_us).saturating_add(patience_us);
        let waited_from_us = self.waits_until_us();
        let counters = &mut self.handing.counters;
        counters.handed += 1;
        counters.retried += u64::from(item.refused.is_some());
        counters.waited += u64::from(item.refused.is_none() && item.until_us < waited_from_us);
        self.handing.link(node).hand(item, head, term, overdue_us);
    }

    /// Says why an item is not done. Of what `unavailable` says, nothing was proposed.
    pub(super) fn refuse_item(
        &mut self,
        item: &Item,
        code: ErrorCode,
        what: &str,
        turn: &mut Turn,
    ) {
        self.counters.refused += 1;
        let hint_ms = if code == ErrorCode::Unavailable {
            // Drawn, so that all who waited for one leader do not come back at once.
            let draw = item.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let share = u32::try_from(draw % u64::from(RETRY_MS)).unwrap_or_default();
            RETRY_MS + share
        } else {
            code.retry_after_ms()
        };
        let detail = if what.is_empty() {
            Vec::new()
        } else {
            encode_error_detail(&ErrorDetail {
                message: what.to_owned(),
                retry_after_ms: hint_ms,
                ..ErrorDetail::default()
            })
        };
        let head = refusal(item.sequence, code);
        turn.replies
            .push(item.sender.socket, item.space, &head, &detail);
    }

    /// When what waits, or is handed on, wants the next turn.
    pub(crate) fn note_handing(&mut self, turn: &mut Turn, wake_at_us: &mut Option<u64>) {
        let room = self.config.answers_bytes_max;
        self.handing.take_sends(room, |node, lane, bytes| {
            turn.sends.push(PeerSend { node, lane, bytes });
        });
        if !self.handing.happened.is_empty() && turn.replies.room_bytes > 0 {
            earliest(wake_at_us, self.clock.monotonic_us);
        }
        if let Some(at_us) = self.handing.waiting.next_late_us() {
            earliest(wake_at_us, at_us);
        }
        // Somebody leads that did not when the turn looked.
        let is_led = |group: &u64| {
            let first = self.handing.waiting.first(*group);
            first.is_some_and(|first| {
                matches!(self.route(*group, first.reads), Route::Here | Route::To(..))
            })
        };
        let is_led = self.handing.nowhere.iter().any(is_led);
        if self.handing.names.take_answered() || is_led {
            earliest(wake_at_us, self.clock.monotonic_us);
        }
        for link in self.handing.links.values() {
            if let Some(at_us) = link.next_overdue_us() {
                earliest(wake_at_us, at_us);
            }
        }
    }
}
