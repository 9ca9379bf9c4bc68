//! Idempotency keys: once within a while, whoever sends it, in whatever session or without one.
//!
//! A key is bound by the first transaction under it that applies or is refused
//! for good; its answer is remembered for the time to live of lease time after
//! that, and given to every further one. A key belongs to its principal. A full
//! table refuses, it never evicts.
//!
//! Records stand in the order of binding, which is the order of expiry; they
//! never change. So a snapshot's walk needs to know of those only that expire
//! before it reached them, and those come before all others.

use std::collections::BTreeMap;

use domp_protocol::ErrorCode;
use xxhash_rust::xxh3::xxh3_128;

use crate::answer::Answer;
use crate::bytes::Cursor;
use crate::keys::Moment;
use crate::system::StateLimits;

/// A key, by its hash, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdempotencyKey {
    principal: u64,
    hash: u128,
}

impl IdempotencyKey {
    pub fn new(principal: u64, key: &[u8]) -> Self {
        Self {
            principal,
            hash: xxh3_128(key),
        }
    }
}

/// What became of the transaction under an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOutcome<'a> {
    /// It was executed: its guards held, or they did not and `otherwise` ran (the results then name
    /// the guard).
    Applied {
        /// Of its commit.
        revision: u64,
        /// An encoded `Results`, or nothing; without what is kept.
        results: &'a [u8],
        /// What it gave to keep.
        kept: Option<&'a [u8]>,
    },
    /// It was refused for good.
    NotApplied {
        /// At which that was decided.
        revision: u64,
        /// Why.
        code: ErrorCode,
    },
    /// Nothing is known of the key: no attempt came so far, or all left it unbound, or it was
    /// forgotten. An attempt under way may yet apply.
    NotSeen,
}

/// The transaction that bound a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub key: IdempotencyKey,
    /// Of the payload, or [`NOT_COMPARED`].
    pub hash: u64,
    /// Lease time when it was bound.
    pub bound_ms: u64,
    pub answer: Answer,
}

/// Stands for the hash of a payload that was sent with a result to keep: the next one may be another.
pub(super) const NOT_COMPARED: u64 = 0;

/// All keys of a shard.
#[derive(Default)]
pub(super) struct IdempotencyTable {
    by_key: BTreeMap<IdempotencyKey, u64>,
    /// By the revision that bound it.
    by_revision: BTreeMap<u64, Remembered>,
    /// Of all answers: [`Answer::bytes`].
    answer_bytes: u64,
    walk: Option<Walk>,
}

/// A snapshot's walk.
struct Walk {
    begin_revision: u64,
    /// Told up to this revision.
    told: u64,
    /// Records that expired before the walk reached them, as they are told.
    kept: Vec<u8>,
    kept_count: u32,
}

impl IdempotencyTable {
    /// What is remembered under a key, with the revision that bound it.
    pub fn find(&self, key: &IdempotencyKey) -> Option<(u64, &Remembered)> {
        let revision = self.by_key.get(key)?;
        let remembered = self.by_revision.get(revision)?;
        Some((*revision, remembered))
    }

