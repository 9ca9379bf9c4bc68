//! Golden frames: bytes of the past, readable for ever.
//!
//! The files under test/golden/v2 were written once and never change; their
//! meaning is told here, and again by the TypeScript test of the same name. A
//! new kind of frame or field gets a new file: `DOMP_WRITE_GOLDEN=1 cargo test
//! -p domp-protocol --test golden` writes files that do not exist yet, and
//! touches no other.

mod support;

use std::path::PathBuf;

use domp_protocol::generated::log;
use domp_protocol::{
    EntryRef, EntryValue, ErrorCode, ErrorDetail, Frame, FrameBuilder, FrameKind, Hello, ItemKind,
    KeyOutcomeRef, KeyState, Operation, Outcome, OutcomeOfRequest, OutcomeRequest, OwnedEntry,
    PartHeader, ReplyHead, ResultValue, Results, ResultsEncoder, SessionToken, Transaction,
    TransactionBuilder, ValueRef, Versions, Welcome, WelcomeLimits, encode_error_detail,
    encode_goodbye, encode_hello, encode_kept_results, encode_key_outcome,
    encode_outcome_of_request, encode_outcome_request, encode_parts, encode_reply, encode_welcome,
    frame_header, items_of_batch, parse_error_detail, parse_goodbye, parse_hello,
    parse_key_outcome, parse_part, parse_replies, parse_results, parse_welcome,
};
use support::{every_guard, every_operation};

const TOKEN: SessionToken = SessionToken {
    birth: 113_246_208_000_000_000,
    nonce: 0x0123_4567_89ab_cdef,
    principal: 42,
    epoch: 113_246_208_000_000_007,
    key: 3,
    mac: *b"0123456789abcdef",
};

/// A golden file's bytes. Where it is missing and asked for, `encode` writes it first.
fn golden(name: &str, encode: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../test/golden/v2", name]
        .iter()
        .collect();
    if !path.exists() && std::env::var_os("DOMP_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, encode()).expect("the directory of golden files can be written");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn hello() {
    let hello = Hello {
        versions: Versions { min: 2, max: 9 },
        token: Some("secret-token"),
        session: Some(TOKEN),
        capabilities: 0,
        client: Some("golden/1.0"),
    };
    let bytes = golden("hello.bin", || encode_hello(&hello));
    assert_eq!(parse_hello(&bytes), Ok(hello));
    let least = Hello {
        versions: Versions { min: 2, max: 2 },
        ..Hello::default()
    };
    let bytes = golden("hello-least.bin", || encode_hello(&least));
    assert_eq!(parse_hello(&bytes), Ok(least));
}

#[test]
fn welcome() {
    let welcome = Welcome {
        version: 2,
        versions: Versions { min: 2, max: 3 },
        session: TOKEN,
        resumed: true,
        epoch: 3,
        server_time_ms: 1_728_000_000_000,
        node: 0xfedc_ba98_7654_3210,
        limits: WelcomeLimits {
            frame_bytes_max: 1,
            transaction_bytes_max: 2,
            key_bytes_max: 3,
            value_bytes_max: 4,
            operations_max: 5,
            guards_max: 6,
            window: 7,
            outstanding_bytes_max: 8,
            session_ttl_ms: 9,
        },
        default_space: 1,
    };
    let bytes = golden("welcome.bin", || encode_welcome(&welcome));
    assert_eq!(parse_welcome(&bytes), Ok(welcome));
}

#[test]
fn goodbye() {
    let bytes = golden("goodbye.bin", || {
        encode_goodbye(ErrorCode::ShuttingDown, "adieu", 250)
    });
    let goodbye = parse_goodbye(&bytes).expect("readable");
    assert_eq!(goodbye.code, ErrorCode::ShuttingDown);
    assert_eq!(
        (goodbye.message.as_str(), goodbye.retry_after_ms),
        ("adieu", 250)
    );
    assert_eq!(
        (goodbye.retryable, goodbye.outcome),
        (true, Outcome::NotSubmitted)
    );
}

/// The transaction of `submit.bin`: every guard, every operation, both branches.
fn everything() -> Vec<u8> {
    let mut builder = TransactionBuilder::new(7);
    for guard in every_guard() {
        builder = builder.guard(guard);
    }
    for operation in every_operation() {
        builder = builder.then(operation);
    }
    builder.otherwise(Operation::Get { key: b"k" }).finish()
}

/// A transaction under a key, with what is to be kept.
fn keyed() -> Vec<u8> {
    TransactionBuilder::new(7)
        .then(Operation::Delete { key: b"k" })
        .idempotency_key(KEY)
        .result(b"kept")
        .finish()
}

const KEY: &[u8] = b"order/\xff\x00";

const OUTCOME_OF: OutcomeOfRequest<'_> = OutcomeOfRequest {
    space: 7,
    idempotency_key: KEY,
};

