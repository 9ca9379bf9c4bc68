//! Applying an entry: each item is decided once, answered, and remembered.

use domp_protocol::{ErrorCode, OutcomeRequest, limits};
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::{ANSWER_BYTES_MAX, Answer, KEPT_ANSWER_BYTES_MAX, is_recorded};
use crate::entry::{BatchHead, BatchKind, Entry, EntryError, Plan, Planned, Work};
use crate::execute::{Executed, Executor};
use crate::idempotency::{IdempotencyKey, NOT_COMPARED, Remembered};
use crate::keys::Moment;
use crate::sessions::{Handle, Place, SessionId, Slot};
use crate::sink::{EXPIRY_POSITION, Reply, Sink};
use crate::system::SystemItem;
use crate::window::Parts;
use crate::{Scratch, State};

/// Where an item stands.
#[derive(Clone, Copy)]
struct Here {
    position: u32,
    now: Moment,
}

/// A transaction under an idempotency key.
struct Keyed {
    key: IdempotencyKey,
    sequence: u64,
    /// Of its payload.
    hash: u64,
    /// What remembering its answer elsewhere too may take.
    also_bytes: u64,
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
    /// or was written by a later version. Stamps that do not grow are no error: see [`crate::entry`].
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
        let head = Entry::parse_known(entry, self.config.apply_version_known)?;
        let mut plan = std::mem::take(&mut self.scratch.plan);
        plan.clear();
        let read = plan.read(&head, self.config.kind);
        if read.is_ok() {
            self.applied_index = index;
            self.run(&head, entry, &plan, sink);
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
        match Entry::parse_known(entry, self.config.apply_version_known) {
            Ok(head) if plan.is_of(&head) => {
                self.check_index(index)?;
                self.applied_index = index;
                self.run(&head, entry, plan, sink);
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
    fn run<S: Sink>(&mut self, head: &Entry<'_>, entry: &[u8], plan: &Plan, sink: &mut S) {
        let last = self.revision;
        // The same on every replica, whatever a leader stamped.
        let sweep = head.revision.max(last.saturating_add(1));
        // At the very end of the 64 bits items are left without a revision, and refused.
        let room = u64::MAX - sweep;
        self.revision = sweep + room.min(head.items.into());
        self.lease_ms = self.lease_ms.max(head.lease_ms);
        self.apply_version = self.apply_version.max(head.apply_version);
        let begin = Moment {
            revision: sweep,
            lease_ms: self.lease_ms,
        };
        self.pass_time(begin, sweep > last, sink);
        self.apply_plan(plan, entry, begin, sink);
        self.bound_overlay();
    }

    /// Lets expire what is due, as one transaction of the system if it has a revision. A bounded
    /// number, so that no entry takes long; the rest comes with the next.
    fn pass_time<S: Sink>(&mut self, now: Moment, has_revision: bool, sink: &mut S) {
        const MOST: u64 = limits::EXPIRIES_PER_ENTRY_MAX;
        self.keys.free_discarded();
        if has_revision {
            self.sessions.note(now, &self.limits);
            let effects = S::WANTS_EFFECTS.then_some(&mut self.scratch.effects);
            if self.keys.expire(now, MOST, effects) {
                sink.effects(EXPIRY_POSITION, &self.scratch.effects);
            }
        }
        self.sessions.expire(now, MOST, &self.limits);
        self.idempotency.expire(now, MOST, &self.limits);
    }

    fn apply_plan<S: Sink>(&mut self, plan: &Plan, entry: &[u8], begin: Moment, sink: &mut S) {
        let mut window = std::mem::take(&mut self.scratch.window).recycle();
        let mut position = 0;
        // Items that have a revision: the sweep had the first.
        let room = u64::MAX - begin.revision;
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
                        Work::Outcome | Work::Reads | Work::System => None,
                    });
                    window.fill(next, self.keys.index());
                }
                let parts = window.take();
                let number = u64::from(position);
                if number >= room {
                    self.without_revision(item, entry, position, sink);
                    (items, position) = (rest, position + 1);
                    continue;
                }
                let revision = begin.revision + 1 + number;
                let now = Moment { revision, ..begin };
                let here = Here { position, now };
                let result = match (&parts, head.kind) {
                    (Some(parts), BatchKind::Session) => {
                        self.session_transaction(&mut caller, item.sequence, parts, here, sink)
                    }
                    (Some(parts), _) => {
                        self.stateless_transaction(head, item.sequence, parts, here, sink)
                    }
                    (None, _) => self.other_item(&mut caller, item, entry, here, sink),
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

    /// An item that is no transaction. An error is a refusal that nothing remembers.
    fn other_item<S: Sink>(
        &mut self,
        caller: &mut Caller<'_>,
        item: &Planned,
        entry: &[u8],
        here: Here,
        sink: &mut S,
    ) -> Result<(), ErrorCode> {
        match item.work {
            Work::System => {
                self.system_item(item.payload(entry));
                Ok(())
            }
            Work::Outcome if caller.head.kind == BatchKind::Session => {
                let request = OutcomeRequest::parse(item.payload(entry))?;
                self.outcome(caller, item.sequence, &request, here, sink)
            }
            // There is no session to ask about, or nothing to decide.
            _ => Err(ErrorCode::InvalidRequest),
        }
    }

    /// What the leader says; it was verified.
    fn system_item(&mut self, mut bytes: &[u8]) {
        match SystemItem::take(&mut bytes) {
            Ok((SystemItem::Limits(limits), _)) => self.limits = limits,
            Ok((SystemItem::WantedLimits(limits), _)) => self.wanted_limits = Some(limits),
            Ok((SystemItem::SigningKey(key), _)) => self.secrets.add(key),
            Err(_) => debug_assert!(false, "the plan's reader took it"),
        }
    }

    /// An item for which there is no revision any more.
    #[cold]
    fn without_revision<S: Sink>(
        &mut self,
        item: &Planned,
        entry: &[u8],
        position: u32,
        sink: &mut S,
    ) {
        match item.work {
            Work::System => self.system_item(item.payload(entry)),
            _ => sink.reply(
                position,
                &Reply::refused(item.sequence, ErrorCode::Unavailable),
            ),
        }
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
        if window.is_beyond(sequence, self.limits.session_window) {
            return Err(ErrorCode::WindowExceeded);
        }
        let (revision, answer) = match parts.transaction.idempotency_key() {
            None => {
                self.check_answer_room(ANSWER_BYTES_MAX)?;
                let answer = self.decide(sequence, parts, here, sink)?;
                (here.now.revision, answer)
            }
            Some(key) => {
                let keyed = Keyed {
                    key: IdempotencyKey::new(caller.head.principal, key),
                    sequence,
                    hash,
                    // Remembered with the session as well.
                    also_bytes: KEPT_ANSWER_BYTES_MAX,
                };
                self.decide_under_key(&keyed, parts, here, sink)?
            }
        };
        let slot = Slot {
            sequence,
            hash,
            revision,
            answer,
        };
        self.sessions.record(handle, at, slot);
        Ok(())
    }

    /// A transaction without a session. An error is a refusal that nothing remembers.
    fn stateless_transaction<S: Sink>(
        &mut self,
        head: &BatchHead,
        sequence: u64,
        parts: &Parts<'_, '_>,
        here: Here,
        sink: &mut S,
    ) -> Result<(), ErrorCode> {
        let key = parts.transaction.idempotency_key();
        let key = key.ok_or(ErrorCode::IdempotencyKeyRequired)?;
        let keyed = Keyed {
            key: IdempotencyKey::new(head.principal, key),
            sequence,
            hash: xxh3_64(parts.transaction.bytes()),
            also_bytes: 0,
        };
        self.decide_under_key(&keyed, parts, here, sink).map(drop)
    }

    /// Answers a transaction from its idempotency key, or executes it and binds the key; says at
    /// which revision it was decided, and what to remember under a request id.
    ///
    /// # Errors
    /// A refusal that is not remembered; it has not been answered yet.
    #[inline(never)]
    fn decide_under_key<S: Sink>(
        &mut self,
        keyed: &Keyed,
        parts: &Parts<'_, '_>,
        here: Here,
        sink: &mut S,
    ) -> Result<(u64, Answer), ErrorCode> {
        let sequence = keyed.sequence;
        let kept = parts.transaction.result();
        if let Some((revision, remembered)) = self.idempotency.find(&keyed.key) {
            let is_compared = kept.is_none() && remembered.hash != NOT_COMPARED;
            if is_compared && remembered.hash != keyed.hash {
                return Err(ErrorCode::IdempotencyConflict);
            }
            self.check_answer_room(keyed.also_bytes)?;
            let reply = Reply {
                sequence,
                revision,
                ..REPLAYED
            };
            self.scratch
                .replay(&remembered.answer, reply, here.position, sink);
            return Ok((revision, remembered.answer.clone()));
        }
        if self.idempotency.len() >= self.limits.idempotency_keys_max as usize {
            return Err(ErrorCode::SessionsFull);
        }
        self.check_answer_room(KEPT_ANSWER_BYTES_MAX + keyed.also_bytes)?;
        let answer = self.decide(sequence, parts, here, sink)?;
        let revision = here.now.revision;
        if is_binding(&answer, parts) {
            let remembered = Remembered {
                key: keyed.key,
                hash: if kept.is_some() {
                    NOT_COMPARED
                } else {
                    keyed.hash
                },
                bound_ms: here.now.lease_ms,
                answer: kept.map_or_else(|| answer.clone(), |kept| answer.keeping(kept)),
            };
            let recorded = self.idempotency.record(revision, remembered);
            debug_assert!(recorded, "the key was looked for and revisions grow");
        }
        Ok((revision, answer))
    }

    /// Whether so much more may be remembered: a request whose answer would not be kept must not be
    /// executed. Nothing is evicted; acknowledging and expiry make room.
    fn check_answer_room(&self, bytes: u64) -> Result<(), ErrorCode> {
        if self.answer_bytes() + bytes > self.config.answers_bytes_max {
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
                if window.len() >= self.limits.session_window as usize {
                    return Err(ErrorCode::WindowExceeded);
                }
                self.check_answer_room(ANSWER_BYTES_MAX)?;
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
        self.sessions.visit(id, head.principal, now, &self.limits)
    }

    fn enter(&mut self, caller: &mut Caller<'_>, now: Moment) -> Result<Handle, ErrorCode> {
        let sessions = &mut self.sessions;
        *caller
            .session
            .get_or_insert_with(|| sessions.enter(caller.head, now, &self.limits))
    }
}

/// Whether an attempt binds its idempotency key: it did something, or never will. An attempt whose
/// guards failed, with nothing else to do, leaves the key to the next.
fn is_binding(answer: &Answer, parts: &Parts<'_, '_>) -> bool {
    let otherwise = || parts.transaction.otherwise().map_or(0, |all| all.len());
    match answer {
        Answer::Refused(_) => true,
        Answer::GuardFailed(_) | Answer::Fence => false,
        _ => answer.applied() || otherwise() > 0,
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
