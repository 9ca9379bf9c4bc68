//! Applying an entry: each item is decided once, answered, and remembered.

use domp_protocol::{ErrorCode, OutcomeRequest, limits};
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::{ANSWER_BYTES_MAX, Answer, is_recorded};
use crate::entry::{BatchHead, BatchKind, Entry, EntryError, Plan, Work};
use crate::execute::{Executed, Executor};
use crate::idempotency::{IdempotencyKey, Remembered};
use crate::keys::Moment;
use crate::sessions::{Handle, Place, SessionId, Slot};
use crate::sink::{EXPIRY_POSITION, Reply, Sink};
use crate::window::Parts;
use crate::{Scratch, State};

/// Where an item stands.
#[derive(Clone, Copy)]
struct Here {
    position: u32,
    now: Moment,
}

/// The session of a batch: entered when an item first needs it, and once.
struct Caller<'p> {
    head: &'p BatchHead,
    session: Option<Result<Handle, ErrorCode>>,
}

impl State {
    /// Applies the committed entry at `index`: the bytes of [`crate::entry`], or none at all (a
    /// leader's first entry), which only moves the index.
    ///
    /// # Errors
    /// [`EntryError`]; the state is then unchanged. It means that the log is not what was written,
    /// or was written by a later version.
    pub fn apply<S: Sink>(
        &mut self,
        index: u64,
        entry: &[u8],
        sink: &mut S,
    ) -> Result<(), EntryError> {
        self.check_index(index)?;
        if entry.is_empty() {
            self.applied_index = index;
            return Ok(());
        }
        let head = Entry::parse(entry)?;
        let last_revision = self.check_stamps(&head)?;
        let mut plan = std::mem::take(&mut self.scratch.plan);
        plan.clear();
        let read = plan.read(&head);
        if read.is_ok() {
            self.applied_index = index;
            self.run(&head, entry, last_revision, &plan, sink);
        }
        self.scratch.plan = plan;
        read
    }

