//! Frames get across: on all lanes, in order, within bounds.

mod support;

use std::time::{Duration, Instant};

use domp_transport::{Authority, Dates, Event, Lane, SendError};
use support::{CLUSTER, PATIENCE, credentials, eventually, options, pair, start, start_with};

/// A body that tells its place.
fn body(number: u64, length: usize) -> Vec<u8> {
    let mut body = vec![number.to_le_bytes()[0]; length];
    body[..8].copy_from_slice(&number.to_le_bytes());
    body
}

fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().unwrap())
}

#[test]
fn three_nodes_talk_on_all_lanes_and_know_who_it_is() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut nodes: Vec<_> = (1..=3).map(|id| start(&authority, id)).collect();
    let addresses: Vec<_> = nodes
        .iter()
        .map(|node| (node.id, vec![node.address()]))
        .collect();
    for node in &nodes {
        // Itself among them: it does not dial itself.
        node.transport.set_peers(&addresses);
    }
    for node in &mut nodes {
        let own = node.id;
        for other in (1..=3).filter(|other| *other != own) {
            for lane in Lane::ALL {
                let hello = node.connected(other, lane, false);
                let said = format!("hello {own} {lane:?}").into_bytes();
                assert_eq!(
                    (hello.incarnation, hello.nonce, hello.words, hello.dates),
                    (10 + other, 100 + other, said, Dates::Valid)
                );
                let hello = node.connected(other, lane, true);
                let said = format!("welcome {own} {lane:?}").into_bytes();
                assert_eq!(
                    (hello.incarnation, hello.nonce, hello.words, hello.dates),
                    (10 + other, 100 + other, said, Dates::Valid)
                );
                let bytes = body(own * 100 + other * 10 + u64::from(lane.number()), 24);
                node.transport.send(other, lane, bytes).unwrap();
            }
        }
    }
    for node in &mut nodes {
        let own = node.id;
        for other in (1..=3).filter(|other| *other != own) {
            for lane in Lane::ALL {
                let came = node.frame(other, lane);
                let sent = body(other * 100 + own * 10 + u64::from(lane.number()), 24);
                assert_eq!(came, sent, "{other} to {own} on {lane:?}");
            }
        }
        assert!(!node.has(Duration::ZERO, |event| matches!(event, Event::Frame { .. })));
    }
}

#[test]
fn frames_of_all_sizes_keep_their_order() {
    let (one, mut two) = pair();
    let lengths = [8, 16, 1 << 10, 64 << 10, 8, 1 << 20, 8, 16 << 20, 24];
    let mut sent = 0;
    for _ in 0..3 {
        for length in lengths {
            let until = Instant::now() + PATIENCE;
            while one.transport.send(2, Lane::Log, body(sent, length)) == Err(SendError::Full) {
                assert!(Instant::now() < until, "stays full");
                std::thread::sleep(Duration::from_millis(1));
            }
            sent += 1;
        }
    }
    for (due, length) in (0..sent).zip(lengths.into_iter().cycle()) {
        let came = two.frame(1, Lane::Log);
        assert!(came == body(due, length), "frame {due} of {length} bytes");
    }
}

#[test]
fn hundred_megabytes_pass_through_a_queue_of_one() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut nodes = [1, 2].map(|id| {
        let mut options = options(id);
        for lane in &mut options.lanes {
            lane.queue_bytes_max = 1 << 20;
            lane.inbox_bytes_max = 1 << 20;
        }
        start_with(&credentials(&authority, CLUSTER, id), options)
    });
    let [one, two] = &mut nodes;
    support::join(one, two);
    let (count, length) = (1600_u64, 64 << 10);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let sender = &one.transport;
        scope.spawn(move || {
            let mut was_full = false;
            for at in 0..count {
                let until = Instant::now() + PATIENCE;
                while let Err(error) = sender.send(2, Lane::Bulk, body(at, length)) {
                    assert_eq!(error, SendError::Full, "frame {at}");
                    assert!(Instant::now() < until, "frame {at} stays outside");
                    was_full = true;
                    std::thread::yield_now();
                }
                let queue_bytes = sender.snapshot().lanes[3].queue_bytes;
                assert!(queue_bytes <= 1 << 20, "{queue_bytes}");
            }
            assert!(was_full, "a queue that is never full shows nothing");
        });
        for at in 0..count {
            let came = two.frame(1, Lane::Bulk);
            assert_eq!((number(&came), came.len()), (at, length));
        }
    });
    println!(
        "{} MB in {:?}",
        count * length as u64 / 1_000_000,
        started.elapsed()
    );
    let counters = two.transport.snapshot().lanes[3];
    assert_eq!(counters.received_frames, count);
    assert_eq!(counters.received_bytes, count * (length as u64 + 16));
}

