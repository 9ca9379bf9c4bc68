//! Nobody keeps others waiting by asking for much (Promise 7). Work is counted, in bytes' worth, not time;
//! that of one turn is bounded.

mod support;

use domp_node::{ControlRequest, Grants, Replies, Socket};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::limits;
use domp_protocol::transaction::{Operation, TransactionBuilder, ValueRef};

use support::{Bench, SOCKET, SPACE};

const GREEDY: Socket = socket(1);
const MODEST: Socket = socket(100);

/// Work of others that a modest request waits for at most, whatever they want: two pages of a range, of about
/// 350 KB each, for each of eight.
const SOON_WORK: u64 = 6 << 20;
/// Turns that do at least so much.
const SOON_TURNS: usize = 16;
/// Turns in which anything here comes to its end.
const PATIENCE_TURNS: usize = 100_000;

const fn socket(slot: u32) -> Socket {
    Socket {
        slot,
        generation: 1,
        door: 0,
    }
}

fn range() -> Vec<Operation<'static>> {
    vec![Operation::Range {
        from: b"k",
        to: Some(b"l"),
        limit: 4096,
        reverse: false,
        keys_only: false,
    }]
}

fn get() -> Vec<Operation<'static>> {
    vec![Operation::Get { key: b"k0000" }]
}

fn put() -> Vec<Operation<'static>> {
    vec![Operation::Put {
        key: b"modest",
        value: ValueRef::Bytes(b"v"),
        expire_after_ms: None,
    }]
}

/// A bench that holds as many keys as one page of a range has, and two connections.
fn full() -> Bench {
    full_with(|_| {})
}

fn full_with(configure: impl FnOnce(&mut domp_node::Config)) -> Bench {
    let mut bench = Bench::configured(configure);
    let keys: Vec<String> = (0..4096).map(|n| format!("k{n:04}")).collect();
    for some in keys.chunks(1024) {
        let puts = some.iter().map(|key| Operation::Put {
            key: key.as_bytes(),
            value: ValueRef::Bytes(b"twenty bytes of text"),
            expire_after_ms: None,
        });
        let (head, _) = bench.ask(SPACE, puts.collect());
        assert_eq!(head.code, None);
    }
    bench.attach(GREEDY, Grants::READ);
    bench.attach(MODEST, Grants::WRITE);
    bench
}

