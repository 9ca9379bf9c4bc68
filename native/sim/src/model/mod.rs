//! What the world should look like: every committed entry applied by the
//! simplest means. The log's order is taken as given (that is what consensus and
//! the log decide); what each item means in that order is told here anew.

pub mod keys;
pub mod sessions;

use std::collections::BTreeMap;

use domp_core::entry::{BatchHead, BatchKind, Entry};
use domp_core::state::{StateConfig, StateKind};
use domp_protocol::frame::{Item, ItemKind, items_of_batch};
use domp_protocol::transaction::{OutcomeRequest, Transaction};
use domp_protocol::{ErrorCode, Outcome as Meaning};

use keys::{Keys, Moment, Outcome};
use sessions::{Remembered, SessionId, Sessions};

/// How a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The revision it was decided at.
    pub revision: u64,
    /// `None`: a fence.
    pub outcome: Option<Outcome>,
}

/// What an item must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Refused; nothing is remembered of it.
    Refused(ErrorCode),
    /// Decided, now or before.
    Decided { decided: Decided, replayed: bool },
    /// To an outcome request: what became of the request asked about.
    OutcomeOf(Decided),
}

/// Names a request for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestId {
    Session { session: SessionId, sequence: u64 },
    Key { high: u64, low: u64, principal: u64 },
}

/// One applied item.
#[derive(Clone, Debug)]
pub struct AppliedItem {
    pub id: RequestId,
    pub kind: ItemKind,
    pub payload: Vec<u8>,
    pub expected: Expected,
    /// Whether it was executed just now, for the first time.
    pub executed: bool,
}

/// A request under an idempotency key.
#[derive(Clone, Debug)]
struct Keyed {
    used_ms: u64,
    remembered: Remembered,
}

/// One shard as it should be.
#[derive(Clone, Debug)]
pub struct ModelShard {
    pub config: StateConfig,
    pub keys: Keys,
    pub sessions: Sessions,
    keyed: BTreeMap<RequestId, Keyed>,
    pub revision: u64,
    pub lease_ms: u64,
    /// The bytes of every entry; entry i has index i + 1.
    pub log: Vec<Vec<u8>>,
    /// Keys that expired so far.
    pub expired: u64,
}

impl ModelShard {
    pub fn new(config: StateConfig) -> Self {
        Self {
            config,
            keys: Keys::default(),
            sessions: Sessions::default(),
            keyed: BTreeMap::new(),
            revision: 0,
            lease_ms: 0,
            log: Vec::new(),
            expired: 0,
        }
    }

