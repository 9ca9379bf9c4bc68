//! Taking a snapshot: what to tell next.

use std::ops::Bound;

use domp_protocol::limits;

use super::{
    CHUNK_HEADER_BYTES, ChunkKind, ENTRY_BYTES, FLAG_EXPIRES, FORMAT, HASH_AT, MAGIC,
    SnapshotProgress, VALUE_BYTES, VALUE_NUMBER, chunk_hash,
};
use crate::config::size;
use crate::index::{Record, Value};
use crate::system::LIMITS_BYTES;
use crate::{State, StateKind};

/// A walk visits at most one key for so many bytes it is asked for: keys written since the
/// beginning are passed over, and passing over many must not take long either.
const BYTES_A_VISIT: usize = 32;

/// A chunk is closed when it has grown to this.
const CHUNK_BYTES_TARGET: usize = 256 * 1024;

/// What is still to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Sessions,
    Idempotency,
    Secrets,
    Keys,
    End,
    Done,
    Abandoned,
}

/// A snapshot under way. The tables themselves know how far they have been told.
pub(crate) struct Walk {
    phase: Phase,
    /// The body of the head, as of the beginning.
    head: Vec<u8>,
    /// Of the chunk of secrets, as of the beginning; empty for none.
    secrets: Vec<u8>,
    signing_keys: u32,
    /// Of the next chunk.
    number: u32,
}

impl State {
    /// Begins a snapshot of the state as it is now; `false` if one is under way. Take slices until
    /// it is done, then call [`Self::end_snapshot`].
    pub fn begin_snapshot(&mut self) -> bool {
        if self.walk.is_some() {
            return false;
        }
        let mut secrets = Vec::new();
        let mut signing_keys = 0;
        for key in self.secrets.keys() {
            signing_keys += 1;
            secrets.extend_from_slice(&key.encode());
        }
        self.walk = Some(Walk {
            phase: Phase::Head,
            head: self.snapshot_head(signing_keys),
            secrets,
            signing_keys,
            number: 0,
        });
        self.keys.begin_walk(self.revision);
        self.sessions.begin_walk(self.revision);
        self.idempotency.begin_walk(self.revision);
        true
    }

    fn snapshot_head(&self, signing_keys: u32) -> Vec<u8> {
        let births = self.sessions.births();
        let mut head = Vec::new();
        let words = [
            self.applied_index,
            self.revision,
            self.lease_ms,
            births.floor(),
            self.spaces.changed(),
        ];
        for word in words {
            head.extend_from_slice(&word.to_le_bytes());
        }
        head.extend_from_slice(&self.spaces.next_id().to_le_bytes());
        head.push(u8::from(self.config.kind == StateKind::Space));
        head.push(u8::from(self.wanted_limits.is_some()));
        head.extend_from_slice(&self.apply_version.to_le_bytes());
        head.extend_from_slice(&self.limits.encode());
        let wanted = self.wanted_limits.map(|wanted| wanted.encode());
        head.extend_from_slice(&wanted.unwrap_or([0; LIMITS_BYTES]));
        for count in [
            self.keys.index().len(),
            self.sessions.len(),
            self.idempotency.len(),
        ] {
            head.extend_from_slice(&(count as u64).to_le_bytes());
        }
        head.extend_from_slice(&signing_keys.to_le_bytes());
        let checkpoints = births.checkpoints();
        let count = u32::try_from(checkpoints.len()).expect("notes are few");
        head.extend_from_slice(&count.to_le_bytes());
        for checkpoint in checkpoints {
            head.extend_from_slice(&checkpoint.revision.to_le_bytes());
            head.extend_from_slice(&checkpoint.lease_ms.to_le_bytes());
        }
        head
    }