/// A submit frame of the same transaction over and over, as long as that is.
fn frame(operations: &[Operation<'_>], count: u64, timeout_ms: u32) -> Vec<u8> {
    let mut transaction = TransactionBuilder::new(SPACE);
    for operation in operations {
        transaction = transaction.then(*operation);
    }
    let transaction = transaction.finish();
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    for sequence in 1..=count {
        builder.push_item(sequence, ItemKind::Transaction, &transaction);
    }
    builder.finish(1, timeout_ms, SPACE)
}

/// As many range reads as stand in 600 KB.
fn greedy_frame() -> Vec<u8> {
    let bytes_of = |count| frame(&range(), count, 60_000).len() as u64;
    let frame = frame(&range(), 600_000 / (bytes_of(2) - bytes_of(1)), 60_000);
    assert!(frame.len() > 590_000);
    frame
}

/// Submits for the modest connection and counts the work that is done until it is answered.
fn work_before(bench: &mut Bench, operations: Vec<Operation<'_>>) -> u64 {
    let before = bench.statistics().work;
    turns_of(bench, operations);
    bench.statistics().work - before
}

/// Submits for the modest connection and counts the turns until it is answered.
fn turns_of(bench: &mut Bench, operations: Vec<Operation<'_>>) -> usize {
    let (frame, sequence) = bench.frame(SPACE, &[operations]);
    bench.submit_from(MODEST, &frame);
    for turns in 1..PATIENCE_TURNS {
        let answers = bench.answers_to(MODEST);
        if let Some((head, _)) = answers.iter().find(|(head, _)| head.sequence == sequence) {
            assert_eq!(head.code, None);
            return turns;
        }
        bench.turn(|_, _| {});
    }
    panic!("it is never answered");
}

#[test]
fn a_connection_with_thousands_of_reads_waiting_delays_no_other() {
    let mut bench = full();
    bench.submit_from(GREEDY, &frame(&range(), limits::FRAME_ITEMS_MAX, 60_000));
    for _ in 0..20 {
        let work = work_before(&mut bench, get());
        assert!(work <= SOON_WORK, "a get waits for {work}");
        let work = work_before(&mut bench, put());
        assert!(work <= SOON_WORK, "a put waits for {work}");
    }
    let waiting = bench.statistics().queued;
    assert!(waiting > limits::FRAME_ITEMS_MAX / 2, "only {waiting} wait");
}

#[test]
fn eight_of_them_delay_no_other_and_all_are_answered_in_their_order() {
    let mut bench = full();
    let frame = frame(&range(), 300, 60_000);
    for slot in 1..=8 {
        bench.attach(socket(slot), Grants::READ);
        bench.submit_from(socket(slot), &frame);
    }
    for _ in 0..10 {
        let work = work_before(&mut bench, get());
        assert!(work <= SOON_WORK, "a get waits for {work}");
        let work = work_before(&mut bench, put());
        assert!(work <= SOON_WORK, "a put waits for {work}");
    }
    assert!(bench.statistics().queued > 0);
    let mut next = [0_u64; 8];
    for _ in 0..PATIENCE_TURNS {
        bench.turn(|_, _| {});
        for (slot, next) in (1..).zip(&mut next) {
            for (head, _) in bench.answers_to(socket(slot)) {
                assert_eq!(head.code, None);
                assert!(head.sequence > *next, "out of order");
                *next = head.sequence;
            }
        }
        if next == [300; 8] {
            assert_eq!(bench.statistics().queued, 0);
            return;
        }
    }
    panic!("they are never answered: {next:?}");
}

#[test]
fn what_a_turn_costs_is_bounded_whatever_waits() {
    let mut bench = full();
    for slot in 1..=8 {
        bench.attach(socket(slot), Grants::READ);
        bench.submit_from(socket(slot), &greedy_frame());
    }
    let most = Replies::ROOM_BYTES as u64 + (1 << 20) + (1 << 19);
    let mut before = bench.statistics().work;
    for _ in 0..50 {
        let work = bench.statistics().work;
        assert!(work - before < most, "a turn cost {}", work - before);
        assert!(work > before, "nothing was done though much waits");
        before = work;
    }
}

#[test]
fn what_a_gone_connection_asked_costs_nothing_more() {
    let mut bench = full();
    bench.submit_from(GREEDY, &greedy_frame());
    bench.submit_from(GREEDY, &greedy_frame());
    bench.turn(|_, _| {});
    bench.turn(|node, _| node.on_detach(GREEDY));
    assert!(bench.turn.replies.spans.is_empty());
    let gone = bench.statistics();
    assert_eq!(gone.queued, 0);
    assert!(gone.abandoned > 1_000, "{} forgotten", gone.abandoned);
    for _ in 0..20 {
        bench.turn(|_, _| {});
        assert!(bench.turn.replies.spans.is_empty());
    }
    assert_eq!(bench.statistics().work, gone.work);
}

#[test]
fn a_slot_with_a_new_owner_does_nothing_more_for_the_one_before() {
    let mut bench = full();
    bench.submit_from(GREEDY, &greedy_frame());
    let next = Socket {
        generation: 2,
        ..GREEDY
    };
    bench.attach(next, Grants::READ);
    assert_eq!(bench.statistics().queued, 0);
    bench.turn(|_, _| {});
    assert!(bench.answers_to(GREEDY).is_empty());
}

#[test]
fn what_waits_past_its_deadline_is_refused_and_not_looked_at() {
    let mut bench = full();
    let count = 4_000;
    bench.submit_from(GREEDY, &frame(&range(), count, 5));
    bench.turn(|_, _| {});
    bench.clock.monotonic_us += 10_000;
    let before = bench.statistics();
    let mut late = bench.answers_to(GREEDY).len();
    for _ in 0..100 {
        bench.turn(|_, _| {});
        for (head, _) in bench.answers_to(GREEDY) {
            assert_eq!(head.code, Some(ErrorCode::DeadlineExceeded));
            late += 1;
        }
    }
    assert!(late as u64 > count / 2, "{late} refused");
    let after = bench.statistics();
    assert_eq!(after.queued, 0);
    assert_eq!(after.reads, before.reads, "nothing is read for them");
}

#[test]
fn where_too_much_waits_the_greediest_is_refused_its_newest_and_no_other() {
    let mut bench = full_with(|config| config.queued_bytes_max = 1 << 20);
    let many = frame(&range(), 4_000, 60_000);
    let few = frame(&get(), 10, 60_000);
    bench.submit_from(GREEDY, &many);
    let mut refused = Vec::new();
    for at in 0..30 {
        let modest = socket(100 + at);
        bench.attach(modest, Grants::READ);
        // So much in one turn that what the turn before left is still there.
        bench.turn(|node, turn| {
            node.on_frame(GREEDY, &many, 0, turn);
            node.on_frame(modest, &few, 0, turn);
            node.on_frame(GREEDY, &many, 0, turn);
        });
        refused.extend(bench.answers_to(GREEDY));
        for _ in 0..SOON_TURNS {
            bench.turn(|_, _| {});
            for (head, _) in bench.answers_to(modest) {
                assert_eq!(head.code, None, "a modest one is refused");
            }
        }
    }
    refused.retain(|(head, _)| head.code.is_some());
    assert!(
        refused.iter().all(|(head, detail)| {
            head.code == Some(ErrorCode::Overloaded) && !detail.is_empty()
        })
    );
    let statistics = bench.statistics();
    assert_eq!(statistics.crowded, refused.len() as u64);
    assert!(statistics.crowded > 4_000, "{}", statistics.crowded);
}

#[test]
fn writes_that_wait_for_the_disk_keep_no_reads_waiting() {
    let mut bench = full_with(|config| config.backlog_bytes_max = 1);
    bench.holds_writes = true;
    bench.submit_from(MODEST, &frame(&put(), 1, 60_000));
    let (frame, _) = bench.frame(SPACE, &vec![put(); 500]);
    bench.submit(&frame);
    assert!(bench.turn.replies.spans.is_empty());
    assert_eq!(turns_of(&mut bench, get()), 1);
    assert_ne!(
        bench.turn.wake_at_us,
        Some(bench.clock.monotonic_us),
        "there is nothing to do until the disk has room"
    );
    assert_eq!(bench.statistics().queued, 500);
    bench.holds_writes = false;
    bench.until(|bench| !bench.answers_to(SOCKET).is_empty());
    assert_eq!(bench.answers_to(SOCKET)[0].0.code, None);
}

#[test]
fn what_waited_when_the_drain_began_is_answered_and_what_comes_after_is_not() {
    let mut bench = full();
    let count = 2_000;
    bench.submit_from(GREEDY, &frame(&range(), count, 60_000));
    bench.turn(|node, turn| node.on_control(1, ControlRequest::Drain, turn));
    let (late, _) = bench.frame(SPACE, &[get()]);
    bench.submit_from(MODEST, &late);
    let mut answered = 0;
    let mut refused = 0;
    for _ in 0..PATIENCE_TURNS {
        for (head, _) in bench.answers_to(GREEDY) {
            assert_eq!(head.code, None);
            answered += 1;
        }
        for (head, _) in bench.answers_to(MODEST) {
            assert_eq!(head.code, Some(ErrorCode::ShuttingDown));
            refused += 1;
        }
        if bench.turn.drained {
            break;
        }
        bench.turn(|_, _| {});
    }
    assert!(bench.turn.drained);
    assert!(answered > count / 2, "{answered} answered");
    assert_eq!(refused, 1);
}
