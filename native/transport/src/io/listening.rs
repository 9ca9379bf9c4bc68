//! New connections of others.

use std::io;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::connection::Stage;
use super::socket::Socket;
use super::{Io, LISTENER, ROOM_PAUSE};

/// Connections accepted in one turn.
const ACCEPTS: usize = 16;

impl Io {
    /// Takes connections that wait.
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    let tls = self.tls.accept();
                    let socket = tls.map(|tls| Socket::accept(stream, tls));
                    let Some(Ok(socket)) = socket else {
                        continue;
                    };
                    self.make_room_for_greeting();
                    let timeout_ms = self.shared.options.handshake_timeout_ms;
                    let stage = Stage::Accepted(Vec::new());
                    if let Ok(token) = self.admit(socket, address, stage, timeout_ms) {
                        self.greetings.push_back(token);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // No descriptor or no memory: at once it would only fail again.
                    self.accept_at = Some(self.now + ROOM_PAUSE);
                    self.next_due.note(self.accept_at);
                    return;
                }
            }
        }
    }

    /// Looks for new connections, or does not.
    pub(super) fn listen(&mut self) {
        if self.accept_at.is_some_and(|at| at <= self.now) {
            self.accept_at = None;
        }
        let wants = self.closing.is_none() && self.accept_at.is_none();
        let wants = wants && self.shared.inbox.has_room();
        if wants != self.is_listening {
            self.is_listening = wants;
            let flags = if wants {
                EventFlags::IN
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(LISTENER);
            let _ = epoll::modify(&self.epoll, &self.listener, data, flags);
        }
    }
}
