//! The state of one shard: keys, sessions, idempotency keys; and what a committed log entry does
//! to them.
//!
//! An entry is verified whole ([`crate::entry`], then every item), then applied:
//! lease time moves on, what is due expires, and each item is answered in
//! order. The sweep has the entry's first revision, item n the one `1 + n` behind it.
//!
//! A request of a session takes these steps: the session is entered (age,
//! principal, epoch, acknowledgement), its sequence is looked up in the
//! session's window, and only an open sequence is executed.
//!
//! A transaction may also bear an idempotency key, beside its request id or
//! instead of one: both tables are decided in this one apply. A request id that is
//! decided answers first, then the key.
//!
//! What was decided is recorded: success, `applied: false`, and every failure that says
//! `not_applied`. Refusals that did nothing (`window_exceeded`,
//! `sessions_full`, `session_superseded`, `forbidden`, ...) are not. What is recorded is bounded:
//! by count in each session (the window) and each table, by memory over all of them
//! (`answers_bytes_max`); beyond that a request is refused before it is executed.
//!
//! Invariants:
//! - everything here is a function of the configuration and the entries (Promise 9);
//! - a request id is executed at most once (Promise 2);
//! - a transaction that fails leaves nothing behind;
//! - between entries a snapshot may begin, and takes slices while entries go on.
//!
//! The state decides; it does no IO, reads no clock, starts no thread and draws no random number.

#![deny(unsafe_code)]

mod answer;
mod apply;
mod bytes;
mod config;
mod due;
pub mod effects;
pub mod entry;
mod execute;
mod footprint;
mod guards;
pub mod hlc;
mod idempotency;
#[allow(
    unsafe_code,
    reason = "a record is one heap block; what of it is hot is prefetched"
)]
pub mod index;
mod keep;
mod keys;
mod places;
mod query;
mod sessions;
mod sink;
mod snapshot;
mod spaces;
mod system;
mod window;

use std::ops::ControlFlow;

use domp_protocol::results::ResultsEncoder;
use domp_protocol::{ErrorCode, Transaction, limits};

pub use config::{StateConfig, StateKind, StateStatistics};
pub use footprint::{Footprint, footprint};
pub use idempotency::KeyOutcome;
pub use sink::{EXPIRY_POSITION, Reply, Sink};
pub use snapshot::{Restore, SnapshotProgress, snapshot_contents, snapshot_slice_is_secret};
pub use system::{SigningKey, StateLimits, SystemItem};

use crate::entry::{APPLY_VERSION_FOUNDING, Plan};
use crate::index::Place;
use idempotency::{IdempotencyKey, IdempotencyTable};
use keys::Keys;
use query::{Budget, Query};
use sessions::Sessions;
use snapshot::Walk;
use spaces::Spaces;
use system::Secrets;
use window::{Parts, Window};

/// The state of one shard.
pub struct State {
    config: StateConfig,
    applied_index: u64,
    revision: u64,
    lease_ms: u64,
    apply_version: u16,
    limits: StateLimits,
    wanted_limits: Option<StateLimits>,
    keys: Keys,
    spaces: Spaces,
    sessions: Sessions,
    idempotency: IdempotencyTable,
    secrets: Secrets,
    walk: Option<Walk>,
    /// See [`Self::read_as_of`]. No part of what is replicated.
    reads_as_of_ms: u64,
    scratch: Scratch,
}

/// Memory that is used again from item to item.
#[derive(Default)]
struct Scratch {
    encoder: ResultsEncoder,
    results: Vec<u8>,
    effects: Vec<u8>,
    plan: Plan,
    window: Window<'static>,
}

/// What a read found, beside its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The guards held.
    pub applied: bool,
    /// Of the state that was read.
    pub revision: u64,
}

impl State {
    /// The state before the first entry.
    pub fn new(config: StateConfig) -> Self {
        Self {
            config,
            applied_index: 0,
            revision: 0,
            lease_ms: 0,
            apply_version: APPLY_VERSION_FOUNDING,
            limits: StateLimits::FOUNDING,
            wanted_limits: None,
            keys: Keys::default(),
            spaces: Spaces::default(),
            sessions: Sessions::new(),
            idempotency: IdempotencyTable::default(),
            secrets: Secrets::default(),
            walk: None,
            reads_as_of_ms: 0,
            scratch: Scratch::default(),
        }
    }

    /// Reads at the present revision. `out` is cleared and gets an encoded `Results`, or nothing
    /// where there is nothing to say.
    ///
    /// # Errors
    /// `invalid_request` for a transaction that writes, `forbidden` for one of another kind of
    /// space, `result_too_large` beyond `READ_BYTES_MAX`.
    pub fn read(
        &mut self,
        transaction: &Transaction<'_>,
        out: &mut Vec<u8>,
    ) -> Result<ReadAnswer, ErrorCode> {
        out.clear();
        let mut answer = Err(ErrorCode::Internal);
        self.read_all(std::iter::once(*transaction), |read, results| {
            answer = read;
            out.extend_from_slice(results);
            ControlFlow::Break(())
        });
        answer
    }

