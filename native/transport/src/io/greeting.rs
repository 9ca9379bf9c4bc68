//! Handshakes behind TLS: who is at the other end, and whether the connection is wanted.

use std::time::{Duration, Instant};

use domp_protocol::{HelloHead, PEER_PROTOCOL_VERSION, PEER_WORDS_BYTES_MAX, WelcomeHead};

use super::assembler::shortened;
use super::connection::{Connection, Stage};
use super::dialler::DialState;
use super::receiver::Receiver;
use super::sender::Sender;
use super::socket::Fault;
use super::{Io, LINGER};
use crate::counters::add;
use crate::event::{Cause, ClosingReason, Event, Hello, Refusal, RefusalReason};
use crate::verify::{Dates, Side};
use domp_protocol::Lane;

/// What a handshake reads at once: more than its words would only be garbage.
const READ_BYTES: usize = 16 << 10;

fn malformed(text: &(impl ToString + ?Sized)) -> Fault {
    Fault::Said(Cause::Malformed(text.to_string()))
}

/// How long a welcome is, by what came of it.
fn welcome_length(words: &[u8]) -> Result<usize, Fault> {
    let Some(head) = words.first_chunk() else {
        return Ok(WelcomeHead::BYTES);
    };
    let head = WelcomeHead::parse(head).map_err(|error| malformed(&error))?;
    Ok(WelcomeHead::BYTES + head.length as usize)
}

impl Io {
    /// A connection that this node dialled has news.
    pub(super) fn on_dialled(&mut self, token: u64, it: &mut Connection) -> Result<(), Fault> {
        let now = self.now;
        if let Stage::Connecting(node, lane) = it.stage {
            if let Some(error) = it.socket.stream().take_error()? {
                return Err(error.into());
            }
            if it.socket.stream().peer_addr().is_err() {
                return Ok(());
            }
            let timeout_ms = self.shared.options.handshake_timeout_ms;
            it.deadline = Some(now + Duration::from_millis(timeout_ms));
            it.stage = Stage::Dialled {
                node,
                lane,
                has_said_hello: false,
                words: Vec::new(),
            };
            it.socket.flush()?;
        }
        let Stage::Dialled {
            node,
            lane,
            has_said_hello,
            words,
        } = &mut it.stage
        else {
            return Ok(());
        };
        let (node, lane) = (*node, *lane);
        let read = it.socket.read(&mut self.scratch[..READ_BYTES], |bytes| {
            words.extend_from_slice(bytes);
            Ok(())
        });
        let length = welcome_length(words)?;
        if words.len() < length {
            // Only now: a refusal comes together with the end.
            read?;
            if !it.socket.is_handshaking() && !*has_said_hello {
                *has_said_hello = true;
                let hello = self.hello(node, lane)?;
                it.socket.write_all(&hello)?;
            }
            it.socket.flush()?;
            return Ok(());
        }
        let Some(head) = words.first_chunk() else {
            return Ok(());
        };
        let head = WelcomeHead::parse(head).map_err(|error| malformed(&error))?;
        let rest = words.split_off(length);
        let words = words.split_off(WelcomeHead::BYTES);
        if head.refusal != 0 {
            return Err(Fault::Said(Cause::Refused(Refusal {
                reason: RefusalReason::from_number(head.refusal),
                text: String::from_utf8_lossy(&words).into_owned(),
            })));
        }
        let identity = self.shared.options.identity;
        let are_as_dialled = (PEER_PROTOCOL_VERSION, identity.cluster, node);
        if (head.version, head.cluster, head.node) != are_as_dialled {
            return Err(malformed(
                "the welcome is of another version, cluster or node",
            ));
        }
        let (_, dates) = self.certified(it, Side::Server)?;
        let peer = Hello {
            node,
            lane,
            incarnation: head.incarnation,
            nonce: head.nonce,
            words,
            dates,
            address: it.address,
        };
        if let Err(text) = self.handshake.judge(&peer, true) {
            return Err(Fault::Said(Cause::Declined(text)));
        }
        self.stand_outgoing(token, it, peer, &rest)
    }

