use std::sync::Arc;

use domp_protocol::frame::Frame;
use domp_protocol::reply::{ReplyHead, parse_replies};

use super::*;
use crate::rings::{Chunk, Direction, Memory, RingReader};

const SLOT_BEYOND: u32 = (1 << 18) + 5;

fn outbound(ring_bytes: u32) -> (Outbound, RingReader) {
    let memory = Arc::new(Memory::new(4096, ring_bytes).expect("memory"));
    let writer = RingWriter::new(memory.clone(), Direction::Outbound);
    (
        Outbound::new(writer),
        RingReader::new(memory, Direction::Outbound),
    )
}

fn socket(slot: u32, generation: u32) -> Socket {
    Socket {
        slot,
        generation,
        door: 0,
    }
}

fn item(replies: &mut Replies, to: Socket, sequence: u64, payload: &[u8]) {
    item_of(replies, to, 1, sequence, payload);
}

fn item_of(replies: &mut Replies, to: Socket, space: u32, sequence: u64, payload: &[u8]) {
    let head = ReplyHead {
        sequence,
        applied: true,
        ..ReplyHead::default()
    };
    replies.push(to, space, &head, payload);
}

/// What a gateway sees: for each record its socket and the sequences in it; a
/// frame that is no `replies` frame shows its first byte as a negative number.
fn seen(reader: &mut RingReader) -> Vec<(Socket, Vec<i64>)> {
    let mut chunk = Chunk::new();
    let mut seen = Vec::new();
    while reader
        .fill_chunk(&mut chunk, 1 << 20)
        .expect("an honest writer")
    {
        while let Some(record) = chunk.next() {
            let sequences = match parse_replies(record.body) {
                Ok(replies) => replies
                    .map(|(head, _)| i64::try_from(head.sequence).expect("small in tests"))
                    .collect(),
                Err(_) => vec![-i64::from(record.body[0])],
            };
            seen.push((socket(record.slot, record.generation), sequences));
        }
    }
    seen
}

#[test]
fn a_turns_items_for_one_socket_are_one_frame_in_their_order() {
    let (mut outbound, mut reader) = outbound(1 << 16);
    let mut replies = Replies::default();
    let (one, two) = (socket(1, 1), socket(2, 9));
    item(&mut replies, one, 10, b"a");
    item(&mut replies, one, 11, b"bb");
    item(&mut replies, two, 20, b"");
    item(&mut replies, one, 12, b"ccccccccc");
    item(&mut replies, two, 21, b"d");
    let emitted = outbound.emit(&replies);
    assert_eq!(
        (emitted.replies, emitted.frames, emitted.blocked),
        (5, 2, 0)
    );
    assert!(seen(&mut reader).is_empty(), "not published");
    assert!(outbound.publish());
    assert_eq!(
        seen(&mut reader),
        [(one, vec![10, 11, 12]), (two, vec![20, 21])]
    );
}

#[test]
fn a_turns_items_about_one_space_are_one_frame_whatever_stands_between_them() {
    let (mut outbound, mut reader) = outbound(1 << 16);
    let mut replies = Replies::default();
    let (one, two) = (socket(1, 1), socket(2, 1));
    for (to, space, sequence) in [
        (one, 7, 1),
        (one, 0, 2),
        (two, 7, 3),
        (one, 7, 4),
        (one, 9, 5),
        (one, 0, 6),
        (one, 7, 7),
    ] {
        item_of(&mut replies, to, space, sequence, &[1; 5]);
    }
    replies.push_frame(one, &[200; 24]);
    item_of(&mut replies, one, 7, 8, b"");
    let emitted = outbound.emit(&replies);
    assert_eq!((emitted.replies, emitted.frames), (8, 6));
    outbound.publish();
    let mut chunk = Chunk::new();
    reader
        .fill_chunk(&mut chunk, 1 << 16)
        .expect("an honest writer");
    let mut frames = Vec::new();
    while let Some(record) = chunk.next() {
        let Ok(frame) = Frame::parse(record.body) else {
            frames.push((record.slot, None, vec![]));
            continue;
        };
        let replies = parse_replies(record.body).expect("a replies frame");
        let sequences = replies.map(|(head, _)| head.sequence).collect();
        frames.push((record.slot, Some(frame.space), sequences));
    }
    let expected = [
        (1, Some(0), vec![2, 6]),
        (1, Some(7), vec![1, 4, 7]),
        (1, Some(9), vec![5]),
        (1, None, vec![]),
        (1, Some(7), vec![8]),
        (2, Some(7), vec![3]),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn payloads_arrive_as_they_were() {
    let (mut outbound, mut reader) = outbound(1 << 16);
    let mut replies = Replies::default();
    let payloads: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n)]).collect();
    for (sequence, payload) in (0..).zip(&payloads) {
        item(
            &mut replies,
            socket(u32::from(payload.len() % 3 == 0), 1),
            sequence,
            payload,
        );
    }
    outbound.emit(&replies);
    outbound.publish();
    let mut chunk = Chunk::new();
    reader
        .fill_chunk(&mut chunk, 1 << 16)
        .expect("an honest writer");
    let mut count = 0;
    while let Some(record) = chunk.next() {
        for (head, payload) in parse_replies(record.body).expect("a replies frame") {
            let sequence = usize::try_from(head.sequence).expect("small");
            assert_eq!(payload, payloads[sequence]);
            count += 1;
        }
    }
    assert_eq!(count, 40);
}

