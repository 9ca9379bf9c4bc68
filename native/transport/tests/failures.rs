//! What a network and a peer can do to a connection, and what is reported.

mod support;

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use domp_protocol::{NoteHead, PeerFrameError, PeerFrameWriter};
use domp_transport::{
    Authority, Cause, Closing, ClosingReason, Event, Lane, LaneOptions, SendError,
};
use support::proxy::Proxy;
use support::raw;
use support::{CLUSTER, Node, credentials, eventually, options, pair, start, start_with};

/// Two nodes; what the first dials goes through a proxy. The first calls a lane silent after so long.
fn through_proxy(progress_timeout_ms: u64) -> (Node, Node, Proxy) {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut options = options(1);
    options.progress_timeout_ms = progress_timeout_ms;
    let mut one = start_with(&credentials(&authority, CLUSTER, 1), options);
    let mut two = start(&authority, 2);
    let proxy = Proxy::start(two.address());
    one.knows(&[(&two, proxy.address)]);
    for lane in Lane::ALL {
        one.connected(2, lane, true);
        two.connected(1, lane, false);
    }
    (one, two, proxy)
}

/// Makes the bulk lane's wire the busiest of the proxy.
fn mark_bulk(one: &Node, two: &mut Node) {
    one.transport.send(2, Lane::Bulk, vec![1; 1 << 20]).unwrap();
    two.frame(1, Lane::Bulk);
}

fn disconnects(event: &Event) -> bool {
    matches!(event, Event::Disconnected { .. })
}

const HOURS_MS: u64 = 10_000_000;

#[test]
fn a_cut_connection_is_known_without_any_timeout() {
    // No timeout could tell within the test.
    let (mut one, mut two, proxy) = through_proxy(HOURS_MS);
    std::thread::sleep(Duration::from_millis(150));
    proxy.refuse();
    for wire in proxy.wires() {
        wire.cut();
    }
    for lane in Lane::ALL {
        assert_eq!(one.disconnected(2, lane, true), Cause::Reset);
        assert_eq!(two.disconnected(1, lane, false), Cause::Reset);
        // It was dialled at once, and whoever answers there is not the node.
        let cause = one.disconnected(2, lane, true);
        assert!(matches!(cause, Cause::Dial(_)), "{cause:?}");
    }
    assert_eq!(
        one.transport.send(2, Lane::Log, vec![0; 8]),
        Err(SendError::NotConnected)
    );
}

#[test]
fn a_port_that_nobody_listens_on_is_reported_as_refused() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    one.transport.set_peers(&[(2, vec![nobody])]);
    for lane in Lane::ALL {
        let cause = one.disconnected(2, lane, true);
        assert_eq!(cause, Cause::Dial(ErrorKind::ConnectionRefused));
        // And again, for as long as it is a peer.
        one.disconnected(2, lane, true);
    }
}

#[test]
fn a_node_that_comes_back_is_connected_again() {
    let (mut one, mut two, proxy) = through_proxy(HOURS_MS);
    for wire in proxy.wires() {
        wire.cut();
    }
    for lane in Lane::ALL {
        one.disconnected(2, lane, true);
        one.connected(2, lane, true);
        one.transport.send(2, lane, vec![7; 8]).unwrap();
        assert_eq!(two.frame(1, lane), vec![7; 8]);
    }
    assert_eq!(one.transport.snapshot().lanes[0].connects, 2);
}

#[test]
fn one_silent_lane_ends_and_the_others_live() {
    let (mut one, mut two, proxy) = through_proxy(1_000);
    let began = Instant::now();
    mark_bulk(&one, &mut two);
    proxy.busiest().stall();
    one.transport.send(2, Lane::Bulk, vec![2; 1 << 20]).unwrap();
    assert_eq!(one.disconnected(2, Lane::Bulk, true), Cause::Silent);
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    one.connected(2, Lane::Bulk, true);
    for lane in Lane::ALL {
        one.transport.send(2, lane, vec![3; 8]).unwrap();
        assert_eq!(two.frame(1, lane), vec![3; 8]);
    }
    let failures = one.transport.snapshot().lanes.map_failures();
    assert_eq!(failures, [0, 0, 0, 1]);
}

#[test]
fn an_idle_lane_is_not_silent() {
    let (mut one, mut two, proxy) = through_proxy(1_000);
    for lane in Lane::ALL {
        one.transport.send(2, lane, vec![3; 8]).unwrap();
        two.frame(1, lane);
    }
    // All was taken; whether that came across too is waited for, as long as it takes.
    std::thread::sleep(Duration::from_millis(500));
    for wire in proxy.wires() {
        wire.stall();
    }
    assert!(!one.has(Duration::from_millis(2_500), disconnects));
    one.transport.send(2, Lane::Log, vec![3; 8]).unwrap();
    assert_eq!(one.disconnected(2, Lane::Log, true), Cause::Silent);
}

