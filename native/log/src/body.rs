//! Bodies of the records that the log itself understands: what must exist of a
//! replica, what makes a group, what the node is. Layouts as in `log.fbs`.

use crate::bytes::{u32_at, u64_at, u128_at};
use crate::record::{Record, RecordKind};

/// Bytes of a [`HardState`].
pub const HARD_STATE_BYTES: usize = 72;
const FOUNDING_FIXED_BYTES: usize = 48;
const INCARNATION_BYTES: usize = 40;
const GROUPS_FIXED_BYTES: usize = INCARNATION_BYTES + 8;
const GROUP_REPLICA_BYTES: usize = 16;

/// A place in the log's chain: the last frame before it. Default: before the first frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Sequence of the frame; 0: none yet.
    pub sequence: u64,
    /// Its digest, which covers all frames before; 0: none yet.
    pub digest: u128,
}

/// What a hard state calls a snapshot by. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotName {
    /// Raft index of the last entry that it contains; 0: there is none.
    pub index: u64,
    /// Raft term of that entry.
    pub term: u64,
    /// Digest of its content, as its end says; the same on all replicas.
    pub digest: u128,
}

/// What a replica must remember beside its entries, and what must exist of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Raft term.
    pub term: u64,
    /// Who got the vote in that term; 0: nobody.
    pub vote: u64,
    /// Entries up to this index are committed.
    pub commit: u64,
    /// The snapshot that must be there. It was durable before this record was appended; once this is
    /// durable the older snapshot may go, and entries that it contains.
    pub snapshot: SnapshotName,
    /// The log begins behind this index: an installed snapshot's or the founding's; 0: from the beginning.
    pub start_index: u64,
    /// The term there.
    pub start_term: u64,
}

impl HardState {
    /// The body of its record.
    pub fn encode(&self) -> [u8; HARD_STATE_BYTES] {
        let mut out = [0; HARD_STATE_BYTES];
        let words = [
            self.term,
            self.vote,
            self.commit,
            self.snapshot.index,
            self.snapshot.term,
        ];
        put_words(&mut out, 0, &words);
        out[40..56].copy_from_slice(&self.snapshot.digest.to_le_bytes());
        put_words(&mut out, 56, &[self.start_index, self.start_term]);
        out
    }

    /// Reads the body of its record; None if it is not one.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() == HARD_STATE_BYTES).then(|| Self {
            term: u64_at(body, 0),
            vote: u64_at(body, 8),
            commit: u64_at(body, 16),
            snapshot: SnapshotName {
                index: u64_at(body, 24),
                term: u64_at(body, 32),
                digest: u128_at(body, 40),
            },
            start_index: u64_at(body, 56),
            start_term: u64_at(body, 64),
        })
    }

    /// Whether the log begins anew with this one, which follows `before`: a snapshot was installed. Of the
    /// entries that stand before it in the log none counts.
    pub fn begins_anew(&self, before: &Self) -> bool {
        (self.start_index, self.start_term) != (before.start_index, before.start_term)
    }

    /// Entries up to this index are not needed once this is durable.
    pub(crate) fn covered(&self) -> u64 {
        self.snapshot.index.max(self.start_index)
    }
}

/// A timeline of a group. What was restored or recovered by force goes on under a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeline {
    /// One more than the one it came from.
    pub counter: u64,
    /// Drawn when it began.
    pub random: u128,
}

/// Makes a group out of nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Founding {
    /// The group's first timeline.
    pub timeline: Timeline,
    /// The group's log begins behind this index.
    pub index: u64,
    /// The term there.
    pub term: u64,
    /// Replica ids of the first voters.
    pub voters: Vec<u64>,
}

impl Founding {
    /// The body of its record.
    ///
    /// # Panics
    /// With four thousand million voters.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; FOUNDING_FIXED_BYTES];
        put_words(&mut out, 0, &[self.timeline.counter]);
        out[8..24].copy_from_slice(&self.timeline.random.to_le_bytes());
        put_words(&mut out, 24, &[self.index, self.term]);
        let count = u32::try_from(self.voters.len()).expect("fewer voters than that");
        out[40..44].copy_from_slice(&count.to_le_bytes());
        for voter in &self.voters {
            out.extend_from_slice(&voter.to_le_bytes());
        }
        out
    }

    /// Reads the body of its record; None if it is not one.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (fixed, voters) = body.split_at_checked(FOUNDING_FIXED_BYTES)?;
        let (voters, rest) = voters.as_chunks::<8>();
        let whole =
            rest.is_empty() && u32_at(fixed, 40) as usize == voters.len() && u32_at(fixed, 44) == 0;
        whole.then(|| Self {
            timeline: Timeline {
                counter: u64_at(fixed, 0),
                random: u128_at(fixed, 8),
            },
            index: u64_at(fixed, 24),
            term: u64_at(fixed, 32),
            voters: voters.iter().map(|id| u64::from_le_bytes(*id)).collect(),
        })
    }
}