    /// Appends the next slice to `out`, of about `bytes_target` bytes or of none (when it was busy
    /// passing over keys). With no snapshot under way there is nothing to come.
    ///
    /// Secrets are a slice of their own; [`snapshot_slice_is_secret`](crate::snapshot_slice_is_secret)
    /// tells, of what this call appended.
    ///
    /// While [`Self::snapshot_pressure`] says so, take slices before applying more.
    pub fn snapshot_slice(&mut self, bytes_target: usize, out: &mut Vec<u8>) -> SnapshotProgress {
        let Some(mut walk) = self.walk.take() else {
            return SnapshotProgress::Done;
        };
        let begin = out.len();
        let end = begin.saturating_add(bytes_target.max(1));
        let mut visits = (bytes_target / BYTES_A_VISIT).max(64);
        while out.len() < end && visits > 0 && walk.is_going() {
            let is_secret = walk.phase == Phase::Secrets && walk.signing_keys > 0;
            if is_secret && out.len() > begin {
                break;
            }
            self.next_chunk(&mut walk, end, &mut visits, out);
            if is_secret {
                break;
            }
        }
        let progress = match walk.phase {
            Phase::Done => SnapshotProgress::Done,
            Phase::Abandoned => SnapshotProgress::Abandoned,
            _ => SnapshotProgress::More,
        };
        self.walk = Some(walk);
        progress
    }

    /// Ends a snapshot, complete or not.
    pub fn end_snapshot(&mut self) {
        self.walk = None;
        self.forget_overlay();
    }

    /// Whether a snapshot under way had to keep more than `OVERLAY_BYTES_MAX`: writes outrun it.
    /// Then the next slices must come before the next entries; from twice the limit on the snapshot
    /// is abandoned.
    pub fn snapshot_pressure(&self) -> bool {
        self.overlay_bytes() as u64 > limits::OVERLAY_BYTES_MAX
    }

    /// Memory of what was kept for the snapshot under way.
    pub(crate) fn overlay_bytes(&self) -> usize {
        let keys = self.keys.kept_bytes();
        keys + self.sessions.walk_bytes() + self.idempotency.walk_bytes()
    }

    /// Gives up a snapshot that has to keep too much.
    pub(crate) fn bound_overlay(&mut self) {
        let most = size(limits::OVERLAY_BYTES_MAX) * 2;
        if let Some(walk) = &mut self.walk
            && walk.is_going()
            && self.keys.kept_bytes() + self.sessions.walk_bytes() + self.idempotency.walk_bytes()
                > most
        {
            walk.phase = Phase::Abandoned;
            self.forget_overlay();
        }
    }

    fn forget_overlay(&mut self) {
        self.keys.end_walk();
        self.sessions.end_walk();
        self.idempotency.end_walk();
    }

    fn next_chunk(&mut self, walk: &mut Walk, end: usize, visits: &mut usize, out: &mut Vec<u8>) {
        let chunk = Chunk::open(out);
        // Room for one thing at least, however little was asked for.
        let body_end = end.min(out.len() + CHUNK_BYTES_TARGET).max(out.len() + 1);
        match walk.phase {
            Phase::Head => {
                out.extend_from_slice(&walk.head);
                chunk.close(walk, ChunkKind::Head, 1, out);
                walk.phase = Phase::Sessions;
            }
            Phase::Sessions => {
                let (count, done) = self.sessions.walk_on(body_end, out);
                chunk.close(walk, ChunkKind::Sessions, count, out);
                if done {
                    walk.phase = Phase::Idempotency;
                }
            }
            Phase::Idempotency => {
                let (count, done) = self.idempotency.walk_on(body_end, out);
                chunk.close(walk, ChunkKind::Idempotency, count, out);
                if done {
                    walk.phase = Phase::Secrets;
                }
            }
            Phase::Secrets => {
                out.extend_from_slice(&walk.secrets);
                chunk.close(walk, ChunkKind::Secrets, walk.signing_keys, out);
                walk.phase = Phase::Keys;
            }
            Phase::Keys => self.keys_chunk(walk, chunk, body_end, visits, out),
            Phase::End => {
                chunk.close(walk, ChunkKind::End, 0, out);
                walk.phase = Phase::Done;
                self.forget_overlay();
            }
            Phase::Done | Phase::Abandoned => {}
        }
    }