    fn hello(&self, node: u64, lane: Lane) -> Result<Vec<u8>, Fault> {
        let words = self.handshake.hello(node, lane);
        if words.len() > PEER_WORDS_BYTES_MAX {
            let text = format!("this node has {} bytes to say", words.len());
            return Err(Fault::Said(Cause::Declined(text)));
        }
        let identity = self.shared.options.identity;
        let head = HelloHead {
            version: PEER_PROTOCOL_VERSION,
            lane: lane.number(),
            cluster: identity.cluster,
            node: identity.node,
            to: node,
            incarnation: identity.incarnation,
            nonce: identity.nonce,
            length: u32::try_from(words.len()).unwrap_or_default(),
        };
        Ok([&head.encode(), &words[..]].concat())
    }

    fn stand_outgoing(
        &mut self,
        token: u64,
        it: &mut Connection,
        peer: Hello,
        rest: &[u8],
    ) -> Result<(), Fault> {
        let (node, lane) = (peer.node, peer.lane);
        let Some(dialler) = self.diallers.get_mut(&(node, lane)) else {
            return Err(Fault::Said(Cause::Removed));
        };
        dialler.state = DialState::Busy(token);
        let state = dialler.peer.lane(lane);
        add(&state.counting.connects, 1);
        let mut sender = Sender::new(dialler.peer.clone(), lane, self.now);
        // Before the owner hears of it, which may send at once.
        state.open();
        let outgoing = true;
        self.shared
            .inbox
            .push_status(lane, Event::Connected { outgoing, peer });
        let noted = sender.take_notes(rest, self.now);
        it.deadline = None;
        it.stage = Stage::Sending(sender);
        Ok(noted?)
    }

    /// A connection that came has news.
    pub(super) fn on_accepted(&mut self, token: u64, it: &mut Connection) -> Result<(), Fault> {
        let Stage::Accepted(words) = &mut it.stage else {
            return Ok(());
        };
        it.socket.read(&mut self.scratch[..READ_BYTES], |bytes| {
            words.extend_from_slice(bytes);
            Ok(())
        })?;
        it.socket.flush()?;
        let Some(head) = words.first_chunk() else {
            return Ok(());
        };
        let head = HelloHead::parse(head).map_err(|error| malformed(&error))?;
        let length = HelloHead::BYTES + head.length as usize;
        if words.len() < length {
            return Ok(());
        }
        let mut words = words.split_off(HelloHead::BYTES);
        let excess = words.len() - head.length as usize;
        words.truncate(head.length as usize);
        let (certified, dates) = self.certified(it, Side::Client)?;
        let checked = self.check(&head, certified);
        // Who speaks another version may go on speaking, and still hears why it is refused.
        if checked.is_ok() && excess > 0 {
            return Err(malformed("more than a hello before the welcome"));
        }
        let judged = checked.and_then(|lane| self.judge(it, &head, lane, dates, words));
        match judged {
            Ok((peer, words)) => self.stand_incoming(token, it, peer, &words),
            Err(refusal) => {
                add(&self.shared.refused, 1);
                let text = shortened(&refusal.text).as_bytes();
                self.say_welcome(it, refusal.reason.number(), text)?;
                it.socket.finish();
                it.stage = Stage::Lingering;
                it.deadline = Some(self.now + LINGER);
                Ok(())
            }
        }
    }

    /// Who the certificate says is there.
    fn certified(&self, it: &Connection, side: Side) -> Result<(u64, Dates), Fault> {
        let certificate = it.socket.certificate();
        let certificate = certificate.ok_or_else(|| malformed("no certificate"))?;
        let judged = self.tls.verifier.judge(certificate, side);
        judged.map_err(|untrusted| Fault::Said(Cause::Untrusted(untrusted.to_string())))
    }

