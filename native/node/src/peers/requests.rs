//! The words of the requests lane: what doors hand on, and the answers; `schemas/peer.fbs` lays them out.
//!
//! Nothing that comes is believed: what does not read is refused here, with all that stands behind it.

use domp_protocol::frame::items_of_batch;
use domp_protocol::generated::layout::{
    answer_batch, answers_taken, handed_batch, stream_forgotten,
};
use domp_protocol::generated::peer::RequestsKind;
use domp_protocol::reply::{ReplyItem, reply_items};
use domp_state::entry::{BatchHead, BatchKind};

use super::heartbeat::Point;
use crate::door::Grants;
use crate::fields::{Fields, Malformed, each, length, u32_at, u64_at};

/// What a door says of the items of one connection, space and turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    pub space: u32,
    pub count: u32,
    /// The process that hands on, and the connection there.
    pub name: Name,
    /// On the leader's clock.
    pub deadline: Point,
    pub grants: Grants,
    pub batch: BatchHead,
}

/// A connection of a door as others name it: never the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Of the door's process.
    pub incarnation: u64,
    /// Counted there, from 1 on.
    pub stream: u64,
}

/// What stands over answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    pub space: u32,
    pub count: u32,
    /// As the items were handed on.
    pub name: Name,
    /// Of the connection that they come on, counted by whoever answers.
    pub connection: u64,
    /// Of the space's group.
    pub term: u64,
    /// 0: nobody known.
    pub leader: u64,
}

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Items, each whole; their envelope is verified.
    Handed(Handed, &'a [u8]),
    /// Answers, each whole and verified; and the bytes that the word takes.
    Answers(Answers, &'a [u8], u64),
    /// So many bytes of answers were taken of a connection.
    Taken { connection: u64, bytes: u64 },
    /// Nobody waits for a stream; stream 0: for any of that process.
    Forgotten(Name),
}

/// Appends items with what is said of them.
pub fn put_handed(head: &Handed, items: &[u8], out: &mut Vec<u8>) {
    use handed_batch as place;
    let mut to = Fields::append(out, place::STRUCT_BYTES);
    to.put_u8(place::KIND, RequestsKind::handed.0);
    to.put_u8(
        place::SESSION,
        (head.batch.kind == BatchKind::Session).into(),
    );
    to.put_u8(place::GRANTS, head.grants.may_write(head.space).into());
    to.put_u32(place::SPACE, head.space);
    to.put_u32(place::COUNT, head.count);
    to.put_u32(place::BYTES, length(items.len()));
    to.put_u64(place::DOOR_INCARNATION, head.name.incarnation);
    to.put_u64(place::STREAM, head.name.stream);
    to.put_u64(place::LEADER_INCARNATION, head.deadline.incarnation);
    to.put_u64(place::STAMP_US, head.deadline.stamp_us);
    to.put_u64(place::WITHIN_US, head.deadline.within_us);
    to.put_u64(place::BIRTH, head.batch.birth);
    to.put_u64(place::NONCE, head.batch.nonce);
    to.put_u64(place::PRINCIPAL, head.batch.principal);
    to.put_u64(place::EPOCH, head.batch.epoch);
    to.put_u64(place::ACKED_BELOW, head.batch.acked_below);
    out.extend_from_slice(items);
}

/// Appends answers with what is said of them. Returns the bytes that takes.
pub fn put_answers(head: &Answers, answers: &[u8], out: &mut Vec<u8>) -> u64 {
    use answer_batch as place;
    let mut to = Fields::append(out, place::STRUCT_BYTES);
    to.put_u8(place::KIND, RequestsKind::answers.0);
    to.put_u32(place::SPACE, head.space);
    to.put_u32(place::COUNT, head.count);
    to.put_u32(place::BYTES, length(answers.len()));
    to.put_u64(place::DOOR_INCARNATION, head.name.incarnation);
    to.put_u64(place::STREAM, head.name.stream);
    to.put_u64(place::CONNECTION, head.connection);
    to.put_u64(place::TERM, head.term);
    to.put_u64(place::LEADER, head.leader);
    out.extend_from_slice(answers);
    (place::STRUCT_BYTES + answers.len()) as u64
}

/// Appends how much was taken of a connection.
pub fn put_taken(connection: u64, bytes: u64, out: &mut Vec<u8>) {
    use answers_taken as place;
    let mut to = Fields::append(out, place::STRUCT_BYTES);
    to.put_u8(place::KIND, RequestsKind::taken.0);
    to.put_u64(place::CONNECTION, connection);
    to.put_u64(place::BYTES, bytes);
}

/// Appends that nobody waits for a stream.
pub fn put_forgotten(name: Name, out: &mut Vec<u8>) {
    use stream_forgotten as place;
    let mut to = Fields::append(out, place::STRUCT_BYTES);
    to.put_u8(place::KIND, RequestsKind::forgotten.0);
    to.put_u64(place::DOOR_INCARNATION, name.incarnation);
    to.put_u64(place::STREAM, name.stream);
}

/// The words in what a node sent, in order. Ends behind the first that does not read.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = Result<Word<'_>, Malformed>> {
    each(bytes, |rest| match RequestsKind(*rest.first()?) {
        RequestsKind::handed => take_handed(rest),
        RequestsKind::answers => take_answers(rest),
        RequestsKind::taken => take_taken(rest),
        RequestsKind::forgotten => take_forgotten(rest),
        _ => None,
    })
}

