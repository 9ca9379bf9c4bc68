//! What the world should look like: every committed entry applied by the
//! simplest means. The log's order is taken as given (that is what consensus and
//! the log decide); what each item means in that order is told here anew, from
//! the bytes on, by code of its own.

pub mod entry;
pub mod keys;
pub mod request;
pub mod sessions;

use std::collections::BTreeMap;

use domp_protocol::frame::ItemKind;
use domp_protocol::{ErrorCode, Outcome as Meaning};

use entry::{Entry, Head, Item, Whose, half, word};
use keys::{Keys, Moment, Outcome};
use request::{Question, Request};
use sessions::{Remembered, SessionId, Sessions};

/// Index of the founding: the first entry comes behind it.
pub const FOUNDING_INDEX: u64 = 1;

/// Limits that a shard's log changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub session_ttl_ms: u64,
    pub idempotency_ttl_ms: u64,
    pub session_window: u32,
    pub sessions_max: u32,
    pub idempotency_keys_max: u32,
}

impl Limits {
    /// Before the log says anything.
    const FOUNDING: Self = Self {
        session_ttl_ms: 60 * 60 * 1000,
        idempotency_ttl_ms: 10 * 60 * 1000,
        session_window: 4096,
        sessions_max: 100_000,
        idempotency_keys_max: 1_000_000,
    };

    fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != 32 || half(bytes, 28) != 0 {
            return Err("limits of another form".to_owned());
        }
        Ok(Self {
            session_ttl_ms: word(bytes, 0),
            idempotency_ttl_ms: word(bytes, 8),
            session_window: half(bytes, 16),
            sessions_max: half(bytes, 20),
            idempotency_keys_max: half(bytes, 24),
        })
    }
}

/// How a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The revision it was decided at.
    pub revision: u64,
    /// `None`: a fence.
    pub outcome: Option<Outcome>,
    /// Given back beside the results: kept with an idempotency key.
    pub kept: Option<Vec<u8>>,
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

/// An idempotency key; those of a world have at most 16 bytes.
pub type KeyName = [u8; 16];

/// Names a request for ever; under a key, as long as that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestId {
    Session { session: SessionId, sequence: u64 },
    Key { key: KeyName, principal: u64 },
}

/// One applied item of a client.
#[derive(Clone, Debug)]
pub struct AppliedItem {
    pub id: RequestId,
    pub kind: ItemKind,
    pub payload: Vec<u8>,
    pub expected: Expected,
    /// Whether it was executed just now, for the first time.
    pub executed: bool,
    /// Whether an idempotency key of an earlier request decided it.
    pub by_key: bool,
}

/// A request under an idempotency key.
#[derive(Clone, Debug)]
struct Keyed {
    used_ms: u64,
    remembered: Remembered,
}

/// How an item came to its answer.
struct Decision {
    decided: Decided,
    /// It was decided before, under its idempotency key.
    by_key: bool,
}

/// One shard as it should be.
#[derive(Clone, Debug)]
pub struct ModelShard {
    group: u64,
    pub limits: Limits,
    /// The limits that every shard is to have; the meta shard's.
    pub wanted: Option<Limits>,
    /// Ids of the keys that sign tokens; the meta shard's.
    pub signing_keys: BTreeMap<u64, Vec<u8>>,
    pub keys: Keys,
    pub sessions: Sessions,
    keyed: BTreeMap<(u64, Vec<u8>), Keyed>,
    pub revision: u64,
    pub lease_ms: u64,
    /// The bytes of every entry; the first stands behind the founding.
    pub log: Vec<Vec<u8>>,
    /// Keys that expired so far.
    pub expired: u64,
}

impl ModelShard {
    pub fn new(group: u64) -> Self {
        Self {
            group,
            limits: Limits::FOUNDING,
            wanted: None,
            signing_keys: BTreeMap::new(),
            keys: Keys::default(),
            sessions: Sessions::default(),
            keyed: BTreeMap::new(),
            revision: 0,
            lease_ms: 0,
            log: Vec::new(),
            expired: 0,
        }
    }

    /// Whether this is the shard of the names of spaces.
    pub fn is_meta(&self) -> bool {
        self.group == 0
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
        let entry = Entry::read(bytes)?;
        let (revision, lease_ms) = self.stamps(&entry)?;
        (self.revision, self.lease_ms) = (revision, lease_ms);
        let limits = self.limits;
        self.sessions.note(revision, lease_ms, &limits);
        self.expired += self.keys.expire(lease_ms) as u64;
        self.sessions.expire(lease_ms, &limits);
        self.keyed
            .retain(|_, keyed| keyed.used_ms + limits.idempotency_ttl_ms > lease_ms);
        let mut applied = Vec::new();
        for (head, items) in &entry.batches {
            // Entered when an item first needs it, and once.
            let mut entered = None;
            for item in items {
                // The sweep has the entry's first revision.
                self.revision += 1;
                if head.whose == Whose::System {
                    self.system(item)?;
                    continue;
                }
                let one = self.item(head, &mut entered, item)?;
                applied.push(one);
            }
        }
        Ok(applied)
    }

