//! Making a state from a snapshot's slices.

use std::collections::VecDeque;

use domp_protocol::limits;

use super::{
    CHUNK_HEADER_BYTES, ChunkKind, ENTRY_BYTES, FLAG_EXPIRES, FORMAT, HASH_AT, MAGIC, VALUE_BYTES,
    VALUE_NUMBER, chunk_hash,
};
use crate::bytes::{Cursor, u32_at, u64_at};
use crate::config::size;
use crate::due::DueQueue;
use crate::entry::EntryError;
use crate::idempotency::{IdempotencyTable, read_remembered};
use crate::index::{Index, Record, Stamps, Value};
use crate::keys::{Keys, Moment};
use crate::sessions::{Births, Checkpoint, Session, Sessions, read_session};
use crate::spaces::Spaces;
use crate::system::{LIMITS_BYTES, Secrets, SigningKey, StateLimits};
use crate::{Scratch, State, StateConfig, StateKind};

/// Takes a snapshot's slices and makes a state of them.
pub struct Restore {
    config: StateConfig,
    /// Of the chunk to come.
    number: u32,
    head: Option<Head>,
    index: Index,
    secrets: Secrets,
    last_kind: ChunkKind,
    due: DueQueue,
    sessions: Vec<Session>,
    idempotency: IdempotencyTable,
    ended: bool,
}

/// What the first chunk says.
struct Head {
    applied_index: u64,
    now: Moment,
    spaces: Spaces,
    births: Births,
    keys: u64,
    sessions: u64,
    idempotency_keys: u64,
    signing_keys: u32,
    apply_version: u16,
    limits: StateLimits,
    wanted_limits: Option<StateLimits>,
}

/// One chunk, its hash checked.
struct Chunk<'a> {
    kind: ChunkKind,
    count: u32,
    body: &'a [u8],
}

const CUT: EntryError = EntryError::Corrupt("a snapshot's chunk is cut");
const HEAD: EntryError = EntryError::Corrupt("a snapshot's head does not hold what it must");
const KEYS: EntryError = EntryError::Corrupt("a snapshot's keys do not hold what they must");
const SESSIONS: EntryError =
    EntryError::Corrupt("a snapshot's sessions do not hold what they must");
const SECRETS: EntryError = EntryError::Corrupt("a snapshot's secrets do not hold what they must");
const IDEMPOTENCY: EntryError =
    EntryError::Corrupt("a snapshot's idempotency keys do not hold what they must");

impl Restore {
    /// Begins. The configuration must be of the kind that the snapshot's state was of.
    pub fn new(config: StateConfig) -> Self {
        Self {
            config,
            number: 0,
            head: None,
            index: Index::new(),
            secrets: Secrets::default(),
            last_kind: ChunkKind::Head,
            due: DueQueue::default(),
            sessions: Vec::new(),
            idempotency: IdempotencyTable::default(),
            ended: false,
        }
    }

