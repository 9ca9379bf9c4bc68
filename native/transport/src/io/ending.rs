//! How connections end, and the transport.

use std::sync::atomic::Ordering;
use std::time::Instant;

use domp_protocol::PeerFrameWriter;

use super::assembler::goodbye;
use super::connection::{Connection, Stage};
use super::dialler::DialState;
use super::receiver::Receiver;
use super::sender::Sender;
use super::socket::Fault;
use super::{Io, LINGER};
use crate::counters::add;
use crate::event::{Cause, ClosingReason, Event};
use crate::shared::Close;
use crate::verify::reason;
use domp_protocol::Lane;

impl Io {
    /// A connection can't go on.
    pub(super) fn end(&mut self, token: u64, mut it: Connection, fault: Fault) {
        match &it.stage {
            Stage::Connecting(node, lane) | Stage::Dialled { node, lane, .. } => {
                let (node, lane) = (*node, *lane);
                self.decline(token, it, &fault);
                self.dial_failed(node, lane, fault);
            }
            Stage::Accepted(_) => {
                let (text, is_alerted) = match fault {
                    Fault::Ended => ("it closed the connection".to_owned(), false),
                    Fault::Io(kind) => (kind.to_string(), false),
                    Fault::Tls(error) => (reason(&error), true),
                    Fault::Said(cause) => (cause.to_string(), false),
                };
                self.shared.note_stranger(format!("{}: {text}", it.address));
                if is_alerted {
                    // The alert must arrive, or the other side can't tell why.
                    it.stage = Stage::Lingering;
                    it.deadline = Some(self.now + LINGER);
                    self.keep(token, it);
                } else {
                    self.forget_greeting(token);
                }
            }
            Stage::Sending(sender) => {
                let cause = fault.into_cause();
                self.lose_outgoing(sender, cause);
            }
            Stage::Receiving(receiver) => self.lose_incoming(token, receiver, fault.into_cause()),
            Stage::Lingering => self.forget_greeting(token),
        }
    }

    /// Tells the node that was dialled why it is not wanted: a reset would look as if this process were gone.
    fn decline(&mut self, token: u64, mut it: Connection, fault: &Fault) {
        let Fault::Said(Cause::Declined(text)) = fault else {
            return;
        };
        let words = [
            &PeerFrameWriter::default().header(&[])[..],
            &goodbye(ClosingReason::Declined, text),
        ];
        if it.socket.write_all(&words.concat()).is_ok() {
            it.socket.finish();
            it.stage = Stage::Lingering;
            it.deadline = Some(self.now + LINGER);
            self.keep(token, it);
        }
    }

    fn forget_greeting(&mut self, token: u64) {
        self.greetings.retain(|greeting| *greeting != token);
    }

    /// One more is about to be greeted. The oldest gives way: who is real is done within milliseconds.
    pub(super) fn make_room_for_greeting(&mut self) {
        while self.greetings.len() >= self.shared.options.handshakes_max.max(1) {
            let Some(oldest) = self.greetings.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.remove(&oldest) {
                let text = "gave way to later ones";
                self.shared
                    .note_stranger(format!("{}: {text}", connection.address));
            }
        }
    }

    pub(super) fn dial_failed(&mut self, node: u64, lane: Lane, fault: Fault) {
        let cause = match fault {
            Fault::Ended => Cause::Dial(std::io::ErrorKind::UnexpectedEof),
            Fault::Io(kind) => Cause::Dial(kind),
            Fault::Tls(error) => Cause::Untrusted(reason(&error)),
            Fault::Said(cause) => cause,
        };
        let random = self.jitter.next();
        let Some(dialler) = self.diallers.get_mut(&(node, lane)) else {
            return;
        };
        let is_told = dialler.failed(&cause, &self.shared.options, random, self.now);
        self.next_due.note(dialler.due_at());
        if is_told {
            add(&dialler.peer.lane(lane).counting.failures, 1);
            self.tell_disconnected(node, lane, true, cause);
        }
    }

    fn lose_outgoing(&mut self, sender: &Sender, cause: Cause) {
        let (node, lane) = (sender.peer.node, sender.lane);
        sender.shut();
        add(&sender.peer.lane(lane).counting.failures, 1);
        let random = self.jitter.next();
        if let Some(dialler) = self.diallers.get_mut(&(node, lane)) {
            dialler.lost(sender.since, &cause, &self.shared.options, random, self.now);
            self.next_due.note(dialler.due_at());
        }
        self.tell_disconnected(node, lane, true, cause);
    }

