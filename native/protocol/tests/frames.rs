//! Frames: what is built is read, and each kind of malformed envelope is refused.

use domp_protocol::generated::{log, wire};
use domp_protocol::session::SESSION_TOKEN_BYTES;
use domp_protocol::{
    ErrorCode, ErrorDetail, Frame, FrameBuilder, FrameKind, ItemKind, Outcome, ReplyHead,
    encode_error_detail, encode_goodbye, encode_parts, encode_reply, frame_header, items_of_batch,
    padding, parse_error_detail, parse_goodbye, parse_part, parse_replies,
};

/// Where fields stand in a frame with items: kind of the first item, its length, and so on.
const FIRST_ITEM: usize = 24;
const SECOND_ITEM: usize = 24 + 16 + 8;

/// Two items: one payload of 5 bytes (3 of padding), one of 8 (none).
fn example() -> Vec<u8> {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(1, ItemKind::Transaction, b"12345");
    builder.push_item(u64::MAX, ItemKind::Outcome, b"12345678");
    builder.finish(7, 1000, 9)
}

#[test]
fn a_submit_frame_reads_back_as_it_was_built() {
    let bytes = example();
    let frame = Frame::parse(&bytes).expect("valid");
    assert_eq!((frame.kind, frame.count), (FrameKind::Submit, 2));
    assert_eq!((frame.acked_below, frame.timeout_ms), (7, 1000));
    assert_eq!(frame.space, 9);
    assert_eq!(frame.payload(), None);
    let items: Vec<_> = frame.items().collect();
    assert_eq!(frame.items().len(), 2);
    assert_eq!(
        (items[0].sequence, items[0].kind),
        (1, ItemKind::Transaction)
    );
    assert_eq!(items[0].payload, b"12345");
    assert_eq!(items[0].bytes, &bytes[FIRST_ITEM..SECOND_ITEM]);
    assert_eq!(
        (items[1].sequence, items[1].kind),
        (u64::MAX, ItemKind::Outcome)
    );
    assert_eq!(items[1].payload, b"12345678");
    assert_eq!(items[1].bytes, &bytes[SECOND_ITEM..]);
}

#[test]
fn a_builder_begins_anew_after_each_frame() {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    for _ in 0..2 {
        builder.push_item(1, ItemKind::Transaction, b"12345");
        builder.push_item(u64::MAX, ItemKind::Outcome, b"12345678");
        assert_eq!((builder.items(), builder.bytes()), (2, example().len()));
        assert_eq!(builder.finish(7, 1000, 9), example());
        builder.push_item(9, ItemKind::Transaction, b"forgotten");
        builder.clear();
    }
}

#[test]
fn headers_have_the_layout_of_the_schema() {
    let header = frame_header(FrameKind::Submit, 2, 3, 4, 5);
    let read = wire::FrameHeader(header);
    assert_eq!(
        (read.magic(), read.version(), read.kind()),
        (0x4d44, 2, wire::FrameKind::submit.0)
    );
    assert_eq!(
        (read.count(), read.acked_below(), read.timeout_ms()),
        (2, 3, 4)
    );
    assert_eq!(read.space(), 5);
    assert_eq!(&header[..2], b"DM");
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(5, ItemKind::Outcome, b"123");
    let bytes = builder.finish(0, 1, 0);
    let item = wire::ItemHeader(*bytes[24..].first_chunk().expect("an item"));
    assert_eq!(
        (item.sequence(), item.length(), item.kind()),
        (5, 3, wire::ItemKind::outcome.0)
    );
    let head = ReplyHead {
        sequence: 1,
        revision: 2,
        code: Some(ErrorCode::Fenced),
        applied: false,
        replayed: true,
        outcome_applied: false,
    };
    let mut out = Vec::new();
    encode_reply(&mut out, &head, b"1234567");
    let reply = wire::ReplyHeader(*out.first_chunk().expect("a reply"));
    assert_eq!(
        (reply.sequence(), reply.revision(), reply.length()),
        (1, 2, 7)
    );
    assert_eq!((reply.code(), reply.flags()), (22, 2 | 2 << 4));
    assert_eq!(out.len(), 32);
    assert_eq!(size_of::<log::SessionToken>(), SESSION_TOKEN_BYTES);
}

/// Changes one byte of the example.
fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = example();
    bytes[at] = byte;
    bytes
}