    /// A chunk of the walk over the keys, each as it was at the beginning.
    fn keys_chunk(
        &mut self,
        walk: &mut Walk,
        chunk: Chunk,
        body_end: usize,
        visits: &mut usize,
        out: &mut Vec<u8>,
    ) {
        let (Some(keeper), index) = self.keys.keeper_and_index() else {
            walk.phase = Phase::Abandoned;
            return;
        };
        let from = keeper.position().map_or(Bound::Unbounded, Bound::Excluded);
        let mut records = index.range(from, Bound::Unbounded).peekable();
        let mut count = 0;
        let (mut last, mut last_kept): (Option<&Record>, Option<Record>) = (None, None);
        let mut first_kept = keeper.take_first();
        while out.len() < body_end && *visits > 0 {
            *visits -= 1;
            let next = records.peek().copied();
            let comes = |kept: &mut Record| next.is_none_or(|next| next.key() >= kept.key());
            if let Some(kept) = first_kept.take_if(comes) {
                write_entry(&kept, out);
                count += 1;
                if next.is_some_and(|next| next.key() == kept.key()) {
                    records.next();
                }
                last_kept = Some(kept);
                first_kept = keeper.take_first();
            } else if let Some(record) = records.next() {
                if keeper.is_of_beginning(record) {
                    write_entry(record, out);
                    count += 1;
                }
                last = Some(record);
            } else {
                walk.phase = Phase::End;
                break;
            }
        }
        if let Some(kept) = first_kept {
            keeper.put_back(kept);
        }
        if walk.phase == Phase::End {
            keeper.walked_all();
        } else if let Some(key) = last
            .map(Record::key)
            .max(last_kept.as_ref().map(Record::key))
        {
            keeper.walked_to(key);
        }
        chunk.close(walk, ChunkKind::Keys, count, out);
    }
}

impl Walk {
    fn is_going(&self) -> bool {
        !matches!(self.phase, Phase::Done | Phase::Abandoned)
    }
}

/// A chunk being written: its header is filled in when it is closed.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
}

impl Chunk {
    fn open(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + CHUNK_HEADER_BYTES, 0);
        Self { start }
    }

    /// Completes the chunk; one that tells nothing is taken back, except head and end.
    fn close(self, walk: &mut Walk, kind: ChunkKind, count: u32, out: &mut Vec<u8>) {
        if count == 0 && !matches!(kind, ChunkKind::Head | ChunkKind::End) {
            out.truncate(self.start);
            return;
        }
        let (header, body) = out[self.start..].split_at_mut(CHUNK_HEADER_BYTES);
        let length = u32::try_from(body.len()).expect("a chunk is bounded by the overlay's limit");
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = FORMAT;
        header[5] = kind as u8;
        header[8..12].copy_from_slice(&walk.number.to_le_bytes());
        header[12..16].copy_from_slice(&count.to_le_bytes());
        header[16..20].copy_from_slice(&length.to_le_bytes());
        let hash = chunk_hash(header, body);
        header[HASH_AT..].copy_from_slice(&hash.to_le_bytes());
        walk.number += 1;
    }
}

fn write_entry(record: &Record, out: &mut Vec<u8>) {
    let stamps = record.stamps();
    let number;
    let (kind, value) = match record.value() {
        Value::Bytes(bytes) => (VALUE_BYTES, bytes),
        Value::Number(n) => {
            number = n.to_le_bytes();
            (VALUE_NUMBER, number.as_slice())
        }
    };
    let value_len = u32::try_from(value.len()).expect("values are at most 1 MiB");
    let key_len = u16::try_from(record.key().len()).expect("keys are at most 1 KiB");
    let flags = if stamps.expires_at_ms.is_some() {
        FLAG_EXPIRES
    } else {
        0
    };
    // One piece: a walk over all keys does little else.
    let mut head = [0; ENTRY_BYTES];
    head[0..8].copy_from_slice(&stamps.created.to_le_bytes());
    head[8..16].copy_from_slice(&stamps.modified.to_le_bytes());
    head[16..24].copy_from_slice(&stamps.version.to_le_bytes());
    head[24..28].copy_from_slice(&value_len.to_le_bytes());
    head[28..30].copy_from_slice(&key_len.to_le_bytes());
    (head[30], head[31]) = (kind, flags);
    out.reserve(ENTRY_BYTES + 8 + record.key().len() + value.len());
    out.extend_from_slice(&head);
    if let Some(at_ms) = stamps.expires_at_ms {
        out.extend_from_slice(&at_ms.to_le_bytes());
    }
    out.extend_from_slice(record.key());
    out.extend_from_slice(value);
}
