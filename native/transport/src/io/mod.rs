//! The transport's thread: one loop over epoll for all connections.
//!
//! A turn takes what sockets have (the urgent lanes first, each a bounded share), then what the owner asks for,
//! then what is due. Whatever a connection meets ends that connection only.

mod assembler;
mod clock;
mod connection;
mod dialler;
mod due;
mod ending;
mod greeting;
mod listening;
mod receiver;
mod sender;
mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::event::{Cause, ClosingReason};
use crate::shared::{Close, Requests, Shared};
use crate::tls::Tls;
use crate::transport::Handshake;
use clock::LoopClock;
use connection::{Connection, Stage};
use dialler::{DialState, Dialler, Jitter};
use domp_protocol::Lane;
use due::Due;
use sender::Pumped;
use socket::{Fault, Socket};

/// What is read from a socket at once.
const SCRATCH_BYTES: usize = 128 << 10;
/// Sockets of one look.
const EVENTS: usize = 256;
/// For the other side to read the last word.
const LINGER: Duration = Duration::from_millis(500);
/// Before looking again whether there is room for what had none.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

const WAKEUP: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// See the module.
pub(crate) struct Io {
    shared: Arc<Shared>,
    handshake: Arc<dyn Handshake>,
    tls: Tls,
    epoll: OwnedFd,
    listener: TcpListener,
    is_listening: bool,
    accept_at: Option<Instant>,
    /// By token. A token is never used again, so that no event reaches a later connection.
    connections: BTreeMap<u64, Connection>,
    next_token: u64,
    /// Accepted and not known yet, the oldest first.
    greetings: VecDeque<u64>,
    /// Connections that stand and came from there.
    incoming: BTreeMap<(u64, Lane), u64>,
    diallers: BTreeMap<(u64, Lane), Dialler>,
    jitter: Jitter,
    clock: LoopClock,
    now: Instant,
    next_due: Due,
    scratch: Vec<u8>,
    closing: Option<Close>,
}

