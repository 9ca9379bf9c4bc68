//! What a shard's leader says, not a client: the items of batches of kind `system`.
//!
//! Each is an `ItemHeader` whose kind is a `SystemKind` and whose sequence is
//! zero, then a struct of `schemas/log.fbs` (little endian, offsets in bytes):
//!
//! ```text
//! StateLimits  32   0 session_ttl_ms u64   8 idempotency_ttl_ms u64   16 session_window u32
//!                   20 sessions_max u32    24 idempotency_keys_max u32   28 zero u32
//! SigningKey   40   0 id u64               8 key, 32 bytes
//! ```

use std::fmt;

use domp_protocol::frame::ITEM_HEADER_BYTES;
use domp_protocol::limits;

use crate::bytes::{Cursor, u32_at, u64_at};
use crate::config::{StateKind, size};
use crate::entry::EntryError;

const LIMITS: u8 = 1;
const WANTED_LIMITS: u8 = 2;
const SIGNING_KEY: u8 = 3;

/// Bytes of an encoded [`StateLimits`].
pub(crate) const LIMITS_BYTES: usize = 32;
/// Bytes of an encoded [`SigningKey`].
pub(crate) const SIGNING_KEY_BYTES: usize = 40;

/// Limits that decide what applying an entry does. They are part of the state: an entry of the
/// shard's own log changes them, from its item on.
///
/// All numbers mean themselves; zero means none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// Lease time a session lives after its last use.
    pub session_ttl_ms: u64,
    /// Lease time an idempotency key is remembered after its first use.
    pub idempotency_ttl_ms: u64,
    /// Sequences a session may have outstanding.
    pub session_window: u32,
    /// Sessions kept.
    pub sessions_max: u32,
    /// Idempotency keys kept.
    pub idempotency_keys_max: u32,
}

impl StateLimits {
    /// What every shard begins with, before its log says anything. Logs are replayed from here: these
    /// numbers never change, whatever becomes of the defaults of `schemas/limits.json`.
    pub const FOUNDING: Self = Self {
        session_ttl_ms: 3_600_000,
        idempotency_ttl_ms: 600_000,
        session_window: 4096,
        sessions_max: 100_000,
        idempotency_keys_max: 1_000_000,
    };

    pub(crate) fn encode(&self) -> [u8; LIMITS_BYTES] {
        let mut bytes = [0; LIMITS_BYTES];
        bytes[..8].copy_from_slice(&self.session_ttl_ms.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.idempotency_ttl_ms.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.session_window.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.sessions_max.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.idempotency_keys_max.to_le_bytes());
        bytes
    }

    /// Reads them; `None` where the reserved field is set.
    pub(crate) fn decode(bytes: &[u8; LIMITS_BYTES]) -> Option<Self> {
        (u32_at(bytes, 28) == 0).then(|| Self {
            session_ttl_ms: u64_at(bytes, 0),
            idempotency_ttl_ms: u64_at(bytes, 8),
            session_window: u32_at(bytes, 16),
            sessions_max: u32_at(bytes, 20),
            idempotency_keys_max: u32_at(bytes, 24),
        })
    }
}

/// Signs session tokens. Its bytes are shown nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey {
    /// Which key a token names; the highest is the newest.
    pub id: u64,
    /// The secret.
    pub key: [u8; 32],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey {}", self.id)
    }
}

impl SigningKey {
    pub(crate) fn encode(&self) -> [u8; SIGNING_KEY_BYTES] {
        let mut bytes = [0; SIGNING_KEY_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.key);
        bytes
    }

    fn decode(bytes: &[u8; SIGNING_KEY_BYTES]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[8..]);
        Self {
            id: u64_at(bytes, 0),
            key,
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.array().map(Self::decode)
    }
}

/// One item of a system batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemItem {
    /// These limits hold from here on.
    Limits(StateLimits),
    /// In the meta group: every shard is to adopt these limits, by an item of its own log.
    WantedLimits(StateLimits),
    /// In the meta group: one more key for session tokens.
    SigningKey(SigningKey),
}

impl SystemItem {
    /// Appends header and struct.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut write = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len()).expect("a small struct");
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&[kind, 0, 0, 0]);
            out.extend_from_slice(body);
        };
        match self {
            Self::Limits(limits) => write(LIMITS, &limits.encode()),
            Self::WantedLimits(limits) => write(WANTED_LIMITS, &limits.encode()),
            Self::SigningKey(key) => write(SIGNING_KEY, &key.encode()),
        }
    }

    /// Takes the first item off `rest`, and how many bytes it had.
    ///
    /// # Errors
    /// [`EntryError`]: it is not well formed, or means something that is not known here.
    pub(crate) fn take(rest: &mut &[u8]) -> Result<(Self, usize), EntryError> {
        const MALFORMED: EntryError = EntryError::Corrupt("a system item that is not well formed");
        let (header, body) = rest
            .split_first_chunk::<ITEM_HEADER_BYTES>()
            .ok_or(MALFORMED)?;
        let kind = header[12];
        if u64_at(header, 0) != 0 || header[13..] != [0; 3] {
            return Err(MALFORMED);
        }
        if !(LIMITS..=SIGNING_KEY).contains(&kind) {
            return Err(EntryError::SystemKind(kind));
        }
        let (body, after) = body
            .split_at_checked(u32_at(header, 8) as usize)
            .ok_or(MALFORMED)?;
        let read_limits = || {
            let limits = StateLimits::decode(body.try_into().map_err(|_| MALFORMED)?);
            limits.ok_or(EntryError::Reserved("StateLimits.reserved"))
        };
        let item = match kind {
            LIMITS => Self::Limits(read_limits()?),
            WANTED_LIMITS => Self::WantedLimits(read_limits()?),
            _ => Self::SigningKey(SigningKey::decode(body.try_into().map_err(|_| MALFORMED)?)),
        };
        let bytes = ITEM_HEADER_BYTES + body.len();
        *rest = after;
        Ok((item, bytes))
    }

    /// Whether a state of that kind takes it.
    pub(crate) fn check_kind(&self, kind: StateKind) -> Result<(), EntryError> {
        let name = match self {
            Self::Limits(_) => return Ok(()),
            Self::WantedLimits(_) => "wanted_limits",
            Self::SigningKey(_) => "signing_key",
        };
        match kind {
            StateKind::Meta => Ok(()),
            StateKind::Space => Err(EntryError::OnlyMeta(name)),
        }
    }
}

