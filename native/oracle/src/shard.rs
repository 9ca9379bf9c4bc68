//! One shard as it should be: what an entry does to it.

use domp_protocol::frame::ItemKind;
use domp_protocol::{ErrorCode, Outcome as Meaning};

use crate::entry::{Entry, Head, Item, Whose};
use crate::idempotency::Idempotency;
use crate::keys::{Change, Keys, Moment, Outcome};
use crate::limits::Limits;
use crate::reply::{Decided, Expected};
use crate::request::{Question, Request};
use crate::sessions::{Remembered, SessionId, Sessions};

/// Group of the shard of the names of spaces.
const META_GROUP: u64 = 0;

/// What an entry came to.
#[derive(Clone, Debug)]
pub struct AppliedEntry {
    /// The stamps that it bears.
    pub stamped: Moment,
    /// What they were taken for; the revision is that of the sweep.
    pub taken_for: Moment,
    /// Keys that expired, in their order.
    pub expired: Vec<Vec<u8>>,
    /// Those of clients; nobody is answered to the system's.
    pub items: Vec<AppliedItem>,
}

/// What an item of a client came to.
#[derive(Clone, Debug)]
pub struct AppliedItem {
    /// Its place in the entry, where the system's items count as well.
    pub position: u32,
    /// Its own.
    pub revision: u64,
    /// That of its batch.
    pub head: Head,
    /// The request's.
    pub sequence: u64,
    /// What it asks for.
    pub kind: ItemKind,
    /// As the client sent it.
    pub payload: Vec<u8>,
    /// The transaction's.
    pub idempotency_key: Option<Vec<u8>>,
    /// A transaction that writes nothing, whichever branch runs.
    pub only_reads: bool,
    /// What it must be answered.
    pub expected: Expected,
    /// Keys that it changed, in their order.
    pub changes: Vec<Change>,
    /// Whether it was executed just now, for the first time.
    pub executed: bool,
    /// Whether an idempotency key of an earlier request decided it.
    pub by_key: bool,
}

/// How an item came to its answer.
struct Judged {
    expected: Expected,
    changes: Vec<Change>,
    executed: bool,
    by_key: bool,
}

impl Judged {
    /// Nothing was done.
    fn idle(expected: Expected) -> Self {
        Self {
            expected,
            changes: Vec::new(),
            executed: false,
            by_key: false,
        }
    }
}

/// How a request was decided that no request id had decided.
struct Decision {
    decided: Decided,
    changes: Vec<Change>,
    /// It was decided before, under its idempotency key.
    by_key: bool,
}

impl Decision {
    fn judged(self) -> Judged {
        Judged {
            expected: Expected::Decided {
                decided: self.decided,
                replayed: self.by_key,
            },
            changes: self.changes,
            executed: !self.by_key,
            by_key: self.by_key,
        }
    }
}

/// Whether a batch's session was let in; `None`: no item needed it so far.
type Entered = Option<Result<SessionId, ErrorCode>>;

/// One shard as it should be.
#[derive(Clone, Debug)]
pub struct Shard {
    group: u64,
    /// Those that its log set last.
    pub limits: Limits,
    /// What it holds.
    pub keys: Keys,
    sessions: Sessions,
    idempotency: Idempotency,
    /// Of its last item.
    pub revision: u64,
    /// Of its last entry.
    pub lease_ms: u64,
}

impl Shard {
    /// A shard to which nothing was done.
    pub fn new(group: u64) -> Self {
        Self {
            group,
            limits: Limits::FOUNDING,
            keys: Keys::default(),
            sessions: Sessions::default(),
            idempotency: Idempotency::default(),
            revision: 0,
            lease_ms: 0,
        }
    }

    /// How many sessions it knows.
    pub fn sessions(&self) -> usize {
        self.sessions.known.len()
    }

    /// How many idempotency keys it remembers.
    pub fn idempotency_keys(&self) -> usize {
        self.idempotency.len()
    }