fn spaces() -> Vec<u8> {
    TransactionBuilder::new(0)
        .then(Operation::SpaceCreate { name: b"games" })
        .then(Operation::SpaceDrop { name: b"old" })
        .finish()
}

const OUTCOME: OutcomeRequest<'_> = OutcomeRequest {
    space: 7,
    key: b"k",
    sequence: 12,
    session: Some(TOKEN),
};

fn submit() -> Vec<u8> {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(1, ItemKind::Transaction, &everything());
    builder.push_item(1 << 40, ItemKind::Transaction, &keyed());
    builder.push_item(3, ItemKind::Outcome, &encode_outcome_request(&OUTCOME));
    let outcome_of = encode_outcome_of_request(&OUTCOME_OF);
    builder.push_item(4, ItemKind::OutcomeOf, &outcome_of);
    builder.finish(1, 5000, 7)
}

fn submit_spaces() -> Vec<u8> {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(5, ItemKind::Transaction, &spaces());
    builder.finish(5, 1, 0)
}

/// What stands in `submit.bin`, and in the frame that TypeScript wrote.
fn check_submit(bytes: &[u8]) {
    let frame = Frame::parse(bytes).expect("readable");
    assert_eq!((frame.kind, frame.count), (FrameKind::Submit, 4));
    assert_eq!(
        (frame.acked_below, frame.timeout_ms, frame.space),
        (1, 5000, 7)
    );
    let items: Vec<_> = frame.items().collect();
    let sequences: Vec<_> = items.iter().map(|item| item.sequence).collect();
    assert_eq!(sequences, [1, 1 << 40, 3, 4]);

    let transaction = Transaction::parse(items[0].payload).expect("readable");
    assert_eq!(transaction.space(), 7);
    assert_eq!(transaction.guards().collect::<Vec<_>>(), every_guard());
    assert_eq!(transaction.then().collect::<Vec<_>>(), every_operation());
    let otherwise = transaction.otherwise().expect("it is there");
    assert_eq!(
        otherwise.collect::<Vec<_>>(),
        [Operation::Get { key: b"k" }]
    );

    assert_eq!(transaction.idempotency_key(), None);

    let transaction = Transaction::parse(items[1].payload).expect("readable");
    assert_eq!(
        transaction.then().collect::<Vec<_>>(),
        [Operation::Delete { key: b"k" }]
    );
    assert_eq!(transaction.idempotency_key(), Some(KEY));
    assert_eq!(transaction.result(), Some(&b"kept"[..]));

    assert_eq!(items[2].kind, ItemKind::Outcome);
    assert_eq!(OutcomeRequest::parse(items[2].payload), Ok(OUTCOME));
    assert_eq!(items[3].kind, ItemKind::OutcomeOf);
    assert_eq!(OutcomeOfRequest::parse(items[3].payload), Ok(OUTCOME_OF));
}

#[test]
fn submit_about_spaces() {
    let bytes = golden("submit-spaces.bin", submit_spaces);
    let frame = Frame::parse(&bytes).expect("readable");
    assert_eq!((frame.count, frame.space), (1, 0));
    let item = frame.items().next().expect("one");
    let transaction = Transaction::parse(item.payload).expect("readable");
    let expected = [
        Operation::SpaceCreate { name: b"games" },
        Operation::SpaceDrop { name: b"old" },
    ];
    assert_eq!(transaction.space(), 0);
    assert_eq!(transaction.then().collect::<Vec<_>>(), expected);
    assert!(transaction.otherwise().is_none());
}

