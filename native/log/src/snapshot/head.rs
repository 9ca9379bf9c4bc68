//! What a snapshot is of, and whose file it is.

use domp_protocol::generated::log::StateLimits;

use crate::body::{Position, Timeline};
use crate::bytes::{put, u16_at, u32_at, u64_at, u128_at};

/// Bytes of the local part.
const ORIGIN_BYTES: usize = 40;
/// Bytes of the portable part before its lists.
const PORTABLE_FIXED_BYTES: usize = 136;
const LIMITS_BYTES: usize = 32;
const ANCESTOR_BYTES: usize = 40;
/// Members and ancestors that a head can have together.
const LISTED_MAX: usize = 1024;

/// Whose file a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOrigin {
    /// The node that wrote it.
    pub node: u64,
    /// The group's replica there.
    pub replica: u64,
    /// The last durable frame of the node's log when the snapshot was begun ([`crate::Writer::position`]).
    pub position: Position,
}

/// A group's configuration, both halves of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Replica ids of voters.
    pub voters: Vec<u64>,
    /// Voters of the configuration that is being left.
    pub voters_outgoing: Vec<u64>,
    /// Who hears, but has no vote.
    pub learners: Vec<u64>,
    /// Voters that become learners when the configuration is left.
    pub learners_next: Vec<u64>,
    /// Whether it is left without being told to.
    pub auto_leave: bool,
}

/// A timeline that the present one came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancestor {
    /// Which.
    pub timeline: Timeline,
    /// The last index that the present timeline shares with it.
    pub index: u64,
    /// The last revision that the present timeline shares with it.
    pub revision: u64,
}

/// What a snapshot is of: the same on all replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotHead {
    /// The Raft group.
    pub group: u64,
    /// Raft index of the last entry that the state contains.
    pub index: u64,
    /// Raft term of that entry.
    pub term: u64,
    /// Revision of the state.
    pub revision: u64,
    /// Lease time of the state, in milliseconds.
    pub lease_ms: u64,
    /// Version of what applying an entry means for this state.
    pub apply_version: u16,
    /// Limits that hold for it.
    pub limits: StateLimits,
    /// Below this revision its key tombstones are gone.
    pub key_floor: u64,
    /// Below this revision its history is gone.
    pub history_floor: u64,
    /// The group's timeline.
    pub timeline: Timeline,
    /// The timelines before, the oldest first.
    pub ancestry: Vec<Ancestor>,
    /// The group's configuration at that index.
    pub conf: ConfState,
}

impl SnapshotOrigin {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; ORIGIN_BYTES];
        put(&mut out, 0, &self.node.to_le_bytes());
        put(&mut out, 8, &self.replica.to_le_bytes());
        put(&mut out, 16, &self.position.sequence.to_le_bytes());
        put(&mut out, 24, &self.position.digest.to_le_bytes());
        out
    }

    /// Takes the local part off a head's payload; the portable part follows.
    pub(super) fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (bytes, portable) = payload.split_at_checked(ORIGIN_BYTES)?;
        let origin = Self {
            node: u64_at(bytes, 0),
            replica: u64_at(bytes, 8),
            position: Position {
                sequence: u64_at(bytes, 16),
                digest: u128_at(bytes, 24),
            },
        };
        Some((origin, portable))
    }
}

impl SnapshotHead {
    fn members(&self) -> [&Vec<u64>; 4] {
        let conf = &self.conf;
        [
            &conf.voters,
            &conf.voters_outgoing,
            &conf.learners,
            &conf.learners_next,
        ]
    }

    /// Whether a file can hold it.
    pub(super) fn is_possible(&self) -> bool {
        let members: usize = self.members().iter().map(|members| members.len()).sum();
        members + self.ancestry.len() <= LISTED_MAX
    }

