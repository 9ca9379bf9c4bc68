//! The sessions a shard knows.
//!
//! The table: a session is found by its id through a hash map of
//! slot numbers; the slots form a list in the order of last use, so expiry and
//! a snapshot's walk need no sorting. Nothing ever iterates over the hash map.
//!
//! Invariants:
//! - the list ascends strictly by `touched`, the revision of the last use;
//! - a session leaves only by expiry: a full table refuses, it never evicts;
//! - what leaves is told to [`Births`], and is never taken for new again.

mod birth;
mod id;
mod walk;
mod window;

use std::collections::HashMap;

use domp_protocol::ErrorCode;

use crate::entry::BatchHead;
use crate::keys::Moment;
use crate::system::StateLimits;

pub(super) use birth::{Births, Checkpoint};
use id::FixedState;
pub(super) use id::SessionId;
use walk::SessionWalk;
pub(super) use walk::read_session;
pub(super) use window::{Place, Slot, Window};

/// No slot: an end of the list.
const NONE: u32 = u32::MAX;

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub principal: u64,
    /// Raised when the session is resumed.
    pub epoch: u64,
    /// Lease time of the last use.
    pub last_used_ms: u64,
    /// Revision of the last use.
    pub touched: u64,
    pub window: Window,
    /// Neighbours in the order of last use.
    older: u32,
    newer: u32,
}

impl Session {
    /// A session outside any table.
    pub fn new(id: SessionId, principal: u64, epoch: u64, now: Moment, window: Window) -> Self {
        Self {
            id,
            principal,
            epoch,
            last_used_ms: now.lease_ms,
            touched: now.revision,
            window,
            older: NONE,
            newer: NONE,
        }
    }
}

/// A session's place in the table, good until sessions expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(u32);

/// All sessions of a shard.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: HashMap<SessionId, u32, FixedState>,
    slots: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    births: Births,
    answers: u64,
    answer_bytes: u64,
    walk: Option<SessionWalk>,
}

impl Sessions {
    pub fn new() -> Self {
        Self {
            oldest: NONE,
            newest: NONE,
            ..Self::default()
        }
    }

    /// The table of a snapshot; `None` if two sessions are the same, or do not stand in the order of
    /// their last use, or lease time went back from one use to the next.
    pub fn restored(sessions: Vec<Session>, births: Births) -> Option<Self> {
        let mut table = Self {
            births,
            ..Self::new()
        };
        let mut last: Option<(u64, u64)> = None;
        for session in sessions {
            let used = (session.touched, session.last_used_ms);
            let grows = last.is_none_or(|last| last.0 < used.0 && last.1 <= used.1);
            if !grows || table.by_id.contains_key(&session.id) {
                return None;
            }
            last = Some(used);
            table.insert(session);
        }
        Some(table)
    }

    /// The session of a batch, as its connection: takes over the epoch and the acknowledgement.
    ///
    /// # Errors
    /// `session_refused`, `session_superseded`, `session_expired`, `sessions_full`.
    pub fn enter(
        &mut self,
        head: &BatchHead,
        now: Moment,
        limits: &StateLimits,
    ) -> Result<Handle, ErrorCode> {
        let id = SessionId {
            birth: head.birth,
            nonce: head.nonce,
        };
        if let Some(&at) = self.by_id.get(&id) {
            let session = self.session(at);
            if session.principal != head.principal {
                return Err(ErrorCode::SessionRefused);
            }
            if head.epoch < session.epoch {
                return Err(ErrorCode::SessionSuperseded);
            }
            self.touch(at, now);
            let session = self.session_mut(at);
            session.epoch = head.epoch;
            let (before, before_bytes) = (session.window.len(), session.window.bytes());
            session.window.acknowledge(head.acked_below);
            let forgotten = before - session.window.len();
            let forgotten_bytes = before_bytes - session.window.bytes();
            self.answers -= forgotten as u64;
            self.answer_bytes -= forgotten_bytes;
            return Ok(Handle(at));
        }
        self.admit(
            id,
            head.principal,
            head.epoch,
            head.acked_below,
            now,
            limits,
        )
    }

    /// A session that somebody asks about; an unknown one that is young enough becomes known.
    ///
    /// # Errors
    /// `session_refused`, `session_expired`, `sessions_full`.
    pub fn visit(
        &mut self,
        id: SessionId,
        principal: u64,
        now: Moment,
        limits: &StateLimits,
    ) -> Result<Handle, ErrorCode> {
        let Some(&at) = self.by_id.get(&id) else {
            return self.admit(id, principal, 0, 0, now, limits);
        };
        if self.session(at).principal != principal {
            return Err(ErrorCode::SessionRefused);
        }
        self.touch(at, now);
        Ok(Handle(at))
    }