#[test]
fn part_of_a_frame() {
    let frame: Vec<u8> = (0..70_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let bytes = golden("part.bin", || encode_parts(&frame).remove(1));
    let (header, part) = parse_part(&bytes).expect("readable");
    let expected = PartHeader {
        frame_bytes: 70_000,
        offset: 65_496,
        length: 4_504,
    };
    assert_eq!(header, expected);
    assert_eq!(part, &frame[65_496..]);
}

#[test]
fn key_outcomes() {
    let mut results = Vec::new();
    let mut encoder = ResultsEncoder::new();
    encoder.push_number(5);
    encoder.finish(None, &mut results);
    let applied = KeyOutcomeRef {
        state: KeyState::Applied,
        code: None,
        revision: 113_246_208_000_000_001,
        results: &results,
        kept: Some(b"kept"),
    };
    let bytes = golden("key-outcome.bin", || encode_key_outcome(&applied));
    let read = parse_key_outcome(&bytes).expect("readable");
    assert_eq!((read.state, read.code), (KeyState::Applied, None));
    assert_eq!(read.revision, applied.revision);
    assert_eq!(read.results.results[0].number, Some(5));
    assert_eq!(read.kept.as_deref(), Some(&b"kept"[..]));

    let refused = KeyOutcomeRef {
        state: KeyState::NotApplied,
        code: Some(ErrorCode::OutOfBounds),
        revision: 0,
        results: b"",
        kept: None,
    };
    let bytes = golden("key-outcome-refused.bin", || encode_key_outcome(&refused));
    let read = parse_key_outcome(&bytes).expect("readable");
    assert_eq!(
        (read.state, read.code),
        (KeyState::NotApplied, Some(ErrorCode::OutOfBounds))
    );
    assert_eq!((read.results, read.kept), (Results::default(), None));
}

#[test]
fn submit_of_either_language() {
    check_submit(&golden("submit.bin", submit));
    // Written by the TypeScript test, which has no reason to read the encoder here.
    check_submit(&golden("submit-typescript.bin", || {
        panic!("the TypeScript test writes it")
    }));
}

const HEAD: ReplyHead = ReplyHead {
    sequence: 1,
    revision: 113_246_208_000_000_001,
    code: None,
    applied: true,
    replayed: false,
    outcome_applied: false,
};

const BYTES: EntryRef<'_> = EntryRef {
    key: b"player/1",
    value: Some(ValueRef::Bytes(b"value")),
    created: 1,
    modified: u64::MAX,
    version: 3,
    expires_in_ms: None,
};
const NUMBER: EntryRef<'_> = EntryRef {
    value: Some(ValueRef::Number(-5)),
    expires_in_ms: Some(60_000),
    ..BYTES
};
const KEY_ONLY: EntryRef<'_> = EntryRef {
    value: None,
    ..BYTES
};

const FROM_KEY: ReplyHead = ReplyHead {
    sequence: 10,
    replayed: true,
    ..HEAD
};

fn detail() -> ErrorDetail {
    ErrorDetail {
        message: "below the floor".to_owned(),
        operation: Some(1),
        guard: None,
        key: b"n/1".to_vec(),
        retry_after_ms: 50,
    }
}

fn replies() -> Vec<u8> {
    let mut out = frame_header(FrameKind::Replies, 7, 0, 0, 7).to_vec();
    let mut encoder = ResultsEncoder::new();
    let mut results = Vec::new();
    // A get alone is laid out by hand; the others by the builder.
    for entry in [BYTES, NUMBER] {
        results.clear();
        encoder.begin();
        encoder.push_get(Some(&entry));
        encoder.finish(None, &mut results);
        encode_reply(&mut out, &HEAD, &results);
    }
    results.clear();
    encoder.begin();
    encoder.push_get(None);
    encoder.finish(None, &mut results);
    encode_reply(&mut out, &HEAD, &results);

    results.clear();
    encoder.begin();
    encoder.push_none();
    encoder.push_get(Some(&BYTES));
    encoder.begin_range();
    encoder.range_entry(&NUMBER);
    encoder.range_entry(&KEY_ONLY);
    encoder.end_range(true);
    encoder.push_count(1 << 40);
    encoder.push_number(i64::MIN);
    encoder.finish(Some(2), &mut results);
    let head = ReplyHead {
        applied: false,
        replayed: true,
        outcome_applied: true,
        ..HEAD
    };
    encode_reply(&mut out, &head, &results);

    encode_reply(&mut out, &HEAD, b"");
    let head = ReplyHead {
        sequence: 9,
        revision: 0,
        code: Some(ErrorCode::OutOfBounds),
        applied: false,
        ..HEAD
    };
    encode_reply(&mut out, &head, &encode_error_detail(&detail()));

    // Answered from a key, with what was kept under it.
    let mut plain = Vec::new();
    encoder.begin();
    encoder.push_count(3);
    encoder.push_get(Some(&NUMBER));
    encoder.finish(None, &mut plain);
    results.clear();
    encode_kept_results(&plain, b"", &mut results).expect("just encoded");
    encode_reply(&mut out, &FROM_KEY, &results);
    out
}

