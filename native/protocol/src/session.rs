//! The token by which a client resumes its session.

use crate::bytes::{array_at, put, u64_at};
use crate::generated::layout::session_token;

/// Bytes of a token: the struct `SessionToken` of `schemas/log.fbs`.
pub const SESSION_TOKEN_BYTES: usize = session_token::STRUCT_BYTES;
/// The bytes of a token that its code (`mac`) covers: all before it.
pub const SESSION_SIGNED_BYTES: usize = session_token::MAC_LOW;

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
        put(&mut bytes, session_token::BIRTH, self.birth.to_le_bytes());
        put(&mut bytes, session_token::NONCE, self.nonce.to_le_bytes());
        put(
            &mut bytes,
            session_token::PRINCIPAL,
            self.principal.to_le_bytes(),
        );
        put(&mut bytes, session_token::EPOCH, self.epoch.to_le_bytes());
        put(&mut bytes, session_token::KEY, self.key.to_le_bytes());
        bytes
    }

    /// The token as it travels.
    pub fn to_bytes(&self) -> [u8; SESSION_TOKEN_BYTES] {
        let mut bytes = [0; SESSION_TOKEN_BYTES];
        bytes[..SESSION_SIGNED_BYTES].copy_from_slice(&self.signed_bytes());
        bytes[SESSION_SIGNED_BYTES..].copy_from_slice(&self.mac);
        bytes
    }

    /// Reads a token; `None` unless there are exactly [`SESSION_TOKEN_BYTES`]. Says
    /// nothing about the code: who holds the key must check it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SESSION_TOKEN_BYTES {
            return None;
        }
        Some(Self {
            birth: u64_at(bytes, session_token::BIRTH)?,
            nonce: u64_at(bytes, session_token::NONCE)?,
            principal: u64_at(bytes, session_token::PRINCIPAL)?,
            epoch: u64_at(bytes, session_token::EPOCH)?,
            key: u64_at(bytes, session_token::KEY)?,
            mac: array_at(bytes, SESSION_SIGNED_BYTES)?,
        })
    }
}
