//! Clients that do what clients do: pipeline, retry, vanish, come back late,
//! clone themselves, forget, and sometimes lie.

mod acts;

use std::collections::{BTreeMap, VecDeque};

use domp_node::Socket;
use domp_protocol::frame::{Frame, ItemKind};
use domp_protocol::handshake::{parse_goodbye, parse_welcome};
use domp_protocol::reply::parse_replies;
use domp_protocol::session::SessionToken;
use domp_protocol::{ErrorCode, Outcome};

use crate::arrival::Arrival;
use crate::history::{History, Sent};
use crate::requests::{Drawn, Under};
use crate::rng::Rng;
use crate::situations::Situation;

const CLIENTS: usize = 6;
/// Slots are few, so that they are used again at once.
const SLOTS: u32 = 8;

/// A request that was not answered for good.
#[derive(Clone, Debug)]
struct Outstanding {
    kind: ItemKind,
    payload: Vec<u8>,
    reads: bool,
}

/// A request's place in its session: the space it is for, and its sequence there.
type Place = (u64, u64);

/// A session as its client knows it.
#[derive(Clone, Debug)]
struct Session {
    token: SessionToken,
    /// By space: the next sequence.
    next: BTreeMap<u64, u64>,
    outstanding: BTreeMap<Place, Outstanding>,
}

impl Session {
    fn new(token: SessionToken) -> Self {
        Self {
            token,
            next: BTreeMap::new(),
            outstanding: BTreeMap::new(),
        }
    }

    /// The next sequence of a space.
    fn next(&self, group: u64) -> u64 {
        self.next.get(&group).copied().unwrap_or(1)
    }

    /// The client holds every answer of a space below this sequence.
    fn acked_below(&self, group: u64) -> u64 {
        let mut open = self.outstanding.range((group, 0)..=(group, u64::MAX));
        open.next()
            .map_or_else(|| self.next(group), |((_, sequence), _)| *sequence)
    }

    /// Whether a token names this session; each connection has another one.
    fn is_named_by(&self, token: &SessionToken) -> bool {
        (self.token.birth, self.token.nonce) == (token.birth, token.nonce)
    }

    /// Places of the transactions that write and wait for an answer.
    fn writes(&self) -> Vec<Place> {
        let mut items = self.items();
        items.retain(|(_, item)| item.kind == ItemKind::Transaction && !item.reads);
        items.into_iter().map(|(place, _)| place).collect()
    }

    /// What waits for an answer.
    fn items(&self) -> Vec<(Place, Outstanding)> {
        let items = self.outstanding.iter();
        items.map(|(place, item)| (*place, item.clone())).collect()
    }
}

/// A connection as the network knows it.
#[derive(Debug)]
struct Connection {
    client: usize,
    token: Option<SessionToken>,
    /// When the last answer arrives, so that order is kept.
    last_answer_us: u64,
    /// A second connection of a session: its answers change nothing.
    clone: bool,
}

#[derive(Debug)]
struct Client {
    principal: u64,
    session: Option<Session>,
    connection: Option<Socket>,
    /// Sessions that were left behind, with what was outstanding.
    ghosts: VecDeque<Session>,
    last_frame: Option<(u64, Vec<u8>)>,
    waiting: u32,
    /// Told to wait: does nothing before this time.
    quiet_until_us: u64,
}

/// How long a client waits that goes to another node.
const WANDER_US: u64 = 15_000;
/// How long a client that was told to wait does.
const BACKOFF_US: u64 = 150_000;

/// All clients and the network's table of connections.
pub struct Clients {
    clients: Vec<Client>,
    connections: BTreeMap<Socket, Connection>,
    /// By connection, gone ones included, and place.
    sent: BTreeMap<(Socket, Place), Vec<Sent>>,
    generation: u32,
    slot: u32,
    pub issued: u64,
    /// Who hears that a node does not lead tries another.
    pub wanders: bool,
    settling: bool,
    /// Idempotency keys used lately, with what was sent under them, and where.
    keys: Vec<(Under, Drawn, u64)>,
}