#[test]
fn what_can_not_be_sent_is_said_at_once() {
    let (one, mut two) = pair();
    let send = |node, lane, length| one.transport.send(node, lane, vec![0; length]);
    assert_eq!(send(2, Lane::Log, 0), Err(SendError::Length));
    assert_eq!(send(2, Lane::Log, 12), Err(SendError::Length));
    assert_eq!(send(2, Lane::Log, (16 << 20) + 8), Err(SendError::Length));
    assert_eq!(
        send(2, Lane::Control, (1 << 20) + 8),
        Err(SendError::Length)
    );
    assert_eq!(send(3, Lane::Log, 8), Err(SendError::NotConnected));
    assert_eq!(send(2, Lane::Log, 8), Ok(()));
    // As long as the whole queue, and more with its header.
    assert_eq!(send(2, Lane::Control, 1 << 20), Ok(()));
    assert_eq!(two.frame(1, Lane::Control).len(), 1 << 20);
}

#[test]
fn a_slow_owner_stops_one_lane_and_no_other() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut nodes = [1, 2].map(|id| {
        let mut options = options(id);
        for lane in &mut options.lanes {
            lane.queue_bytes_max = 1 << 20;
            lane.inbox_bytes_max = 1 << 20;
        }
        // What is not read for a while is meant here.
        options.progress_timeout_ms = 600_000;
        start_with(&credentials(&authority, CLUSTER, id), options)
    });
    let [one, two] = &mut nodes;
    support::join(one, two);
    let length = 64 << 10;
    // Nobody polls the bulk lane: its queue fills, once inbox and sockets are full.
    let mut sent = 0;
    let mut full_since = None::<Instant>;
    let until = Instant::now() + PATIENCE;
    while full_since.is_none_or(|since| since.elapsed() < Duration::from_millis(500)) {
        assert!(
            Instant::now() < until,
            "{sent} frames, and it takes more and more"
        );
        match one.transport.send(2, Lane::Bulk, body(sent, length)) {
            Ok(()) => {
                full_since = None;
                sent += 1;
            }
            Err(error) => {
                assert_eq!(error, SendError::Full);
                full_since.get_or_insert_with(Instant::now);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let inbox_bytes = two.transport.snapshot().lanes[3].inbox_bytes;
    assert!(
        inbox_bytes < 2 << 20,
        "{inbox_bytes} bytes wait for the owner"
    );
    for lane in [Lane::Control, Lane::Log, Lane::Requests] {
        for at in 0..100 {
            one.transport.send(2, lane, body(at, 1024)).unwrap();
            eventually("the other lanes go on", || {
                match two.transport.poll_lane(lane) {
                    Some(Event::Frame { bytes, .. }) => number(&bytes) == at,
                    _ => false,
                }
            });
        }
    }
    // It polls again, and nothing was lost.
    for at in 0..sent {
        assert_eq!(number(&two.frame(1, Lane::Bulk)), at);
    }
    assert_eq!(one.transport.snapshot().lanes[3].failures, 0);
}

#[test]
fn urgent_frames_pass_those_that_wait_for_the_owner() {
    let (one, two) = pair();
    for at in 0..100 {
        one.transport
            .send(2, Lane::Bulk, body(at, 8 << 10))
            .unwrap();
    }
    let received = |lane: Lane| two.transport.snapshot().lanes[lane as usize].received_frames;
    eventually("the long ones wait", || received(Lane::Bulk) == 100);
    one.transport.send(2, Lane::Control, body(7, 8)).unwrap();
    eventually("the short one too", || received(Lane::Control) == 1);
    let first = two.next_within(PATIENCE);
    assert!(
        matches!(
            first,
            Some(Event::Frame {
                lane: Lane::Control,
                ..
            })
        ),
        "{first:?}"
    );
}

#[test]
fn counters_tell_what_went() {
    let (one, mut two) = pair();
    for _ in 0..10 {
        one.transport.send(2, Lane::Requests, body(1, 48)).unwrap();
    }
    for _ in 0..10 {
        two.frame(1, Lane::Requests);
    }
    eventually("the queue is empty", || {
        one.transport.snapshot().lanes[2].queue_bytes == 0
    });
    let sent = one.transport.snapshot().lanes[2];
    assert_eq!((sent.node, sent.lane), (2, Lane::Requests));
    assert_eq!(
        (sent.sent_frames, sent.sent_bytes, sent.connects),
        (10, 640, 1)
    );
    assert!(sent.is_connected_in && sent.is_connected_out);
    let came = two.transport.snapshot().lanes[2];
    assert_eq!(
        (came.received_frames, came.received_bytes, came.accepts),
        (10, 640, 1)
    );
    assert_eq!(came.inbox_bytes, 0);
}