    fn check(&self, head: &HelloHead, certified: u64) -> Result<Lane, Refusal> {
        let identity = self.shared.options.identity;
        let refuse = |reason, text| Err(Refusal { reason, text });
        if head.version != PEER_PROTOCOL_VERSION {
            let text = format!(
                "this node speaks version {PEER_PROTOCOL_VERSION} of the protocol between nodes, not {}",
                head.version
            );
            return refuse(RefusalReason::Version, text);
        }
        if head.cluster != identity.cluster {
            let text = format!("this node is of cluster {:032x}", identity.cluster);
            return refuse(RefusalReason::Cluster, text);
        }
        if head.node != certified {
            let text = format!("the certificate is of node {certified:016x}");
            return refuse(RefusalReason::Node, text);
        }
        if head.to != identity.node || head.node == identity.node {
            let text = format!("this is node {:016x}", identity.node);
            return refuse(RefusalReason::Node, text);
        }
        let lane = Lane::from_number(head.lane);
        lane.map_or_else(
            || refuse(RefusalReason::Lane, format!("no lane {}", head.lane)),
            Ok,
        )
    }

    fn judge(
        &self,
        it: &Connection,
        head: &HelloHead,
        lane: Lane,
        dates: Dates,
        words: Vec<u8>,
    ) -> Result<(Hello, Vec<u8>), Refusal> {
        let peer = Hello {
            node: head.node,
            lane,
            incarnation: head.incarnation,
            nonce: head.nonce,
            words,
            dates,
            address: it.address,
        };
        let reason = RefusalReason::Declined;
        let words = self.handshake.judge(&peer, false);
        let words = words.map_err(|text| Refusal { reason, text })?;
        if words.len() > PEER_WORDS_BYTES_MAX {
            let text = format!("this node has {} bytes to answer", words.len());
            return Err(Refusal { reason, text });
        }
        Ok((peer, words))
    }

    fn say_welcome(&self, it: &mut Connection, refusal: u8, words: &[u8]) -> Result<(), Fault> {
        let identity = self.shared.options.identity;
        let head = WelcomeHead {
            version: PEER_PROTOCOL_VERSION,
            refusal,
            cluster: identity.cluster,
            node: identity.node,
            incarnation: identity.incarnation,
            nonce: identity.nonce,
            length: u32::try_from(words.len()).unwrap_or_default(),
        };
        it.socket.write_all(&[&head.encode(), words].concat())?;
        it.socket.flush()?;
        Ok(())
    }

    fn stand_incoming(
        &mut self,
        token: u64,
        it: &mut Connection,
        peer: Hello,
        words: &[u8],
    ) -> Result<(), Fault> {
        let (node, lane) = (peer.node, peer.lane);
        self.say_welcome(it, 0, words)?;
        self.greetings.retain(|greeted| *greeted != token);
        let shared = self.shared.peer(node);
        if let Some(before) = self.incoming.insert((node, lane), token) {
            let text = "this node has dialled anew";
            self.end_as_planned(before, ClosingReason::Replaced, text, Some(Cause::Replaced));
        }
        let counting = &shared.lane(lane).counting;
        counting
            .is_connected_in
            .store(true, std::sync::atomic::Ordering::Relaxed);
        add(&counting.accepts, 1);
        let outgoing = false;
        self.shared
            .inbox
            .push_status(lane, Event::Connected { outgoing, peer });
        it.deadline = None;
        let frame_bytes_max = self.shared.options.lane(lane).frame_bytes_max;
        it.stage = Stage::Receiving(Receiver::new(shared, lane, frame_bytes_max));
        self.hurry(node);
        Ok(())
    }

    /// A node is there: whoever waits to dial it does not.
    fn hurry(&mut self, node: u64) {
        let now: Instant = self.now;
        for lane in Lane::ALL {
            if let Some(dialler) = self.diallers.get_mut(&(node, lane)) {
                dialler.hurry(now);
                self.next_due.note(dialler.due_at());
            }
        }
    }
}