impl Clients {
    pub fn new(rng: &mut Rng) -> Self {
        let clients = (0..CLIENTS)
            .map(|at| Client {
                principal: 1 + (at as u64) / 2,
                session: None,
                connection: None,
                ghosts: VecDeque::new(),
                last_frame: None,
                waiting: 0,
                quiet_until_us: 0,
            })
            .collect();
        Self {
            clients,
            connections: BTreeMap::new(),
            sent: BTreeMap::new(),
            generation: u32::try_from(rng.below(1000)).expect("small"),
            slot: 0,
            issued: 0,
            wanders: false,
            settling: false,
            keys: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// From now on nothing new is asked; what is outstanding is asked until answered.
    pub fn settle(&mut self) {
        self.settling = true;
        for client in &mut self.clients {
            client.ghosts.clear();
        }
    }

    /// Whether everybody has every answer.
    pub fn is_settled(&self) -> bool {
        self.clients.iter().all(|client| {
            client
                .session
                .as_ref()
                .is_none_or(|session| session.outstanding.is_empty())
        })
    }

    /// What is still waited for, for a person.
    pub fn unsettled(&self) -> String {
        let open: Vec<String> = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(at, client)| {
                let outstanding = &client.session.as_ref()?.outstanding;
                let ((group, sequence), item) = outstanding.first_key_value()?;
                let count = outstanding.len();
                Some(format!(
                    "client {at} waits for {count}, first {sequence} of space {group}, a read: {}",
                    item.reads
                ))
            })
            .collect();
        open.join("; ")
    }

    /// What was sent on a connection to a space under a sequence.
    pub fn sent(&self, socket: Socket, group: u64, sequence: u64) -> Vec<Sent> {
        self.sent
            .get(&(socket, (group, sequence)))
            .cloned()
            .unwrap_or_default()
    }

    /// Something reaches the node: takes note of the requests in it.
    pub fn arrives(&self, arrival: &Arrival, history: &mut History) {
        let (socket, frame) = match arrival {
            Arrival::Frame { socket, frame } | Arrival::Stateless { socket, frame, .. } => {
                (*socket, frame)
            }
            Arrival::Attach { .. } | Arrival::Detach { .. } => return,
        };
        let Ok(frame) = Frame::parse(frame) else {
            return;
        };
        for item in frame.items() {
            let place = (u64::from(frame.space), item.sequence);
            let sent = self.sent.get(&(socket, place)).into_iter().flatten();
            for sent in sent.filter(|sent| sent.payload == item.payload) {
                history.arrives(sent);
            }
        }
    }

    /// When a frame that leaves now may arrive: not before the last one.
    pub fn delay_us(&mut self, socket: Socket, now_us: u64, delay_us: u64) -> u64 {
        let Some(connection) = self.connections.get_mut(&socket) else {
            return delay_us;
        };
        let at_us = (now_us + delay_us).max(connection.last_answer_us + 1);
        connection.last_answer_us = at_us;
        at_us - now_us
    }

    /// The node is gone, and every connection with it.
    pub fn on_crash(&mut self) {
        self.connections.clear();
        for client in &mut self.clients {
            client.connection = None;
        }
    }

    /// Whether a connection is there, as its client knows it.
    pub fn is_connected(&self, socket: Socket) -> bool {
        self.connections.contains_key(&socket)
    }

    /// Those connections break.
    pub fn on_broken(&mut self, sockets: &[Socket]) {
        for socket in sockets {
            self.disconnect(*socket);
        }
    }

    /// Nobody listens: the connection breaks.
    pub fn lost(&mut self, arrival: &Arrival) {
        self.disconnect(arrival.socket());
    }

    fn disconnect(&mut self, socket: Socket) {
        if let Some(connection) = self.connections.remove(&socket) {
            let client = &mut self.clients[connection.client];
            if client.connection == Some(socket) {
                client.connection = None;
            }
        }
    }

    fn new_socket(&mut self, history: &mut History) -> Socket {
        self.slot = (self.slot + 1) % SLOTS;
        self.generation += 1;
        let slot = self.slot;
        let taken: Vec<Socket> = self
            .connections
            .keys()
            .copied()
            .filter(|socket| socket.slot == slot)
            .collect();
        for socket in taken {
            // The gateway closed it; the slot has a new owner at once.
            history.situations.note(Situation::SlotReused);
            self.disconnect(socket);
        }
        Socket {
            slot,
            generation: self.generation,
            door: 0,
        }
    }

    fn connect(
        &mut self,
        at: usize,
        resume: Option<SessionToken>,
        clone: bool,
        history: &mut History,
    ) -> (Socket, Arrival) {
        let socket = self.new_socket(history);
        let principal = self.clients[at].principal;
        self.connections.insert(
            socket,
            Connection {
                client: at,
                token: resume,
                last_answer_us: 0,
                clone,
            },
        );
        let resume = resume.map_or(Vec::new(), |token| token.to_bytes().to_vec());
        (
            socket,
            Arrival::Attach {
                socket,
                principal,
                resume,
            },
        )
    }

    /// A frame reached its client.
    pub fn on_frame(&mut self, socket: Socket, frame: &[u8], now_us: u64, history: &mut History) {
        let Some(connection) = self.connections.get_mut(&socket) else {
            return;
        };
        let (at, second) = (connection.client, connection.clone);
        if let Ok(welcome) = parse_welcome(frame) {
            let before = connection.token.replace(welcome.session);
            if let Some(before) = before
                && (before.birth, before.nonce) == (welcome.session.birth, welcome.session.nonce)
                && welcome.session.epoch <= before.epoch
            {
                history.wrong.get_or_insert(format!(
                    "Promise 2: a session of epoch {} is resumed under epoch {}",
                    before.epoch, welcome.session.epoch
                ));
            }
            if !second {
                let session = &mut self.clients[at].session;
                match session {
                    None => *session = Some(Session::new(welcome.session)),
                    // The same session under the token of its latest connection.
                    Some(session) if session.is_named_by(&welcome.session) => {
                        session.token = welcome.session;
                    }
                    Some(_) => {}
                }
            }
            return;
        }
        if parse_goodbye(frame).is_ok() {
            self.disconnect(socket);
            return;
        }
        let token = connection.token;
        let (Ok(envelope), Ok(replies)) = (Frame::parse(frame), parse_replies(frame)) else {
            return;
        };
        let group = u64::from(envelope.space);
        for reply in replies {
            let (head, _) = reply;
            let candidates = self.sent(socket, group, head.sequence);
            if candidates.is_empty() {
                continue;
            }
            if head.code.is_none() {
                history.delivered(group, head.revision);
            }
            let session = self.clients[at].session.as_mut();
            let Some(session) = session.filter(|session| {
                token
                    .as_ref()
                    .is_some_and(|token| session.is_named_by(token))
            }) else {
                continue;
            };
            match head.code {
                Some(ErrorCode::SessionExpired | ErrorCode::SessionRefused) => {
                    // What was outstanding stays unknown for ever.
                    session.outstanding.clear();
                    self.clients[at].session = None;
                    self.disconnect(socket);
                    return;
                }
                // About a request of old, or one made up: not about this one, as
                // long as such are sent.
                Some(ErrorCode::RequestIdConflict | ErrorCode::RequestIdStale)
                    if !self.settling => {}
                Some(ErrorCode::SessionSuperseded) => {
                    self.disconnect(socket);
                    return;
                }
                Some(ErrorCode::Unavailable) if self.wanders => {
                    self.clients[at].quiet_until_us = now_us + WANDER_US;
                    self.disconnect(socket);
                    return;
                }
                Some(code) if code.outcome() != Outcome::NotApplied && code.retryable() => {
                    self.clients[at].quiet_until_us = now_us + BACKOFF_US;
                }
                _ => {
                    session.outstanding.remove(&(group, head.sequence));
                }
            }
        }
    }
}