#[test]
fn a_lane_whose_answers_are_lost_is_silent() {
    let (mut one, mut two, proxy) = through_proxy(1_000);
    mark_bulk(&one, &mut two);
    eventually("it is idle", || {
        one.transport.snapshot().lanes[3].queue_bytes == 0
    });
    proxy.busiest().drop_back();
    one.transport.send(2, Lane::Bulk, vec![2; 64]).unwrap();
    // The other way it still arrives.
    assert_eq!(two.frame(1, Lane::Bulk), vec![2; 64]);
    assert_eq!(one.disconnected(2, Lane::Bulk, true), Cause::Silent);
}

#[test]
fn a_slow_network_is_not_a_silent_one() {
    let (mut one, mut two, proxy) = through_proxy(20_000);
    for wire in proxy.wires() {
        wire.delay(20);
    }
    for at in 0..20 {
        one.transport.send(2, Lane::Log, vec![at; 4096]).unwrap();
    }
    for at in 0..20 {
        assert_eq!(two.frame(1, Lane::Log), vec![at; 4096]);
    }
    assert!(!one.has(Duration::ZERO, disconnects));
}

#[test]
fn a_flipped_bit_ends_the_connection_and_nothing_wrong_is_handed_on() {
    let (mut one, mut two, proxy) = through_proxy(HOURS_MS);
    mark_bulk(&one, &mut two);
    eventually("it is idle", || {
        one.transport.snapshot().lanes[3].queue_bytes == 0
    });
    proxy.busiest().flip_out();
    one.transport.send(2, Lane::Bulk, vec![2; 1024]).unwrap();
    let broken = Cause::Broken(PeerFrameError::Checksum);
    assert_eq!(two.disconnected(1, Lane::Bulk, false), broken);
    let cause = one.disconnected(2, Lane::Bulk, true);
    assert!(cause == broken || cause == Cause::Reset, "{cause:?}");
    one.connected(2, Lane::Bulk, true);
    one.transport.send(2, Lane::Bulk, vec![3; 8]).unwrap();
    assert_eq!(
        two.frame(1, Lane::Bulk),
        vec![3; 8],
        "the one that was broken is not here"
    );
}

#[test]
fn an_owner_that_lost_a_frame_begins_a_connection_anew() {
    let (mut one, mut two) = pair();
    // Of a node and a lane alone; where nothing stands there is nothing to end.
    one.transport.reset(9, Lane::Requests);
    one.transport.reset(2, Lane::Requests);
    assert_eq!(one.disconnected(2, Lane::Requests, true), Cause::Lost);
    let ended = two.disconnected(1, Lane::Requests, false);
    assert!(
        matches!(&ended, Cause::Closed(closing) if closing.reason == ClosingReason::Lost),
        "{ended:?}"
    );
    one.connected(2, Lane::Requests, true);
    two.connected(1, Lane::Requests, false);
    one.transport.send(2, Lane::Requests, vec![7; 8]).unwrap();
    assert_eq!(two.frame(1, Lane::Requests), vec![7; 8]);
    assert!(!one.has(Duration::ZERO, disconnects));
    assert!(!two.has(Duration::ZERO, disconnects));
}

#[test]
fn frames_that_can_not_be_end_the_connection() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let ours = credentials(&authority, CLUSTER, 2);
    let body = [5; 64];
    let frame = |writer: &mut PeerFrameWriter| [&writer.header(&body)[..], &body].concat();
    let mut second = PeerFrameWriter::default();
    frame(&mut second);
    let first = frame(&mut PeerFrameWriter::default());
    let mut flipped = first.clone();
    flipped[20] ^= 4;
    let mut long = first.clone();
    long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        (
            frame(&mut second),
            PeerFrameError::Sequence { due: 1, came: 2 },
            0,
        ),
        (
            [&first[..], &first].concat(),
            PeerFrameError::Sequence { due: 2, came: 1 },
            1,
        ),
        (flipped, PeerFrameError::Checksum, 0),
        (long, PeerFrameError::Length(u32::MAX), 0),
    ];
    for (bytes, error, whole) in cases {
        let mut stream = raw::dial(one.address(), Some(&ours));
        raw::greet(&mut stream, &raw::hello(2, 1));
        stream.write_all(&bytes).unwrap();
        assert_eq!(one.disconnected(2, Lane::Log, false), Cause::Broken(error));
        assert!(raw::is_closed(&mut stream), "{error}");
        for _ in 0..whole {
            assert_eq!(one.frame(2, Lane::Log), body);
        }
        assert!(!one.has(Duration::ZERO, |event| matches!(event, Event::Frame { .. })));
    }
}