    /// Revision and lease time of an entry.
    fn stamps(&self, entry: &Entry<'_>) -> Result<(u64, u64), String> {
        if entry.revision == 0 && entry.batches.is_empty() {
            // What the world itself put there: the state lifts its stamps.
            return Ok((self.revision + 1, self.lease_ms));
        }
        // It would lift those of a leader too; the one of this world has no reason for it.
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
        Ok((entry.revision, entry.lease_ms))
    }

    fn check_space(&self, space: u32) -> Result<(), String> {
        if u64::from(space) == self.group {
            Ok(())
        } else {
            Err(format!("a request for space {space} is in the log"))
        }
    }

    fn now(&self) -> Moment {
        Moment {
            revision: self.revision,
            lease_ms: self.lease_ms,
        }
    }

    /// What the leader says.
    fn system(&mut self, item: &Item<'_>) -> Result<(), String> {
        if item.sequence != 0 {
            return Err("an item of the system with a sequence".to_owned());
        }
        match (item.kind, self.is_meta()) {
            (1, _) => self.limits = Limits::read(item.payload)?,
            (2, true) => self.wanted = Some(Limits::read(item.payload)?),
            (3, true) if item.payload.len() == 40 => {
                let id = word(item.payload, 0);
                self.signing_keys.insert(id, item.payload[8..].to_vec());
            }
            (kind, _) => return Err(format!("an item of the system of kind {kind}")),
        }
        Ok(())
    }

    fn item(
        &mut self,
        head: &Head,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        item: &Item<'_>,
    ) -> Result<AppliedItem, String> {
        let now = self.now();
        let mut id = RequestId::Session {
            session: (head.birth, head.nonce),
            sequence: item.sequence,
        };
        let (kind, result) = match item.kind {
            1 => {
                let request = Request::read(item.payload)
                    .map_err(|why| format!("a transaction in the log: {why}"))?;
                self.check_space(request.space)?;
                if request.only_reads() {
                    return Err("a transaction that only reads is in the log".to_owned());
                }
                let result = if head.whose == Whose::Session {
                    self.in_session(head, entered, item, &request, now)
                } else {
                    id = RequestId::Key {
                        key: key_name(request.idempotency_key.unwrap_or_default()),
                        principal: head.principal,
                    };
                    self.without_session(head, item, &request, now)
                };
                (ItemKind::Transaction, result)
            }
            2 if head.whose == Whose::Session => {
                let question = Question::read(item.payload)
                    .map_err(|why| format!("an outcome request in the log: {why}"))?;
                self.check_space(question.space)?;
                let result = self.outcome(head, entered, &question, now);
                (ItemKind::Outcome, result.map(|expected| (expected, None)))
            }
            kind => return Err(format!("an item of kind {kind} is in the log")),
        };
        let (expected, decision) = result.unwrap_or_else(|code| (Expected::Refused(code), None));
        Ok(AppliedItem {
            id,
            kind,
            payload: item.payload.to_vec(),
            expected,
            executed: decision == Some(false),
            by_key: decision == Some(true),
        })
    }

    /// A transaction under a request id. With what is expected: `Some(true)` if its key
    /// decided it, `Some(false)` if it was executed.
    fn in_session(
        &mut self,
        head: &Head,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        item: &Item<'_>,
        request: &Request<'_>,
        now: Moment,
    ) -> Result<(Expected, Option<bool>), ErrorCode> {
        let id = self.enter(head, entered, now)?;
        let window = u64::from(self.limits.session_window);
        let session = &self.sessions.known[&id];
        if item.sequence < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(remembered) = session.decided.get(&item.sequence) {
            if remembered.is_other(item.payload) {
                return Err(ErrorCode::RequestIdConflict);
            }
            let decided = remembered.decided.clone();
            return Ok((replayed(decided), None));
        }
        if item.sequence >= session.acked_below.saturating_add(window) {
            return Err(ErrorCode::WindowExceeded);
        }
        let Decision { decided, by_key } = self.decide(head.principal, item, request, now)?;
        let remembered = Remembered {
            payload: Some(item.payload.to_vec()),
            decided: decided.clone(),
        };
        let session = self.sessions.known.get_mut(&id).expect("it entered");
        session.decided.insert(item.sequence, remembered);
        let expected = Expected::Decided {
            decided,
            replayed: by_key,
        };
        Ok((expected, Some(by_key)))
    }