    /// Reads many transactions at the present revision, so that their cache misses overlap. Hands
    /// what [`Self::read`] would say of each, and its results, to `answer`, in order, until it breaks off.
    pub fn read_all<'a>(
        &mut self,
        mut transactions: impl Iterator<Item = Transaction<'a>>,
        mut answer: impl FnMut(Result<ReadAnswer, ErrorCode>, &[u8]) -> ControlFlow<()>,
    ) {
        let mut window = std::mem::take(&mut self.scratch.window).recycle();
        let mut out = std::mem::take(&mut self.scratch.results);
        'windows: loop {
            window.fill(transactions.by_ref().map(Some), self.keys.index());
            if window.is_empty() {
                break;
            }
            while let Some(parts) = window.take() {
                out.clear();
                let read = self.read_parts(&parts, &mut out);
                if read.is_err() {
                    out.clear();
                }
                if answer(read, &out).is_break() {
                    break 'windows;
                }
            }
        }
        self.scratch.results = out;
        self.scratch.window = window.recycle();
    }

    fn read_parts(
        &mut self,
        parts: &Parts<'_, '_>,
        out: &mut Vec<u8>,
    ) -> Result<ReadAnswer, ErrorCode> {
        let transaction = &parts.transaction;
        if !transaction.is_read_only() {
            return Err(ErrorCode::InvalidRequest);
        }
        execute::check_space(self.config.kind, transaction)?;
        let index = self.keys.index();
        let failed_guard = guards::first_failed(index, parts.guards, parts.places);
        let encoder = &mut self.scratch.encoder;
        encoder.begin();
        let mut budget = Budget::new(limits::READ_BYTES_MAX);
        let mut query = Query {
            index,
            lease_ms: self.lease_ms.max(self.reads_as_of_ms),
            encoder,
            budget: &mut budget,
        };
        if failed_guard.is_none() {
            for (operation, at) in parts.then {
                execute::read(&mut query, operation, parts.places.of(*at))?;
            }
        } else {
            for operation in transaction.otherwise().into_iter().flatten() {
                execute::read(&mut query, &operation, Place::UNKNOWN)?;
            }
        }
        self.scratch.encoder.finish(failed_guard, out);
        if out.len() as u64 > limits::READ_BYTES_MAX {
            return Err(ErrorCode::ResultTooLarge);
        }
        Ok(ReadAnswer {
            applied: failed_guard.is_none(),
            revision: self.revision,
        })
    }

    /// Lease time now, as the leader counts it: between entries the state's own stands still, and reads
    /// would tell too long a rest of life.
    pub fn read_as_of(&mut self, lease_ms: u64) {
        self.reads_as_of_ms = lease_ms;
    }

    /// The log index applied last.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The highest revision used so far, by an item or by a sweep. Above what a leader stamped where
    /// that had to be lifted: a clock observes it before it stamps more.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Lease time.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// The lease time at which something expires next: a key, a session, an idempotency key. It
    /// does so with the first entry whose lease time is that or later.
    pub fn next_due_ms(&self) -> Option<u64> {
        // A key can't expire any more when there is no revision left for it.
        let can_expire = self.revision < u64::MAX;
        let keys = self.keys.next_due_ms().filter(|_| can_expire);
        let sessions = self.sessions.next_due_ms(&self.limits);
        let idempotency = self.idempotency.next_due_ms(&self.limits);
        [keys, sessions, idempotency].into_iter().flatten().min()
    }

    /// The spaces by name, with their ids; none unless this is the meta state.
    pub fn spaces(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let meta = self.config.kind == StateKind::Meta;
        let records = meta.then(|| self.keys.index().iter());
        records
            .into_iter()
            .flatten()
            .filter_map(|record| spaces::space_of(record.key(), record.value()))
    }

    /// The revision at which a space was created or dropped last; 0: never. Tells the owner
    /// whether to look at [`Self::spaces`] again.
    pub fn spaces_revision(&self) -> u64 {
        self.spaces.changed()
    }

    /// The id that the next space gets: whatever has a higher one is not known here yet.
    pub fn next_space_id(&self) -> u32 {
        self.spaces.next_id()
    }

    /// The apply version that the shard has come to: entries are applied under it.
    pub fn apply_version(&self) -> u16 {
        self.apply_version
    }

    /// The limits that hold now.
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// The limits that every shard is to adopt; the meta state's, once somebody said.
    pub fn wanted_limits(&self) -> Option<&StateLimits> {
        self.wanted_limits.as_ref()
    }

    /// The keys that session tokens are signed with, ascending by id; the meta state's. They are in
    /// snapshots and nowhere else.
    pub fn signing_keys(&self) -> &[SigningKey] {
        self.secrets.keys()
    }

    /// What became of the transaction under a principal's idempotency key. It only reads.
    pub fn outcome_of(&self, principal: u64, key: &[u8]) -> KeyOutcome<'_> {
        let key = IdempotencyKey::new(principal, key);
        self.idempotency.outcome_of(&key)
    }

    /// The configuration.
    pub fn config(&self) -> &StateConfig {
        &self.config
    }

    /// Memory of the answers that are kept.
    fn answer_bytes(&self) -> u64 {
        self.sessions.answer_bytes() + self.idempotency.answer_bytes()
    }

    /// What the state holds.
    pub fn statistics(&self) -> StateStatistics {
        StateStatistics {
            keys: self.keys.index().len() as u64,
            bytes: self.keys.index().bytes() as u64,
            expiring_keys: self.keys.expiring() as u64,
            sessions: self.sessions.len() as u64,
            session_answers: self.sessions.answers(),
            answer_bytes: self.answer_bytes(),
            idempotency_keys: self.idempotency.len() as u64,
            overlay_bytes: self.overlay_bytes() as u64,
        }
    }
}
