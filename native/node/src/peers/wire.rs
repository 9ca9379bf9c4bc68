//! Messages of Raft as they travel between nodes; `schemas/peer.fbs` lays them out.
//!
//! Nothing that comes is believed: what does not read is refused here, what makes no sense by
//! `domp_consensus::Group::step`.

use domp_consensus::{Entry, Message, MessageType, ReadContext};
use domp_log::Timeline;
use domp_protocol::generated::layout::{raft_entry, raft_message as place};
use domp_protocol::generated::peer::{RaftContext, RaftKind};
use domp_protocol::padding;

use crate::fields::{Fields, Malformed, each, length, u32_at, u64_at, u128_at};

/// What the crate writes into the context of a vote that the leader asked for.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// A message with the group it is about.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    pub group: u64,
    pub timeline: Timeline,
    pub message: Message,
}

const KINDS: [(MessageType, RaftKind); 9] = [
    (MessageType::MsgAppend, RaftKind::append),
    (MessageType::MsgAppendResponse, RaftKind::append_response),
    (MessageType::MsgHeartbeat, RaftKind::heartbeat),
    (
        MessageType::MsgHeartbeatResponse,
        RaftKind::heartbeat_response,
    ),
    (MessageType::MsgRequestVote, RaftKind::request_vote),
    (
        MessageType::MsgRequestVoteResponse,
        RaftKind::request_vote_response,
    ),
    (MessageType::MsgRequestPreVote, RaftKind::request_pre_vote),
    (
        MessageType::MsgRequestPreVoteResponse,
        RaftKind::request_pre_vote_response,
    ),
    (MessageType::MsgTimeoutNow, RaftKind::timeout_now),
];

/// Appends a message; false if it is of a kind that does not travel.
pub fn put(envelope: &Envelope, out: &mut Vec<u8>) -> bool {
    let message = &envelope.message;
    let kinds = KINDS.iter();
    let Some((_, kind)) = kinds
        .clone()
        .find(|(kind, _)| *kind == message.get_msg_type())
    else {
        return false;
    };
    let read = ReadContext::from_bytes(&message.context);
    let context = match read {
        Some(_) => RaftContext::read,
        None if &message.context[..] == TRANSFER => RaftContext::transfer,
        None => RaftContext::none,
    };
    let read = read.unwrap_or_default();
    let entries_begin = out.len() + place::STRUCT_BYTES;
    let begin = out.len();
    out.resize(entries_begin, 0);
    for entry in &message.entries {
        put_entry(entry, out);
    }
    let entries_bytes = out.len() - entries_begin;
    let mut fields = Fields::of(&mut out[begin..entries_begin]);
    for (at, value) in [
        (place::GROUP, envelope.group),
        (place::TIMELINE_COUNTER, envelope.timeline.counter),
        (place::FROM, message.from),
        (place::TO, message.to),
        (place::TERM, message.term),
        (place::INDEX, message.index),
        (place::LOG_TERM, message.log_term),
        (place::COMMIT, message.commit),
        (place::COMMIT_TERM, message.commit_term),
        (place::REJECT_HINT, message.reject_hint),
        (place::READ_REPLICA, read.replica),
        (place::READ_INCARNATION, read.incarnation),
        (place::READ_COUNT, read.count),
    ] {
        fields.put_u64(at, value);
    }
    fields.put_u128(place::TIMELINE_RANDOM_LOW, envelope.timeline.random);
    fields.put_u32(place::BYTES, length(entries_bytes));
    fields.put_u32(place::ENTRIES, length(message.entries.len()));
    fields.put_u8(place::KIND, kind.0);
    fields.put_u8(place::CONTEXT, context.0);
    fields.put_u8(place::REJECT, message.reject.into());
    true
}

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let bytes = length(entry.data.len());
    out.extend_from_slice(&entry.index.to_le_bytes());
    out.extend_from_slice(&entry.term.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&entry.data);
    out.resize(out.len() + padding(entry.data.len()), 0);
}

/// The messages in what a node sent, in order. Ends behind the first that does not read.
pub fn envelopes(bytes: &[u8]) -> impl Iterator<Item = Result<Envelope, Malformed>> {
    each(bytes, take)
}