    /// Takes one slice or several; they come in order, and none is cut.
    ///
    /// # Errors
    /// [`EntryError::Corrupt`]; give up then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), EntryError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = self.next_chunk(&mut rest)?;
            self.take(&chunk)?;
        }
        Ok(())
    }

    /// The state, if the snapshot was complete and everything in it agrees.
    ///
    /// # Errors
    /// [`EntryError::Corrupt`].
    pub fn finish(mut self) -> Result<State, EntryError> {
        let head = match self.head.take() {
            Some(head) if self.ended => head,
            _ => return Err(EntryError::Corrupt("a snapshot that is not complete")),
        };
        let told = [
            self.index.len(),
            self.sessions.len(),
            self.idempotency.len(),
            self.secrets.keys().len(),
        ];
        let said = [
            head.keys,
            head.sessions,
            head.idempotency_keys,
            head.signing_keys.into(),
        ];
        if told.map(|count| count as u64) != said {
            return Err(EntryError::Corrupt(
                "a snapshot tells another count than it said",
            ));
        }
        if !self.idempotency.is_in_order() {
            return Err(IDEMPOTENCY);
        }
        Ok(State {
            config: self.config,
            applied_index: head.applied_index,
            revision: head.now.revision,
            lease_ms: head.now.lease_ms,
            apply_version: head.apply_version,
            limits: head.limits,
            wanted_limits: head.wanted_limits,
            keys: Keys::restored(self.index, self.due),
            spaces: head.spaces,
            sessions: Sessions::restored(self.sessions, head.births).ok_or(SESSIONS)?,
            idempotency: self.idempotency,
            secrets: self.secrets,
            walk: None,
            reads_as_of_ms: 0,
            scratch: Scratch::default(),
        })
    }

    fn next_chunk<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Chunk<'a>, EntryError> {
        let (header, after) = rest.split_first_chunk::<CHUNK_HEADER_BYTES>().ok_or(CUT)?;
        if header[0..4] != MAGIC || header[4] != FORMAT {
            return Err(EntryError::Corrupt(
                "not a snapshot's chunk of a known format",
            ));
        }
        if header[6..8] != [0; 2] || header[20..24] != [0; 4] {
            return Err(EntryError::Corrupt(
                "reserved bytes of a snapshot's chunk are set",
            ));
        }
        let (body, after) = after
            .split_at_checked(u32_at(header, 16) as usize)
            .ok_or(CUT)?;
        if u64_at(header, HASH_AT) != chunk_hash(header, body) {
            return Err(EntryError::Corrupt(
                "a snapshot's chunk has another hash than it says",
            ));
        }
        if u32_at(header, 8) != self.number || self.ended {
            return Err(EntryError::Corrupt("a snapshot's chunks are not in order"));
        }
        let kind = ChunkKind::from_number(header[5])
            .ok_or(EntryError::Corrupt("a snapshot's chunk of unknown kind"))?;
        if kind < self.last_kind {
            return Err(EntryError::Corrupt("a snapshot's chunks are not in order"));
        }
        self.last_kind = kind;
        self.number += 1;
        *rest = after;
        Ok(Chunk {
            kind,
            count: u32_at(header, 12),
            body,
        })
    }

    fn take(&mut self, chunk: &Chunk<'_>) -> Result<(), EntryError> {
        let mut cursor = Cursor::new(chunk.body);
        let Some(head) = &self.head else {
            if chunk.kind != ChunkKind::Head {
                return Err(EntryError::Corrupt(
                    "a snapshot that does not begin with its head",
                ));
            }
            let head = read_head(&mut cursor, &self.config).ok_or(HEAD)?;
            if head.apply_version == 0 || head.apply_version > self.config.apply_version_known {
                return Err(EntryError::ApplyVersion(head.apply_version));
            }
            self.head = Some(head);
            let is_whole = cursor.is_empty() && chunk.count == 1;
            return if is_whole { Ok(()) } else { Err(HEAD) };
        };
        let now = head.now;
        match chunk.kind {
            ChunkKind::Head => return Err(HEAD),
            ChunkKind::Sessions => {
                for _ in 0..chunk.count {
                    self.sessions
                        .push(read_session(&mut cursor, now).ok_or(SESSIONS)?);
                }
            }
            ChunkKind::Idempotency => {
                for _ in 0..chunk.count {
                    let (revision, remembered) =
                        read_remembered(&mut cursor, now).ok_or(IDEMPOTENCY)?;
                    if !self.idempotency.record(revision, remembered) {
                        return Err(IDEMPOTENCY);
                    }
                }
            }
            ChunkKind::Secrets => {
                for _ in 0..chunk.count {
                    let key = SigningKey::read(&mut cursor).ok_or(SECRETS)?;
                    if !self.secrets.push_back(key) {
                        return Err(SECRETS);
                    }
                }
            }
            ChunkKind::Keys => {
                for _ in 0..chunk.count {
                    let record = read_entry(&mut cursor, now).ok_or(KEYS)?;
                    self.due.change(record.key(), None, record.expires_at_ms());
                    self.index.push_back(record).map_err(|_| KEYS)?;
                }
            }
            ChunkKind::End => {
                if chunk.count != 0 {
                    return Err(EntryError::Corrupt("a snapshot's end tells something"));
                }
                self.ended = true;
            }
        }
        if cursor.is_empty() {
            Ok(())
        } else {
            Err(EntryError::Corrupt(
                "bytes behind what a snapshot's chunk tells",
            ))
        }
    }
}