#[test]
fn malformed_envelopes_are_refused() {
    use ErrorCode::{InvalidFrame, TooLarge, UnsupportedVersion};
    let longer = |bytes: &[u8], more: usize| [bytes, &vec![0; more]].concat();
    let good = example();
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("another magic", with(0, b'd'), InvalidFrame),
        ("another version", with(2, 1), UnsupportedVersion),
        ("a version of later", with(2, 3), UnsupportedVersion),
        ("no kind", with(3, 0), InvalidFrame),
        ("an unknown kind", with(3, 12), InvalidFrame),
        ("a part that is none", with(3, 6), InvalidFrame),
        ("fewer items than counted", with(4, 3), InvalidFrame),
        ("more items than counted", with(4, 1), InvalidFrame),
        (
            "no items",
            frame_header(FrameKind::Submit, 0, 0, 1, 0).to_vec(),
            InvalidFrame,
        ),
        ("more items than a frame may have", with(6, 2), TooLarge),
        ("a sequence of zero", with(FIRST_ITEM, 0), InvalidFrame),
        (
            "an item without kind",
            with(FIRST_ITEM + 12, 0),
            InvalidFrame,
        ),
        (
            "an item of unknown kind",
            with(FIRST_ITEM + 12, 4),
            InvalidFrame,
        ),
        (
            "a reserved byte of an item",
            with(FIRST_ITEM + 13, 1),
            InvalidFrame,
        ),
        (
            "another reserved byte of an item",
            with(FIRST_ITEM + 15, 1),
            InvalidFrame,
        ),
        (
            "padding that is not zero",
            with(SECOND_ITEM - 1, 1),
            InvalidFrame,
        ),
        (
            "a shorter length, so that payload is padding",
            with(FIRST_ITEM + 8, 4),
            InvalidFrame,
        ),
        (
            "a length beyond the frame",
            with(FIRST_ITEM + 11, 0xff),
            InvalidFrame,
        ),
        ("bytes behind the last item", longer(&good, 8), InvalidFrame),
        (
            "more bytes than a frame may have",
            longer(&good, 8 << 20),
            TooLarge,
        ),
        ("nothing", vec![], InvalidFrame),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(Frame::parse(&bytes).err(), Some(expected), "{what}");
    }
    for length in 0..good.len() {
        assert_eq!(
            Frame::parse(&good[..length]).err(),
            Some(InvalidFrame),
            "{length} bytes"
        );
    }
}

#[test]
fn a_submit_frame_has_a_timeout_and_no_other_frame_has() {
    for (timeout_ms, expected) in [
        (0, Some(ErrorCode::InvalidFrame)),
        (1, None),
        (600_000, None),
        (600_001, Some(ErrorCode::InvalidFrame)),
    ] {
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        builder.push_item(1, ItemKind::Transaction, b"");
        assert_eq!(
            Frame::parse(&builder.finish(0, timeout_ms, 1)).err(),
            expected
        );
    }
    let mut goodbye = encode_goodbye(ErrorCode::Internal, "", 0);
    assert!(Frame::parse(&goodbye).is_ok());
    goodbye[16] = 1;
    assert_eq!(Frame::parse(&goodbye).err(), Some(ErrorCode::InvalidFrame));
}

#[test]
fn kinds_of_a_later_time_are_refused_by_name() {
    for kind in 7..=11 {
        assert_eq!(
            Frame::parse(&with(3, kind)).err(),
            Some(ErrorCode::UnsupportedOperation),
            "kind {kind}"
        );
    }
}

#[test]
fn only_requests_and_replies_name_a_space() {
    let mut goodbye = encode_goodbye(ErrorCode::Internal, "", 0);
    goodbye[20] = 1;
    assert_eq!(Frame::parse(&goodbye).err(), Some(ErrorCode::InvalidFrame));
    let replies = replies();
    assert_eq!(Frame::parse(&replies).expect("valid").space, 7);
}

/// A submit frame of so many bytes of payload.
fn long_frame(payload_bytes: usize) -> Vec<u8> {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    let payload: Vec<u8> = (0..payload_bytes).map(|at| at.to_le_bytes()[0]).collect();
    builder.push_item(1, ItemKind::Transaction, &payload);
    builder.finish(1, 1000, 9)
}

#[test]
fn a_frame_travels_whole_or_in_parts_of_a_messages_length() {
    for payload_bytes in [0, 65_496, 65_497, 65_504, 100_000, 200_001] {
        let frame = long_frame(payload_bytes);
        let messages = encode_parts(&frame);
        assert!(messages.iter().all(|message| message.len() <= 65_536));
        if frame.len() <= 65_536 {
            assert_eq!(messages, [frame]);
            continue;
        }
        let mut whole = Vec::new();
        for message in &messages {
            let (header, bytes) = parse_part(message).expect("a part");
            assert_eq!(header.frame_bytes as usize, frame.len());
            assert_eq!(header.offset as usize, whole.len());
            assert_eq!(header.length as usize, bytes.len());
            whole.extend_from_slice(bytes);
        }
        assert_eq!(whole, frame);
    }
}