    /// What became of the transaction under a key.
    pub fn outcome_of(&self, key: &IdempotencyKey) -> KeyOutcome<'_> {
        let Some((revision, remembered)) = self.find(key) else {
            return KeyOutcome::NotSeen;
        };
        let answer = &remembered.answer;
        match answer.code() {
            Some(code) => KeyOutcome::NotApplied { revision, code },
            None => KeyOutcome::Applied {
                revision,
                results: answer.plain_results(),
                kept: answer.kept(),
            },
        }
    }

    /// Remembers a request decided at `revision`; `false` if the key or the revision is taken.
    pub fn record(&mut self, revision: u64, remembered: Remembered) -> bool {
        if self.by_revision.contains_key(&revision) || self.by_key.contains_key(&remembered.key) {
            return false;
        }
        self.answer_bytes += remembered.answer.bytes();
        self.by_key.insert(remembered.key, revision);
        self.by_revision.insert(revision, remembered);
        true
    }

    /// Forgets up to `most` keys bound longer ago than the time to live, oldest first.
    pub fn expire(&mut self, now: Moment, most: u64, limits: &StateLimits) {
        for _ in 0..most {
            if self
                .next_due_ms(limits)
                .is_none_or(|due_ms| due_ms > now.lease_ms)
            {
                return;
            }
            if let Some((revision, remembered)) = self.by_revision.pop_first() {
                self.by_key.remove(&remembered.key);
                self.answer_bytes -= remembered.answer.bytes();
                if let Some(walk) = &mut self.walk
                    && revision > walk.told
                    && revision <= walk.begin_revision
                {
                    write_remembered(revision, &remembered, &mut walk.kept);
                    walk.kept_count += 1;
                }
            }
        }
    }

    /// When the next key is forgotten.
    pub fn next_due_ms(&self, limits: &StateLimits) -> Option<u64> {
        let (_, first) = self.by_revision.first_key_value()?;
        Some(first.bound_ms.saturating_add(limits.idempotency_ttl_ms))
    }

    /// Memory of the answers.
    pub fn answer_bytes(&self) -> u64 {
        self.answer_bytes
    }

    /// Count of keys.
    pub fn len(&self) -> usize {
        self.by_revision.len()
    }

    /// Whether lease time grew with the revisions, as it does where the log is in order.
    pub fn is_in_order(&self) -> bool {
        let mut last_ms = 0;
        self.by_revision.values().all(|remembered| {
            let grows = remembered.bound_ms >= last_ms;
            last_ms = remembered.bound_ms;
            grows
        })
    }

    /// Begins a walk over the keys as they are now.
    pub fn begin_walk(&mut self, begin_revision: u64) {
        self.walk = Some(Walk {
            begin_revision,
            told: 0,
            kept: Vec::new(),
            kept_count: 0,
        });
    }

    /// Ends the walk, complete or not.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Memory of the records kept for the walk.
    pub fn walk_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.kept.len())
    }

    /// Tells keys until `out` has grown to `bytes_target`; how many, and whether that is all.
    pub fn walk_on(&mut self, bytes_target: usize, out: &mut Vec<u8>) -> (u32, bool) {
        let Some(walk) = &mut self.walk else {
            return (0, true);
        };
        let mut count = std::mem::take(&mut walk.kept_count);
        out.append(&mut walk.kept);
        if walk.told >= walk.begin_revision {
            return (count, true);
        }
        for (&revision, remembered) in self.by_revision.range(walk.told + 1..=walk.begin_revision) {
            if out.len() >= bytes_target {
                return (count, false);
            }
            write_remembered(revision, remembered, out);
            count += 1;
            walk.told = revision;
        }
        walk.told = walk.begin_revision;
        (count, true)
    }
}

/// `revision u64   bound_ms u64   principal u64   key's hash, 16 bytes   hash u64`, then the answer.
fn write_remembered(revision: u64, remembered: &Remembered, out: &mut Vec<u8>) {
    let key = &remembered.key;
    for word in [revision, remembered.bound_ms, key.principal] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&key.hash.to_le_bytes());
    out.extend_from_slice(&remembered.hash.to_le_bytes());
    remembered.answer.write(out);
}

/// Reads a record with the revision that bound it; `None` if it is not one, or from after the
/// snapshot's moment.
pub(super) fn read_remembered(cursor: &mut Cursor<'_>, now: Moment) -> Option<(u64, Remembered)> {
    let (revision, bound_ms) = (cursor.u64()?, cursor.u64()?);
    let key = IdempotencyKey {
        principal: cursor.u64()?,
        hash: u128::from_le_bytes(*cursor.array()?),
    };
    let hash = cursor.u64()?;
    let answer = Answer::read(cursor)?;
    if matches!(answer, Answer::GuardFailed(_) | Answer::Fence) {
        return None;
    }
    if revision > now.revision || bound_ms > now.lease_ms {
        return None;
    }
    Some((
        revision,
        Remembered {
            key,
            hash,
            bound_ms,
            answer,
        },
    ))
}
