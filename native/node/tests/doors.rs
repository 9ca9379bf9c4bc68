//! Three nodes, and clients at any of them: what a door hands on, and what its client hears.

mod support;

use domp_node::{Attach, Grants};
use domp_protocol::error::ErrorCode;
use domp_protocol::transaction::Operation;

use support::trio::Trio;
use support::{Answer, SOCKET, SPACE, put};

const GET: Operation<'_> = Operation::Get { key: b"k" };

/// Whether that is among what was read.
fn holds(payload: &[u8], value: &[u8]) -> bool {
    payload.windows(value.len()).any(|bytes| bytes == value)
}

/// A trio, its leader, and the others.
fn trio() -> (Trio, usize, usize, usize) {
    let trio = Trio::new();
    let leader = trio.leader().expect("one leads");
    (trio, leader, (leader + 1) % 3, (leader + 2) % 3)
}

fn code(answer: &Answer) -> Option<ErrorCode> {
    answer.0.code
}

/// What is read at a node.
fn read(trio: &mut Trio, at: usize) -> Vec<u8> {
    let (head, payload) = trio.ask(at, vec![GET]);
    assert_eq!(head.code, None);
    payload
}

#[test]
fn any_node_answers_any_client() {
    let (mut trio, leader, door, other) = trio();
    assert_eq!(code(&trio.ask(door, put(b"k", b"value"))), None);
    for at in [leader, door, other] {
        assert!(holds(&read(&mut trio, at), b"value"));
    }
    let counters = trio.benches[door].node.handing_counters();
    assert_eq!((counters.handed, counters.answered), (2, 2));
    assert_eq!(trio.benches[leader].node.handing_counters().handed, 0);
}

/// The door has handed it on; what the leader says is held back.
fn handed_on(trio: &mut Trio, door: usize, operations: Vec<Operation<'_>>) {
    trio.answers[door].clear();
    trio.submit(door, operations);
    assert_eq!(trio.benches[door].node.handed_on(), 1);
}

#[test]
fn what_was_handed_on_when_the_lane_broke_is_unknown_and_applied_once() {
    for from_leader in [false, true] {
        let (mut trio, leader, door, other) = trio();
        assert_eq!(code(&trio.ask(leader, put(b"k", b"old"))), None);
        trio.cut_requests.insert((leader, door));
        handed_on(&mut trio, door, put(b"k", b"new"));
        for _ in 0..50 {
            trio.round();
        }
        assert_eq!(trio.answers[door], []);
        if from_leader {
            trio.break_lane(leader, door);
        } else {
            trio.break_lane(door, leader);
        }
        // It was proposed: never `unavailable`.
        let answers = std::mem::take(&mut trio.answers[door]);
        assert_eq!(answers.len(), 1);
        assert_eq!(code(&answers[0]), Some(ErrorCode::LeaderChanged));
        trio.cut_requests.clear();
        assert!(holds(&read(&mut trio, other), b"new"));
    }
}

#[test]
fn what_a_halted_leader_has_is_told_when_another_leads() {
    let (mut trio, leader, door, _) = trio();
    // No lane breaks: its machine takes everything in, and says nothing.
    trio.held = Some(Vec::new());
    handed_on(&mut trio, door, put(b"k", b"v"));
    trio.paused.insert(leader);
    trio.answers[door].clear();
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::LeaderChanged));
    assert!(trio.leader().is_some_and(|now| now != leader));
    assert_eq!(trio.benches[door].node.handed_on(), 0);
    // What it says when it goes on reaches nobody.
    let held = trio.held.take().unwrap_or_default();
    trio.paused.clear();
    trio.deliver(held);
    for _ in 0..100 {
        trio.round();
    }
    assert_eq!(trio.answers[door].len(), 1);
}

#[test]
fn an_answer_of_an_earlier_connection_reaches_nobody() {
    let (mut trio, leader, door, _) = trio();
    trio.held = Some(Vec::new());
    handed_on(&mut trio, door, put(b"k", b"v"));
    let handed = trio.held.replace(Vec::new()).unwrap_or_default();
    trio.deliver(handed);
    for _ in 0..50 {
        trio.round();
    }
    assert!(
        !trio.held.as_deref().unwrap_or_default().is_empty(),
        "answered"
    );
    trio.connect_lane(leader, door);
    assert_eq!(trio.answers[door].len(), 1);
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::LeaderChanged));
    trio.release();
    assert_eq!(trio.answers[door].len(), 1, "it comes too late");
    assert_eq!(trio.benches[door].node.handing_counters().late, 1);
}