fn owned(entry: &EntryRef<'_>) -> OwnedEntry {
    OwnedEntry {
        key: entry.key.to_vec(),
        value: entry.value.map(|value| match value {
            ValueRef::Bytes(bytes) => EntryValue::Bytes(bytes.to_vec()),
            ValueRef::Number(number) => EntryValue::Number(number),
        }),
        created: entry.created,
        modified: entry.modified,
        version: entry.version,
        expires_in_ms: entry.expires_in_ms,
    }
}

#[test]
fn replies_with_every_result() {
    let bytes = golden("replies.bin", replies);
    let replies: Vec<_> = parse_replies(&bytes).expect("readable").collect();
    let nothing = ResultValue::default();
    let get = |entry| ResultValue {
        entry: Some(owned(entry)),
        ..ResultValue::default()
    };
    let results = |index: usize| parse_results(replies[index].1).expect("readable");
    let alone = |result| Results {
        results: vec![result],
        ..Results::default()
    };
    assert_eq!(replies[0].0, HEAD);
    assert_eq!(results(0), alone(get(&BYTES)));
    assert_eq!(results(1), alone(get(&NUMBER)));
    assert_eq!(results(2), alone(nothing.clone()));

    let head = ReplyHead {
        applied: false,
        replayed: true,
        outcome_applied: true,
        ..HEAD
    };
    assert_eq!(replies[3].0, head);
    let page = ResultValue {
        entries: vec![owned(&NUMBER), owned(&KEY_ONLY)],
        more: true,
        ..ResultValue::default()
    };
    let count = ResultValue {
        count: 1 << 40,
        ..ResultValue::default()
    };
    let number = ResultValue {
        number: Some(i64::MIN),
        ..ResultValue::default()
    };
    let expected = vec![nothing, get(&BYTES), page, count, number];
    assert_eq!(
        results(3),
        Results {
            results: expected,
            failed_guard: Some(2),
            kept: None,
        }
    );

    assert_eq!(replies[4], (HEAD, &b""[..]));
    assert_eq!(results(4), Results::default());

    assert_eq!(replies[5].0.code, Some(ErrorCode::OutOfBounds));
    assert_eq!((replies[5].0.sequence, replies[5].0.revision), (9, 0));
    assert_eq!(parse_error_detail(replies[5].1), Ok(detail()));

    assert_eq!(replies[6].0, FROM_KEY);
    let count = ResultValue {
        count: 3,
        ..ResultValue::default()
    };
    let expected = Results {
        results: vec![count, get(&NUMBER)],
        failed_guard: None,
        kept: Some(Vec::new()),
    };
    assert_eq!(results(6), expected);
}

/// A record of the log: its header, an entry of two batches, zero bytes to 8.
fn record() -> Vec<u8> {
    let frame = submit();
    let frame = Frame::parse(&frame).expect("just built");
    let items: Vec<u8> = frame
        .items()
        .take(2)
        .flat_map(|item| item.bytes.to_vec())
        .collect();
    let once = frame.items().nth(1).expect("three items").bytes;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let entry = log::EntryHeader::new(113_246_208_000_000_000, 5000, 0, 0, 0, 1, 0, 2, 3, 0);
    let session = log::BatchHeader::new(
        TOKEN.birth,
        TOKEN.nonce,
        TOKEN.principal,
        3,
        1,
        2,
        length(&items),
        log::BatchKind::session.0,
        0,
        0,
        0,
    );
    let stateless = log::BatchHeader::new(
        0,
        0,
        42,
        0,
        0,
        1,
        length(once),
        log::BatchKind::stateless.0,
        0,
        0,
        0,
    );
    let body = [&entry.0[..], &session.0, &items, &stateless.0, once].concat();
    let kind = log::RecordKind::entry.0;
    let header = log::RecordHeader::new(7, 6, 8, 9, length(&body), 0x1234_5678, kind, 0, 0, 0);
    [&header.0[..], &body].concat()
}