/// A start of the node. Default: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// 1 at the first start; one more at each that could be written.
    pub number: u64,
    /// Drawn at the start.
    pub nonce: u64,
    /// Where the log ended when it was recovered.
    pub recovered: Position,
}

impl Incarnation {
    /// The body of its record.
    pub fn encode(&self) -> [u8; INCARNATION_BYTES] {
        let mut out = [0; INCARNATION_BYTES];
        put_words(
            &mut out,
            0,
            &[self.number, self.nonce, self.recovered.sequence],
        );
        out[24..40].copy_from_slice(&self.recovered.digest.to_le_bytes());
        out
    }

    /// Reads the body of its record; None if it is not one.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() == INCARNATION_BYTES).then(|| Self {
            number: u64_at(body, 0),
            nonce: u64_at(body, 8),
            recovered: Position {
                sequence: u64_at(body, 16),
                digest: u128_at(body, 24),
            },
        })
    }
}

/// What a segment begins with: what the log holds when it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupsList {
    /// The latest.
    pub incarnation: Incarnation,
    /// Group and replica of each that has a hard state in the log, ascending.
    pub replicas: Vec<(u64, u64)>,
}

impl GroupsList {
    /// Bytes of the body with that many replicas.
    pub(crate) fn bytes(replicas: usize) -> usize {
        GROUPS_FIXED_BYTES + replicas * GROUP_REPLICA_BYTES
    }

    /// The body of its record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::bytes(self.replicas.len()));
        out.extend_from_slice(&self.incarnation.encode());
        let count = u32::try_from(self.replicas.len()).expect("they fit into a frame");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (group, replica) in &self.replicas {
            out.extend_from_slice(&group.to_le_bytes());
            out.extend_from_slice(&replica.to_le_bytes());
        }
        out
    }

    /// Reads the body of its record; None if it is not one.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (fixed, replicas) = body.split_at_checked(GROUPS_FIXED_BYTES)?;
        let incarnation = Incarnation::decode(&fixed[..INCARNATION_BYTES])?;
        let (replicas, rest) = replicas.as_chunks::<GROUP_REPLICA_BYTES>();
        let replicas: Vec<(u64, u64)> = replicas
            .iter()
            .map(|bytes| (u64_at(bytes, 0), u64_at(bytes, 8)))
            .collect();
        let whole = rest.is_empty()
            && u32_at(fixed, INCARNATION_BYTES) as usize == replicas.len()
            && u32_at(fixed, INCARNATION_BYTES + 4) == 0
            && replicas.is_sorted_by(|one, other| one < other);
        whole.then_some(Self {
            incarnation,
            replicas,
        })
    }
}

/// A record's body, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The log does not look into it.
    Entry,
    HardState(HardState),
    Drop,
    Founding(Founding),
    Groups(GroupsList),
    Incarnation(Incarnation),
}

impl Body {
    /// The error says what is wrong.
    pub fn of(record: &Record<'_>) -> Result<Self, &'static str> {
        let body = record.body;
        let (read, what) = match record.kind {
            RecordKind::Entry => return Ok(Self::Entry),
            RecordKind::Drop => (
                body.is_empty().then_some(Self::Drop),
                "a drop has a body, which it must not have",
            ),
            RecordKind::HardState => (
                HardState::decode(body).map(Self::HardState),
                "a hard state can't be read",
            ),
            RecordKind::Founding => (
                Founding::decode(body).map(Self::Founding),
                "a founding can't be read",
            ),
            RecordKind::Groups => (
                GroupsList::decode(body).map(Self::Groups),
                "a list of groups can't be read",
            ),
            RecordKind::Incarnation => (
                Incarnation::decode(body).map(Self::Incarnation),
                "an incarnation can't be read",
            ),
        };
        read.ok_or(what)
    }
}

fn put_words(out: &mut [u8], at: usize, words: &[u64]) {
    for (place, word) in words.iter().enumerate() {
        out[at + place * 8..at + place * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
}