#[test]
fn a_part_has_the_layout_of_the_schema() {
    let frame = long_frame(70_000);
    let messages = encode_parts(&frame);
    assert_eq!(messages.len(), 2);
    let header = wire::FrameHeader(*messages[1].first_chunk().expect("a header"));
    assert_eq!(
        (header.kind(), header.count()),
        (wire::FrameKind::part.0, 1)
    );
    let part = wire::PartHeader(*messages[1][24..].first_chunk().expect("a part's header"));
    assert_eq!(part.frame_bytes() as usize, frame.len());
    assert_eq!(part.offset(), 65_536 - 40);
    assert_eq!((part.offset() + part.length()) as usize, frame.len());
    assert_eq!(part.reserved(), 0);
}

#[test]
fn malformed_parts_are_refused() {
    use ErrorCode::{InvalidFrame, TooLarge};
    let good = encode_parts(&long_frame(70_000)).remove(1);
    let length = u32::from_le_bytes(*good[32..].first_chunk().expect("its length"));
    let refused = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        parse_part(&bytes).err()
    };
    assert!(parse_part(&good).is_ok());
    for (what, at, word, expected) in [
        ("no items", 4, 0, InvalidFrame),
        ("two items", 4, 2, InvalidFrame),
        ("a sequence acknowledged", 8, 1, InvalidFrame),
        ("a timeout", 16, 1, InvalidFrame),
        ("a space", 20, 1, InvalidFrame),
        ("no frame at all", 24, 0, InvalidFrame),
        ("a frame that is shorter", 24, 65_536, InvalidFrame),
        ("a frame over the limit", 24, (8 << 20) + 1, TooLarge),
        ("an offset beyond the frame", 28, 70_040, InvalidFrame),
        ("an offset that wraps", 28, u32::MAX, InvalidFrame),
        ("no bytes", 32, 0, InvalidFrame),
        ("fewer bytes than there are", 32, length - 8, InvalidFrame),
        ("more bytes than there are", 32, length + 8, InvalidFrame),
        ("a reserved word", 36, 1, InvalidFrame),
    ] {
        assert_eq!(refused(at, word), Some(expected), "{what}");
    }
    for length in 0..good.len() {
        assert_eq!(
            parse_part(&good[..length]).err(),
            Some(InvalidFrame),
            "{length} bytes"
        );
    }
    assert_eq!(parse_part(&example()).err(), Some(InvalidFrame));
}

#[test]
fn a_single_frame_has_one_item_and_its_header_only_a_length() {
    let goodbye = encode_goodbye(ErrorCode::Internal, "gone", 5);
    assert!(Frame::parse(&goodbye).expect("valid").payload().is_some());
    for at in (FIRST_ITEM..FIRST_ITEM + 24).filter(|at| !(16..20).contains(&(at - FIRST_ITEM))) {
        let mut bytes = goodbye.clone();
        bytes[at] = 1;
        assert_eq!(
            Frame::parse(&bytes).err(),
            Some(ErrorCode::InvalidFrame),
            "byte {at}"
        );
    }
    let two = [
        &frame_header(FrameKind::Goodbye, 2, 0, 0, 0),
        &goodbye[24..],
        &goodbye[24..],
    ]
    .concat();
    assert_eq!(Frame::parse(&two).err(), Some(ErrorCode::InvalidFrame));
}

#[test]
fn a_batch_is_walked_like_a_frame() {
    let bytes = example();
    let frame = Frame::parse(&bytes).expect("valid");
    let batch = &bytes[24..];
    let items: Result<Vec<_>, _> = items_of_batch(batch, 2).collect();
    assert_eq!(items.expect("valid"), frame.items().collect::<Vec<_>>());
    let refusals = |bytes, count| items_of_batch(bytes, count).filter_map(Result::err).count();
    assert_eq!(refusals(batch, 1), 1, "bytes behind the last item");
    assert_eq!(refusals(batch, 3), 1, "fewer items than counted");
    assert_eq!(refusals(batch, u32::MAX), 1, "far fewer items than counted");
    assert_eq!(refusals(&batch[..batch.len() - 1], 2), 1, "cut off");
    assert_eq!(items_of_batch(b"", 0).count(), 0);
}

/// A `replies` frame with one reply that has every flag and one with an error.
fn replies() -> Vec<u8> {
    let mut out = frame_header(FrameKind::Replies, 2, 0, 0, 7).to_vec();
    encode_reply(&mut out, &APPLIED, b"payload");
    let detail = encode_error_detail(&detail());
    encode_reply(&mut out, &REFUSED, &detail);
    out
}

