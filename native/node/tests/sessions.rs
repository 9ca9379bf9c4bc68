//! What a connection is told of its session, whatever clocks say.

mod support;

use domp_node::{Attach, Grants, Socket};
use domp_protocol::SessionToken;
use domp_protocol::handshake::{Welcome, parse_welcome};

use support::Bench;

const HOUR_MS: u64 = 3_600_000;

/// Lets a connection in at a slot of its own.
fn attach(bench: &mut Bench, slot: u32, resume: &[u8]) -> Welcome {
    let socket = Socket {
        slot,
        generation: 1,
        door: 0,
    };
    let attach = Attach {
        principal: 1,
        grants: Grants::WRITE,
        resume,
    };
    bench.turn(|node, turn| node.on_attach(socket, &attach, turn));
    let replies = &bench.turn.replies;
    let span = replies.spans.iter().find(|span| span.socket == socket);
    let span = span.expect("it is answered in its turn");
    let frame = &replies.bytes[span.start as usize..span.end as usize];
    parse_welcome(frame).expect("a welcome")
}

/// Shards take the connection with the higher epoch for the newer.
#[test]
fn a_session_that_is_resumed_where_the_clock_is_slow_has_a_higher_epoch_all_the_same() {
    let mut bench = Bench::new();
    bench.clock.wall_ms += HOUR_MS;
    let before = attach(&mut bench, 5, &[]);
    // Nothing was written under that clock: the log knows nothing of it.
    let mut bench = bench.restart();
    let after = attach(&mut bench, 5, &before.session.to_bytes());
    assert!(after.resumed);
    assert!(
        after.epoch > before.epoch,
        "{} after {}",
        after.epoch,
        before.epoch
    );
    let again: SessionToken = attach(&mut bench, 6, &after.session.to_bytes()).session;
    assert!(again.epoch > after.epoch);
}

/// A session that is newer than another has a birth above: what expired is told by it.
#[test]
fn a_session_that_is_new_where_the_clock_is_slow_is_born_after_those_that_were_seen() {
    let mut bench = Bench::new();
    bench.clock.wall_ms += HOUR_MS;
    let before = attach(&mut bench, 5, &[]);
    let mut bench = bench.restart();
    attach(&mut bench, 5, &before.session.to_bytes());
    let new = attach(&mut bench, 6, &[]);
    assert!(new.session.birth > before.session.birth);
}