    /// The portable part, as it stands in files and travels to other replicas.
    ///
    /// # Panics
    /// If there are more than 1,024 members and ancestors, which no group has.
    pub fn encode(&self) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).expect("bounded by LISTED_MAX");
        let mut out = vec![0; PORTABLE_FIXED_BYTES];
        let words = [
            self.group,
            self.index,
            self.term,
            self.revision,
            self.lease_ms,
            self.key_floor,
            self.history_floor,
        ];
        for (place, word) in words.into_iter().enumerate() {
            put(&mut out, place * 8, &word.to_le_bytes());
        }
        put(&mut out, 56, &self.limits.0);
        put(&mut out, 88, &self.timeline.counter.to_le_bytes());
        put(&mut out, 96, &self.timeline.random.to_le_bytes());
        put(&mut out, 112, &self.apply_version.to_le_bytes());
        out[114] = u8::from(self.conf.auto_leave);
        for (place, members) in self.members().into_iter().enumerate() {
            put(
                &mut out,
                116 + place * 4,
                &count(members.len()).to_le_bytes(),
            );
        }
        put(&mut out, 132, &count(self.ancestry.len()).to_le_bytes());
        for member in self.members().into_iter().flatten() {
            out.extend_from_slice(&member.to_le_bytes());
        }
        for ancestor in &self.ancestry {
            out.extend_from_slice(&ancestor.timeline.counter.to_le_bytes());
            out.extend_from_slice(&ancestor.timeline.random.to_le_bytes());
            out.extend_from_slice(&ancestor.index.to_le_bytes());
            out.extend_from_slice(&ancestor.revision.to_le_bytes());
        }
        out
    }

    /// Reads what [`Self::encode`] made; None if it is nothing of the kind.
    pub fn decode(portable: &[u8]) -> Option<Self> {
        let (fixed, lists) = portable.split_at_checked(PORTABLE_FIXED_BYTES)?;
        if fixed[114] > 1 || fixed[115] != 0 {
            return None;
        }
        let [voters, voters_outgoing, learners, learners_next, ancestors] =
            [116, 120, 124, 128, 132].map(|at| u32_at(fixed, at) as usize);
        let counts = [voters, voters_outgoing, learners, learners_next];
        let members: usize = counts.iter().sum();
        if members + ancestors > LISTED_MAX
            || lists.len() != members * 8 + ancestors * ANCESTOR_BYTES
        {
            return None;
        }
        let (members, ancestors) = lists.split_at(members * 8);
        let mut members = members
            .as_chunks::<8>()
            .0
            .iter()
            .map(|id| u64::from_le_bytes(*id));
        let mut next = |count| members.by_ref().take(count).collect();
        let mut limits = [0; LIMITS_BYTES];
        limits.copy_from_slice(&fixed[56..88]);
        Some(Self {
            group: u64_at(fixed, 0),
            index: u64_at(fixed, 8),
            term: u64_at(fixed, 16),
            revision: u64_at(fixed, 24),
            lease_ms: u64_at(fixed, 32),
            key_floor: u64_at(fixed, 40),
            history_floor: u64_at(fixed, 48),
            limits: StateLimits(limits),
            timeline: timeline_at(fixed, 88),
            apply_version: u16_at(fixed, 112),
            conf: ConfState {
                voters: next(voters),
                voters_outgoing: next(voters_outgoing),
                learners: next(learners),
                learners_next: next(learners_next),
                auto_leave: fixed[114] == 1,
            },
            ancestry: ancestors
                .as_chunks::<ANCESTOR_BYTES>()
                .0
                .iter()
                .map(|bytes| Ancestor {
                    timeline: timeline_at(bytes, 0),
                    index: u64_at(bytes, 24),
                    revision: u64_at(bytes, 32),
                })
                .collect(),
        })
    }
}

fn timeline_at(bytes: &[u8], at: usize) -> Timeline {
    Timeline {
        counter: u64_at(bytes, at),
        random: u128_at(bytes, at + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_and_any_other_bytes_are_refused_or_read() {
        let ancestor = Ancestor {
            timeline: Timeline {
                counter: 1,
                random: 44,
            },
            index: 90,
            revision: 91,
        };
        let head = SnapshotHead {
            group: 1,
            index: 2,
            term: 3,
            revision: 4,
            lease_ms: 5,
            apply_version: 6,
            limits: StateLimits([7; 32]),
            key_floor: 8,
            history_floor: 9,
            timeline: Timeline {
                counter: 2,
                random: u128::MAX - 3,
            },
            ancestry: vec![ancestor, Ancestor::default()],
            conf: ConfState {
                voters: vec![6, 7],
                voters_outgoing: vec![8],
                learners: vec![9, 10, 11],
                learners_next: vec![12],
                auto_leave: true,
            },
        };
        let bytes = head.encode();
        assert!(bytes.len().is_multiple_of(8) && head.is_possible());
        assert_eq!(SnapshotHead::decode(&bytes), Some(head));
        for len in 0..bytes.len() {
            assert_eq!(SnapshotHead::decode(&bytes[..len]), None, "{len} bytes");
        }
        for at in 114..136 {
            let mut wrong = bytes.clone();
            wrong[at] = 0xff;
            assert_eq!(SnapshotHead::decode(&wrong), None, "byte {at}");
        }
        let many = vec![0; PORTABLE_FIXED_BYTES + (LISTED_MAX + 1) * 8];
        assert_eq!(SnapshotHead::decode(&many), None);
        let origin = SnapshotOrigin {
            node: 1,
            replica: 2,
            position: Position {
                sequence: 3,
                digest: 4,
            },
        };
        let mut payload = origin.encode();
        payload.push(5);
        assert_eq!(SnapshotOrigin::split(&payload), Some((origin, &[5][..])));
        assert_eq!(SnapshotOrigin::split(&payload[..39]), None);
    }
}