    /// Applies the next committed entry; what each of its items must be answered.
    ///
    /// # Errors
    /// What is wrong with the entry.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<Vec<AppliedItem>, String> {
        self.log.push(bytes.to_vec());
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let entry = Entry::parse(bytes).map_err(|error| format!("entry: {error}"))?;
        if entry.revision <= self.revision {
            return Err(format!(
                "revision {} is not above {}",
                entry.revision, self.revision
            ));
        }
        if entry.lease_ms < self.lease_ms {
            return Err(format!(
                "lease time {} is below {}",
                entry.lease_ms, self.lease_ms
            ));
        }
        self.lease_ms = entry.lease_ms;
        self.revision = entry.revision;
        self.sessions
            .note(entry.revision, entry.lease_ms, &self.config);
        self.expired += self.keys.expire(entry.lease_ms) as u64;
        self.sessions.expire(entry.lease_ms, &self.config);
        let ttl_ms = self.config.idempotency_ttl_ms;
        self.keyed
            .retain(|_, keyed| keyed.used_ms + ttl_ms > entry.lease_ms);
        let mut applied = Vec::new();
        for batch in entry.batches() {
            let batch = batch.map_err(|error| format!("batch: {error}"))?;
            // Entered when an item first needs it, and once.
            let mut entered = None;
            for item in items_of_batch(batch.bytes, batch.items) {
                let item = item.map_err(|code| format!("item: {code:?}"))?;
                let now = Moment {
                    revision: entry.revision + applied.len() as u64,
                    ..self.now()
                };
                self.revision = now.revision;
                let one = self.item(&batch.head, &mut entered, &item, now);
                applied.push(one);
            }
        }
        Ok(applied)
    }

    fn now(&self) -> Moment {
        Moment {
            revision: self.revision,
            lease_ms: self.lease_ms,
        }
    }

    fn item(
        &mut self,
        head: &BatchHead,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        item: &Item<'_>,
        now: Moment,
    ) -> AppliedItem {
        let id = match head.kind {
            BatchKind::Session => RequestId::Session {
                session: (head.birth, head.nonce),
                sequence: item.sequence,
            },
            BatchKind::Idempotent => RequestId::Key {
                high: head.birth,
                low: head.nonce,
                principal: head.principal,
            },
        };
        let (expected, executed) = match (head.kind, item.kind) {
            (BatchKind::Idempotent, _) => self.under_key(id, item, now),
            (BatchKind::Session, ItemKind::Transaction) => match self.enter(head, entered, now) {
                Ok(session) => self.in_session(session, item, now),
                Err(code) => (Expected::Refused(code), false),
            },
            // It only reads: none is ever logged.
            (BatchKind::Session, ItemKind::OutcomeOf) => {
                (Expected::Refused(ErrorCode::UnsupportedOperation), false)
            }
            (BatchKind::Session, ItemKind::Outcome) => {
                let expected = self.outcome(head, entered, item, now);
                (expected.unwrap_or_else(Expected::Refused), false)
            }
        };
        AppliedItem {
            id,
            kind: item.kind,
            payload: item.payload.to_vec(),
            expected,
            executed,
        }
    }

    fn in_session(&mut self, id: SessionId, item: &Item<'_>, now: Moment) -> (Expected, bool) {
        let window = u64::from(self.config.session_window);
        let session = &self.sessions.known[&id];
        if item.sequence < session.acked_below {
            return (Expected::Refused(ErrorCode::RequestIdStale), false);
        }
        if let Some(remembered) = session.decided.get(&item.sequence) {
            return (answer_again(remembered, item.payload), false);
        }
        if item.sequence >= session.acked_below.saturating_add(window) {
            return (Expected::Refused(ErrorCode::WindowExceeded), false);
        }
        match self.run(item.payload, now) {
            Err(code) => (Expected::Refused(code), false),
            Ok(decided) => {
                let payload = Some(item.payload.to_vec());
                let remembered = Remembered {
                    payload,
                    decided: decided.clone(),
                };
                let session = self.sessions.known.get_mut(&id).expect("it entered");
                session.decided.insert(item.sequence, remembered);
                (
                    Expected::Decided {
                        decided,
                        replayed: false,
                    },
                    true,
                )
            }
        }
    }

    fn under_key(&mut self, id: RequestId, item: &Item<'_>, now: Moment) -> (Expected, bool) {
        if item.kind != ItemKind::Transaction {
            return (Expected::Refused(ErrorCode::InvalidRequest), false);
        }
        if let Some(keyed) = self.keyed.get(&id) {
            return (answer_again(&keyed.remembered, item.payload), false);
        }
        if self.keyed.len() as u64 >= u64::from(self.config.idempotency_keys_max) {
            return (Expected::Refused(ErrorCode::SessionsFull), false);
        }
        match self.run(item.payload, now) {
            Err(code) => (Expected::Refused(code), false),
            Ok(decided) => {
                let payload = Some(item.payload.to_vec());
                let remembered = Remembered {
                    payload,
                    decided: decided.clone(),
                };
                self.keyed.insert(
                    id,
                    Keyed {
                        used_ms: now.lease_ms,
                        remembered,
                    },
                );
                (
                    Expected::Decided {
                        decided,
                        replayed: false,
                    },
                    true,
                )
            }
        }
    }

    fn enter(
        &mut self,
        head: &BatchHead,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        now: Moment,
    ) -> Result<SessionId, ErrorCode> {
        let (sessions, config) = (&mut self.sessions, &self.config);
        *entered.get_or_insert_with(|| sessions.enter(head, now.revision, now.lease_ms, config))
    }

    fn outcome(
        &mut self,
        head: &BatchHead,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        item: &Item<'_>,
        now: Moment,
    ) -> Result<Expected, ErrorCode> {
        let request = OutcomeRequest::parse(item.payload)?;
        let own = (head.birth, head.nonce);
        let asked = request
            .session
            .map_or(own, |token| (token.birth, token.nonce));
        if asked == own {
            self.enter(head, entered, now)?;
        } else {
            let (revision, lease_ms) = (now.revision, now.lease_ms);
            self.sessions
                .visit(asked, head.principal, revision, lease_ms, &self.config)?;
        }
        let window = self.config.session_window as usize;
        let session = self
            .sessions
            .known
            .get_mut(&asked)
            .expect("it is known or was visited");
        if request.sequence < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(remembered) = session.decided.get(&request.sequence) {
            return Ok(Expected::OutcomeOf(remembered.decided.clone()));
        }
        if session.decided.len() >= window {
            return Err(ErrorCode::WindowExceeded);
        }
        let decided = Decided {
            revision: now.revision,
            outcome: None,
        };
        let remembered = Remembered {
            payload: None,
            decided: decided.clone(),
        };
        session.decided.insert(request.sequence, remembered);
        Ok(Expected::OutcomeOf(decided))
    }

    /// Executes; an error is a refusal that nothing remembers.
    fn run(&mut self, payload: &[u8], now: Moment) -> Result<Decided, ErrorCode> {
        let transaction = Transaction::parse(payload)?;
        let meta = self.config.kind == StateKind::Meta;
        let outcome = self.keys.run(&transaction, meta, now);
        if let Outcome::Aborted(code) = outcome
            && code.outcome() != Meaning::NotApplied
        {
            return Err(code);
        }
        Ok(Decided {
            revision: now.revision,
            outcome: Some(outcome),
        })
    }
}

fn answer_again(remembered: &Remembered, payload: &[u8]) -> Expected {
    match &remembered.payload {
        Some(before) if before != payload => Expected::Refused(ErrorCode::RequestIdConflict),
        _ => Expected::Decided {
            decided: remembered.decided.clone(),
            replayed: true,
        },
    }
}