/// Takes the first message off.
fn take(rest: &mut &[u8]) -> Option<Envelope> {
    let (head, after) = rest.split_first_chunk::<{ place::STRUCT_BYTES }>()?;
    let word = |at: usize| u64_at(head, at);
    let is_reserved = head[place::RESERVED0] != 0
        || u32_at(head, place::RESERVED1) != 0
        || word(place::PLACEMENT) != 0;
    let (kind, _) = KINDS.iter().find(|(_, kind)| kind.0 == head[place::KIND])?;
    if is_reserved || head[place::REJECT] > 1 {
        return None;
    }
    let read = ReadContext {
        replica: word(place::READ_REPLICA),
        incarnation: word(place::READ_INCARNATION),
        count: word(place::READ_COUNT),
    };
    let context = match RaftContext(head[place::CONTEXT]) {
        RaftContext::read => read.to_bytes().to_vec(),
        _ if read != ReadContext::default() => return None,
        RaftContext::none => Vec::new(),
        RaftContext::transfer => TRANSFER.to_vec(),
        _ => return None,
    };
    let bytes = usize::try_from(u32_at(head, place::BYTES)).ok()?;
    let (mut entries, after) = after.split_at_checked(bytes)?;
    let mut message = Message {
        from: word(place::FROM),
        to: word(place::TO),
        term: word(place::TERM),
        index: word(place::INDEX),
        log_term: word(place::LOG_TERM),
        commit: word(place::COMMIT),
        commit_term: word(place::COMMIT_TERM),
        reject: head[place::REJECT] == 1,
        reject_hint: word(place::REJECT_HINT),
        context: context.into(),
        ..Message::default()
    };
    message.set_msg_type(*kind);
    for _ in 0..u32_at(head, place::ENTRIES) {
        message.mut_entries().push(take_entry(&mut entries)?);
    }
    if !entries.is_empty() {
        return None;
    }
    *rest = after;
    Some(Envelope {
        group: word(place::GROUP),
        timeline: Timeline {
            counter: word(place::TIMELINE_COUNTER),
            random: u128_at(head, place::TIMELINE_RANDOM_LOW),
        },
        message,
    })
}

fn take_entry(rest: &mut &[u8]) -> Option<Entry> {
    let (head, after) = rest.split_first_chunk::<{ raft_entry::STRUCT_BYTES }>()?;
    let bytes = usize::try_from(u32_at(head, raft_entry::LENGTH)).ok()?;
    let (data, after) = after.split_at_checked(bytes)?;
    let (zeros, after) = after.split_at_checked(padding(bytes))?;
    if u32_at(head, raft_entry::RESERVED) != 0 || zeros.iter().any(|byte| *byte != 0) {
        return None;
    }
    *rest = after;
    Some(Entry {
        index: u64_at(head, raft_entry::INDEX),
        term: u64_at(head, raft_entry::TERM),
        data: data.to_vec().into(),
        ..Entry::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope_of(kind: MessageType) -> Envelope {
        let mut message = Message {
            from: 3,
            to: 4,
            term: 5,
            index: 6,
            log_term: 7,
            commit: 8,
            commit_term: 9,
            reject: true,
            reject_hint: 10,
            ..Message::default()
        };
        message.set_msg_type(kind);
        Envelope {
            group: 1,
            timeline: Timeline {
                counter: 2,
                random: u128::MAX - 11,
            },
            message,
        }
    }

    fn there_and_back(envelope: &Envelope) -> Vec<Result<Envelope, Malformed>> {
        let mut out = Vec::new();
        assert!(put(envelope, &mut out));
        assert!(out.len().is_multiple_of(8));
        envelopes(&out).collect()
    }

    #[test]
    fn what_is_envelope_arrives() {
        for (kind, _) in KINDS {
            let mut envelope = envelope_of(kind);
            assert_eq!(there_and_back(&envelope), [Ok(envelope_of(kind))]);
            let read = ReadContext {
                replica: 1,
                incarnation: u64::MAX,
                count: 3,
            };
            for context in [read.to_bytes().to_vec(), TRANSFER.to_vec()] {
                envelope.message.context = context.into();
                let back = there_and_back(&envelope);
                assert_eq!(back.len(), 1);
                assert_eq!(back[0].as_ref(), Ok(&envelope));
            }
        }
    }

    #[test]
    fn entries_arrive_as_they_are() {
        let mut envelope = envelope_of(MessageType::MsgAppend);
        for (index, data) in (7..).zip([&b""[..], b"1234567", b"12345678", b"123456789"]) {
            envelope.message.mut_entries().push(Entry {
                index,
                term: 5,
                data: data.to_vec().into(),
                ..Entry::default()
            });
        }
        let back = there_and_back(&envelope);
        assert_eq!(back[0].as_ref(), Ok(&envelope));
    }

    #[test]
    fn what_is_cut_or_longer_than_it_says_does_not_read() {
        let mut envelope = envelope_of(MessageType::MsgAppend);
        envelope.message.mut_entries().push(Entry {
            data: b"123".to_vec().into(),
            ..Entry::default()
        });
        let mut whole = Vec::new();
        put(&envelope, &mut whole);
        for length in 1..whole.len() {
            assert_eq!(envelopes(&whole[..length]).next(), Some(Err(Malformed)));
        }
        for at in [
            place::BYTES,
            place::ENTRIES,
            place::PLACEMENT,
            place::REJECT,
        ] {
            let mut bytes = whole.clone();
            bytes[at] += 2;
            assert_eq!(envelopes(&bytes).next(), Some(Err(Malformed)), "at {at}");
        }
        whole.extend_from_slice(&[0; 8]);
        let read: Vec<_> = envelopes(&whole).collect();
        assert_eq!(read, [Ok(envelope), Err(Malformed)]);
    }
}
