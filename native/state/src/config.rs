//! What a state is told when it is made, and what it says about itself.

use domp_protocol::limits;

/// What a state's keys mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// Group 0: keys are names of spaces, values their ids; written by `space_create` and
    /// `space_drop` only.
    Meta,
    /// A space's keys.
    Space,
}

/// Limits of a state. They decide what applying an entry does, so every replica and every replay
/// of one log must be given the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// What the keys mean.
    pub kind: StateKind,
    /// Lease time a session lives after its last use.
    pub session_ttl_ms: u64,
    /// Sequences a session may have outstanding.
    pub session_window: u32,
    /// Sessions kept.
    pub sessions_max: u32,
    /// Lease time an idempotency key is remembered after its first use.
    pub idempotency_ttl_ms: u64,
    /// Idempotency keys kept.
    pub idempotency_keys_max: u32,
    /// Memory of answers kept for sessions and idempotency keys. No setting: a constant of the
    /// program, here so that tests can have less.
    pub answers_bytes_max: u64,
}

impl StateConfig {
    /// The limits of `schemas/limits.json`.
    pub const fn new(kind: StateKind) -> Self {
        Self {
            kind,
            session_ttl_ms: limits::SESSION_TTL_MS,
            session_window: small(limits::SESSION_WINDOW),
            sessions_max: small(limits::SESSIONS_MAX),
            idempotency_ttl_ms: limits::IDEMPOTENCY_TTL_MS,
            idempotency_keys_max: small(limits::IDEMPOTENCY_KEYS_MAX),
            answers_bytes_max: limits::ANSWERS_BYTES_MAX,
        }
    }
}

impl Default for StateConfig {
    /// A space with the limits of `schemas/limits.json`.
    fn default() -> Self {
        Self::new(StateKind::Space)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked by the assertion")]
const fn small(limit: u64) -> u32 {
    assert!(limit <= u32::MAX as u64, "a count that fits 32 bits");
    limit as u32
}

/// A limit that sizes something in memory.
pub(super) const fn size(limit: u64) -> usize {
    small(limit) as usize
}

/// What a state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStatistics {
    /// Keys.
    pub keys: u64,
    /// Memory of the index and its records, roughly.
    pub bytes: u64,
    /// Keys that will expire.
    pub expiring_keys: u64,
    /// Sessions known.
    pub sessions: u64,
    /// Answers and fences that sessions keep.
    pub session_answers: u64,
    /// Memory of the answers that sessions and idempotency keys keep.
    pub answer_bytes: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// Memory of what the snapshot under way had to keep because it was written to.
    pub overlay_bytes: u64,
}