impl Io {
    pub fn new(
        shared: Arc<Shared>,
        listener: TcpListener,
        tls: Tls,
        handshake: Arc<dyn Handshake>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(WAKEUP);
        epoll::add(&epoll, &shared.wakeup, data, EventFlags::IN)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, EventFlags::IN)?;
        let clock = LoopClock::new();
        Ok(Self {
            jitter: Jitter(shared.options.seed),
            shared,
            handshake,
            tls,
            epoll,
            listener,
            is_listening: true,
            accept_at: None,
            connections: BTreeMap::new(),
            next_token: FIRST_CONNECTION,
            greetings: VecDeque::new(),
            incoming: BTreeMap::new(),
            diallers: BTreeMap::new(),
            now: clock.now(),
            clock,
            next_due: Due::default(),
            scratch: vec![0; SCRATCH_BYTES],
            closing: None,
        })
    }

    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Runs until it is closed.
    pub fn run(mut self) {
        let mut ready = Vec::with_capacity(EVENTS);
        loop {
            let wait = self.wait();
            let timespec = wait.map(timespec);
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), timespec.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Of a descriptor that is this thread's own, and sound.
                Err(error) => unreachable!("epoll: {error}"),
            }
            self.now = self.clock.advance(wait.unwrap_or(Duration::MAX));
            self.take_ready(&ready);
            self.take_requests();
            self.take_due();
            self.listen();
            if self.is_closed() {
                return;
            }
        }
    }

    fn wait(&self) -> Option<Duration> {
        let due = self.next_due.at()?;
        Some(due.saturating_duration_since(self.now))
    }

    fn take_ready(&mut self, ready: &[epoll::Event]) {
        let mut tokens: Vec<_> = ready
            .iter()
            .filter_map(|event| {
                let (token, flags) = (event.data.u64(), event.flags);
                let connection = self.connections.get(&token);
                connection.map(|connection| (connection.priority(), token, flags))
            })
            .collect();
        tokens.sort_unstable_by_key(|(priority, token, _)| (*priority, *token));
        for (_, token, flags) in tokens {
            self.drive(token, flags);
        }
        let is_ready = |token| ready.iter().any(|event| event.data.u64() == token);
        if is_ready(WAKEUP) {
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.shared.wakeup, &mut count);
        }
        if is_ready(LISTENER) {
            self.accept();
        }
    }

    /// Lets a connection do what it can.
    fn drive(&mut self, token: u64, flags: EventFlags) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        match self.step(token, &mut connection, flags) {
            Ok(()) => self.keep(token, connection),
            Err(fault) => self.end(token, connection, fault),
        }
    }

    fn step(&mut self, token: u64, it: &mut Connection, flags: EventFlags) -> Result<(), Fault> {
        let is_cut = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let now = self.now;
        it.has_more = false;
        match &mut it.stage {
            Stage::Connecting(..) | Stage::Dialled { .. } => self.on_dialled(token, it),
            Stage::Accepted(_) => self.on_accepted(token, it),
            Stage::Sending(sender) => {
                if is_cut || flags.contains(EventFlags::IN) {
                    let hand_on = |bytes: &[u8]| sender.take_notes(bytes, now);
                    it.socket.read(&mut self.scratch, hand_on)?;
                }
                self.pump(it).map_err(|fault| self.last_word(it, fault))
            }
            Stage::Receiving(receiver) => {
                if is_cut || flags.contains(EventFlags::IN) {
                    receiver.take(&mut it.socket, &mut self.scratch, &self.shared, now)?;
                    if is_cut && receiver.is_paused() {
                        return Err(Fault::Ended);
                    }
                }
                it.socket.flush()?;
                Ok(())
            }
            Stage::Lingering => it.socket.linger(&mut self.scratch),
        }
    }

    /// What can't be written may have been closed as planned: what came before the fault tells.
    fn last_word(&mut self, it: &mut Connection, fault: Fault) -> Fault {
        let (Stage::Sending(sender), Fault::Io(_)) = (&mut it.stage, &fault) else {
            return fault;
        };
        let now = self.now;
        let hand_on = |bytes: &[u8]| sender.take_notes(bytes, now);
        match it.socket.read(&mut self.scratch, hand_on) {
            Err(Fault::Said(cause)) => Fault::Said(cause),
            _ => fault,
        }
    }

    /// Sends what waits on a connection that stands.
    fn pump(&mut self, it: &mut Connection) -> Result<(), Fault> {
        let Stage::Sending(sender) = &mut it.stage else {
            return Ok(());
        };
        match sender.pump(&mut it.socket, self.now)? {
            Pumped::Done => {}
            Pumped::More => it.has_more = true,
            Pumped::Finished => {
                it.stage = Stage::Lingering;
                it.deadline = Some(self.now + LINGER);
            }
        }
        Ok(())
    }

    /// Puts a connection back, and waits for what it waits for.
    fn keep(&mut self, token: u64, mut it: Connection) {
        let wanted = it.wanted();
        if wanted != it.watched {
            it.watched = wanted;
            let data = EventData::new_u64(token);
            // Of a socket that is registered: it can't fail.
            let _ = epoll::modify(&self.epoll, it.socket.stream(), data, wanted);
        }
        let progress_timeout = Duration::from_millis(self.shared.options.progress_timeout_ms);
        self.next_due.note(it.due_at(progress_timeout));
        self.connections.insert(token, it);
    }

    /// Registers a new socket.
    fn admit(
        &mut self,
        socket: Socket,
        address: SocketAddr,
        stage: Stage,
        timeout_ms: u64,
    ) -> io::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        let mut connection = Connection {
            socket,
            address,
            stage,
            deadline: Some(self.now + Duration::from_millis(timeout_ms)),
            has_more: false,
            watched: EventFlags::empty(),
        };
        connection.watched = connection.wanted();
        let data = EventData::new_u64(token);
        let stream = connection.socket.stream();
        epoll::add(&self.epoll, stream, data, connection.watched)?;
        self.keep(token, connection);
        Ok(token)
    }

    fn take_requests(&mut self) {
        let mut requests: Requests = self.shared.take_requests();
        if let Some(tls) = requests.tls {
            self.tls = tls;
        }
        if let Some(peers) = requests.peers {
            self.set_peers(peers);
        }
        requests.sends.sort_unstable();
        for (lane, node) in requests.sends {
            let state = self
                .diallers
                .get(&(node, lane))
                .map(|dialler| dialler.state);
            if let Some(DialState::Busy(token)) = state {
                self.drive(token, EventFlags::empty());
            }
        }
        for (lane, node) in requests.resets {
            let state = self.diallers.get(&(node, lane)).map(|it| it.state);
            let Some(DialState::Busy(token)) = state else {
                continue;
            };
            // One that is dialled already is another.
            let stands = self
                .connections
                .get(&token)
                .is_some_and(|it| matches!(it.stage, Stage::Sending(_)));
            if stands {
                let text = "a frame was lost";
                self.end_as_planned(token, ClosingReason::Lost, text, Some(Cause::Lost));
            }
        }
        for (lane, node) in requests.resumes {
            if let Some(token) = self.incoming.get(&(node, lane)).copied() {
                self.drive(token, EventFlags::IN);
            }
        }
        if let Some(close) = requests.close {
            self.close(close);
        }
    }

    /// The address book has changed.
    fn set_peers(&mut self, mut peers: BTreeMap<u64, Vec<SocketAddr>>) {
        peers.remove(&self.shared.options.identity.node);
        let nodes: Vec<_> = self.diallers.keys().map(|(node, _)| *node).collect();
        for node in nodes {
            if !peers.contains_key(&node) {
                self.remove_node(node);
            }
        }
        for (node, addresses) in peers {
            let peer = self.shared.peer(node);
            for lane in Lane::ALL {
                let dialler = self
                    .diallers
                    .entry((node, lane))
                    .or_insert_with(|| Dialler::new(peer.clone(), addresses.clone(), self.now));
                dialler.set_addresses(addresses.clone(), self.now);
                self.next_due.note(dialler.due_at());
            }
        }
    }

    /// What time does.
    fn take_due(&mut self) {
        if self.next_due.at().is_none_or(|at| at > self.now) {
            return;
        }
        self.next_due = Due::default();
        let progress_timeout = Duration::from_millis(self.shared.options.progress_timeout_ms);
        let mut due = Vec::new();
        for (token, connection) in &self.connections {
            match connection.due_at(progress_timeout) {
                Some(at) if at <= self.now => due.push(*token),
                at => self.next_due.note(at),
            }
        }
        for token in due {
            self.be_late(token);
        }
        let has_room = self.shared.inbox.has_room();
        let mut to_dial = Vec::new();
        for (at, dialler) in &self.diallers {
            match dialler.due_at() {
                // Without room the owner's poll wakes this thread, which then looks again.
                Some(due) if due <= self.now && has_room => to_dial.push(*at),
                Some(due) if due <= self.now => self.next_due.note(Some(self.now + ROOM_PAUSE)),
                due => self.next_due.note(due),
            }
        }
        for (node, lane) in to_dial {
            self.dial(node, lane);
        }
        self.next_due.note(self.accept_at);
        self.next_due
            .note(self.closing.as_ref().map(|close| close.until));
    }

    fn dial(&mut self, node: u64, lane: Lane) {
        let Some(dialler) = self.diallers.get_mut(&(node, lane)) else {
            return;
        };
        let Some(address) = dialler.dial(self.now) else {
            return;
        };
        let timeout_ms = self.shared.options.connect_timeout_ms;
        let stage = Stage::Connecting(node, lane);
        let socket = self.tls.dial(node).map(|tls| Socket::dial(address, tls));
        let admitted = match socket {
            Some(Ok(socket)) => self.admit(socket, address, stage, timeout_ms),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        match admitted {
            Ok(token) => {
                if let Some(dialler) = self.diallers.get_mut(&(node, lane)) {
                    dialler.state = DialState::Busy(token);
                }
            }
            Err(error) => self.dial_failed(node, lane, Fault::from(error)),
        }
    }
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up, or the thread would wake a little early and look again.
    let wait = wait + Duration::from_micros(1);
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    }
}