    /// As [`Self::apply`], for an entry that this node formed of verified items: `plan` came with it
    /// from the builder, and nothing is verified again. A plan of another entry is not used.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_planned<S: Sink>(
        &mut self,
        index: u64,
        entry: &[u8],
        plan: &Plan,
        sink: &mut S,
    ) -> Result<(), EntryError> {
        match Entry::parse(entry) {
            Ok(head) if plan.is_of(&head) => {
                self.check_index(index)?;
                let last_revision = self.check_stamps(&head)?;
                self.applied_index = index;
                self.run(&head, entry, last_revision, plan, sink);
                Ok(())
            }
            _ => self.apply(index, entry, sink),
        }
    }

    fn check_index(&self, index: u64) -> Result<(), EntryError> {
        if index <= self.applied_index {
            return Err(EntryError::IndexNotGrowing {
                last: self.applied_index,
                got: index,
            });
        }
        Ok(())
    }

    /// Applies what was verified.
    fn run<S: Sink>(
        &mut self,
        head: &Entry<'_>,
        entry: &[u8],
        last_revision: u64,
        plan: &Plan,
        sink: &mut S,
    ) {
        self.revision = last_revision;
        self.lease_ms = head.lease_ms;
        let begin = Moment {
            revision: head.revision,
            lease_ms: head.lease_ms,
        };
        self.pass_time(begin, sink);
        self.apply_plan(plan, entry, begin, sink);
        self.bound_overlay();
    }

    /// The revision of the entry's last item.
    fn check_stamps(&self, entry: &Entry<'_>) -> Result<u64, EntryError> {
        if entry.revision <= self.revision {
            return Err(EntryError::RevisionNotGrowing {
                last: self.revision,
                got: entry.revision,
            });
        }
        if entry.lease_ms < self.lease_ms {
            return Err(EntryError::LeaseDecreased {
                last_ms: self.lease_ms,
                got_ms: entry.lease_ms,
            });
        }
        entry
            .last_revision()
            .ok_or(EntryError::Corrupt("an entry's revisions do not fit"))
    }

    /// Lets expire what is due. A bounded number, so that no entry takes long; the rest comes with
    /// the next.
    fn pass_time<S: Sink>(&mut self, now: Moment, sink: &mut S) {
        const MOST: u64 = limits::EXPIRIES_PER_ENTRY_MAX;
        self.keys.free_discarded();
        self.sessions.note(now, &self.config);
        let effects = S::WANTS_EFFECTS.then_some(&mut self.scratch.effects);
        if self.keys.expire(now, MOST, effects) {
            sink.effects(EXPIRY_POSITION, &self.scratch.effects);
        }
        self.sessions.expire(now, MOST, &self.config);
        self.idempotency.expire(now, MOST, &self.config);
    }

    fn apply_plan<S: Sink>(&mut self, plan: &Plan, entry: &[u8], begin: Moment, sink: &mut S) {
        let mut window = std::mem::take(&mut self.scratch.window).recycle();
        let mut position = 0;
        let mut items = plan.items.as_slice();
        for (head, count) in &plan.batches {
            let mut caller = Caller {
                head,
                session: None,
            };
            for _ in 0..*count {
                let Some((item, rest)) = items.split_first() else {
                    break;
                };
                if window.is_empty() {
                    let next = items.iter().map(|item| match item.work {
                        Work::Transaction(outline) => Some(outline.over(item.payload(entry))),
                        Work::Outcome => None,
                    });
                    window.fill(next, self.keys.index());
                }
                let parts = window.take();
                let revision = begin.revision + u64::from(position);
                let now = Moment { revision, ..begin };
                let here = Here { position, now };
                let result = match (&parts, head.kind) {
                    (Some(parts), BatchKind::Session) => {
                        self.session_transaction(&mut caller, item.sequence, parts, here, sink)
                    }
                    (Some(parts), BatchKind::Idempotent) => {
                        self.idempotent_transaction(head, item.sequence, parts, here, sink)
                    }
                    (None, BatchKind::Session) => OutcomeRequest::parse(item.payload(entry))
                        .and_then(|request| {
                            self.outcome(&mut caller, item.sequence, &request, here, sink)
                        }),
                    // There is no session to ask about.
                    (None, BatchKind::Idempotent) => Err(ErrorCode::InvalidRequest),
                };
                if let Err(code) = result {
                    sink.reply(here.position, &Reply::refused(item.sequence, code));
                }
                items = rest;
                position += 1;
            }
        }
        self.scratch.window = window.recycle();
    }

    /// A transaction under a request id. An error is a refusal that nothing remembers.
    fn session_transaction<S: Sink>(
        &mut self,
        caller: &mut Caller<'_>,
        sequence: u64,
        parts: &Parts<'_, '_>,
        here: Here,
        sink: &mut S,
    ) -> Result<(), ErrorCode> {
        let handle = self.enter(caller, here.now)?;
        let hash = xxh3_64(parts.transaction.bytes());
        let window = self.sessions.window(handle);
        let at = match window.find(sequence) {
            Place::Acknowledged => return Err(ErrorCode::RequestIdStale),
            Place::Decided(at) => {
                let slot = window.slot(at);
                let is_fence = slot.answer == Answer::Fence;
                if slot.hash != hash && !is_fence {
                    return Err(ErrorCode::RequestIdConflict);
                }
                let reply = Reply {
                    sequence,
                    revision: slot.revision,
                    ..REPLAYED
                };
                self.scratch
                    .replay(&slot.answer, reply, here.position, sink);
                return Ok(());
            }
            Place::Open(at) => at,
        };
        if window.is_beyond(sequence, self.config.session_window) {
            return Err(ErrorCode::WindowExceeded);
        }
        self.check_answer_room()?;
        let answer = self.decide(sequence, parts, here, sink)?;
        let slot = Slot {
            sequence,
            hash,
            revision: here.now.revision,
            answer,
        };
        self.sessions.record(handle, at, slot);
        Ok(())
    }

    /// A transaction under an idempotency key. An error is a refusal that nothing remembers.
    fn idempotent_transaction<S: Sink>(
        &mut self,
        head: &BatchHead,
        sequence: u64,
        parts: &Parts<'_, '_>,
        here: Here,
        sink: &mut S,
    ) -> Result<(), ErrorCode> {
        let key = IdempotencyKey {
            high: head.birth,
            low: head.nonce,
            principal: head.principal,
        };
        let hash = xxh3_64(parts.transaction.bytes());
        if let Some((revision, remembered)) = self.idempotency.find(&key, &self.config)? {
            if remembered.hash != hash {
                return Err(ErrorCode::RequestIdConflict);
            }
            let reply = Reply {
                sequence,
                revision,
                ..REPLAYED
            };
            self.scratch
                .replay(&remembered.answer, reply, here.position, sink);
            return Ok(());
        }
        self.check_answer_room()?;
        let answer = self.decide(sequence, parts, here, sink)?;
        let remembered = Remembered {
            key,
            hash,
            used_ms: here.now.lease_ms,
            answer,
        };
        let recorded = self.idempotency.record(here.now.revision, remembered);
        debug_assert!(recorded, "the key was looked for and revisions grow");
        Ok(())
    }

    /// Whether one more answer may be remembered, however long it is: a request whose answer would
    /// not be kept must not be executed. Nothing is evicted; acknowledging and expiry make room.
    fn check_answer_room(&self) -> Result<(), ErrorCode> {
        if self.answer_bytes() + ANSWER_BYTES_MAX > self.config.answers_bytes_max {
            return Err(ErrorCode::SessionsFull);
        }
        Ok(())
    }

    /// Executes a transaction, answers it, and says what to remember.
    ///
    /// # Errors
    /// A refusal that is not remembered; it has not been answered yet.
    fn decide<S: Sink>(
        &mut self,
        sequence: u64,
        parts: &Parts<'_, '_>,
        here: Here,
        sink: &mut S,
    ) -> Result<Answer, ErrorCode> {
        let revision = here.now.revision;
        match self.execute(parts, here.now, S::WANTS_EFFECTS) {
            Ok(executed) => {
                if executed.has_effects {
                    sink.effects(here.position, &self.scratch.effects);
                }
                let results = &self.scratch.results;
                let applied = executed.applied();
                let reply = Reply {
                    sequence,
                    revision,
                    applied,
                    results,
                    ..ANSWERED
                };
                sink.reply(here.position, &reply);
                Ok(executed.answer(results))
            }
            Err(code) if is_recorded(code) => {
                let reply = Reply {
                    sequence,
                    revision,
                    code: Some(code),
                    ..ANSWERED
                };
                sink.reply(here.position, &reply);
                Ok(Answer::Refused(code))
            }
            Err(code) => Err(code),
        }
    }

    fn execute(
        &mut self,
        parts: &Parts<'_, '_>,
        now: Moment,
        wants_effects: bool,
    ) -> Result<Executed, ErrorCode> {
        let mut executor = Executor {
            kind: self.config.kind,
            keys: &mut self.keys,
            spaces: &mut self.spaces,
            encoder: &mut self.scratch.encoder,
            results: &mut self.scratch.results,
            effects: wants_effects.then_some(&mut self.scratch.effects),
            now,
        };
        executor.run(parts)
    }

    /// What became of a request? Either it was decided, or it is fenced and never takes effect.
    fn outcome<S: Sink>(
        &mut self,
        caller: &mut Caller<'_>,
        sequence: u64,
        request: &OutcomeRequest<'_>,
        here: Here,
        sink: &mut S,
    ) -> Result<(), ErrorCode> {
        let handle = self.asked_about(caller, request, here.now)?;
        let window = self.sessions.window(handle);
        match window.find(request.sequence) {
            Place::Acknowledged => return Err(ErrorCode::RequestIdStale),
            Place::Decided(at) => {
                let slot = window.slot(at);
                if slot.answer.is_executed() {
                    let reply = Reply {
                        sequence,
                        revision: slot.revision,
                        outcome_applied: true,
                        ..REPLAYED
                    };
                    self.scratch
                        .replay(&slot.answer, reply, here.position, sink);
                    return Ok(());
                }
                // Refused or fenced: it is decided that it never takes effect.
            }
            Place::Open(at) => {
                // A session made known by this very request has acknowledged nothing here yet, so
                // fences are bounded by their count rather than by their distance.
                if window.len() >= self.config.session_window as usize {
                    return Err(ErrorCode::WindowExceeded);
                }
                self.check_answer_room()?;
                let revision = here.now.revision;
                let answer = Answer::Fence;
                let slot = Slot {
                    sequence: request.sequence,
                    hash: 0,
                    revision,
                    answer,
                };
                self.sessions.record(handle, at, slot);
            }
        }
        let never = Reply {
            sequence,
            revision: here.now.revision,
            ..ANSWERED
        };
        sink.reply(here.position, &never);
        Ok(())
    }

    /// The session that an outcome request asks about.
    fn asked_about(
        &mut self,
        caller: &mut Caller<'_>,
        request: &OutcomeRequest<'_>,
        now: Moment,
    ) -> Result<Handle, ErrorCode> {
        let head = caller.head;
        let Some(token) = &request.session else {
            return self.enter(caller, now);
        };
        if token.birth == head.birth && token.nonce == head.nonce {
            return self.enter(caller, now);
        }
        if token.principal != head.principal {
            return Err(ErrorCode::SessionRefused);
        }
        let id = SessionId {
            birth: token.birth,
            nonce: token.nonce,
        };
        self.sessions.visit(id, head.principal, now, &self.config)
    }

    fn enter(&mut self, caller: &mut Caller<'_>, now: Moment) -> Result<Handle, ErrorCode> {
        let sessions = &mut self.sessions;
        *caller
            .session
            .get_or_insert_with(|| sessions.enter(caller.head, now, &self.config))
    }
}

/// A committed answer given now.
const ANSWERED: Reply<'static> = Reply {
    sequence: 0,
    revision: 0,
    code: None,
    applied: false,
    replayed: false,
    outcome_applied: false,
    results: &[],
};

/// A committed answer given again.
const REPLAYED: Reply<'static> = Reply {
    replayed: true,
    ..ANSWERED
};

impl Scratch {
    /// Gives a remembered answer again.
    fn replay<S: Sink>(
        &mut self,
        answer: &Answer,
        reply: Reply<'static>,
        position: u32,
        sink: &mut S,
    ) {
        let reply = Reply {
            code: answer.code(),
            applied: answer.applied(),
            results: answer.results(&mut self.encoder, &mut self.results),
            ..reply
        };
        sink.reply(position, &reply);
    }
}
