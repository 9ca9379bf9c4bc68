//! Names of requests.

use domp_oracle::{AppliedItem, Whose};

/// An idempotency key; those of a world have at most 16 bytes.
pub type KeyName = [u8; 16];

/// Names a request for ever; under a key, as long as that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestId {
    /// Birth and nonce of the session.
    Session {
        session: (u64, u64),
        sequence: u64,
    },
    Key {
        key: KeyName,
        principal: u64,
    },
}

impl RequestId {
    /// That of an item in the log.
    pub fn of(item: &AppliedItem) -> Self {
        let head = &item.head;
        if head.whose == Whose::Session {
            return Self::Session {
                session: (head.birth, head.nonce),
                sequence: item.sequence,
            };
        }
        let given = item.idempotency_key.as_deref().unwrap_or_default();
        let mut key = [0; 16];
        let length = given.len().min(key.len());
        key[..length].copy_from_slice(&given[..length]);
        Self::Key {
            key,
            principal: head.principal,
        }
    }
}
