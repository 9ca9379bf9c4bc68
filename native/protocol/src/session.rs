//! The token by which a client resumes its session.

use crate::bytes::{array_at, u64_at};

/// Bytes of a token: the struct `SessionToken` of `schemas/log.fbs`.
pub const SESSION_TOKEN_BYTES: usize = 56;
/// The bytes of a token that its code (`mac`) covers.
pub const SESSION_SIGNED_BYTES: usize = 40;

/// Names a session; only a node that holds the key can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionToken {
    /// The revision at which the session was minted.
    pub birth: u64,
    /// Tells sessions of one birth apart.
    pub nonce: u64,
    /// Whose session it is.
    pub principal: u64,
    /// Epoch of the connection it was given to: whoever reads it knows a time that has
    /// been, for an epoch is drawn from the clock that stamps revisions.
    pub epoch: u64,
    /// Id of the key that signed it.
    pub key: u64,
    /// The first 16 bytes of HMAC-SHA256 over the 40 bytes before.
    pub mac: [u8; 16],
}

impl SessionToken {
    /// The bytes that the code covers.
    pub fn signed_bytes(&self) -> [u8; SESSION_SIGNED_BYTES] {
        let mut bytes = [0; SESSION_SIGNED_BYTES];
        bytes[..8].copy_from_slice(&self.birth.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.principal.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..].copy_from_slice(&self.key.to_le_bytes());
        bytes
    }

    /// The token as it travels.
    pub fn to_bytes(&self) -> [u8; SESSION_TOKEN_BYTES] {
        let mut bytes = [0; SESSION_TOKEN_BYTES];
        bytes[..SESSION_SIGNED_BYTES].copy_from_slice(&self.signed_bytes());
        bytes[SESSION_SIGNED_BYTES..].copy_from_slice(&self.mac);
        bytes
    }

    /// Reads a token; `None` unless there are exactly 56 bytes. Says nothing
    /// about the code: who holds the key must check it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SESSION_TOKEN_BYTES {
            return None;
        }
        Some(Self {
            birth: u64_at(bytes, 0)?,
            nonce: u64_at(bytes, 8)?,
            principal: u64_at(bytes, 16)?,
            epoch: u64_at(bytes, 24)?,
            key: u64_at(bytes, 32)?,
            mac: array_at(bytes, SESSION_SIGNED_BYTES)?,
        })
    }
}