#[test]
fn a_peer_that_says_what_can_not_be_is_left() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut one = start(&authority, 1);
    let ours = credentials(&authority, CLUSTER, 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    one.transport
        .set_peers(&[(2, vec![listener.local_addr().unwrap()])]);
    // Each lane that dials meets the next of these words.
    let taken = NoteHead::Taken { bytes: 1 }.encode();
    let welcome = raw::welcome(2).encode();
    let other_node = raw::welcome(3).encode();
    for words in [
        [&welcome[..], &taken].concat(),
        [&welcome[..], &[0xee; 16]].concat(),
        other_node.to_vec(),
        vec![0; 64],
    ] {
        let (mut stream, hello) = raw::accept(&listener, &ours);
        stream.write_all(&words).unwrap();
        let lane = Lane::from_number(hello.lane).unwrap();
        let cause = one.disconnected(2, lane, true);
        assert!(matches!(cause, Cause::Malformed(_)), "{cause:?}");
    }
}

#[test]
fn a_killed_peer_is_known_while_nothing_is_sent() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut options = options(1);
    options.progress_timeout_ms = HOURS_MS;
    let mut one = start_with(&credentials(&authority, CLUSTER, 1), options);
    let ours = credentials(&authority, CLUSTER, 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    one.transport
        .set_peers(&[(2, vec![listener.local_addr().unwrap()])]);
    let (mut stream, hello) = raw::accept(&listener, &ours);
    stream.write_all(&raw::welcome(2).encode()).unwrap();
    let lane = Lane::from_number(hello.lane).unwrap();
    one.connected(2, lane, true);
    drop(stream);
    assert_eq!(one.disconnected(2, lane, true), Cause::Reset);
}

#[test]
fn what_the_owner_does_not_take_in_time_is_silence_to_the_sender() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let small = |id| {
        let mut options = options(id);
        options.progress_timeout_ms = 500;
        options.lanes[3] = LaneOptions {
            queue_bytes_max: 64 << 20,
            inbox_bytes_max: 64 << 10,
            frame_bytes_max: 64 << 10,
        };
        start_with(&credentials(&authority, CLUSTER, id), options)
    };
    let (mut one, mut two) = (small(1), small(2));
    support::join(&mut one, &mut two);
    for _ in 0..512 {
        // On a slow machine it may have ended before all are sent.
        let _ = one.transport.send(2, Lane::Bulk, vec![1; 64 << 10]);
    }
    assert_eq!(one.disconnected(2, Lane::Bulk, true), Cause::Silent);
    let counters = one.transport.snapshot().lanes[3];
    assert!(counters.dropped_frames > 0, "{counters:?}");
}

#[test]
fn a_planned_close_sends_what_waits_and_says_why() {
    let (one, mut two) = pair();
    for at in 0..200_u64 {
        let mut body = vec![0; 64 << 10];
        body[..8].copy_from_slice(&at.to_le_bytes());
        one.transport.send(2, Lane::Log, body).unwrap();
    }
    let closing = std::thread::spawn(move || one.transport.close("an upgrade", support::PATIENCE));
    for at in 0..200_u64 {
        assert_eq!(two.frame(1, Lane::Log)[..8], at.to_le_bytes());
    }
    let said = Cause::Closed(Closing {
        reason: ClosingReason::Stopping,
        text: "an upgrade".into(),
    });
    for lane in Lane::ALL {
        assert_eq!(two.disconnected(1, lane, false), said);
        assert_eq!(two.disconnected(1, lane, true), said);
    }
    closing.join().unwrap();
    let cause = two.disconnected(1, Lane::Log, true);
    assert!(matches!(cause, Cause::Dial(_)), "{cause:?}");
}

#[test]
fn a_close_ends_by_its_deadline_whatever_the_peer_does() {
    let (one, mut two, proxy) = through_proxy(HOURS_MS);
    mark_bulk(&one, &mut two);
    proxy.busiest().stall();
    for _ in 0..16 {
        one.transport.send(2, Lane::Bulk, vec![1; 1 << 20]).unwrap();
    }
    let began = Instant::now();
    one.transport.close("", Duration::from_millis(300));
    assert!(began.elapsed() < support::PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn dropping_a_transport_ends_its_thread_and_its_listener() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let one = start(&authority, 1);
    let address = one.address();
    drop(one);
    TcpListener::bind(address).expect("the port is free");
}

trait Failures {
    fn map_failures(&self) -> [u64; 4];
}

impl Failures for Vec<domp_transport::LaneCounters> {
    fn map_failures(&self) -> [u64; 4] {
        std::array::from_fn(|at| self[at].failures)
    }
}