#[test]
fn generations_of_a_slot_and_whole_frames_are_never_mixed() {
    let (mut outbound, mut reader) = outbound(1 << 16);
    let mut replies = Replies::default();
    let (old, new) = (socket(3, 1), socket(3, 2));
    item(&mut replies, old, 1, b"");
    replies.push_frame(new, &[200; 24]);
    item(&mut replies, new, 2, b"");
    item(&mut replies, old, 3, b"");
    item(&mut replies, new, 4, b"");
    replies.push_frame(new, &[100; 32]);
    outbound.emit(&replies);
    outbound.publish();
    let expected = [
        (old, vec![1]),
        (new, vec![-200]),
        (new, vec![2]),
        (old, vec![3]),
        (new, vec![4]),
        (new, vec![-100]),
    ];
    assert_eq!(seen(&mut reader), expected);
}

#[test]
fn slots_beyond_the_table_are_answered_too() {
    let (mut outbound, mut reader) = outbound(1 << 16);
    let mut replies = Replies::default();
    item(&mut replies, socket(SLOT_BEYOND, 1), 1, b"");
    item(&mut replies, socket(4, 1), 2, b"");
    item(&mut replies, socket(u32::MAX, u32::MAX - 1), 3, b"");
    outbound.emit(&replies);
    outbound.publish();
    let expected = [
        (socket(4, 1), vec![2]),
        (socket(SLOT_BEYOND, 1), vec![1]),
        (socket(u32::MAX, u32::MAX - 1), vec![3]),
    ];
    assert_eq!(seen(&mut reader), expected);
}

#[test]
fn large_answers_are_split_into_frames() {
    let (mut outbound, mut reader) = outbound(8 << 20);
    let mut replies = Replies::default();
    let one = socket(1, 1);
    for sequence in 0..10 {
        item(&mut replies, one, sequence, &vec![7; 300 << 10]);
    }
    item(&mut replies, one, 10, &vec![7; 3 << 20]);
    item(&mut replies, one, 11, b"");
    outbound.emit(&replies);
    outbound.publish();
    let frames: Vec<Vec<i64>> = seen(&mut reader)
        .into_iter()
        .map(|(_, sequences)| sequences)
        .collect();
    assert_eq!(
        frames,
        [
            vec![0, 1, 2],
            vec![3, 4, 5],
            vec![6, 7, 8],
            vec![9],
            vec![10],
            vec![11]
        ]
    );
}

#[test]
fn what_finds_no_room_waits_and_comes_in_order() {
    let (mut outbound, mut reader) = outbound(4096);
    let mut expected = Vec::new();
    let mut got = Vec::new();
    let mut blocked = 0;
    let mut sequence = 0;
    for turn in 0..50_u32 {
        let mut replies = Replies::default();
        for _ in 0..7 {
            let to = socket(sequence % 3, 1);
            item(
                &mut replies,
                to,
                u64::from(sequence),
                &vec![1; (turn * 13 % 400) as usize],
            );
            sequence += 1;
        }
        blocked += outbound.emit(&replies).blocked;
        if outbound.is_blocked() {
            outbound.retry();
        }
        outbound.publish();
        for slot in 0..3 {
            let of_slot = (sequence - 7..sequence).filter(|sequence| sequence % 3 == slot);
            expected.push((socket(slot, 1), of_slot.map(i64::from).collect::<Vec<_>>()));
        }
        if turn % 5 == 4 {
            // The gateway comes by only now and then, and fetches as much as there is.
            loop {
                let some = seen(&mut reader);
                if some.is_empty() {
                    break;
                }
                got.extend(some);
                outbound.retry();
                outbound.publish();
            }
            assert!(!outbound.is_blocked());
            got.sort_by_key(|(_, sequences)| sequences[0]);
            expected.sort_by_key(|(_, sequences)| sequences[0]);
            assert_eq!(got, expected);
        }
    }
    assert!(blocked > 10, "{blocked} frames waited");
}

#[test]
fn frames_that_wait_ask_for_a_wake_up() {
    let memory = Arc::new(Memory::new(4096, 4096).expect("memory"));
    let mut outbound = Outbound::new(RingWriter::new(memory.clone(), Direction::Outbound));
    let mut replies = Replies::default();
    for sequence in 0..8 {
        item(
            &mut replies,
            socket(sequence, 1),
            u64::from(sequence),
            &[1; 1000],
        );
    }
    outbound.emit(&replies);
    outbound.publish();
    assert!(outbound.is_blocked() && !outbound.retry());
    assert!(memory.take_flag(crate::rings::Word::OutboundBlocked));
}
