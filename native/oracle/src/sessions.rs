//! Who may retry what, told as simply as it can be.

use std::collections::BTreeMap;

use domp_protocol::ErrorCode;
use domp_protocol::limits as fixed;

use crate::entry::Head;
use crate::limits::Limits;
use crate::reply::Decided;

/// What is remembered of a decided request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The request's bytes; `None` for a fence, and for one that gave a result to keep: any will do.
    pub payload: Option<Vec<u8>>,
    pub decided: Decided,
}

impl Remembered {
    /// Whether that payload may not be answered so.
    pub fn is_other(&self, payload: &[u8]) -> bool {
        self.payload
            .as_deref()
            .is_some_and(|known| known != payload)
    }
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    pub principal: u64,
    pub epoch: u64,
    pub last_used_ms: u64,
    pub acked_below: u64,
    pub decided: BTreeMap<u64, Remembered>,
}

/// A session's id: birth and nonce.
pub type SessionId = (u64, u64);

/// All sessions of a shard.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    pub known: BTreeMap<SessionId, Session>,
    /// Revision and lease time of entries, now and then.
    notes: Vec<(u64, u64)>,
    /// Born then or before: too old.
    forgotten_birth: u64,
}

impl Sessions {
    /// Takes note of an entry's stamps: one note in a sixty-fourth of the time to
    /// live, at least one a minute. Who was born before a note as old as the time to
    /// live is too old, and stays so when the time to live grows.
    pub fn note(&mut self, revision: u64, lease_ms: u64, limits: &Limits) {
        let ttl_ms = limits.session_ttl_ms;
        let interval_ms = (ttl_ms / 64).clamp(1, 60_000);
        if self
            .notes
            .last()
            .is_none_or(|(_, last)| lease_ms - last >= interval_ms)
        {
            self.notes.push((revision, lease_ms));
        }
        let old = self.notes.iter();
        let old = old.filter(|(_, noted_ms)| lease_ms - noted_ms >= ttl_ms);
        let too_old = old.map(|(noted, _)| noted - 1).max().unwrap_or_default();
        self.forgotten_birth = self.forgotten_birth.max(too_old);
    }

    /// When the first is forgotten.
    pub fn next_due_ms(&self, limits: &Limits) -> Option<u64> {
        let used = self.known.values().map(|session| session.last_used_ms);
        used.min().map(|ms| ms + limits.session_ttl_ms)
    }

    /// Forgets the sessions that were silent for the time to live.
    pub fn expire(&mut self, lease_ms: u64, limits: &Limits) {
        let mut due: Vec<(u64, SessionId)> = self
            .known
            .iter()
            .filter(|(_, session)| session.last_used_ms + limits.session_ttl_ms <= lease_ms)
            .map(|(id, session)| (session.last_used_ms, *id))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(fixed::EXPIRIES_PER_ENTRY_MAX).unwrap_or(usize::MAX));
        for (_, id) in due {
            self.known.remove(&id);
            self.forgotten_birth = self.forgotten_birth.max(id.0);
        }
    }

    /// The session of a batch comes in.
    pub fn enter(
        &mut self,
        head: &Head,
        revision: u64,
        lease_ms: u64,
        limits: &Limits,
    ) -> Result<SessionId, ErrorCode> {
        let id = (head.birth, head.nonce);
        match self.known.get(&id) {
            Some(session) if session.principal != head.principal => {
                return Err(ErrorCode::SessionRefused);
            }
            Some(session) if head.epoch < session.epoch => {
                return Err(ErrorCode::SessionSuperseded);
            }
            Some(_) => {}
            None => self.admit(id, head.principal, revision, lease_ms, limits)?,
        }
        let session = self.known.get_mut(&id).expect("it was known or admitted");
        session.epoch = head.epoch;
        session.last_used_ms = lease_ms;
        session.acked_below = session.acked_below.max(head.acked_below);
        let below = session.acked_below;
        session.decided.retain(|sequence, _| *sequence >= below);
        Ok(id)
    }

    /// Somebody asks about a session.
    pub fn visit(
        &mut self,
        id: SessionId,
        principal: u64,
        revision: u64,
        lease_ms: u64,
        limits: &Limits,
    ) -> Result<(), ErrorCode> {
        match self.known.get_mut(&id) {
            Some(session) if session.principal != principal => Err(ErrorCode::SessionRefused),
            Some(session) => {
                session.last_used_ms = lease_ms;
                Ok(())
            }
            None => self.admit(id, principal, revision, lease_ms, limits),
        }
    }

    fn admit(
        &mut self,
        id: SessionId,
        principal: u64,
        revision: u64,
        lease_ms: u64,
        limits: &Limits,
    ) -> Result<(), ErrorCode> {
        if id.0 > revision {
            return Err(ErrorCode::SessionRefused);
        }
        if id.0 <= self.forgotten_birth {
            return Err(ErrorCode::SessionExpired);
        }
        if self.known.len() as u64 >= u64::from(limits.sessions_max) {
            return Err(ErrorCode::SessionsFull);
        }
        self.known.insert(
            id,
            Session {
                principal,
                epoch: 0,
                last_used_ms: lease_ms,
                acked_below: 1,
                decided: BTreeMap::new(),
            },
        );
        Ok(())
    }
}