fn detail() -> ErrorDetail {
    ErrorDetail {
        message: "no such space".to_owned(),
        operation: Some(3),
        guard: Some(0),
        key: b"k".to_vec(),
        retry_after_ms: 50,
    }
}

const APPLIED: ReplyHead = ReplyHead {
    sequence: 1,
    revision: u64::MAX,
    code: None,
    applied: true,
    replayed: true,
    outcome_applied: true,
};
const REFUSED: ReplyHead = ReplyHead {
    sequence: 2,
    revision: 0,
    code: Some(ErrorCode::UnknownSpace),
    applied: false,
    replayed: false,
    outcome_applied: false,
};

#[test]
fn replies_read_back_as_they_were_built() {
    let bytes = replies();
    let replies: Vec<_> = parse_replies(&bytes).expect("valid").collect();
    assert_eq!(replies[0], (APPLIED, &b"payload"[..]));
    assert_eq!(replies[1].0, REFUSED);
    assert_eq!(parse_error_detail(replies[1].1), Ok(detail()));
    let nothing = ErrorDetail::default();
    let encoded = encode_error_detail(&nothing);
    assert_eq!(parse_error_detail(&encoded), Ok(nothing.clone()));
    assert_eq!(parse_error_detail(b""), Ok(nothing));
}

#[test]
fn malformed_replies_are_refused() {
    let good = replies();
    let refused = |at: usize, byte| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        parse_replies(&bytes).err()
    };
    let invalid = Some(ErrorCode::InvalidFrame);
    assert_eq!(
        refused(24 + 20, 63),
        invalid,
        "an error that is not in the table"
    );
    assert_eq!(
        refused(24 + 22, 64),
        invalid,
        "a flag that is not in the schema"
    );
    for flags in [8, 16, 32, 48] {
        assert_eq!(refused(24 + 22, flags), invalid, "advice without an error");
    }
    // The second reply stands behind 24 bytes of header and 8 of payload.
    let second = 24 + 24 + 8;
    for flags in [0, 8] {
        assert_eq!(
            refused(second + 22, flags),
            invalid,
            "an error that does not say what is known of the request"
        );
    }
    assert_eq!(refused(24 + 23, 1), invalid, "a reserved byte");
    assert_eq!(refused(24 + 31, 1), invalid, "padding that is not zero");
    assert_eq!(refused(24 + 19, 0x80), invalid, "a length beyond the frame");
    assert_eq!(refused(4, 3), invalid, "fewer replies than counted");
    assert_eq!(refused(4, 1), invalid, "more replies than counted");
    assert_eq!(
        parse_replies(&example()).err(),
        invalid,
        "a frame of another kind"
    );
}

#[test]
fn goodbyes_read_back_as_they_were_built() {
    let bytes = encode_goodbye(ErrorCode::ShuttingDown, "bye", 250);
    let goodbye = parse_goodbye(&bytes).expect("valid");
    assert_eq!(goodbye.code, ErrorCode::ShuttingDown);
    assert_eq!(
        (goodbye.message.as_str(), goodbye.retry_after_ms),
        ("bye", 250)
    );
    assert_eq!(
        (goodbye.retryable, goodbye.outcome),
        (true, Outcome::NotSubmitted)
    );
}

#[test]
fn a_reply_with_an_error_says_what_the_table_says_of_it() {
    for &code in ErrorCode::ALL {
        let head = ReplyHead {
            code: Some(code),
            ..REFUSED
        };
        let mut out = Vec::new();
        encode_reply(&mut out, &head, b"");
        let flags = wire::ReplyHeader(*out.first_chunk().expect("a reply")).flags();
        let outcome = match code.outcome() {
            Outcome::NotSubmitted => 1,
            Outcome::NotApplied => 2,
            Outcome::Unknown => 3,
        };
        assert_eq!(flags >> 4, outcome, "{code}");
        assert_eq!(flags & 8 != 0, code.retryable(), "{code}");
    }
}

#[test]
fn padding_reaches_the_next_multiple_of_eight() {
    let lengths: Vec<_> = (0..=16).map(|length| length + padding(length)).collect();
    assert_eq!(
        lengths,
        [0, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16]
    );
}

#[test]
fn errors_are_found_by_their_numbers() {
    for &code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        assert!(code.to_string().starts_with(code.name()));
    }
    assert_eq!(ErrorCode::from_number(0), None);
    assert_eq!(ErrorCode::from_number(63), None);
}
