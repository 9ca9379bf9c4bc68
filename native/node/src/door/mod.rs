//! Who is connected: sockets, their sessions and what they may do.

mod admit;
mod grants;
mod handing;
mod intake;
mod queues;
mod remote;
mod token;

use domp_protocol::error::ErrorCode;
use domp_protocol::limits;
use domp_protocol::session::SessionToken;
use domp_state::SigningKey;
use domp_state::entry::{BatchHead, BatchKind};

use crate::replies::Socket;
pub use grants::Grants;
pub use handing::{Handing, HandingCounters, Happened};
pub use queues::{Queues, Sender};
pub use remote::Remote;
pub use token::Minter;

/// A connection that the gateway has authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    /// Stable hash of who it is.
    pub principal: u64,
    /// What it may do.
    pub grants: Grants,
    /// The token of the session to resume, as the client sent it; empty: a new session.
    pub resume: &'a [u8],
}

/// A request without a session, from a stateless door.
#[derive(Clone, Copy, Debug)]
pub struct Stateless<'a> {
    /// Stable hash of who it is.
    pub principal: u64,
    /// What it may do.
    pub grants: Grants,
    /// A submit frame of one transaction; one that writes bears an idempotency key.
    pub frame: &'a [u8],
}

/// A connection as the node knows it.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    generation: u32,
    pub token: SessionToken,
    pub epoch: u64,
    pub grants: Grants,
}

impl Attached {
    /// The head of the log batches that carry this connection's requests.
    pub fn batch(&self, acked_below: u64) -> BatchHead {
        BatchHead {
            kind: BatchKind::Session,
            birth: self.token.birth,
            nonce: self.token.nonce,
            principal: self.token.principal,
            epoch: self.epoch,
            acked_below,
        }
    }
}

/// The table of connections.
///
/// Invariant: an entry answers only to the generation it was attached with, so
/// a frame or a reply of a slot's earlier owner never reaches the present one.
pub struct Door {
    slots: Vec<Option<Attached>>,
    minter: Minter,
    attached: usize,
}

/// Slots beyond this are refused: the gateway's table is no larger.
const SLOTS_MAX: u64 = 2 * limits::CONNECTIONS_MAX;

impl Door {
    pub fn new(minter: Minter) -> Self {
        Self {
            slots: Vec::new(),
            minter,
            attached: 0,
        }
    }

    /// The keys that sign sessions' tokens.
    pub fn set_keys(&mut self, keys: &[SigningKey]) {
        self.minter.set_keys(keys);
    }

    /// Whether there are any: without, nobody is let in.
    pub fn has_keys(&self) -> bool {
        self.minter.has_keys()
    }

    /// The session that a connection wants to resume, if it wants to.
    pub fn resuming(&self, attach: &Attach<'_>) -> Result<Option<SessionToken>, ErrorCode> {
        if attach.resume.is_empty() {
            return Ok(None);
        }
        let token = SessionToken::from_bytes(attach.resume).ok_or(ErrorCode::SessionRefused)?;
        if self.accepts(&token, attach.principal) {
            Ok(Some(token))
        } else {
            Err(ErrorCode::SessionRefused)
        }
    }

    /// Lets a connection in, with a new session or the one that [`Self::resuming`] found. `stamp`
    /// mints birth and epoch: higher than those of `resumed`.
    pub fn attach(
        &mut self,
        socket: Socket,
        attach: &Attach<'_>,
        resumed: Option<SessionToken>,
        stamp: u64,
    ) -> Result<Attached, ErrorCode> {
        let slot = usize::try_from(socket.slot).unwrap_or(usize::MAX);
        if slot as u64 >= SLOTS_MAX {
            return Err(ErrorCode::TooManyConnections);
        }
        let token = match resumed {
            None => self.minter.mint(stamp, attach.principal),
            Some(token) => self.minter.renew(&token, stamp),
        };
        let attached = Attached {
            generation: socket.generation,
            token,
            epoch: stamp,
            grants: attach.grants,
        };
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        if self.slots[slot].replace(attached).is_none() {
            self.attached += 1;
        }
        Ok(attached)
    }