#[test]
fn an_answer_from_before_a_doors_restart_reaches_nobody() {
    let (mut trio, leader, door, _) = trio();
    // The first that its process hands on, as what it asks after the restart is.
    trio.held = Some(Vec::new());
    handed_on(&mut trio, door, vec![GET]);
    let handed = trio.held.replace(Vec::new()).unwrap_or_default();
    trio.deliver(handed);
    for _ in 0..50 {
        trio.round();
    }
    let before = trio.held.take().unwrap_or_default();
    assert!(
        before
            .iter()
            .any(|(from, to, _)| (*from, *to) == (leader, door))
    );
    assert_eq!(code(&trio.ask(leader, put(b"k", b"later"))), None);
    trio.restart(door);
    trio.until(|trio| trio.benches[door].node.is_ready());
    for _ in 0..100 {
        trio.round();
    }
    trio.benches[door].attach(SOCKET, Grants::WRITE);
    trio.answers[door].clear();
    trio.held = Some(Vec::new());
    handed_on(&mut trio, door, vec![GET]);
    trio.deliver(before);
    assert_eq!(trio.answers[door], [], "it is of another process's names");
    trio.release();
    trio.until(|trio| !trio.answers[door].is_empty());
    assert!(holds(&trio.answers[door][0].1, b"later"));
}

#[test]
fn what_is_never_sent_waits_for_a_leader_and_not_for_ever() {
    let (mut trio, leader, door, other) = trio();
    trio.isolate(leader);
    trio.isolate(door);
    trio.isolate(other);
    trio.until(|trio| trio.leader().is_none());
    let begun_us = trio.benches[door].clock.monotonic_us;
    let (head, detail) = trio.ask(door, put(b"k", b"v"));
    assert_eq!(head.code, Some(ErrorCode::Unavailable));
    let took_us = trio.benches[door].clock.monotonic_us - begun_us;
    assert!((1_000_000..1_300_000).contains(&took_us), "{took_us}");
    let detail = domp_protocol::parse_error_detail(&detail).expect("a detail");
    assert!((20..100).contains(&detail.retry_after_ms));
    trio.answers[door].clear();
    trio.submit(door, put(b"k", b"v"));
    trio.cut.clear();
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), None, "somebody leads in time");
}

#[test]
fn what_is_past_its_deadline_on_the_leaders_clock_is_not_proposed() {
    let (mut trio, leader, door, _) = trio();
    trio.held = Some(Vec::new());
    let (frame, _) = trio.benches[door].frame(SPACE, &[put(b"k", b"stuck")]);
    let mut frame = frame;
    // The client waits for half a second.
    frame[16..20].copy_from_slice(&500_u32.to_le_bytes());
    trio.answers[door].clear();
    trio.benches[door].submit(&frame);
    trio.pass_on(door);
    assert_eq!(trio.benches[door].node.handed_on(), 1);
    for _ in 0..600 {
        trio.round();
    }
    trio.release();
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(
        code(&trio.answers[door][0]),
        Some(ErrorCode::DeadlineExceeded)
    );
    assert_eq!(trio.benches[leader].node.handing_counters().overdue, 1);
    assert!(!holds(&read(&mut trio, leader), b"stuck"));
}

#[test]
fn the_leader_judges_grants() {
    let (mut trio, _, door, _) = trio();
    let reader = domp_node::Socket { slot: 1, ..SOCKET };
    trio.benches[door].attach(reader, Grants::READ);
    let (frame, _) = trio.benches[door].frame(SPACE, &[put(b"k", b"v")]);
    trio.answers[door].clear();
    trio.benches[door].submit_from(reader, &frame);
    trio.pass_on(door);
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::Forbidden));
    assert_eq!(trio.benches[door].node.handing_counters().answered, 1);
}

#[test]
fn a_session_born_by_a_faster_clock_is_admitted() {
    let (mut trio, _, door, _) = trio();
    trio.benches[door].clock.wall_ms += 50;
    let fresh = domp_node::Socket { slot: 1, ..SOCKET };
    trio.benches[door].attach(fresh, Grants::WRITE);
    let (frame, _) = trio.benches[door].frame(SPACE, &[put(b"k", b"v")]);
    trio.answers[door].clear();
    trio.benches[door].submit_from(fresh, &frame);
    trio.pass_on(door);
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), None);
}

/// Others could not take what it mints.
#[test]
fn a_door_whose_clock_runs_far_ahead_lets_nobody_in() {
    let (mut trio, _, door, _) = trio();
    trio.benches[door].clock.wall_ms += 3_600_000;
    let fresh = domp_node::Socket { slot: 1, ..SOCKET };
    trio.benches[door].attach(fresh, Grants::WRITE);
    let frames = &trio.benches[door].turn.replies;
    let goodbye = domp_protocol::parse_goodbye(&frames.bytes).expect("a goodbye");
    assert_eq!(goodbye.code, ErrorCode::Unavailable);
}

#[test]
fn a_retry_through_another_door_is_applied_once() {
    let (mut trio, leader, door, other) = trio();
    let token = trio.benches[door].session.clone();
    trio.cut_requests.insert((leader, door));
    let (frame, _) = trio.benches[door].frame(SPACE, &[put(b"k", b"first")]);
    trio.answers[door].clear();
    trio.benches[door].submit(&frame);
    trio.pass_on(door);
    for _ in 0..50 {
        trio.round();
    }
    trio.break_lane(leader, door);
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::LeaderChanged));
    trio.cut_requests.clear();
    trio.connect_lane(leader, door);
    assert_eq!(code(&trio.ask(leader, put(b"k", b"later"))), None);
    // The session goes on at another door, under the same request id.
    let again = domp_node::Socket { slot: 2, ..SOCKET };
    let attach = Attach {
        principal: 1,
        grants: Grants::WRITE,
        resume: &token,
    };
    trio.benches[other].turn(|node, turn| node.on_attach(again, &attach, turn));
    trio.pass_on(other);
    trio.answers[other].clear();
    trio.benches[other].submit_from(again, &frame);
    trio.pass_on(other);
    trio.until(|trio| !trio.answers[other].is_empty());
    let head = &trio.answers[other][0].0;
    assert_eq!((head.code, head.replayed), (None, true));
    assert!(holds(&read(&mut trio, leader), b"later"));
}