/// The name of a kind of system item that is not taken here, as the schema has it.
pub(crate) fn kind_name(kind: u8) -> &'static str {
    match kind {
        4 => "renewals, which is of a later time",
        5 => "leases, which is of a later time",
        6 => "trim, which is of a later time",
        _ => "a kind that is not known",
    }
}

/// What no operation, range, count, effect or feed reaches.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Ascending by id.
    keys: Vec<SigningKey>,
}

impl Secrets {
    /// Keeps a key; one of the same id is replaced, and beyond the limit the lowest id goes.
    pub fn add(&mut self, key: SigningKey) {
        match self.keys.binary_search_by_key(&key.id, |key| key.id) {
            Ok(at) => self.keys[at] = key,
            Err(at) => self.keys.insert(at, key),
        }
        if self.keys.len() > size(limits::SIGNING_KEYS_MAX) {
            self.keys.remove(0);
        }
    }

    /// As a snapshot tells the next one; `false` if it is not above the last, or one too many.
    pub fn push_back(&mut self, key: SigningKey) -> bool {
        let fits = self.keys.last().is_none_or(|last| last.id < key.id)
            && self.keys.len() < size(limits::SIGNING_KEYS_MAX);
        if fits {
            self.keys.push(key);
        }
        fits
    }

    /// The keys, ascending by id.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domp_protocol::generated::log;

    const LIMITS_OF_TEST: StateLimits = StateLimits {
        session_ttl_ms: 1,
        idempotency_ttl_ms: 2,
        session_window: 3,
        sessions_max: 4,
        idempotency_keys_max: 5,
    };

    #[test]
    fn the_structs_are_those_of_the_schema() {
        let schema = log::StateLimits::new(1, 2, 3, 4, 5, 0);
        assert_eq!(schema.0, LIMITS_OF_TEST.encode());
        let key = SigningKey {
            id: 7,
            key: std::array::from_fn(|at| u8::try_from(at).expect("small")),
        };
        let words = [0, 8, 16, 24]
            .map(|at| u64::from_le_bytes(std::array::from_fn(|byte| key.key[at + byte])));
        let schema = log::SigningKey::new(7, words[0], words[1], words[2], words[3]);
        assert_eq!(schema.0, key.encode());
        let kinds = [
            (log::SystemKind::limits, LIMITS),
            (log::SystemKind::wanted_limits, WANTED_LIMITS),
            (log::SystemKind::signing_key, SIGNING_KEY),
        ];
        for (schema, ours) in kinds {
            assert_eq!(schema.0, ours);
        }
    }

    #[test]
    fn an_item_reads_back_and_shows_no_secret() {
        let key = SigningKey {
            id: 9,
            key: [0xab; 32],
        };
        for item in [
            SystemItem::Limits(LIMITS_OF_TEST),
            SystemItem::WantedLimits(LIMITS_OF_TEST),
            SystemItem::SigningKey(key),
        ] {
            let mut bytes = Vec::new();
            item.write(&mut bytes);
            let whole = bytes.len();
            bytes.push(1);
            let mut rest = bytes.as_slice();
            assert_eq!(SystemItem::take(&mut rest), Ok((item, whole)));
            assert_eq!(rest, [1]);
            for length in 0..whole {
                assert!(SystemItem::take(&mut &bytes[..length]).is_err());
            }
        }
        assert_eq!(format!("{key:?}"), "SigningKey 9");
    }

    #[test]
    fn kinds_of_a_later_time_are_refused_by_name() {
        for (kind, name) in [
            (4, "renewals"),
            (5, "leases"),
            (6, "trim"),
            (77, "not known"),
        ] {
            let mut bytes = Vec::new();
            SystemItem::Limits(LIMITS_OF_TEST).write(&mut bytes);
            bytes[12] = kind;
            let error = SystemItem::take(&mut bytes.as_slice()).expect_err("refused");
            assert_eq!(error, EntryError::SystemKind(kind));
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_oldest_keys_go() {
        let mut secrets = Secrets::default();
        for id in (1..=20).rev() {
            secrets.add(SigningKey { id, key: [1; 32] });
        }
        let ids: Vec<u64> = secrets.keys().iter().map(|key| key.id).collect();
        assert_eq!(ids, (5..=20).collect::<Vec<u64>>());
        let key = SigningKey {
            id: 7,
            key: [2; 32],
        };
        secrets.add(key);
        assert_eq!(secrets.keys()[2], key);
    }
}