    /// Whether a token that was already parsed is signed here, for this principal.
    pub fn accepts(&self, token: &SessionToken, principal: u64) -> bool {
        token.principal == principal && self.minter.verifies(token)
    }

    /// The connection at a socket, if it is still the one meant.
    pub fn get(&self, socket: Socket) -> Option<&Attached> {
        let slot = usize::try_from(socket.slot).ok()?;
        let attached = self.slots.get(slot)?.as_ref()?;
        (attached.generation == socket.generation).then_some(attached)
    }

    /// The generation of the connection that has a slot.
    pub fn owner(&self, slot: u32) -> Option<u32> {
        let attached = self.slots.get(usize::try_from(slot).ok()?)?.as_ref()?;
        Some(attached.generation)
    }

    /// Forgets a connection; a later owner of the slot stays.
    pub fn detach(&mut self, socket: Socket) {
        if self.get(socket).is_some() {
            self.slots[socket.slot as usize] = None;
            self.attached -= 1;
        }
    }

    /// A number nobody outside can know.
    pub fn draw(&mut self) -> u64 {
        self.minter.draw()
    }

    /// How many connections there are.
    pub fn attached(&self) -> usize {
        self.attached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        let mut door = Door::new(Minter::new(1));
        door.set_keys(&[SigningKey {
            id: 1,
            key: [1; 32],
        }]);
        door
    }

    const ATTACH: Attach<'_> = Attach {
        principal: 5,
        grants: Grants::WRITE,
        resume: &[],
    };

    #[test]
    fn a_slot_answers_only_to_its_generation() {
        let mut door = door();
        let old = Socket {
            slot: 3,
            generation: 1,
            door: 0,
        };
        let new = Socket {
            slot: 3,
            generation: 2,
            door: 0,
        };
        door.attach(old, &ATTACH, None, 10)
            .expect("a fresh session is let in");
        door.attach(new, &ATTACH, None, 11)
            .expect("a fresh session is let in");
        assert!(door.get(old).is_none());
        assert_eq!(door.get(new).map(|attached| attached.epoch), Some(11));
        door.detach(old);
        assert!(
            door.get(new).is_some(),
            "a late farewell does not touch the new owner"
        );
        assert_eq!(door.attached(), 1);
    }

    #[test]
    fn a_session_is_resumed_by_its_own_principal_under_a_higher_epoch() {
        let mut door = door();
        let socket = Socket {
            slot: 0,
            generation: 1,
            door: 0,
        };
        assert_eq!(door.resuming(&ATTACH), Ok(None));
        let first = door.attach(socket, &ATTACH, None, 10).expect("let in");
        assert_eq!((first.epoch, first.token.epoch), (10, 10));
        let token = first.token.to_bytes();
        let again = Attach {
            resume: &token,
            ..ATTACH
        };
        let resumed = door.resuming(&again).expect("its own");
        assert_eq!(resumed, Some(first.token));
        let second = door.attach(socket, &again, resumed, 20).expect("resumed");
        assert_eq!((second.epoch, second.token.epoch), (20, 20));
        assert_eq!(
            (second.token.birth, second.token.nonce),
            (first.token.birth, first.token.nonce)
        );
        let latest = second.token.to_bytes();
        let latest = Attach {
            resume: &latest,
            ..ATTACH
        };
        assert_eq!(door.resuming(&latest), Ok(Some(second.token)));
        let other = Attach {
            principal: 6,
            ..again
        };
        assert_eq!(door.resuming(&other), Err(ErrorCode::SessionRefused));
        let cut = Attach {
            resume: &token[..55],
            ..ATTACH
        };
        assert_eq!(door.resuming(&cut), Err(ErrorCode::SessionRefused));
    }

    #[test]
    fn a_slot_out_of_range_is_refused() {
        let socket = Socket {
            slot: u32::MAX,
            generation: 1,
            door: 0,
        };
        assert_eq!(
            door().attach(socket, &ATTACH, None, 1).err(),
            Some(ErrorCode::TooManyConnections)
        );
    }
}
