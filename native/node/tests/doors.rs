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
