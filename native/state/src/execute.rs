//! Executing one transaction: guards, then the branch they choose; all of it or nothing.

use domp_protocol::results::ResultsEncoder;
use domp_protocol::transaction::META_SPACE;
use domp_protocol::{ErrorCode, Operation, Transaction, limits};

use crate::answer::Answer;
use crate::config::StateKind;
use crate::effects::Cause;
use crate::footprint::Mention;
use crate::guards::{first_failed, stored};
use crate::index::{PREFETCH_KEYS_MAX, Place};
use crate::keys::{Keys, Moment, Sum, value_bytes};
use crate::places::{At, Places};
use crate::query::{Budget, Query, RangeQuery};
use crate::spaces::Spaces;
use crate::window::Parts;

/// What a transaction works on.
pub(super) struct Executor<'s> {
    pub kind: StateKind,
    pub keys: &'s mut Keys,
    pub spaces: &'s mut Spaces,
    pub encoder: &'s mut ResultsEncoder,
    /// Gets the encoded results, or stays empty.
    pub results: &'s mut Vec<u8>,
    /// Gets the effects, if wanted and any.
    pub effects: Option<&'s mut Vec<u8>>,
    pub now: Moment,
}

/// What came of a transaction that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Executed {
    /// The first guard that failed.
    pub failed_guard: Option<u32>,
    /// There was a branch to run.
    pub ran: bool,
    /// It has effects, in the buffer given for them.
    pub has_effects: bool,
}

impl Executed {
    /// The guards held.
    pub fn applied(&self) -> bool {
        self.failed_guard.is_none()
    }

    /// The answer to remember.
    pub fn answer(&self, results: &[u8]) -> Answer {
        match self.failed_guard {
            Some(guard) if !self.ran => Answer::GuardFailed(guard),
            _ => Answer::executed(self.applied(), results),
        }
    }
}

/// Whether a transaction was sent to a state of the right kind. The verifier has made sure that
/// only `space_create` and `space_drop` write in the meta space, and nowhere else.
pub(super) fn check_space(kind: StateKind, transaction: &Transaction<'_>) -> Result<(), ErrorCode> {
    let is_meta = transaction.space() == META_SPACE;
    if is_meta == (kind == StateKind::Meta) {
        Ok(())
    } else {
        Err(ErrorCode::Forbidden)
    }
}