/// Takes a fixed struct off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("the struct is there");
    *bytes = rest;
    *head
}

#[test]
fn record_with_an_entry_of_two_batches() {
    let bytes = golden("record.bin", record);
    let mut rest = &bytes[..];
    let header = log::RecordHeader(take(&mut rest));
    assert_eq!((header.group(), header.replica()), (7, 6));
    assert_eq!((header.index(), header.term()), (8, 9));
    assert_eq!(
        (header.length() as usize, header.crc32c()),
        (rest.len(), 0x1234_5678)
    );
    assert_eq!(header.kind(), log::RecordKind::entry.0);

    let entry = log::EntryHeader(take(&mut rest));
    assert_eq!(
        (entry.revision(), entry.lease_ms()),
        (113_246_208_000_000_000, 5000)
    );
    assert_eq!(
        (entry.apply_version(), entry.batches(), entry.items()),
        (1, 2, 3)
    );

    let batch = log::BatchHeader(take(&mut rest));
    assert_eq!(
        (batch.session_birth(), batch.session_nonce()),
        (TOKEN.birth, TOKEN.nonce)
    );
    assert_eq!(
        (batch.principal(), batch.epoch(), batch.acked_below()),
        (42, 3, 1)
    );
    assert_eq!(
        (batch.items(), batch.kind()),
        (2, log::BatchKind::session.0)
    );
    let (items, after) = rest.split_at(batch.bytes() as usize);
    rest = after;
    let items: Result<Vec<_>, _> = items_of_batch(items, 2).collect();
    let items = items.expect("readable");
    let transaction = Transaction::parse(items[0].payload).expect("readable");
    assert_eq!(transaction.then().collect::<Vec<_>>(), every_operation());
    assert_eq!(items[1].sequence, 1 << 40);

    let batch = log::BatchHeader(take(&mut rest));
    assert_eq!((batch.session_birth(), batch.session_nonce()), (0, 0));
    assert_eq!(
        (batch.items(), batch.kind()),
        (1, log::BatchKind::stateless.0)
    );
    let items: Result<Vec<_>, _> = items_of_batch(rest, 1).collect();
    assert_eq!(items.expect("readable")[0].sequence, 1 << 40);
}

#[test]
fn hard_state_and_session_token() {
    let bytes = golden("hard-state.bin", || {
        log::HardState::new(1, 2, u64::MAX, 4, 5, 6, 7, 8, 9)
            .0
            .to_vec()
    });
    let state = log::HardState(*bytes.first_chunk().expect("the struct is there"));
    assert_eq!(
        (state.term(), state.vote(), state.commit()),
        (1, 2, u64::MAX)
    );
    assert_eq!((state.snapshot_index(), state.snapshot_term()), (4, 5));
    let digest = (state.snapshot_digest_low(), state.snapshot_digest_high());
    assert_eq!(digest, (6, 7));
    assert_eq!((state.start_index(), state.start_term()), (8, 9));
    assert_eq!(bytes.len(), 72);
    let bytes = golden("session-token.bin", || TOKEN.to_bytes().to_vec());
    assert_eq!(SessionToken::from_bytes(&bytes), Some(TOKEN));
    let token = log::SessionToken(*bytes.first_chunk().expect("the struct is there"));
    assert_eq!(
        (token.birth(), token.nonce(), token.principal()),
        (TOKEN.birth, TOKEN.nonce, 42)
    );
    assert_eq!((token.epoch(), token.key()), (TOKEN.epoch, 3));
    assert_eq!(token.mac_low().to_le_bytes(), *b"01234567");
    assert_eq!(token.mac_high().to_le_bytes(), *b"89abcdef");
}
