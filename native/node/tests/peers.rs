//! Three nodes: what a leader says that others have given up, and how they come to another.

mod support;

use domp_protocol::error::ErrorCode;
use domp_protocol::transaction::{META_SPACE, Operation};

use support::trio::Trio;
use support::{SPACE, put};

const GET: Operation<'_> = Operation::Get { key: b"k" };

/// Whether that is among what was read.
fn holds(payload: &[u8], value: &[u8]) -> bool {
    payload.windows(value.len()).any(|bytes| bytes == value)
}

/// Asks a node that leads, or is about to.
fn ask_leader(trio: &mut Trio, at: usize, operations: &[Operation<'_>]) -> Vec<u8> {
    for _ in 0..100 {
        let (head, payload) = trio.ask(at, operations.to_vec());
        match head.code {
            None => return payload,
            Some(ErrorCode::Unavailable) => trio.round(),
            Some(code) => panic!("{code:?}"),
        }
    }
    panic!("it does not begin to lead");
}

/// A trio, its leader, and one of the others.
fn trio() -> (Trio, usize, usize) {
    let trio = Trio::new();
    let leader = trio.leader().expect("one leads");
    (trio, leader, (leader + 1) % 3)
}

#[test]
fn what_is_written_at_the_leader_is_read_everywhere() {
    let (mut trio, leader, other) = trio();
    assert_eq!(trio.ask(leader, put(b"k", b"value")).0.code, None);
    let (head, payload) = trio.ask(leader, vec![GET]);
    assert_eq!(head.code, None);
    assert!(holds(&payload, b"value"));
    let (head, payload) = trio.ask(other, vec![GET]);
    assert_eq!(head.code, None);
    assert!(holds(&payload, b"value"));
}

/// It was away while another was elected and wrote; its clients come before it hears of that.
#[test]
fn a_leader_from_before_a_pause_answers_nothing_from_before() {
    let (mut trio, leader, _) = trio();
    assert_eq!(trio.ask(leader, put(b"k", b"old")).0.code, None);
    trio.paused.insert(leader);
    trio.until(|trio| trio.leader().is_some());
    let next = trio.leader().expect("another leads");
    ask_leader(&mut trio, next, &put(b"k", b"new"));
    trio.isolate(leader);
    trio.paused.clear();
    assert!(trio.leads(leader), "nobody has told it");
    let (head, _) = trio.ask(leader, vec![GET]);
    assert_eq!(head.code, Some(ErrorCode::Unavailable));
    trio.cut.clear();
    trio.until(|trio| !trio.leads(leader));
}

#[test]
fn what_a_leader_proposed_that_nobody_else_has_is_unknown_and_then_absent() {
    let (mut trio, leader, _) = trio();
    assert_eq!(trio.ask(leader, put(b"k", b"old")).0.code, None);
    trio.isolate(leader);
    let (head, _) = trio.ask(leader, put(b"k", b"lost"));
    assert_eq!(head.code, Some(ErrorCode::LeaderChanged));
    trio.until(|trio| trio.leader().is_some_and(|next| next != leader));
    trio.cut.clear();
    let next = trio.leader().expect("another leads");
    let payload = ask_leader(&mut trio, next, &[GET]);
    assert!(holds(&payload, b"old") && !holds(&payload, b"lost"));
}

#[test]
fn a_read_whose_question_is_lost_is_asked_again() {
    let (mut trio, leader, other) = trio();
    let third = 3 - leader - other;
    // The question does not arrive, and nobody steps down so soon.
    trio.cut.extend([(leader, other), (leader, third)]);
    trio.submit(leader, vec![GET]);
    for _ in 0..5 {
        trio.round();
    }
    assert_eq!(trio.answers[leader], []);
    trio.cut.clear();
    trio.until(|trio| !trio.answers[leader].is_empty());
    assert_eq!(trio.answers[leader][0].0.code, None);
}

/// Without a word of it the others wait for three hundred milliseconds at least.
#[test]
fn when_the_leaders_process_is_gone_another_leads_at_once() {
    let (mut trio, leader, other) = trio();
    trio.paused.insert(leader);
    let begun_us = trio.benches[other].clock.monotonic_us;
    for at in (0..3).filter(|at| *at != leader) {
        trio.benches[at].turn(|node, _| node.on_peer_gone(leader as u64 + 1));
        trio.pass_on(at);
    }
    trio.until(|trio| trio.leader().is_some());
    let took_us = trio.benches[other].clock.monotonic_us - begun_us;
    assert!(took_us < 100_000, "{took_us}");
}

/// It would be a voter that has forgotten all it said.
#[test]
fn a_node_that_dropped_a_space_does_not_found_it_again_when_it_starts() {
    let (mut trio, _, _) = trio();
    let meta = (0..3).find(|at| trio.leads_group(*at, META_SPACE.into()));
    let meta = meta.expect("one leads the meta group");
    let other = u64::from(SPACE) + 1;
    let name: &[u8] = b"other";
    trio.submit_to(meta, META_SPACE, vec![Operation::SpaceCreate { name }]);
    trio.until(|trio| (0..3).all(|at| trio.benches[at].node.describe(other).is_some()));
    trio.submit_to(meta, META_SPACE, vec![Operation::SpaceDrop { name }]);
    let follower = (meta + 1) % 3;
    trio.until(|trio| trio.benches[follower].node.describe(other).is_none());
    // The drop is on its disk, and it hears nobody who could tell it why.
    trio.isolate(follower);
    trio.benches[follower].turn(|_, _| {});
    trio.restart(follower);
    for _ in 0..100 {
        trio.round();
        assert_eq!(trio.benches[follower].node.describe(other), None);
    }
}

/// A vote has to be written. Whoever has no room for more of them hears nobody, and does not end.
#[test]
fn a_node_on_a_full_disk_outlives_elections_and_comes_back() {
    let (mut trio, leader, follower) = trio();
    let disk = &mut trio.benches[follower].disk;
    disk.set_capacity(disk.used_bytes());
    let mut leader = leader;
    for _ in 0..200 {
        // The third and the one without room believe the leader gone, and elect the third.
        for at in (0..3).filter(|at| *at != leader) {
            trio.benches[at].turn(|node, _| node.on_peer_gone(leader as u64 + 1));
            trio.pass_on(at);
        }
        for _ in 0..40 {
            trio.round();
        }
        leader = trio.leader().unwrap_or(leader);
    }
    let refused = trio.benches[follower].node.peer_counters().without_room;
    assert!(refused > 0, "it never came so far");
    trio.benches[follower].disk.set_capacity(u64::MAX);
    trio.until(|trio| trio.leader().is_some());
    let leader = trio.leader().expect("one leads");
    ask_leader(&mut trio, leader, &put(b"k", b"v"));
    let taken = trio.benches[follower].node.peer_counters().taken;
    trio.until(|trio| trio.benches[follower].node.peer_counters().taken > taken + 20);
}

/// They see a connection break that did not: nobody is the worse for it.
#[test]
fn a_leader_that_is_believed_gone_and_is_not_goes_on() {
    let (mut trio, leader, other) = trio();
    let term = trio.benches[leader].node.leaderships().next();
    trio.benches[other].turn(|node, _| node.on_peer_gone(leader as u64 + 1));
    trio.pass_on(other);
    for _ in 0..1_000 {
        trio.round();
    }
    assert_eq!(trio.leader(), Some(leader));
    assert_eq!(trio.benches[leader].node.leaderships().next(), term);
    assert_eq!(trio.ask(leader, put(b"k", b"v")).0.code, None);
}
