//! Limits that a shard's own log changes.

use crate::entry::{half, word};

/// Limits that hold from an entry on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A session that is silent for so long is forgotten.
    pub session_ttl_ms: u64,
    /// So long is an idempotency key remembered.
    pub idempotency_ttl_ms: u64,
    /// A session may ask so far ahead of what it acknowledged.
    pub session_window: u32,
    /// Sessions.
    pub sessions_max: u32,
    /// Idempotency keys.
    pub idempotency_keys_max: u32,
}

impl Limits {
    /// Before the log says anything.
    pub(crate) const FOUNDING: Self = Self {
        session_ttl_ms: 60 * 60 * 1000,
        idempotency_ttl_ms: 10 * 60 * 1000,
        session_window: 4096,
        sessions_max: 100_000,
        idempotency_keys_max: 1_000_000,
    };

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
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
