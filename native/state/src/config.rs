//! What a state is told when it is made, and what it says about itself.

use domp_protocol::limits;

use crate::entry::APPLY_VERSION;

/// What a state's keys mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// Group 0: keys are names of spaces, values their ids; written by `space_create` and
    /// `space_drop` only.
    Meta,
    /// A space's keys.
    Space,
}

/// What a state is made with. Limits that an operator may change are not here: they are part of the
/// state, and its log changes them ([`StateLimits`](crate::StateLimits)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// What the keys mean.
    pub kind: StateKind,
    /// Memory of answers kept for sessions and idempotency keys. No setting: a constant of the
    /// program, here so that tests can have less.
    pub answers_bytes_max: u64,
    /// The highest apply version that is known. A constant of the program as well.
    pub apply_version_known: u16,
}

impl StateConfig {
    /// That of this program.
    pub const fn new(kind: StateKind) -> Self {
        Self {
            kind,
            answers_bytes_max: limits::ANSWERS_BYTES_MAX,
            apply_version_known: APPLY_VERSION,
        }
    }
}

impl Default for StateConfig {
    /// That of a space.
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