    /// What a session remembers.
    pub fn window(&self, handle: Handle) -> &Window {
        &self.session(handle.0).window
    }

    /// Remembers a decided request of a session entered or visited in this very log entry.
    pub fn record(&mut self, handle: Handle, at: usize, slot: Slot) {
        self.answers += 1;
        self.answer_bytes += slot.answer.bytes();
        self.session_mut(handle.0).window.record(at, slot);
    }

    /// Takes note of an entry's stamps.
    pub fn note(&mut self, now: Moment, limits: &StateLimits) {
        self.births
            .note(now.revision, now.lease_ms, limits.session_ttl_ms);
    }

    /// Forgets up to `most` sessions that have been silent for the time to live, longest first.
    pub fn expire(&mut self, now: Moment, most: u64, limits: &StateLimits) {
        for _ in 0..most {
            let at = self.oldest;
            if at == NONE || self.due_ms(at, limits) > now.lease_ms {
                return;
            }
            self.keep_for_walk(at);
            self.unlink(at);
            if let Some(session) = self.slots[at as usize].take() {
                self.by_id.remove(&session.id);
                self.answers -= session.window.len() as u64;
                self.answer_bytes -= session.window.bytes();
                self.births.forget(session.id.birth);
                self.free.push(at);
            }
        }
    }

    /// When the next session expires, if it stays silent.
    pub fn next_due_ms(&self, limits: &StateLimits) -> Option<u64> {
        (self.oldest != NONE).then(|| self.due_ms(self.oldest, limits))
    }

    /// Count of sessions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Count of answers and fences remembered.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Memory of them.
    pub fn answer_bytes(&self) -> u64 {
        self.answer_bytes
    }

    /// What judges births.
    pub fn births(&self) -> &Births {
        &self.births
    }

    fn admit(
        &mut self,
        id: SessionId,
        principal: u64,
        epoch: u64,
        acked_below: u64,
        now: Moment,
        limits: &StateLimits,
    ) -> Result<Handle, ErrorCode> {
        // A birth ahead of the log could outlive its own forgetting: see `Births`.
        if id.birth > now.revision {
            return Err(ErrorCode::SessionRefused);
        }
        if self.births.is_expired(id.birth) {
            return Err(ErrorCode::SessionExpired);
        }
        if self.len() >= limits.sessions_max as usize {
            return Err(ErrorCode::SessionsFull);
        }
        let mut window = Window::default();
        window.acknowledge(acked_below);
        Ok(self.insert(Session::new(id, principal, epoch, now, window)))
    }

    fn insert(&mut self, session: Session) -> Handle {
        self.answers += session.window.len() as u64;
        self.answer_bytes += session.window.bytes();
        let id = session.id;
        let session = Some(Box::new(session));
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = session;
            at
        } else {
            let at = u32::try_from(self.slots.len()).expect("sessions_max fits 32 bits");
            self.slots.push(session);
            at
        };
        self.by_id.insert(id, at);
        self.link_newest(at);
        Handle(at)
    }

    fn touch(&mut self, at: u32, now: Moment) {
        self.keep_for_walk(at);
        if at != self.newest {
            self.unlink(at);
            self.link_newest(at);
        }
        let session = self.session_mut(at);
        session.last_used_ms = now.lease_ms;
        session.touched = now.revision;
    }

    fn link_newest(&mut self, at: u32) {
        let older = self.newest;
        let session = self.session_mut(at);
        session.older = older;
        session.newer = NONE;
        if older == NONE {
            self.oldest = at;
        } else {
            self.session_mut(older).newer = at;
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.session(at).older, self.session(at).newer);
        if older == NONE {
            self.oldest = newer;
        } else {
            self.session_mut(older).newer = newer;
        }
        if newer == NONE {
            self.newest = older;
        } else {
            self.session_mut(newer).older = older;
        }
    }

    fn due_ms(&self, at: u32, limits: &StateLimits) -> u64 {
        self.session(at)
            .last_used_ms
            .saturating_add(limits.session_ttl_ms)
    }

    fn session(&self, at: u32) -> &Session {
        self.slots[at as usize]
            .as_deref()
            .expect("the list and the map name sessions only")
    }

    fn session_mut(&mut self, at: u32) -> &mut Session {
        self.slots[at as usize]
            .as_deref_mut()
            .expect("the list and the map name sessions only")
    }
}
