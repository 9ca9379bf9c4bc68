//! A turn's replies are bounded, and so is what waits for them (Promise 7).

mod support;

use domp_node::Replies;
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::limits;
use domp_protocol::transaction::{Guard, META_SPACE, Operation, TransactionBuilder};

use support::{Bench, SPACE, put};

const BIG: &[u8] = b"big";

fn get(key: &[u8]) -> Vec<Operation<'_>> {
    vec![Operation::Get { key }]
}

/// A bench that holds a value as long as a value may be.
fn with_big_value() -> Bench {
    let mut bench = Bench::new();
    let value = vec![b'v'; usize::try_from(limits::VALUE_BYTES_MAX).expect("small")];
    let (head, _) = bench.ask(SPACE, put(BIG, &value));
    assert_eq!(head.code, None);
    bench
}

#[test]
fn a_frame_that_asks_for_more_than_a_turn_may_answer_is_answered_by_several_in_order() {
    let mut bench = with_big_value();
    let count = 100;
    let (frame, first) = bench.frame(SPACE, &vec![get(BIG); count]);
    bench.submit(&frame);
    let most = Replies::ROOM_BYTES as u64 + limits::READ_BYTES_MAX;
    let mut sequences = Vec::new();
    loop {
        assert!((bench.turn.replies.bytes.len() as u64) < most);
        for (head, payload) in bench.answers() {
            assert_eq!(head.code, None);
            assert!(payload.len() as u64 > limits::VALUE_BYTES_MAX);
            sequences.push(head.sequence);
        }
        if sequences.len() == count {
            break;
        }
        assert_eq!(
            bench.turn.wake_at_us,
            Some(bench.clock.monotonic_us),
            "what is left goes on at once"
        );
        bench.turn(|_, _| {});
    }
    assert!(sequences.into_iter().eq(first..first + count as u64));
    assert_ne!(bench.turn.wake_at_us, Some(bench.clock.monotonic_us));
}

#[test]
fn without_room_nothing_is_answered_and_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.room_bytes = 0;
    let (reads, first) = bench.frame(SPACE, &vec![get(b"k"); 3]);
    let (writes, _) = bench.frame(SPACE, &vec![put(b"k", b"v"); 3]);
    bench.submit(&reads);
    bench.submit(&writes);
    for _ in 0..20 {
        bench.turn(|_, _| {});
        assert!(bench.turn.replies.bytes.is_empty());
        assert_ne!(
            bench.turn.wake_at_us,
            Some(bench.clock.monotonic_us),
            "a turn without room is no use"
        );
    }
    bench.room_bytes = Replies::ROOM_BYTES;
    bench.turn(|_, _| {});
    let mut sequences: Vec<u64> = bench
        .answers()
        .iter()
        .map(|(head, _)| head.sequence)
        .collect();
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(first..first + 6));
}

#[test]
fn committed_entries_are_answered_over_several_turns_in_order() {
    let mut bench = Bench::new();
    // Each item answers near the most that a write may.
    let value = vec![b'v'; 900];
    bench.ask(SPACE, put(b"k", &value));
    let reading = [get(b"k"), put(b"other", b"")].concat();
    let count: u64 = 1_000;
    let (frame, first) = bench.frame(
        SPACE,
        &vec![reading; usize::try_from(count).expect("small")],
    );
    bench.room_bytes = 100_000;
    // An entry is answered whole.
    let most = bench.room_bytes as u64 + limits::ENTRY_ITEMS_MAX * (limits::RESULT_BYTES_MAX + 32);
    let mut sequences = Vec::new();
    bench.submit(&frame);
    while (sequences.len() as u64) < count {
        bench.turn(|_, _| {});
        assert!((bench.turn.replies.bytes.len() as u64) < most);
        sequences.extend(bench.answers().iter().map(|(head, _)| head.sequence));
    }
    assert!(sequences.into_iter().eq(first..first + count));
}

