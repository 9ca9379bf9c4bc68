//! What is said on the bulk lane; `schemas/peer.fbs` lays it out. Nothing that comes is believed.

use domp_log::{SnapshotName, Timeline};
use domp_protocol::generated::layout::snapshot_message as place;
use domp_protocol::generated::peer::{SnapshotFailure, SnapshotWord};
use domp_protocol::padding;

use crate::fields::{Fields, Malformed, each, length, u32_at, u64_at, u128_at};

/// Names an attempt to bring a replica up: of a start of the leader's node, counted within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    pub incarnation: u64,
    pub count: u64,
}

/// A message without the bytes that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying {
    pub group: u64,
    pub timeline: Timeline,
    pub from: u64,
    pub to: u64,
    pub term: u64,
    pub attempt: Attempt,
    pub name: SnapshotName,
    pub offset: u64,
    pub restored: u64,
    pub word: SnapshotWord,
    pub failure: SnapshotFailure,
}

/// Bytes that may follow a message.
const BYTES_MAX: usize = 1 << 20;

/// Appends a message.
pub fn put(saying: &Saying, bytes: &[u8], out: &mut Vec<u8>) {
    let mut fields = Fields::append(out, place::STRUCT_BYTES);
    for (at, value) in [
        (place::GROUP, saying.group),
        (place::TIMELINE_COUNTER, saying.timeline.counter),
        (place::FROM, saying.from),
        (place::TO, saying.to),
        (place::TERM, saying.term),
        (place::ATTEMPT_INCARNATION, saying.attempt.incarnation),
        (place::ATTEMPT_COUNT, saying.attempt.count),
        (place::INDEX, saying.name.index),
        (place::INDEX_TERM, saying.name.term),
        (place::OFFSET, saying.offset),
        (place::RESTORED, saying.restored),
    ] {
        fields.put_u64(at, value);
    }
    fields.put_u128(place::TIMELINE_RANDOM_LOW, saying.timeline.random);
    fields.put_u128(place::DIGEST_LOW, saying.name.digest);
    fields.put_u32(place::BYTES, length(bytes.len()));
    fields.put_u8(place::WORD, saying.word.0);
    fields.put_u8(place::FAILURE, saying.failure.0);
    out.extend_from_slice(bytes);
    out.resize(out.len() + padding(bytes.len()), 0);
}

/// The messages in what a node sent, in order. Ends behind the first that does not read.
pub fn sayings(bytes: &[u8]) -> impl Iterator<Item = Result<(Saying, &[u8]), Malformed>> {
    each(bytes, take)
}

/// Takes the first message off.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(Saying, &'a [u8])> {
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    let word = |at: usize| u64_at(head, at);
    let wide = |at: usize| u128_at(head, at);
    if word(place::PLACEMENT) != 0 || head[place::RESERVED0..][..2] != [0; 2] {
        return None;
    }
    let kind = SnapshotWord(head[place::WORD]);
    let failure = SnapshotFailure(head[place::FAILURE]);
    if kind == SnapshotWord::none || kind.variant_name().is_none() {
        return None;
    }
    let has_failure = failure != SnapshotFailure::none;
    if failure.variant_name().is_none() || has_failure != (kind == SnapshotWord::failed) {
        return None;
    }
    let length = usize::try_from(u32_at(head, place::BYTES)).ok()?;
    let may_have = matches!(kind, SnapshotWord::offer | SnapshotWord::piece);
    if length > BYTES_MAX || may_have != (length > 0) {
        return None;
    }
    let (bytes, after) = after.split_at_checked(length)?;
    let (zeros, after) = after.split_at_checked(padding(length))?;
    if zeros.iter().any(|byte| *byte != 0) {
        return None;
    }
    *rest = after;
    let saying = Saying {
        group: word(place::GROUP),
        timeline: Timeline {
            counter: word(place::TIMELINE_COUNTER),
            random: wide(place::TIMELINE_RANDOM_LOW),
        },
        from: word(place::FROM),
        to: word(place::TO),
        term: word(place::TERM),
        attempt: Attempt {
            incarnation: word(place::ATTEMPT_INCARNATION),
            count: word(place::ATTEMPT_COUNT),
        },
        name: SnapshotName {
            index: word(place::INDEX),
            term: word(place::INDEX_TERM),
            digest: wide(place::DIGEST_LOW),
        },
        offset: word(place::OFFSET),
        restored: word(place::RESTORED),
        word: kind,
        failure,
    };
    Some((saying, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(word: SnapshotWord) -> Saying {
        Saying {
            group: 1,
            timeline: Timeline {
                counter: 2,
                random: u128::MAX - 3,
            },
            from: 4,
            to: 5,
            term: 6,
            attempt: Attempt {
                incarnation: 7,
                count: 8,
            },
            name: SnapshotName {
                index: 9,
                term: 10,
                digest: u128::MAX - 11,
            },
            offset: 12,
            restored: 13,
            word,
            failure: SnapshotFailure::none,
        }
    }

    #[test]
    fn what_is_said_arrives() {
        let mut out = Vec::new();
        let failed = Saying {
            failure: SnapshotFailure::disk,
            ..saying(SnapshotWord::failed)
        };
        let all = [
            (saying(SnapshotWord::offer), &b"head"[..]),
            (saying(SnapshotWord::piece), b"12345678"),
            (saying(SnapshotWord::end), b""),
            (saying(SnapshotWord::taken), b""),
            (failed, b""),
        ];
        for (saying, bytes) in &all {
            put(saying, bytes, &mut out);
            assert!(out.len().is_multiple_of(8));
        }
        let read: Vec<_> = sayings(&out).map(|read| read.expect("it reads")).collect();
        assert_eq!(read, all);
    }

    #[test]
    fn what_is_cut_or_senseless_does_not_read() {
        let mut whole = Vec::new();
        put(&saying(SnapshotWord::piece), b"123", &mut whole);
        for length in 1..whole.len() {
            assert_eq!(sayings(&whole[..length]).next(), Some(Err(Malformed)));
        }
        for (at, value) in [
            (place::WORD, 0),
            (place::WORD, 99),
            (place::WORD, SnapshotWord::end.0),
            (place::WORD, SnapshotWord::failed.0),
            (place::FAILURE, 1),
            (place::FAILURE, 99),
            (place::PLACEMENT, 1),
            (place::RESERVED0, 1),
            (place::BYTES, 0),
            (place::BYTES + 3, 1),
            (whole.len() - 1, 1),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(sayings(&bytes).next(), Some(Err(Malformed)), "at {at}");
        }
    }
}
