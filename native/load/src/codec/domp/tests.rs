use super::*;
use crate::stream::Stream;
use domp_protocol::{
    EntryRef, ReplyHead, ResultsEncoder, Transaction, encode_reply, parse_replies,
};

const SPACE: u32 = 7;

fn codec() -> Domp {
    let shared = Shared::default();
    shared.get_or_init(|| Templates::new(SPACE));
    Domp::new("/".into(), shared)
}

fn operation(kind: Kind, key: u32) -> Operation {
    Operation {
        kind,
        key,
        other: 88_000_001,
        amount: 42,
        stamp: 5,
    }
}

/// The frame inside the WebSocket message that carries these operations.
fn frame(number: u64, answered_below: u64, operations: &[Operation]) -> Vec<u8> {
    let mut out = Vec::new();
    codec().encode(number, answered_below, operations, &mut out);
    let length = codec()
        .shared
        .get()
        .expect("set")
        .frame_bytes(operations[0].kind, operations.len());
    out.split_off(out.len() - length)
}

#[test]
fn frames_are_what_the_protocol_reads() {
    let puts = [operation(Kind::Put, 12), operation(Kind::Put, 34)];
    let bytes = frame(100, 98, &puts);
    let frame = Frame::parse(&bytes).expect("valid");
    assert_eq!(
        (frame.kind, frame.count, frame.acked_below, frame.space),
        (FrameKind::Submit, 2, 99, SPACE)
    );
    for ((item, put), sequence) in frame.items().zip(&puts).zip(101..) {
        assert_eq!(
            (item.sequence, item.kind),
            (sequence, ItemKind::Transaction)
        );
        let transaction = Transaction::parse(item.payload).expect("valid");
        let mut value = [0; VALUE_BYTES];
        write_value(put.key, put.stamp, &mut value);
        assert_eq!(transaction.space(), SPACE);
        assert_eq!(
            transaction.then().collect::<Vec<_>>(),
            [Step::Put {
                key: &entry_key(put.key),
                value: ValueRef::Bytes(&value),
                expire_after_ms: None
            }]
        );
    }
}

#[test]
fn a_transfer_guards_takes_and_gives_the_amount() {
    let bytes = frame(0, 0, &[operation(Kind::Transfer, 12)]);
    let frame = Frame::parse(&bytes).expect("valid");
    let item = frame.items().next().expect("one");
    let transaction = Transaction::parse(item.payload).expect("valid");
    let (from, to) = (account_key(12), account_key(88_000_001));
    assert_eq!(
        transaction.guards().collect::<Vec<_>>(),
        [Guard::AtLeast {
            key: &from,
            number: 42
        }]
    );
    let add = |key, delta, floor| Step::Add {
        key,
        delta,
        floor,
        ceiling: None,
    };
    assert_eq!(
        transaction.then().collect::<Vec<_>>(),
        [add(&from, -42, Some(0)), add(&to, 42, None)]
    );
}

#[test]
fn every_kind_is_a_valid_transaction() {
    for kind in [
        Kind::Put,
        Kind::Get,
        Kind::Transfer,
        Kind::OpenAccount,
        Kind::ReadAccount,
    ] {
        let bytes = frame(0, 0, &[operation(kind, 1)]);
        let frame = Frame::parse(&bytes).expect("valid");
        let item = frame.items().next().expect("one");
        let transaction = Transaction::parse(item.payload).expect("valid");
        let is_read = matches!(kind, Kind::Get | Kind::ReadAccount);
        assert_eq!(transaction.is_read_only(), is_read, "{kind:?}");
    }
}

/// A server's message of replies to the given sequences.
fn message(replies: &[(ReplyHead, Vec<u8>)]) -> Vec<u8> {
    let count = u32::try_from(replies.len()).expect("few");
    let mut frame = frame_header(FrameKind::Replies, count, 0, 0, SPACE).to_vec();
    for (head, payload) in replies {
        encode_reply(&mut frame, head, payload);
    }
    assert_eq!(parse_replies(&frame).expect("valid").count(), replies.len());
    let mut bytes = Vec::new();
    websocket::push_header(websocket::BINARY, frame.len(), &mut bytes);
    // A server's header is a client's without the mask.
    bytes[1] &= 0x7f;
    bytes.truncate(bytes.len() - 4);
    bytes.extend_from_slice(&frame);
    bytes
}

fn applied(sequence: u64) -> ReplyHead {
    ReplyHead {
        sequence,
        revision: 9,
        applied: true,
        ..ReplyHead::default()
    }
}

fn decode(kind: Kind, bytes: &[u8]) -> Result<(usize, Recorder)> {
    let mut outstanding = Outstanding::new(4, 1)?;
    let mut stream = Stream::List(
        (0..4)
            .map(|key| operation(kind, key))
            .collect::<Vec<_>>()
            .into_iter(),
    );
    while outstanding.draw(&mut stream, 0).is_some() {}
    let mut recorder = Recorder::new();
    let used = codec().decode(bytes, &mut outstanding, &mut recorder, &mut Vec::new())?;
    Ok((used, recorder))
}

fn entry_results(key: u32, value: ValueRef<'_>) -> Vec<u8> {
    let mut encoder = ResultsEncoder::new();
    let mut out = Vec::new();
    encoder.begin();
    encoder.push_get(Some(&EntryRef {
        key: &entry_key(key),
        value: Some(value),
        created: 1,
        modified: 2,
        version: 3,
        expires_in_ms: None,
    }));
    encoder.finish(None, &mut out);
    out
}

