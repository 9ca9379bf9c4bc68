//! What a client does next: asks, retries, vanishes, comes back late, clones itself, lies.

use std::collections::BTreeSet;

use domp_node::Socket;
use domp_protocol::frame::{Frame, FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{OutcomeRequest, encode_outcome_request};

use super::{Clients, Connection, Outstanding, Place, Session};
use crate::arrival::Arrival;
use crate::history::{History, Sent};
use crate::ids::{KeyName, RequestId};
use crate::requests::{
    Drawn, Seen, Under, cross_shard, draw, draw_space, draw_write, list_spaces, read,
};
use crate::rng::Rng;
use crate::situations::Situation;

/// How long a request may wait at the node.
const TIMEOUT_MS: u32 = 2_000;

impl Clients {
    /// One client does something.
    pub fn act(
        &mut self,
        at: usize,
        now_us: u64,
        rng: &mut Rng,
        history: &mut History,
        spaces: &[u64],
    ) -> Vec<Arrival> {
        if now_us < self.clients[at].quiet_until_us {
            return Vec::new();
        }
        let Some(socket) = self.clients[at].connection else {
            let resume = self.clients[at]
                .session
                .as_ref()
                .map(|session| session.token);
            if resume.is_some() && !self.settling && rng.percent(8) {
                self.leave_session(at);
                return Vec::new();
            }
            let (socket, attach) = self.connect(at, resume, false, history);
            self.clients[at].connection = Some(socket);
            return vec![attach];
        };
        if self.clients[at].session.is_none() {
            // The welcome is on its way, or was lost with the node.
            self.clients[at].waiting += 1;
            if self.clients[at].waiting > 30 {
                self.clients[at].waiting = 0;
                self.disconnect(socket);
            }
            return Vec::new();
        }
        if self.settling {
            return self.retry(at, socket, history);
        }
        match rng.below(100) {
            0..=54 => self.issue(at, socket, rng, history, spaces),
            55..=64 => self.retry(at, socket, history),
            65..=67 => self.duplicate(at, socket, history),
            68..=72 => self.ask_outcome(at, socket, rng, history),
            73..=74 => self.conflict(at, socket, rng, history),
            75 => self.beyond_window(at, socket, rng, history),
            76..=77 => self.stale(at, socket, rng, history),
            78 => garbage(socket, rng, history),
            79..=80 => self.vanish(socket),
            81 => self.ask_much(at, socket, rng, history, spaces),
            82..=83 => {
                self.leave_session(at);
                self.vanish(socket)
            }
            84..=87 => self.ghost(at, rng, history),
            88..=90 => self.clone_session(at, history),
            91 => self.cross(at, socket, history),
            92..=93 => self.space(at, socket, rng, history),
            _ => self.keyed(at, socket, rng, history, spaces),
        }
    }

    fn leave_session(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Some(session) = client.session.take()
            && !session.outstanding.is_empty()
        {
            client.ghosts.push_back(session);
            client.ghosts.truncate(4);
        }
    }

    fn vanish(&mut self, socket: Socket) -> Vec<Arrival> {
        self.disconnect(socket);
        vec![Arrival::Detach { socket }]
    }

    /// Records what leaves on a connection, and makes its frames: one a space.
    fn frames(
        &mut self,
        socket: Socket,
        session: &Session,
        items: &[(Place, Outstanding)],
        history: &mut History,
    ) -> Vec<Arrival> {
        let groups: BTreeSet<u64> = items.iter().map(|((group, _), _)| *group).collect();
        groups
            .into_iter()
            .map(|group| Arrival::Frame {
                socket,
                frame: self.frame(socket, session, group, items, history),
            })
            .collect()
    }

    /// The frame of those items that are for a space.
    fn frame(
        &mut self,
        socket: Socket,
        session: &Session,
        group: u64,
        items: &[(Place, Outstanding)],
        history: &mut History,
    ) -> Vec<u8> {
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        for ((_, sequence), item) in items.iter().filter(|((of, _), _)| *of == group) {
            let id = RequestId::Session {
                session: (session.token.birth, session.token.nonce),
                sequence: *sequence,
            };
            let floor = history.sending(group, id);
            let sent = Sent {
                id,
                group,
                kind: item.kind,
                payload: item.payload.clone(),
                reads: item.reads,
                floor,
            };
            let known = self.sent.entry((socket, (group, *sequence))).or_default();
            if !known
                .iter()
                .any(|one| one.payload == sent.payload && one.kind == sent.kind)
            {
                known.push(sent);
            }
            builder.push_item(*sequence, item.kind, &item.payload);
        }
        let space = u32::try_from(group).expect("few spaces");
        let frame = builder.finish(session.acked_below(group), TIMEOUT_MS, space);
        debug_assert!(Frame::parse(&frame).is_ok());
        frame
    }

    fn send_own(
        &mut self,
        at: usize,
        socket: Socket,
        items: &[(Place, Outstanding)],
        history: &mut History,
    ) -> Vec<Arrival> {
        let Some(session) = self.clients[at].session.clone() else {
            return Vec::new();
        };
        let arrivals = self.frames(socket, &session, items, history);
        if let (Some(Arrival::Frame { frame, .. }), Some(((group, _), _))) = (
            arrivals.last(),
            items.iter().max_by_key(|(place, _)| *place),
        ) {
            self.clients[at].last_frame = Some((*group, frame.clone()));
        }
        arrivals
    }

    fn add(&mut self, at: usize, kind: ItemKind, group: u64, drawn: Drawn) -> (Place, Outstanding) {
        let session = self.clients[at]
            .session
            .as_mut()
            .expect("only clients with a session issue");
        let place = (group, session.next(group));
        session.next.insert(group, place.1 + 1);
        let item = Outstanding {
            kind,
            payload: drawn.payload,
            reads: drawn.reads,
        };
        session.outstanding.insert(place, item.clone());
        self.issued += 1;
        (place, item)
    }

    /// Sequences of a space that the client may still use.
    fn room(&self, at: usize, group: u64) -> u64 {
        let session = self.clients[at].session.as_ref().expect("a session");
        40_u64.saturating_sub(session.next(group) - session.acked_below(group))
    }

    fn issue(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
        spaces: &[u64],
    ) -> Vec<Arrival> {
        let room = spaces.iter().map(|space| self.room(at, *space)).min();
        let room = room.unwrap_or_default();
        if room == 0 {
            return self.retry(at, socket, history);
        }
        let revisions = history.revisions.clone();
        let seen = Seen {
            revisions: &revisions,
        };
        let count = rng.between(1, room.min(6));
        let items: Vec<(Place, Outstanding)> = (0..count)
            .map(|_| {
                // Mostly the first space, sometimes one that may be gone by then.
                let group = if rng.percent(80) {
                    spaces[0]
                } else {
                    *rng.pick(spaces)
                };
                let drawn = draw(rng, u32::try_from(group).expect("few spaces"), &seen);
                self.add(at, ItemKind::Transaction, group, drawn)
            })
            .collect();
        self.send_own(at, socket, &items, history)
    }

    /// Asks as much as it may at once, and often goes before it is answered.
    fn ask_much(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
        spaces: &[u64],
    ) -> Vec<Arrival> {
        let Some(group) = (!spaces.is_empty()).then(|| *rng.pick(spaces)) else {
            return Vec::new();
        };
        let space = u32::try_from(group).expect("few spaces");
        let items: Vec<(Place, Outstanding)> = (0..self.room(at, group))
            .map(|_| {
                let drawn = read(rng, space);
                self.add(at, ItemKind::Transaction, group, drawn)
            })
            .collect();
        let mut arrivals = Vec::new();
        for _ in 0..rng.between(1, 4) {
            arrivals.extend(self.send_own(at, socket, &items, history));
        }
        if rng.percent(50) {
            arrivals.extend(self.vanish(socket));
        }
        arrivals
    }

    fn retry(&mut self, at: usize, socket: Socket, history: &mut History) -> Vec<Arrival> {
        let session = self.clients[at].session.as_ref().expect("a session");
        let items = session.items();
        if !items.is_empty() {
            history.situations.note(Situation::Retry);
        }
        self.send_own(at, socket, &items, history)
    }

    fn duplicate(&mut self, at: usize, socket: Socket, history: &mut History) -> Vec<Arrival> {
        // Only a frame that this connection sent can be doubled by its network.
        let Some((group, frame)) = self.clients[at].last_frame.clone() else {
            return Vec::new();
        };
        let Ok(parsed) = Frame::parse(&frame) else {
            return Vec::new();
        };
        let sent = |sequence, payload: &[u8]| {
            let sent = self.sent.get(&(socket, (group, sequence)));
            sent.is_some_and(|sent| sent.iter().any(|one| one.payload == payload))
        };
        let known = self.connections.contains_key(&socket)
            && parsed.items().all(|item| sent(item.sequence, item.payload));
        if !known {
            return Vec::new();
        }
        history.situations.note(Situation::Duplicate);
        vec![Arrival::Frame { socket, frame }]
    }

    fn ask_outcome(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
    ) -> Vec<Arrival> {
        let client = &self.clients[at];
        let own = client.session.as_ref().expect("a session");
        // About an own request, or one of a session left behind.
        let ghost = client.ghosts.front().filter(|_| rng.percent(50));
        let (asked, token) = match ghost {
            Some(ghost) => (ghost, Some(ghost.token)),
            None => (own, None),
        };
        let writes = asked.writes();
        if writes.is_empty() {
            return Vec::new();
        }
        let (group, sequence) = *rng.pick(&writes);
        if self.room(at, group) == 0 {
            return Vec::new();
        }
        let payload = encode_outcome_request(&OutcomeRequest {
            space: u32::try_from(group).expect("few spaces"),
            key: b"k",
            sequence,
            session: token,
        });
        let drawn = Drawn {
            payload,
            reads: false,
        };
        let item = self.add(at, ItemKind::Outcome, group, drawn);
        self.send_own(at, socket, &[item], history)
    }

    /// Sends an item under a sequence, without taking note of it as outstanding.
    fn send_once(
        &mut self,
        at: usize,
        socket: Socket,
        place: Place,
        drawn: Drawn,
        history: &mut History,
    ) -> Vec<Arrival> {
        self.issued += 1;
        let session = self.clients[at].session.clone().expect("a session");
        let item = Outstanding {
            kind: ItemKind::Transaction,
            payload: drawn.payload,
            reads: drawn.reads,
        };
        self.frames(socket, &session, &[(place, item)], history)
    }

    fn conflict(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
    ) -> Vec<Arrival> {
        let session = self.clients[at].session.as_ref().expect("a session");
        let writes = session.writes();
        if writes.is_empty() {
            return Vec::new();
        }
        let (group, sequence) = *rng.pick(&writes);
        if group == 0 {
            return Vec::new();
        }
        let space = u32::try_from(group).expect("few spaces");
        let mut drawn = draw(rng, space, &Seen { revisions: &[] });
        while drawn.reads {
            drawn = draw(rng, space, &Seen { revisions: &[] });
        }
        self.send_once(at, socket, (group, sequence), drawn, history)
    }

    fn beyond_window(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
    ) -> Vec<Arrival> {
        let session = self.clients[at].session.as_ref().expect("a session");
        let sequence = session.acked_below(1) + 64 + rng.below(1000);
        let drawn = Drawn {
            payload: one_put(),
            reads: false,
        };
        self.send_once(at, socket, (1, sequence), drawn, history)
    }

    fn stale(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
    ) -> Vec<Arrival> {
        let session = self.clients[at].session.as_ref().expect("a session");
        let acked_below = session.acked_below(1);
        if acked_below <= 1 {
            return Vec::new();
        }
        let sequence = rng.between(1, acked_below - 1);
        let drawn = Drawn {
            payload: one_put(),
            reads: false,
        };
        self.send_once(at, socket, (1, sequence), drawn, history)
    }

    /// A session left behind comes back and asks for its answers.
    fn ghost(&mut self, at: usize, rng: &mut Rng, history: &mut History) -> Vec<Arrival> {
        let Some(ghost) = self.clients[at].ghosts.front().cloned() else {
            return Vec::new();
        };
        if rng.percent(40) {
            self.clients[at].ghosts.pop_front();
        }
        history.situations.note(Situation::LateSession);
        self.second_connection(at, &ghost, history)
    }

    /// The same session from two connections at a time.
    fn clone_session(&mut self, at: usize, history: &mut History) -> Vec<Arrival> {
        let Some(session) = self.clients[at].session.clone() else {
            return Vec::new();
        };
        history.situations.note(Situation::ClonedSession);
        self.second_connection(at, &session, history)
    }

    fn second_connection(
        &mut self,
        at: usize,
        session: &Session,
        history: &mut History,
    ) -> Vec<Arrival> {
        let (socket, attach) = self.connect(at, Some(session.token), true, history);
        let mut arrivals = vec![attach];
        arrivals.extend(self.frames(socket, session, &session.items(), history));
        arrivals
    }

    fn cross(&mut self, at: usize, socket: Socket, history: &mut History) -> Vec<Arrival> {
        if self.room(at, 1) == 0 {
            return Vec::new();
        }
        let drawn = Drawn {
            payload: cross_shard(1),
            reads: false,
        };
        let item = self.add(at, ItemKind::Transaction, 1, drawn);
        self.send_own(at, socket, &[item], history)
    }

    fn space(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
    ) -> Vec<Arrival> {
        if self.room(at, 0) < 2 {
            return Vec::new();
        }
        let change = self.add(at, ItemKind::Transaction, 0, draw_space(rng));
        let list = self.add(at, ItemKind::Transaction, 0, list_spaces());
        self.send_own(at, socket, &[change, list], history)
    }

    /// A write under an idempotency key, new or used before: without a session or in one, the same
    /// payload mostly.
    fn keyed(
        &mut self,
        at: usize,
        socket: Socket,
        rng: &mut Rng,
        history: &mut History,
        spaces: &[u64],
    ) -> Vec<Arrival> {
        if spaces.is_empty() {
            return Vec::new();
        }
        let revisions = history.revisions.clone();
        let seen = Seen {
            revisions: &revisions,
        };
        if self.keys.is_empty() || rng.percent(50) {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&rng.next().to_le_bytes());
            let under = Under {
                key: Some(key),
                result: rng.percent(40).then(|| vec![b'r'; rng.index(20)]),
            };
            let group = spaces[0];
            let space = u32::try_from(group).expect("few spaces");
            let drawn = draw_write(rng, space, &seen, &under);
            self.keys.push((under, drawn, group));
            if self.keys.len() > 20 {
                self.keys.remove(0);
            }
        } else {
            history.situations.note(Situation::IdempotentReplay);
        }
        let (under, mut drawn, group) = rng.pick(&self.keys).clone();
        if rng.percent(20) {
            // Somebody else uses the key, or the same function ran again.
            let space = u32::try_from(group).expect("few spaces");
            drawn = draw_write(rng, space, &seen, &under);
        }
        if rng.percent(40) && self.room(at, group) > 0 {
            let item = self.add(at, ItemKind::Transaction, group, drawn);
            return self.send_own(at, socket, &[item], history);
        }
        self.stateless(at, under.key.unwrap_or_default(), drawn, group, history)
    }

    /// A request without a session.
    fn stateless(
        &mut self,
        at: usize,
        key: KeyName,
        drawn: Drawn,
        group: u64,
        history: &mut History,
    ) -> Vec<Arrival> {
        let socket = self.new_socket(history);
        let principal = self.clients[at].principal;
        let id = RequestId::Key { key, principal };
        let floor = history.sending(group, id);
        let sent = Sent {
            id,
            group,
            kind: ItemKind::Transaction,
            payload: drawn.payload.clone(),
            reads: drawn.reads,
            floor,
        };
        self.connections.insert(
            socket,
            Connection {
                client: at,
                token: None,
                last_answer_us: 0,
                clone: true,
            },
        );
        self.sent.insert((socket, (group, 1)), vec![sent]);
        self.issued += 1;
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        builder.push_item(1, ItemKind::Transaction, &drawn.payload);
        let space = u32::try_from(group).expect("few spaces");
        let frame = builder.finish(0, TIMEOUT_MS, space);
        vec![Arrival::Stateless {
            socket,
            principal,
            frame,
        }]
    }
}

fn one_put() -> Vec<u8> {
    use domp_protocol::transaction::{Operation, TransactionBuilder, ValueRef};
    TransactionBuilder::new(1)
        .then(Operation::Put {
            key: b"x",
            value: ValueRef::Bytes(b"y"),
            expire_after_ms: None,
        })
        .finish()
}

fn garbage(socket: Socket, rng: &mut Rng, history: &mut History) -> Vec<Arrival> {
    let frame: Vec<u8> = (0..rng.below(200))
        .map(|_| u8::try_from(rng.below(256)).expect("a byte"))
        .collect();
    history.situations.note(Situation::Garbage);
    vec![Arrival::Frame { socket, frame }]
}