#[test]
fn a_space_is_unknown_only_when_that_is_sure() {
    let (mut trio, leader, door, other) = trio();
    trio.answers[door].clear();
    trio.submit_to(door, 77, put(b"k", b"v"));
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::UnknownSpace));
    for at in [leader, door, other] {
        trio.isolate(at);
    }
    trio.answers[door].clear();
    trio.submit_to(door, 78, put(b"k", b"v"));
    trio.until(|trio| !trio.answers[door].is_empty());
    assert_eq!(code(&trio.answers[door][0]), Some(ErrorCode::Unavailable));
}

#[test]
fn a_door_refuses_at_home_what_is_beyond_its_credit() {
    let mut trio = Trio::configured(|config| config.handed_on_bytes_max = 4_000);
    let leader = trio.leader().expect("one leads");
    let door = (leader + 1) % 3;
    trio.cut_requests.insert((leader, door));
    trio.answers[door].clear();
    let value = [7; 900];
    for _ in 0..8 {
        trio.submit(door, put(b"k", &value));
    }
    let refused = trio.answers[door].iter();
    let refused = refused.filter(|answer| code(answer) == Some(ErrorCode::Overloaded));
    assert!(refused.count() >= 5);
    assert!(trio.benches[door].node.handed_on() <= 3);
}

#[test]
fn writes_of_a_connection_keep_their_order() {
    let (mut trio, _, door, _) = trio();
    for number in 0..40_u8 {
        trio.submit(door, put(b"k", &[number; 9]));
    }
    assert!(holds(&read(&mut trio, door), &[39; 9]));
}

/// Its answers pile up neither here nor on the way, and nothing is lost when it goes on.
#[test]
fn a_door_that_takes_no_answers_costs_a_bounded_amount() {
    let mut trio = Trio::configured(|config| config.answers_bytes_max = 20_000);
    let leader = trio.leader().expect("one leads");
    let door = (leader + 1) % 3;
    let value = [7; 900];
    assert_eq!(code(&trio.ask(leader, put(b"k", &value))), None);
    trio.answers[door].clear();
    trio.held = Some(Vec::new());
    for number in 0..200 {
        let operations = if number % 2 == 0 {
            put(b"k", &value)
        } else {
            vec![GET]
        };
        trio.submit(door, operations);
    }
    let mut from_leader = Vec::new();
    for _ in 0..200 {
        for (from, to, bytes) in trio.held.replace(Vec::new()).unwrap_or_default() {
            if from == leader {
                from_leader.push((from, to, bytes));
                continue;
            }
            trio.benches[to].turn(|node, _| {
                node.on_peer(from as u64 + 1, domp_node::Lane::Requests, &bytes);
            });
            trio.pass_on(to);
        }
        trio.round();
    }
    let bytes: usize = from_leader.iter().map(|(_, _, bytes)| bytes.len()).sum();
    assert!((5_000..60_000).contains(&bytes), "{bytes}");
    // Whoever asks at the leader itself is in nobody's way.
    assert_eq!(code(&trio.ask(leader, vec![GET])), None);
    trio.held = Some(from_leader);
    trio.release();
    trio.until(|trio| trio.answers[door].len() == 200);
    assert!(
        trio.answers[door]
            .iter()
            .all(|answer| code(answer).is_none())
    );
}

#[test]
fn requests_without_a_session_are_handed_on_too() {
    let (mut trio, leader, door, _) = trio();
    let transaction = domp_protocol::TransactionBuilder::new(SPACE)
        .then(put(b"k", b"keyed")[0])
        .idempotency_key(b"0123456789abcdef")
        .finish();
    let mut builder = domp_protocol::FrameBuilder::new(domp_protocol::FrameKind::Submit);
    builder.push_item(1, domp_protocol::ItemKind::Transaction, &transaction);
    let frame = builder.finish(0, 5_000, SPACE);
    for (at, replayed) in [(door, false), (leader, true)] {
        let socket = domp_node::Socket { slot: 9, ..SOCKET };
        let request = domp_node::Stateless {
            principal: 7,
            grants: Grants::WRITE,
            frame: &frame,
        };
        trio.answers[at].clear();
        trio.benches[at].turn(|node, turn| node.on_stateless(socket, &request, 0, turn));
        trio.pass_on(at);
        trio.until(|trio| !trio.answers[at].is_empty());
        let head = &trio.answers[at][0].0;
        assert_eq!((head.code, head.replayed), (None, replayed));
    }
}