#[test]
fn a_space_that_fills_the_replies_does_not_keep_others_from_theirs() {
    let mut bench = with_big_value();
    let (head, _) = bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"second" }]);
    assert_eq!(head.code, None);
    let second = SPACE + 1;
    let (many, _) = bench.frame(SPACE, &vec![get(BIG); 40]);
    let (one, wanted) = bench.frame(second, &[get(BIG)]);
    bench.room_bytes = 1;
    bench.submit(&many);
    bench.submit(&one);
    for _ in 0..3 {
        if bench
            .answers()
            .iter()
            .any(|(head, _)| head.sequence == wanted)
        {
            return;
        }
        bench.turn(|_, _| {});
    }
    panic!("the second space waits for all of the first's reads");
}

/// A frame of so many reads under a guard each, over `ranges` ranges of `count` keys.
fn guarded(ranges: usize, count: u64, reads: u64) -> Vec<u8> {
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    for sequence in 1..=reads {
        let mut transaction = TransactionBuilder::new(SPACE);
        for _ in 0..ranges {
            transaction = transaction.guard(Guard::Unchanged {
                from: b"a",
                to: Some(b"b"),
                revision: u64::MAX,
                count,
            });
        }
        let transaction = transaction.then(Operation::Get { key: b"k" }).finish();
        builder.push_item(sequence, ItemKind::Transaction, &transaction);
    }
    builder.finish(1, 60_000, SPACE)
}

#[test]
fn guards_that_cover_more_keys_than_a_transaction_may_visit_are_refused() {
    let mut bench = Bench::new();
    let most = limits::VISITED_KEYS_MAX / limits::UNCHANGED_ENTRIES_MAX;
    let most = usize::try_from(most).expect("small");
    let each = limits::UNCHANGED_ENTRIES_MAX;
    bench.submit(&guarded(most, each, 1));
    assert_eq!(bench.answers()[0].0.code, None);
    bench.submit(&guarded(most + 1, each, 1));
    assert_eq!(bench.answers()[0].0.code, Some(ErrorCode::TooLarge));
}

#[test]
fn a_turn_looks_at_a_bounded_number_of_keys() {
    let mut bench = Bench::new();
    // Each read may look at as many keys as one transaction may.
    bench.submit(&guarded(16, limits::UNCHANGED_ENTRIES_MAX, 100));
    let first = bench.answers().len();
    assert!((1..50).contains(&first), "{first} in the first turn");
    let mut answered = first;
    while answered < 100 {
        bench.turn(|_, _| {});
        answered += bench.answers().len();
    }
}

#[test]
fn a_read_of_many_short_entries_is_bounded_by_their_count() {
    let mut bench = Bench::new();
    let keys: Vec<[u8; 2]> = (0..=255).map(|low| [b'a', low]).collect();
    bench.ask(SPACE, keys.iter().flat_map(|key| put(key, b"")).collect());
    let range = Operation::Range {
        from: b"a",
        to: Some(b"b"),
        limit: 256,
        reverse: false,
        keys_only: true,
    };
    let most = usize::try_from(limits::VISITED_KEYS_MAX).expect("small") / keys.len();
    let (head, _) = bench.ask(SPACE, vec![range; most + 1]);
    assert_eq!(head.code, Some(ErrorCode::ResultTooLarge));
    // Fewer are refused only if they encode to more than may be answered.
    let (head, _) = bench.ask(SPACE, vec![range; most / 4]);
    assert_eq!(head.code, None);
}

/// It would keep the worker busy with nothing.
#[test]
fn a_read_whose_deadline_passes_while_it_waits_leaves_no_wake_up_behind() {
    let mut bench = Bench::new();
    // What the read has to see is committed, and can't be applied for want of room.
    bench.room_bytes = 0;
    let (write, _) = bench.frame(SPACE, &[put(b"k", b"v")]);
    bench.submit(&write);
    for _ in 0..5 {
        bench.turn(|_, _| {});
    }
    let (read, _) = bench.frame(SPACE, &[get(b"k")]);
    bench.submit(&read);
    bench.turn(|_, _| {});
    bench.clock.monotonic_us += 61_000_000;
    bench.turn(|_, _| {});
    let (head, _) = bench.answers().remove(0);
    assert_eq!(head.code, Some(ErrorCode::DeadlineExceeded));
    bench.room_bytes = Replies::ROOM_BYTES;
    for _ in 0..5 {
        bench.turn(|_, _| {});
    }
    assert_ne!(bench.turn.wake_at_us, Some(bench.clock.monotonic_us));
    assert_eq!(bench.ask(SPACE, get(b"k")).0.code, None);
}