fn take_handed<'a>(rest: &mut &'a [u8]) -> Option<Word<'a>> {
    use handed_batch as place;
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    let word = |at: usize| u64_at(head, at);
    let flag = |at: usize| head[at] == 1;
    let space = u32_at(head, place::SPACE);
    let grants = if flag(place::GRANTS) {
        Grants::WRITE
    } else {
        Grants::READ
    };
    let batch = BatchHead {
        kind: if flag(place::SESSION) {
            BatchKind::Session
        } else {
            BatchKind::Stateless
        },
        birth: word(place::BIRTH),
        nonce: word(place::NONCE),
        principal: word(place::PRINCIPAL),
        epoch: word(place::EPOCH),
        acked_below: word(place::ACKED_BELOW),
    };
    let is_sound = head[place::GRANTS] <= 1
        && head[place::SESSION] <= 1
        && head[place::RESERVED0] == 0
        && (flag(place::SESSION) || batch == BatchHead::stateless(batch.principal))
        && word(place::STREAM) != 0;
    let count = u32_at(head, place::COUNT);
    let bytes = usize::try_from(u32_at(head, place::BYTES)).ok()?;
    let (items, after) = after.split_at_checked(bytes)?;
    if !is_sound || count == 0 || !items_of_batch(items, count).all(|item| item.is_ok()) {
        return None;
    }
    *rest = after;
    let handed = Handed {
        space,
        count,
        name: Name {
            incarnation: word(place::DOOR_INCARNATION),
            stream: word(place::STREAM),
        },
        deadline: Point {
            incarnation: word(place::LEADER_INCARNATION),
            stamp_us: word(place::STAMP_US),
            within_us: word(place::WITHIN_US),
        },
        grants,
        batch,
    };
    Some(Word::Handed(handed, items))
}

fn take_answers<'a>(rest: &mut &'a [u8]) -> Option<Word<'a>> {
    use answer_batch as place;
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    let word = |at: usize| u64_at(head, at);
    let count = u32_at(head, place::COUNT);
    let bytes = usize::try_from(u32_at(head, place::BYTES)).ok()?;
    let (answers, after) = after.split_at_checked(bytes)?;
    let is_reserved = head[place::RESERVED0] != 0
        || head[place::RESERVED1..][..2] != [0; 2]
        || word(place::STREAM) == 0;
    let mut found = 0;
    for answer in reply_items(answers) {
        found += u32::from(answer.is_ok());
        answer.ok()?;
    }
    if is_reserved || found != count || count == 0 {
        return None;
    }
    *rest = after;
    let head = Answers {
        space: u32_at(head, place::SPACE),
        count,
        name: Name {
            incarnation: word(place::DOOR_INCARNATION),
            stream: word(place::STREAM),
        },
        connection: word(place::CONNECTION),
        term: word(place::TERM),
        leader: word(place::LEADER),
    };
    Some(Word::Answers(
        head,
        answers,
        (place::STRUCT_BYTES + answers.len()) as u64,
    ))
}

