//! What sessions and idempotency keys must do, plainly: every answer ever given is found by
//! looking through all of them.

use std::collections::BTreeMap;

use domp_protocol::results::Results;
use domp_protocol::{ErrorCode, Outcome, Transaction};
use domp_state::StateLimits;
use domp_state::entry::{BatchHead, BatchKind};

use super::model::{Held, Keys};
use super::parsed;

/// An answer, as one can see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub sequence: u64,
    pub revision: u64,
    pub code: Option<ErrorCode>,
    pub applied: bool,
    pub replayed: bool,
    pub outcome_applied: bool,
    pub results: Results,
}

/// Keys that were changed, with what they hold now.
pub type Changes = Vec<(Vec<u8>, Option<Held>)>;

#[derive(Clone, Debug)]
struct Decided {
    /// `None`: a fence, or one that gave something to keep: any payload will do.
    payload: Option<Vec<u8>>,
    seen: Seen,
    is_fence: bool,
}

#[derive(Clone, Debug)]
struct Session {
    principal: u64,
    epoch: u64,
    acked_below: u64,
    last_used_ms: u64,
    decided: BTreeMap<u64, Decided>,
}

/// What an item asks for.
#[derive(Clone, Debug)]
pub enum Request {
    Transaction(Vec<u8>),
    /// Session (birth, nonce, principal), unless it is the asker's, and sequence.
    Outcome(Option<(u64, u64, u64)>, u64),
    /// Of the system.
    Limits(StateLimits),
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct Model {
    limits: StateLimits,
    pub keys: Keys,
    sessions: BTreeMap<(u64, u64), Session>,
    /// By principal and key: when bound, and the answer.
    idempotency: BTreeMap<(u64, Vec<u8>), (u64, Decided)>,
    /// Births of sessions ever forgotten, and births that were too old at some time.
    forgotten: Vec<u64>,
    /// Revision and lease time of entries, noted every so often and never forgotten.
    notes: Vec<(u64, u64)>,
}

const EXPIRIES_MAX: usize = 4096;

impl Model {
    pub fn new() -> Self {
        Self {
            limits: StateLimits::FOUNDING,
            keys: Keys::default(),
            sessions: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            forgotten: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// An entry begins; the keys that expire.
    pub fn begin_entry(&mut self, revision: u64, lease_ms: u64) -> Vec<Vec<u8>> {
        let ttl_ms = self.limits.session_ttl_ms;
        let interval_ms = (ttl_ms / 64).clamp(1, 60_000);
        if self
            .notes
            .last()
            .is_none_or(|(_, noted_ms)| lease_ms - noted_ms >= interval_ms)
        {
            self.notes.push((revision, lease_ms));
        }
        let old = self
            .notes
            .iter()
            .filter(|(_, noted_ms)| lease_ms - noted_ms >= ttl_ms);
        self.forgotten.extend(old.map(|(noted, _)| noted - 1));
        self.forgotten.sort_unstable();
        self.forgotten.dedup();
        let silent: Vec<(u64, u64)> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.last_used_ms + ttl_ms <= lease_ms)
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.sessions.remove(&id);
            self.forgotten.push(id.0);
        }
        let idempotency_ttl_ms = self.limits.idempotency_ttl_ms;
        self.idempotency
            .retain(|_, (used_ms, _)| *used_ms + idempotency_ttl_ms > lease_ms);
        self.keys.expire(lease_ms, EXPIRIES_MAX)
    }

