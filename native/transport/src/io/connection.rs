//! A connection in whatever stage it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::receiver::Receiver;
use super::sender::Sender;
use super::socket::Socket;
use domp_protocol::Lane;

/// How far a connection has come.
pub(crate) enum Stage {
    /// It was dialled, and TCP has not answered.
    Connecting(u64, Lane),
    /// TLS, then the hello that was said, then the welcome.
    Dialled {
        node: u64,
        lane: Lane,
        has_said_hello: bool,
        /// What came of the welcome.
        words: Vec<u8>,
    },
    /// It was accepted: TLS, then the hello, of which this came.
    Accepted(Vec<u8>),
    /// It stands; this node dialled.
    Sending(Sender),
    /// It stands; the other node dialled.
    Receiving(Receiver),
    /// The last word is said. It stays until the other side has read it.
    Lingering,
}

/// See the module.
pub(crate) struct Connection {
    pub socket: Socket,
    pub address: SocketAddr,
    pub stage: Stage,
    /// When a stage that does not stand ends.
    pub deadline: Option<Instant>,
    /// There was more to send than one turn does.
    pub has_more: bool,
    /// What epoll was told.
    pub watched: EventFlags,
}

impl Connection {
    /// The most urgent first.
    pub fn priority(&self) -> usize {
        match &self.stage {
            Stage::Sending(sender) => sender.lane.index(),
            Stage::Receiving(receiver) => receiver.lane.index(),
            _ => Lane::COUNT,
        }
    }

    /// What to wait for.
    pub fn wanted(&self) -> EventFlags {
        let mut wanted = EventFlags::IN;
        if matches!(&self.stage, Stage::Receiving(receiver) if receiver.is_paused()) {
            wanted = EventFlags::empty();
        }
        let is_connecting = matches!(self.stage, Stage::Connecting(..));
        if is_connecting || self.has_more || self.socket.wants_write() {
            wanted |= EventFlags::OUT;
        }
        wanted
    }

    /// When time does something to it.
    pub fn due_at(&self, progress_timeout: Duration) -> Option<Instant> {
        match &self.stage {
            Stage::Sending(sender) => sender.silent_at(progress_timeout),
            Stage::Receiving(receiver) => receiver.tell_at(),
            _ => self.deadline,
        }
    }
}