#[test]
fn replies_come_in_any_order_and_wait_until_whole() {
    let bytes = message(&[(applied(3), Vec::new()), (applied(1), Vec::new())]);
    for cut in 0..bytes.len() {
        assert_eq!(decode(Kind::Put, &bytes[..cut]).expect("waits").0, 0);
    }
    let (used, recorder) = decode(Kind::Put, &bytes).expect("right");
    assert_eq!((used, recorder.tally().puts), (bytes.len(), 2));
}

#[test]
fn values_and_numbers_are_read_and_checked() {
    let mut value = [0; VALUE_BYTES];
    write_value(1, 5, &mut value);
    let right = entry_results(1, ValueRef::Bytes(&value));
    let bytes = message(&[(applied(2), right.clone())]);
    assert_eq!(decode(Kind::Get, &bytes).expect("right").1.tally().hits, 1);
    let misplaced = message(&[(applied(3), right)]);
    assert!(
        decode(Kind::Get, &misplaced).is_err(),
        "another key's value"
    );
    let number = message(&[(applied(2), entry_results(1, ValueRef::Number(-3)))]);
    assert_eq!(
        decode(Kind::ReadAccount, &number)
            .expect("right")
            .1
            .tally()
            .sum,
        -3
    );
    assert!(decode(Kind::Get, &number).is_err(), "a number is no value");
}

/// Takes the answers to one message of these operations.
fn decode_message(operations: Vec<Operation>, bytes: &[u8]) -> Result<(Recorder, bool)> {
    let mut outstanding = Outstanding::new(1, operations.len())?;
    let mut stream = Stream::List(operations.into_iter());
    outstanding.draw(&mut stream, 0).expect("one message");
    let mut recorder = Recorder::new();
    codec().decode(bytes, &mut outstanding, &mut recorder, &mut Vec::new())?;
    Ok((recorder, outstanding.is_empty()))
}

#[test]
fn every_get_of_a_frame_is_checked_by_its_own_key() {
    let gets: Vec<Operation> = (0..16).map(|key| operation(Kind::Get, key)).collect();
    let found = |key: u32, flipped: Option<usize>| {
        let mut value = [0; VALUE_BYTES];
        write_value(key, 5, &mut value);
        if let Some(bit) = flipped {
            value[bit / 8] ^= 1 << (bit % 8);
        }
        let sequence = u64::from(key) + 1;
        let results = entry_results(key, ValueRef::Bytes(&value));
        (applied(sequence), results)
    };
    // The answers may be spread over several messages.
    let whole: Vec<_> = (0..16).map(|key| found(key, None)).collect();
    let (first, last) = whole.split_at(5);
    let bytes = [message(first), message(last)].concat();
    let (recorder, is_empty) = decode_message(gets.clone(), &bytes).expect("right");
    assert_eq!((recorder.tally().hits, is_empty), (16, true));
    let (_, is_empty) = decode_message(gets.clone(), &message(first)).expect("right");
    assert!(!is_empty, "eleven are missing");
    for bit in 0..VALUE_BYTES * 8 {
        let mut wrong = whole.clone();
        wrong[bit % 16] = found(u32::try_from(bit % 16).expect("small"), Some(bit));
        assert!(decode_message(gets.clone(), &message(&wrong)).is_err());
    }
    let mut swapped = whole;
    (swapped[3].1, swapped[4].1) = (swapped[4].1.clone(), swapped[3].1.clone());
    assert!(decode_message(gets, &message(&swapped)).is_err());
}

#[test]
fn refused_transfers_of_a_frame_are_counted_each() {
    let transfers: Vec<Operation> = (0..16).map(|key| operation(Kind::Transfer, key)).collect();
    let replies: Vec<_> = (1..=16)
        .map(|sequence| {
            let head = ReplyHead {
                applied: sequence % 3 != 0,
                ..applied(sequence)
            };
            (head, Vec::new())
        })
        .collect();
    let (recorder, is_empty) = decode_message(transfers, &message(&replies)).expect("right");
    let tally = recorder.tally();
    assert_eq!((tally.applied, tally.refused, is_empty), (11, 5, true));
}

#[test]
fn a_missing_entry_is_a_fault() {
    let mut encoder = ResultsEncoder::new();
    let mut out = Vec::new();
    encoder.begin();
    encoder.push_get(None);
    encoder.finish(None, &mut out);
    assert!(decode(Kind::Get, &message(&[(applied(1), out)])).is_err());
}

#[test]
fn errors_and_what_was_not_asked_are_faults() {
    let error = ReplyHead {
        code: Some(ErrorCode::Overloaded),
        ..applied(1)
    };
    let detail = domp_protocol::encode_error_detail(&domp_protocol::ErrorDetail {
        message: "the disk".to_owned(),
        ..Default::default()
    });
    let fault = decode(Kind::Put, &message(&[(error, detail)]))
        .err()
        .expect("a fault");
    assert_eq!(fault.to_string(), "DOMP answered overloaded the disk");
    assert!(decode(Kind::Put, &message(&[(applied(5), Vec::new())])).is_err());
    assert!(decode(Kind::Put, &message(&[(applied(0), Vec::new())])).is_err());
    let twice = message(&[(applied(1), Vec::new()), (applied(1), Vec::new())]);
    assert!(decode(Kind::Put, &twice).is_err());
    let refused = ReplyHead {
        applied: false,
        ..applied(1)
    };
    assert!(decode(Kind::Put, &message(&[(refused, Vec::new())])).is_err());
    let (_, recorder) =
        decode(Kind::Transfer, &message(&[(refused, Vec::new())])).expect("an answer");
    assert_eq!(recorder.tally().refused, 1);
}
