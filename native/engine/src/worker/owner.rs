//! What the engine's owner asks of the worker: statistics, snapshots, drains, the end.

use domp_node::{ControlReply, ControlRequest};
use serde::Serialize;

use super::{End, LAST_REPLIES_US, Worker};
use crate::cluster::{Link, PeersReport};
use crate::report;
use crate::shared::{Answer, Command, Control, Sent};
use crate::statistics::Statistics;

/// What statistics answer.
#[derive(Serialize)]
struct Seen<'a> {
    engine: &'a report::Constants,
    work: &'a Statistics,
    node: report::NodeReport<'a>,
    peers: Option<PeersReport>,
}

/// A drain that waits until what was pushed before it is taken in.
pub(super) struct HeldDrain {
    answer: Answer,
    /// Whether the engine is to end after it.
    closing: bool,
    /// Begin once the inbound ring is read up to here, or at this time.
    inbound_tail: u32,
    deadline_us: u64,
}

/// The end that was asked for.
pub(super) struct Closing {
    answers: Vec<Answer>,
    deadline_us: u64,
    /// The drain is complete; what is left is that the gateway fetches the replies.
    drained_at_us: Option<u64>,
}

impl Worker {
    /// Who waits for the end; answered by the caller once everything is given back.
    pub fn take_close_answers(&mut self) -> Vec<Answer> {
        let (held, others): (Vec<_>, Vec<_>) =
            self.held_drains.drain(..).partition(|held| held.closing);
        self.drain_waiters
            .extend(others.into_iter().map(|held| held.answer));
        let closing = self
            .closing
            .take()
            .map_or_else(Vec::new, |closing| closing.answers);
        closing
            .into_iter()
            .chain(held.into_iter().map(|held| held.answer))
            .collect()
    }

    /// Tells everyone who waits for an answer why there will be none.
    pub fn refuse_waiters(&mut self, why: &str) {
        let asked = std::mem::take(&mut self.asked);
        for answer in asked.into_values().chain(self.drain_waiters.drain(..)) {
            answer(Err(why.to_owned()));
        }
    }

    /// Takes what the owner asks for.
    pub(super) fn take_commands(&mut self, now_us: u64) -> bool {
        let mut any = false;
        let deadline_us = now_us.saturating_add(self.drain_timeout_ms.saturating_mul(1000));
        while let Some(Sent {
            command,
            inbound_tail,
        }) = self.shared.next_command()
        {
            any = true;
            let (answer, closing) = match command {
                Command::Control(Control::Statistics, answer) => {
                    self.ask(ControlRequest::Statistics, Some(answer));
                    continue;
                }
                Command::Control(Control::Snapshot, answer) => {
                    self.ask(ControlRequest::Snapshot, Some(answer));
                    continue;
                }
                Command::Control(Control::Notices, answer) => {
                    answer(Ok(self.notices.take()));
                    continue;
                }
                Command::Control(Control::Drain, answer) => (answer, false),
                Command::Close(answer) => (answer, true),
            };
            let held = HeldDrain {
                answer,
                closing,
                inbound_tail,
                deadline_us,
            };
            self.held_drains.push_back(held);
        }
        any
    }

    /// Begins drains whose time has come: what was pushed before one is accepted still.
    pub(super) fn begin_drains(&mut self, now_us: u64) -> bool {
        let mut any = false;
        while let Some(held) = self.held_drains.front() {
            let is_read = self.reader.head().wrapping_sub(held.inbound_tail) < 1 << 31;
            if !is_read && now_us < held.deadline_us {
                break;
            }
            let Some(held) = self.held_drains.pop_front() else {
                break;
            };
            any = true;
            if held.closing {
                let closing = self.closing.get_or_insert(Closing {
                    answers: Vec::new(),
                    deadline_us: held.deadline_us,
                    drained_at_us: None,
                });
                closing.answers.push(held.answer);
            } else {
                self.drain_waiters.push(held.answer);
            }
            self.ask(ControlRequest::Drain, None);
        }
        any
    }

    fn ask(&mut self, request: ControlRequest, answer: Option<Answer>) {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        if let Some(answer) = answer {
            self.asked.insert(id, answer);
        }
        self.node.on_control(id, request, &mut self.turn);
    }

    /// Passes on what the node answered. A drain is answered when it is complete, not here.
    pub(super) fn answer(&mut self, id: u32, reply: ControlReply) {
        let Some(answer) = self.asked.remove(&id) else {
            return;
        };
        self.statistics.log_disk_bytes = self.background.log_bytes();
        answer(match reply {
            ControlReply::Statistics(node) => Ok(report::json(&Seen {
                engine: &self.engine_report,
                work: &self.statistics,
                node: node.as_ref().into(),
                peers: self.link.as_ref().map(Link::snapshot),
            })),
            ControlReply::Snapshotted(taken) => {
                Ok(report::json(&report::Taken::from(taken.as_slice())))
            }
            ControlReply::Done => Ok("{}".to_owned()),
            ControlReply::Failed(why) => Err(why),
        });
    }

    pub(super) fn drained(&mut self) {
        for answer in self.drain_waiters.drain(..) {
            answer(Ok("{}".to_owned()));
        }
        let now_us = self.clock.now_us();
        if let Some(closing) = &mut self.closing {
            closing.drained_at_us.get_or_insert(now_us);
        }
    }

    /// Whether closing is through: drained and the last replies fetched, or out of time.
    pub(super) fn end_closing(&mut self) -> Option<End> {
        let closing = self.closing.as_ref()?;
        let now_us = self.clock.now_us();
        match closing.drained_at_us {
            Some(at_us) => {
                let fetched = !self.outbound.is_blocked() && self.outbound.fill() == 0;
                (fetched || now_us >= at_us + LAST_REPLIES_US).then_some(End::Drained)
            }
            None => (now_us >= closing.deadline_us).then_some(End::DrainTimedOut),
        }
    }

    /// Until when the worker may sleep for all its owner cares.
    pub(super) fn owner_waits_until_us(&self, now_us: u64) -> Option<u64> {
        let closing_us = self
            .closing
            .as_ref()
            .map(|closing| match closing.drained_at_us {
                // Nobody says when the gateway has fetched the last replies.
                Some(_) => now_us + 1000,
                None => closing.deadline_us,
            });
        let held_us = self.held_drains.front().map(|held| held.deadline_us);
        [closing_us, held_us].into_iter().flatten().min()
    }
}