    fn lose_incoming(&mut self, token: u64, receiver: &Receiver, cause: Cause) {
        let (node, lane) = (receiver.peer.node, receiver.lane);
        if self.incoming.get(&(node, lane)) == Some(&token) {
            self.incoming.remove(&(node, lane));
        }
        let counting = &receiver.peer.lane(lane).counting;
        counting.is_connected_in.store(false, Ordering::Relaxed);
        self.tell_disconnected(node, lane, false, cause);
        self.forget_if_unknown(node);
    }

    /// Nothing is kept of a node that is neither a peer nor connected.
    fn forget_if_unknown(&self, node: u64) {
        let is_peer = self.diallers.contains_key(&(node, Lane::Control));
        let mut lanes = Lane::ALL.iter();
        if !is_peer && !lanes.any(|lane| self.incoming.contains_key(&(node, *lane))) {
            self.shared.forget_peer(node);
        }
    }

    fn tell_disconnected(&self, node: u64, lane: Lane, outgoing: bool, cause: Cause) {
        let event = Event::Disconnected {
            node,
            lane,
            outgoing,
            cause,
        };
        self.shared.inbox.push_status(lane, event);
    }

    /// Ends a connection that stands and says so at the other end; here with `cause`, if it is to be told.
    pub(super) fn end_as_planned(
        &mut self,
        token: u64,
        reason: ClosingReason,
        text: &str,
        cause: Option<Cause>,
    ) {
        let Some(mut it) = self.connections.remove(&token) else {
            return;
        };
        let said = match &mut it.stage {
            Stage::Sending(sender) => {
                let said = sender.say_goodbye(&mut it.socket, reason, text);
                if let Some(cause) = cause {
                    self.lose_outgoing(sender, cause);
                }
                said
            }
            Stage::Receiving(receiver) => {
                let said = Receiver::say_goodbye(&mut it.socket, reason, text);
                if let Some(cause) = cause {
                    self.lose_incoming(token, receiver, cause);
                }
                said
            }
            // Nobody has heard of it yet.
            _ => return,
        };
        if said.is_ok() {
            it.stage = Stage::Lingering;
            it.deadline = Some(self.now + LINGER);
            self.keep(token, it);
        }
    }

    /// A node is not a peer any more.
    pub(super) fn remove_node(&mut self, node: u64) {
        for lane in Lane::ALL {
            let dialler = self.diallers.remove(&(node, lane));
            let outgoing = dialler.and_then(|dialler| match dialler.state {
                DialState::Busy(token) => Some(token),
                DialState::Waiting(_) => None,
            });
            let incoming = self.incoming.get(&(node, lane)).copied();
            for token in [outgoing, incoming].into_iter().flatten() {
                let (reason, text) = (ClosingReason::Removed, "it is not a peer any more");
                self.end_as_planned(token, reason, text, Some(Cause::Removed));
            }
        }
        self.forget_if_unknown(node);
    }

    /// A connection's time is over.
    pub(super) fn be_late(&mut self, token: u64) {
        let Some(mut it) = self.connections.remove(&token) else {
            return;
        };
        let late = match &mut it.stage {
            Stage::Receiving(receiver) => receiver.tell(&mut it.socket, self.now),
            Stage::Sending(_) => Err(Fault::Said(Cause::Silent)),
            _ => Err(Fault::Io(std::io::ErrorKind::TimedOut)),
        };
        match late {
            Ok(()) => self.keep(token, it),
            Err(fault) => self.end(token, it, fault),
        }
    }

    /// Sends what waits, says goodbye, and ends.
    pub(super) fn close(&mut self, mut close: Close) {
        let left = close.until.saturating_duration_since(Instant::now());
        close.until = self.now + left;
        self.next_due.note(Some(close.until));
        self.diallers.clear();
        let tokens: Vec<_> = self.connections.keys().copied().collect();
        for token in tokens {
            let Some(mut it) = self.connections.remove(&token) else {
                continue;
            };
            let reason = ClosingReason::Stopping;
            match &mut it.stage {
                Stage::Sending(sender) => {
                    sender.end(reason, &close.text);
                    match self.pump(&mut it) {
                        Ok(()) => self.keep(token, it),
                        Err(fault) => self.end(token, it, fault),
                    }
                }
                Stage::Receiving(_) => {
                    self.keep(token, it);
                    self.end_as_planned(token, reason, &close.text, None);
                }
                Stage::Lingering => self.keep(token, it),
                _ => {}
            }
        }
        self.closing = Some(close);
    }

    /// Whether all is done, or must be.
    pub(super) fn is_closed(&self) -> bool {
        let is_over = |close: &Close| close.until <= self.now || self.connections.is_empty();
        self.closing.as_ref().is_some_and(is_over)
    }
}