fn take_taken<'a>(rest: &mut &'a [u8]) -> Option<Word<'a>> {
    use answers_taken as place;
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    if head[1..8] != [0; 7] {
        return None;
    }
    *rest = after;
    Some(Word::Taken {
        connection: u64_at(head, place::CONNECTION),
        bytes: u64_at(head, place::BYTES),
    })
}

fn take_forgotten<'a>(rest: &mut &'a [u8]) -> Option<Word<'a>> {
    use stream_forgotten as place;
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    if head[1..8] != [0; 7] {
        return None;
    }
    *rest = after;
    Some(Word::Forgotten(Name {
        incarnation: u64_at(head, place::DOOR_INCARNATION),
        stream: u64_at(head, place::STREAM),
    }))
}

/// The answers of a word, which were verified when it was read.
pub fn answers_of(bytes: &[u8]) -> impl Iterator<Item = ReplyItem<'_>> {
    reply_items(bytes).map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
    use domp_protocol::reply::{ReplyHead, encode_reply};

    use super::*;

    const NAME: Name = Name {
        incarnation: 3,
        stream: 4,
    };

    fn items() -> Vec<u8> {
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        builder.push_item(1, ItemKind::Transaction, b"any");
        builder.push_item(2, ItemKind::Outcome, b"longer than eight");
        builder.finish(0, 1, 7).split_off(24)
    }

    fn handed() -> Handed {
        Handed {
            space: 7,
            count: 2,
            name: NAME,
            deadline: Point {
                incarnation: 5,
                stamp_us: 6,
                within_us: 7,
            },
            grants: Grants::WRITE,
            batch: BatchHead {
                kind: BatchKind::Session,
                birth: 8,
                nonce: 9,
                principal: 10,
                epoch: 11,
                acked_below: 12,
            },
        }
    }

    fn all() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let mut out = Vec::new();
        let (items, mut answers) = (items(), Vec::new());
        put_handed(&handed(), &items, &mut out);
        encode_reply(&mut answers, &ReplyHead::default(), b"results");
        let head = Answers {
            space: 7,
            count: 1,
            name: NAME,
            connection: 2,
            term: 9,
            leader: 1,
        };
        put_answers(&head, &answers, &mut out);
        put_taken(2, 99, &mut out);
        put_forgotten(NAME, &mut out);
        (out, items, answers)
    }

    #[test]
    fn what_is_put_is_read() {
        let (bytes, items, answers) = all();
        assert!(bytes.len().is_multiple_of(8));
        let read: Vec<_> = words(&bytes).map(|word| word.expect("sound")).collect();
        assert_eq!(read.len(), 4);
        assert_eq!(read[0], Word::Handed(handed(), &items));
        assert!(matches!(read[1], Word::Answers(head, bytes, taken)
            if head.name == NAME && bytes == answers && taken == 56 + answers.len() as u64));
        let taken = Word::Taken {
            connection: 2,
            bytes: 99,
        };
        assert_eq!(read[2..], [taken, Word::Forgotten(NAME)]);
    }

    #[test]
    fn what_is_cut_or_reserved_does_not_read() {
        let (bytes, ..) = all();
        for length in 1..bytes.len() {
            let read: Vec<_> = words(&bytes[..length]).collect();
            let sound = read.iter().filter(|word| word.is_ok()).count();
            assert!(sound < 4, "cut at {length}");
        }
        for at in [
            handed_batch::KIND,
            handed_batch::SESSION,
            handed_batch::GRANTS,
            handed_batch::RESERVED0,
            handed_batch::COUNT,
            handed_batch::BYTES,
        ] {
            let mut bytes = bytes.clone();
            bytes[at] += 8;
            assert_eq!(words(&bytes).next(), Some(Err(Malformed)), "at {at}");
        }
    }
}