    /// One item; its answer, and what it changed.
    pub fn item(
        &mut self,
        head: &BatchHead,
        sequence: u64,
        request: &Request,
        revision: u64,
        lease_ms: u64,
    ) -> (Seen, Changes) {
        let answered = match (head.kind, request) {
            (BatchKind::Session, Request::Transaction(payload)) => {
                self.in_session(head, sequence, payload, revision, lease_ms)
            }
            (BatchKind::Session, Request::Outcome(about, asked)) => {
                self.outcome(head, *about, *asked, revision, lease_ms)
            }
            (BatchKind::Stateless, Request::Transaction(payload)) => {
                if parsed(payload).idempotency_key().is_none() {
                    Err(ErrorCode::IdempotencyKeyRequired)
                } else {
                    self.decide(head.principal, payload, revision, lease_ms)
                }
            }
            (BatchKind::Stateless, Request::Outcome(..)) => Err(ErrorCode::InvalidRequest),
            (_, Request::Limits(limits)) => {
                self.limits = *limits;
                Ok((Seen::default(), Vec::new()))
            }
            (BatchKind::System, _) => panic!("clients' items are in clients' batches"),
        };
        let (seen, changes) = answered.unwrap_or_else(|code| {
            (
                Seen {
                    code: Some(code),
                    ..Seen::default()
                },
                Vec::new(),
            )
        });
        (Seen { sequence, ..seen }, changes)
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn idempotency_keys(&self) -> usize {
        self.idempotency.len()
    }

    pub fn next_due_ms(&self) -> Option<u64> {
        let sessions = self.sessions.values().map(|session| session.last_used_ms);
        let keys = self.idempotency.values().map(|(used_ms, _)| *used_ms);
        let sessions = sessions.min().map(|ms| ms + self.limits.session_ttl_ms);
        let keys = keys.min().map(|ms| ms + self.limits.idempotency_ttl_ms);
        [sessions, keys, self.keys.next_due_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    fn admit(
        &mut self,
        id: (u64, u64),
        principal: u64,
        revision: u64,
        lease_ms: u64,
    ) -> Result<&mut Session, ErrorCode> {
        if !self.sessions.contains_key(&id) {
            if id.0 > revision {
                return Err(ErrorCode::SessionRefused);
            }
            if self.forgotten.iter().any(|birth| *birth >= id.0) {
                return Err(ErrorCode::SessionExpired);
            }
            if self.sessions.len() >= self.limits.sessions_max as usize {
                return Err(ErrorCode::SessionsFull);
            }
        }
        let session = self.sessions.entry(id).or_insert(Session {
            principal,
            epoch: 0,
            acked_below: 1,
            last_used_ms: lease_ms,
            decided: BTreeMap::new(),
        });
        if session.principal != principal {
            return Err(ErrorCode::SessionRefused);
        }
        Ok(session)
    }

    fn enter(
        &mut self,
        head: &BatchHead,
        revision: u64,
        lease_ms: u64,
    ) -> Result<&mut Session, ErrorCode> {
        let id = (head.birth, head.nonce);
        let session = self.admit(id, head.principal, revision, lease_ms)?;
        if head.epoch < session.epoch {
            return Err(ErrorCode::SessionSuperseded);
        }
        session.epoch = head.epoch;
        session.last_used_ms = lease_ms;
        session.acked_below = session.acked_below.max(head.acked_below);
        let acked_below = session.acked_below;
        session
            .decided
            .retain(|sequence, _| *sequence >= acked_below);
        Ok(session)
    }

    fn in_session(
        &mut self,
        head: &BatchHead,
        sequence: u64,
        payload: &[u8],
        revision: u64,
        lease_ms: u64,
    ) -> Result<(Seen, Changes), ErrorCode> {
        let window = u64::from(self.limits.session_window);
        let session = self.enter(head, revision, lease_ms)?;
        if sequence < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(decided) = session.decided.get(&sequence) {
            if decided
                .payload
                .as_ref()
                .is_some_and(|known| known != payload)
            {
                return Err(ErrorCode::RequestIdConflict);
            }
            return Ok((
                Seen {
                    replayed: true,
                    ..decided.seen.clone()
                },
                Vec::new(),
            ));
        }
        if sequence >= session.acked_below + window {
            return Err(ErrorCode::WindowExceeded);
        }
        let (seen, changes) = self.decide(head.principal, payload, revision, lease_ms)?;
        let decided = Decided {
            payload: Some(payload.to_vec()),
            seen: Seen {
                replayed: false,
                ..seen.clone()
            },
            is_fence: false,
        };
        let session = self
            .sessions
            .get_mut(&(head.birth, head.nonce))
            .expect("just entered");
        session.decided.insert(sequence, decided);
        Ok((seen, changes))
    }

    /// What is known under a key.
    pub fn outcome_of(&self, principal: u64, key: &[u8]) -> Option<Seen> {
        let (_, decided) = self.idempotency.get(&(principal, key.to_vec()))?;
        Some(decided.seen.clone())
    }

    /// Decides what no request id has decided: the key does if it is bound, else the keys' state.
    fn decide(
        &mut self,
        principal: u64,
        payload: &[u8],
        revision: u64,
        lease_ms: u64,
    ) -> Result<(Seen, Changes), ErrorCode> {
        let transaction = parsed(payload);
        let Some(key) = transaction.idempotency_key() else {
            return self.execute(&transaction, revision, lease_ms);
        };
        let key = (principal, key.to_vec());
        let kept = transaction.result().map(<[u8]>::to_vec);
        if let Some((_, decided)) = self.idempotency.get(&key) {
            let is_other = decided
                .payload
                .as_deref()
                .is_some_and(|known| known != payload);
            if is_other && kept.is_none() {
                return Err(ErrorCode::IdempotencyConflict);
            }
            let seen = Seen {
                replayed: true,
                ..decided.seen.clone()
            };
            return Ok((seen, Vec::new()));
        }
        if self.idempotency.len() >= self.limits.idempotency_keys_max as usize {
            return Err(ErrorCode::SessionsFull);
        }
        let (seen, changes) = self.execute(&transaction, revision, lease_ms)?;
        let otherwise_ran = transaction.otherwise().is_some_and(|all| all.len() > 0);
        if seen.applied || seen.code.is_some() || otherwise_ran {
            let mut kept_seen = seen.clone();
            if seen.code.is_none() {
                kept_seen.results.kept.clone_from(&kept);
            }
            let decided = Decided {
                payload: kept.is_none().then(|| payload.to_vec()),
                seen: kept_seen,
                is_fence: false,
            };
            self.idempotency.insert(key, (lease_ms, decided));
        }
        Ok((seen, changes))
    }

    fn execute(
        &mut self,
        transaction: &Transaction<'_>,
        revision: u64,
        lease_ms: u64,
    ) -> Result<(Seen, Changes), ErrorCode> {
        match self.keys.execute(transaction, revision, lease_ms) {
            Ok(executed) => {
                let (applied, results) = (executed.applied, executed.results);
                let seen = Seen {
                    revision,
                    applied,
                    results,
                    ..Seen::default()
                };
                Ok((seen, executed.effects))
            }
            Err(code) if code.outcome() == Outcome::NotApplied => Ok((
                Seen {
                    revision,
                    code: Some(code),
                    ..Seen::default()
                },
                Vec::new(),
            )),
            Err(code) => Err(code),
        }
    }

    fn outcome(
        &mut self,
        head: &BatchHead,
        about: Option<(u64, u64, u64)>,
        asked: u64,
        revision: u64,
        lease_ms: u64,
    ) -> Result<(Seen, Changes), ErrorCode> {
        let window = self.limits.session_window as usize;
        let own = (head.birth, head.nonce);
        let session = match about {
            Some((birth, nonce, principal)) if (birth, nonce) != own => {
                if principal != head.principal {
                    return Err(ErrorCode::SessionRefused);
                }
                let session = self.admit((birth, nonce), principal, revision, lease_ms)?;
                session.last_used_ms = lease_ms;
                session
            }
            _ => self.enter(head, revision, lease_ms)?,
        };
        let never = Seen {
            revision,
            ..Seen::default()
        };
        if asked < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(decided) = session.decided.get(&asked) {
            if decided.is_fence || decided.seen.code.is_some() {
                return Ok((never, Vec::new()));
            }
            let seen = Seen {
                replayed: true,
                outcome_applied: true,
                ..decided.seen.clone()
            };
            return Ok((seen, Vec::new()));
        }
        if session.decided.len() >= window {
            return Err(ErrorCode::WindowExceeded);
        }
        let fenced = Seen {
            revision,
            code: Some(ErrorCode::Fenced),
            ..Seen::default()
        };
        session.decided.insert(
            asked,
            Decided {
                payload: None,
                seen: fenced,
                is_fence: true,
            },
        );
        Ok((never, Vec::new()))
    }
}