    /// The lease time at which the first of its keys, sessions and idempotency keys is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = [
            self.keys.next_due_ms(),
            self.sessions.next_due_ms(&self.limits),
            self.idempotency.next_due_ms(&self.limits),
        ];
        due.into_iter().flatten().min()
    }

    /// How the transaction under an idempotency key was decided.
    pub fn outcome_of(&self, principal: u64, key: &[u8]) -> Option<&Decided> {
        self.idempotency.of(principal, key)
    }

    /// What a transaction that only reads finds now.
    pub fn read(&self, request: &Request<'_>) -> Outcome {
        let (outcome, _) = self.keys.clone().run(request, self.is_meta(), self.now());
        outcome
    }

    /// Applies the next committed entry.
    ///
    /// # Errors
    /// What is wrong with it: no state takes it.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<AppliedEntry, String> {
        if bytes.is_empty() {
            let now = self.now();
            return Ok(AppliedEntry {
                stamped: now,
                taken_for: now,
                expired: Vec::new(),
                items: Vec::new(),
            });
        }
        let entry = Entry::read(bytes)?;
        let stamped = Moment {
            revision: entry.revision,
            lease_ms: entry.lease_ms,
        };
        // Whatever a leader stamps can be applied, and neither ever goes back.
        self.revision = stamped.revision.max(self.revision + 1);
        self.lease_ms = stamped.lease_ms.max(self.lease_ms);
        let taken_for = self.now();
        let expired = self.pass_time();
        let mut applied = Vec::new();
        let mut position = 0;
        for (head, items) in &entry.batches {
            // Entered when an item first needs it, and once.
            let mut entered = None;
            for item in items {
                // The sweep has the entry's first revision.
                self.revision += 1;
                if head.whose == Whose::System {
                    self.system(item)?;
                } else {
                    applied.push(self.item(head, &mut entered, item, position)?);
                }
                position += 1;
            }
        }
        Ok(AppliedEntry {
            stamped,
            taken_for,
            expired,
            items: applied,
        })
    }

    /// Lets expire what is due; the keys.
    fn pass_time(&mut self) -> Vec<Vec<u8>> {
        let limits = self.limits;
        self.sessions.note(self.revision, self.lease_ms, &limits);
        self.sessions.expire(self.lease_ms, &limits);
        self.idempotency.expire(self.lease_ms, &limits);
        self.keys.expire(self.lease_ms)
    }

    /// Whether this is the shard of the names of spaces.
    fn is_meta(&self) -> bool {
        self.group == META_GROUP
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

    /// What the leader says. What the meta shard keeps for the node is looked at for its form alone.
    fn system(&mut self, item: &Item<'_>) -> Result<(), String> {
        if item.sequence != 0 {
            return Err("an item of the system with a sequence".to_owned());
        }
        match (item.kind, self.is_meta()) {
            (1, _) => self.limits = Limits::read(item.payload)?,
            (2, true) => {
                Limits::read(item.payload)?;
            }
            (3, true) if item.payload.len() == 40 => {}
            (kind, _) => return Err(format!("an item of the system of kind {kind}")),
        }
        Ok(())
    }

    fn item(
        &mut self,
        head: &Head,
        entered: &mut Entered,
        item: &Item<'_>,
        position: u32,
    ) -> Result<AppliedItem, String> {
        let (mut idempotency_key, mut only_reads) = (None, false);
        let (kind, judged) = match item.kind {
            1 => {
                let request = Request::read(item.payload)
                    .map_err(|why| format!("a transaction in the log: {why}"))?;
                self.check_space(request.space)?;
                idempotency_key = request.idempotency_key.map(<[u8]>::to_vec);
                only_reads = request.only_reads();
                let judged = if head.whose == Whose::Session {
                    self.in_session(head, entered, item, &request)
                } else {
                    self.without_session(head, item, &request)
                };
                (ItemKind::Transaction, judged)
            }
            2 => {
                let question = Question::read(item.payload)
                    .map_err(|why| format!("an outcome request in the log: {why}"))?;
                self.check_space(question.space)?;
                let judged = if head.whose == Whose::Session {
                    self.outcome(head, entered, &question).map(Judged::idle)
                } else {
                    Err(ErrorCode::InvalidRequest)
                };
                (ItemKind::Outcome, judged)
            }
            kind => return Err(format!("an item of kind {kind} is in the log")),
        };
        let judged = judged.unwrap_or_else(|code| Judged::idle(Expected::Refused(code)));
        Ok(AppliedItem {
            position,
            revision: self.revision,
            head: *head,
            sequence: item.sequence,
            kind,
            payload: item.payload.to_vec(),
            idempotency_key,
            only_reads,
            expected: judged.expected,
            changes: judged.changes,
            executed: judged.executed,
            by_key: judged.by_key,
        })
    }

    /// A transaction under a request id.
    fn in_session(
        &mut self,
        head: &Head,
        entered: &mut Entered,
        item: &Item<'_>,
        request: &Request<'_>,
    ) -> Result<Judged, ErrorCode> {
        let id = self.enter(head, entered)?;
        let window = u64::from(self.limits.session_window);
        let session = &self.sessions.known[&id];
        if item.sequence < session.acked_below {
            return Err(ErrorCode::RequestIdStale);
        }
        if let Some(remembered) = session.decided.get(&item.sequence) {
            if remembered.is_other(item.payload) {
                return Err(ErrorCode::RequestIdConflict);
            }
            return Ok(Judged::idle(Expected::Decided {
                decided: remembered.decided.clone(),
                replayed: true,
            }));
        }
        if item.sequence >= session.acked_below.saturating_add(window) {
            return Err(ErrorCode::WindowExceeded);
        }
        let decision = self.decide(head.principal, item, request)?;
        let remembered = Remembered {
            payload: Some(item.payload.to_vec()),
            decided: decision.decided.clone(),
        };
        let session = self.sessions.known.get_mut(&id).expect("it entered");
        session.decided.insert(item.sequence, remembered);
        Ok(decision.judged())
    }

    fn without_session(
        &mut self,
        head: &Head,
        item: &Item<'_>,
        request: &Request<'_>,
    ) -> Result<Judged, ErrorCode> {
        if request.idempotency_key.is_none() {
            return Err(ErrorCode::IdempotencyKeyRequired);
        }
        Ok(self.decide(head.principal, item, request)?.judged())
    }

    /// What no request id decided: its key does, if it is bound, or it is executed.
    fn decide(
        &mut self,
        principal: u64,
        item: &Item<'_>,
        request: &Request<'_>,
    ) -> Result<Decision, ErrorCode> {
        let Some(key) = request.idempotency_key else {
            return self.run(request);
        };
        let found = self
            .idempotency
            .find(principal, key, request, item.payload, &self.limits)?;
        if let Some(decided) = found {
            return Ok(Decision {
                decided,
                changes: Vec::new(),
                by_key: true,
            });
        }
        let decision = self.run(request)?;
        let (decided, lease_ms) = (&decision.decided, self.lease_ms);
        self.idempotency
            .bind(principal, key, request, item.payload, decided, lease_ms);
        Ok(decision)
    }

    fn enter(&mut self, head: &Head, entered: &mut Entered) -> Result<SessionId, ErrorCode> {
        let Moment { revision, lease_ms } = self.now();
        let (sessions, limits) = (&mut self.sessions, &self.limits);
        *entered.get_or_insert_with(|| sessions.enter(head, revision, lease_ms, limits))
    }

    fn outcome(
        &mut self,
        head: &Head,
        entered: &mut Entered,
        question: &Question,
    ) -> Result<Expected, ErrorCode> {
        let Moment { revision, lease_ms } = self.now();
        let own = (head.birth, head.nonce);
        let asked = match question.session {
            Some((birth, nonce, principal)) if (birth, nonce) != own => {
                if principal != head.principal {
                    return Err(ErrorCode::SessionRefused);
                }
                let limits = self.limits;
                self.sessions
                    .visit((birth, nonce), principal, revision, lease_ms, &limits)?;
                (birth, nonce)
            }
            _ => self.enter(head, entered)?,
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
            return Ok(Expected::OutcomeOf {
                decided: remembered.decided.clone(),
                asked_at: revision,
            });
        }
        if session.decided.len() >= window {
            return Err(ErrorCode::WindowExceeded);
        }
        let decided = Decided {
            revision,
            outcome: None,
            kept: None,
        };
        let remembered = Remembered {
            payload: None,
            decided: decided.clone(),
        };
        session.decided.insert(question.sequence, remembered);
        Ok(Expected::OutcomeOf {
            decided,
            asked_at: revision,
        })
    }

    /// Executes; an error is a refusal that nothing remembers.
    fn run(&mut self, request: &Request<'_>) -> Result<Decision, ErrorCode> {
        let now = self.now();
        let (outcome, changes) = self.keys.run(request, self.is_meta(), now);
        if let Outcome::Aborted(code) = outcome
            && code.outcome() != Meaning::NotApplied
        {
            return Err(code);
        }
        Ok(Decision {
            decided: Decided {
                revision: now.revision,
                outcome: Some(outcome),
                kept: None,
            },
            changes,
            by_key: false,
        })
    }
}