fn read_head(cursor: &mut Cursor<'_>, config: &StateConfig) -> Option<Head> {
    let applied_index = cursor.u64()?;
    let now = Moment {
        revision: cursor.u64()?,
        lease_ms: cursor.u64()?,
    };
    let (birth_floor, spaces_changed) = (cursor.u64()?, cursor.u64()?);
    let spaces = Spaces::restored(cursor.u32()?, spaces_changed);
    let kind = match cursor.u8()? {
        0 => StateKind::Meta,
        1 => StateKind::Space,
        _ => return None,
    };
    let has_wanted = cursor.u8()?;
    let apply_version = cursor.u16()?;
    let limits = StateLimits::decode(cursor.array()?)?;
    let wanted: &[u8; LIMITS_BYTES] = cursor.array()?;
    let wanted_limits = match has_wanted {
        0 if *wanted == [0; LIMITS_BYTES] => None,
        1 => Some(StateLimits::decode(wanted)?),
        _ => return None,
    };
    let (keys, sessions, idempotency_keys) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let (signing_keys, checkpoints) = (cursor.u32()?, cursor.u32()?);
    let mut noted = VecDeque::new();
    for _ in 0..checkpoints {
        noted.push_back(Checkpoint {
            revision: cursor.u64()?,
            lease_ms: cursor.u64()?,
        });
    }
    let last = noted.back().copied().unwrap_or_default();
    let is_past = last.revision <= now.revision
        && last.lease_ms <= now.lease_ms
        && birth_floor <= now.revision
        && spaces_changed <= now.revision;
    let is_of_kind = kind == config.kind
        && (kind == StateKind::Meta || (wanted_limits.is_none() && signing_keys == 0));
    if !is_of_kind || !is_past || spaces.next_id() == 0 {
        return None;
    }
    let births = Births::restored(noted, birth_floor)?;
    Some(Head {
        applied_index,
        now,
        spaces,
        births,
        keys,
        sessions,
        idempotency_keys,
        signing_keys,
        apply_version,
        limits,
        wanted_limits,
    })
}

fn read_entry(cursor: &mut Cursor<'_>, now: Moment) -> Option<Record> {
    let header = cursor.array::<ENTRY_BYTES>()?;
    let expires_at_ms = match header[31] {
        0 => None,
        FLAG_EXPIRES => Some(cursor.u64()?),
        _ => return None,
    };
    let key = cursor.take(usize::from(u16::from_le_bytes([header[28], header[29]])))?;
    let value_len = u32_at(header, 24) as usize;
    if key.is_empty()
        || key.len() > size(limits::KEY_BYTES_MAX)
        || value_len > size(limits::VALUE_BYTES_MAX)
    {
        return None;
    }
    let value = cursor.take(value_len)?;
    let value = match header[30] {
        VALUE_BYTES => Value::Bytes(value),
        VALUE_NUMBER => Value::Number(i64::from_le_bytes(value.try_into().ok()?)),
        _ => return None,
    };
    let stamps = Stamps {
        created: u64_at(header, 0),
        modified: u64_at(header, 8),
        version: u64_at(header, 16),
        expires_at_ms,
    };
    if stamps.created > stamps.modified || stamps.modified > now.revision {
        return None;
    }
    Record::new(key, value, stamps).ok()
}