impl Executor<'_> {
    /// Executes a transaction.
    ///
    /// # Errors
    /// Why it failed; it then left nothing behind.
    pub fn run(&mut self, parts: &Parts<'_, '_>) -> Result<Executed, ErrorCode> {
        self.results.clear();
        check_space(self.kind, &parts.transaction)?;
        let failed_guard = first_failed(self.keys.index(), parts.guards, parts.places);
        let otherwise = match failed_guard {
            None => None,
            Some(_) => parts.transaction.otherwise(),
        };
        if failed_guard.is_some() && otherwise.is_none() {
            self.encoder.begin();
            self.encoder.finish(failed_guard, self.results);
            return Ok(Executed {
                failed_guard,
                ran: false,
                has_effects: false,
            });
        }
        let spaces = *self.spaces;
        let ran = match otherwise {
            None => self.branch(parts.then, parts.places, failed_guard),
            Some(operations) => {
                let operations: Vec<_> = operations
                    .map(|operation| (operation, At::NOWHERE))
                    .collect();
                self.branch(&operations, parts.places, failed_guard)
            }
        };
        if let Err(code) = ran {
            self.keys.rollback();
            *self.spaces = spaces;
            self.results.clear();
            return Err(code);
        }
        let has_effects = match &mut self.effects {
            Some(out) => self.keys.effects(self.now, Cause::Transaction, out),
            None => false,
        };
        self.keys.commit();
        Ok(Executed {
            failed_guard,
            ran: true,
            has_effects,
        })
    }

    fn branch(
        &mut self,
        operations: &[(Operation<'_>, At)],
        places: &Places,
        failed_guard: Option<u32>,
    ) -> Result<(), ErrorCode> {
        if let (Some(bytes), None) = (only_puts(operations), failed_guard) {
            // Nothing is answered, and if it surely fits nothing can fail: old values need not be
            // kept then, unless somebody else wants them.
            let fits = bytes <= limits::EFFECTS_BYTES_MAX;
            let undoable = !fits || self.effects.is_some() || self.keys.keeps();
            return self.each(operations, places, |executor, operation, place| {
                executor.put(operation, place, undoable)
            });
        }
        self.encoder.begin();
        let mut budget = Budget::new(limits::RESULT_BYTES_MAX);
        self.each(operations, places, |executor, operation, place| {
            executor.operation(operation, place, &mut budget)
        })?;
        self.encoder.finish(failed_guard, self.results);
        if self.results.len() as u64 > limits::RESULT_BYTES_MAX {
            return Err(ErrorCode::ResultTooLarge);
        }
        Ok(())
    }

    /// Runs operations in order. The first keys of a transaction are in the cache by now; those of
    /// a long one are brought there as it goes on.
    fn each(
        &mut self,
        operations: &[(Operation<'_>, At)],
        places: &Places,
        mut run: impl FnMut(&mut Self, &Operation<'_>, Place) -> Result<(), ErrorCode>,
    ) -> Result<(), ErrorCode> {
        for (number, chunk) in operations.chunks(PREFETCH_KEYS_MAX).enumerate() {
            if number > 0 {
                let keys: Vec<&[u8]> = chunk
                    .iter()
                    .filter_map(|(operation, _)| match Mention::of_operation(operation) {
                        Mention::Key(key) => Some(key),
                        Mention::Range(..) => None,
                    })
                    .collect();
                self.keys.index().prefetch(&keys, |_| {});
            }
            chunk
                .iter()
                .try_for_each(|(operation, at)| run(self, operation, places.of(*at)))?;
        }
        Ok(())
    }

    fn operation(
        &mut self,
        operation: &Operation<'_>,
        place: Place,
        budget: &mut Budget,
    ) -> Result<(), ErrorCode> {
        match *operation {
            Operation::Put { .. } => {
                self.put(operation, place, true)?;
                self.encoder.push_none();
            }
            Operation::Add {
                key,
                delta,
                floor,
                ceiling,
            } => {
                let sum = Sum {
                    delta,
                    floor,
                    ceiling,
                };
                let sum = self.keys.add(key, place, &sum, self.now)?;
                self.encoder.push_number(sum);
            }
            Operation::Append { key, value } => {
                let length = self.keys.append(key, place, value, self.now)?;
                self.encoder.push_count(length);
            }
            Operation::Delete { key } => {
                let was_there = self.keys.delete(key, place, self.now)?;
                self.encoder.push_count(u64::from(was_there));
            }
            Operation::DeleteRange { from, to } => {
                let count = self.keys.delete_range(from, to, self.now)?;
                self.encoder.push_count(count);
            }
            Operation::SpaceCreate { name } => {
                let id = self.spaces.create(self.keys, name, self.now)?;
                self.encoder.push_number(i64::from(id));
            }
            Operation::SpaceDrop { name } => {
                self.spaces.drop(self.keys, name, self.now)?;
                self.encoder.push_none();
            }
            Operation::Get { .. } | Operation::Range { .. } | Operation::Count { .. } => {
                let mut query = Query {
                    index: self.keys.index(),
                    lease_ms: self.now.lease_ms,
                    encoder: self.encoder,
                    budget,
                };
                read(&mut query, operation, place)?;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        operation: &Operation<'_>,
        place: Place,
        undoable: bool,
    ) -> Result<(), ErrorCode> {
        if let Operation::Put {
            key,
            value,
            expire_after_ms,
        } = *operation
        {
            let expires_at_ms =
                expire_after_ms.map(|after_ms| self.now.lease_ms.saturating_add(after_ms));
            self.keys
                .put(key, place, stored(value), expires_at_ms, self.now, undoable)?;
        }
        Ok(())
    }
}

/// Answers an operation that reads.
pub(super) fn read(
    query: &mut Query<'_>,
    operation: &Operation<'_>,
    place: Place,
) -> Result<(), ErrorCode> {
    match *operation {
        Operation::Get { key } => query.get(key, place),
        Operation::Range {
            from,
            to,
            limit,
            reverse,
            keys_only,
        } => query.range(&RangeQuery {
            from,
            to,
            limit,
            reverse,
            keys_only,
        }),
        Operation::Count { from, to } => {
            query.count(from, to);
            Ok(())
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// The bytes that a branch of nothing but puts writes, or `None` if it does anything else.
fn only_puts(operations: &[(Operation<'_>, At)]) -> Option<u64> {
    let mut bytes = 0;
    for (operation, _) in operations {
        let Operation::Put { key, value, .. } = *operation else {
            return None;
        };
        bytes += (key.len() + value_bytes(stored(value))) as u64;
    }
    Some(bytes)
}