    fn without_session(
        &mut self,
        head: &Head,
        item: &Item<'_>,
        request: &Request<'_>,
        now: Moment,
    ) -> Result<(Expected, Option<bool>), ErrorCode> {
        if request.idempotency_key.is_none() {
            return Err(ErrorCode::IdempotencyKeyRequired);
        }
        let Decision { decided, by_key } = self.decide(head.principal, item, request, now)?;
        let expected = Expected::Decided {
            decided,
            replayed: by_key,
        };
        Ok((expected, Some(by_key)))
    }

    /// What no request id decided: its key does, if it is bound, or it is executed.
    fn decide(
        &mut self,
        principal: u64,
        item: &Item<'_>,
        request: &Request<'_>,
        now: Moment,
    ) -> Result<Decision, ErrorCode> {
        let Some(key) = request.idempotency_key else {
            let decided = self.run(request, now)?;
            return Ok(Decision {
                decided,
                by_key: false,
            });
        };
        let key = (principal, key.to_vec());
        if let Some(keyed) = self.keyed.get(&key) {
            // What comes with a result is another each time: nobody compares it.
            if request.result.is_none() && keyed.remembered.is_other(item.payload) {
                return Err(ErrorCode::IdempotencyConflict);
            }
            return Ok(Decision {
                decided: keyed.remembered.decided.clone(),
                by_key: true,
            });
        }
        if self.keyed.len() as u64 >= u64::from(self.limits.idempotency_keys_max) {
            return Err(ErrorCode::SessionsFull);
        }
        let decided = self.run(request, now)?;
        let binds = match &decided.outcome {
            Some(Outcome::Executed { applied, .. }) => *applied || !request.otherwise.is_empty(),
            Some(Outcome::Aborted(_)) => true,
            None => false,
        };
        if binds {
            let mut decided = decided.clone();
            if matches!(decided.outcome, Some(Outcome::Executed { .. })) {
                decided.kept = request.result.map(<[u8]>::to_vec);
            }
            let payload = request.result.is_none().then(|| item.payload.to_vec());
            let keyed = Keyed {
                used_ms: now.lease_ms,
                remembered: Remembered { payload, decided },
            };
            self.keyed.insert(key, keyed);
        }
        Ok(Decision {
            decided,
            by_key: false,
        })
    }

    fn enter(
        &mut self,
        head: &Head,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        now: Moment,
    ) -> Result<SessionId, ErrorCode> {
        let (sessions, limits) = (&mut self.sessions, &self.limits);
        *entered.get_or_insert_with(|| sessions.enter(head, now.revision, now.lease_ms, limits))
    }

    fn outcome(
        &mut self,
        head: &Head,
        entered: &mut Option<Result<SessionId, ErrorCode>>,
        question: &Question,
        now: Moment,
    ) -> Result<Expected, ErrorCode> {
        let own = (head.birth, head.nonce);
        let asked = match question.session {
            Some((birth, nonce, principal)) if (birth, nonce) != own => {
                if principal != head.principal {
                    return Err(ErrorCode::SessionRefused);
                }
                let (revision, lease_ms) = (now.revision, now.lease_ms);
                let limits = self.limits;
                self.sessions
                    .visit((birth, nonce), principal, revision, lease_ms, &limits)?;
                (birth, nonce)
            }
            _ => self.enter(head, entered, now)?,
        };
        let window = self.limits.session_window as usize;
        let session = self
            .sessions
            .known
            .get_mut(&asked)
            .expect("it is known or was visited");
        if question.sequence < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(remembered) = session.decided.get(&question.sequence) {
            return Ok(Expected::OutcomeOf(remembered.decided.clone()));
        }
        if session.decided.len() >= window {
            return Err(ErrorCode::WindowExceeded);
        }
        let decided = Decided {
            revision: now.revision,
            outcome: None,
            kept: None,
        };
        let remembered = Remembered {
            payload: None,
            decided: decided.clone(),
        };
        session.decided.insert(question.sequence, remembered);
        Ok(Expected::OutcomeOf(decided))
    }

    /// Executes; an error is a refusal that nothing remembers.
    fn run(&mut self, request: &Request<'_>, now: Moment) -> Result<Decided, ErrorCode> {
        let outcome = self.keys.run(request, self.is_meta(), now);
        if let Outcome::Aborted(code) = outcome
            && code.outcome() != Meaning::NotApplied
        {
            return Err(code);
        }
        Ok(Decided {
            revision: now.revision,
            outcome: Some(outcome),
            kept: None,
        })
    }
}

fn replayed(decided: Decided) -> Expected {
    Expected::Decided {
        decided,
        replayed: true,
    }
}

/// The name of a key.
pub fn key_name(key: &[u8]) -> KeyName {
    let mut name = [0; 16];
    let length = key.len().min(name.len());
    name[..length].copy_from_slice(&key[..length]);
    name
}
