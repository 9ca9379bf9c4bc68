//! Whoever can reach the port: garbage, silence, and very many of them.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use domp_protocol::HelloHead;
use domp_transport::{Authority, Event, Lane};
use support::raw;
use support::{CLUSTER, Node, PATIENCE, credentials, eventually, options, start, start_with};

/// A node that gives strangers so long, and takes so many at a time.
fn impatient(authority: &Authority, handshake_timeout_ms: u64, handshakes_max: usize) -> Node {
    let mut options = options(1);
    options.handshake_timeout_ms = handshake_timeout_ms;
    options.handshakes_max = handshakes_max;
    start_with(&credentials(authority, CLUSTER, 1), options)
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// That a real node is let in, after all of it.
fn still_works(authority: &Authority, node: &mut Node) {
    let mut two = start(authority, 2);
    support::join(node, &mut two);
    two.transport.send(1, Lane::Log, vec![1; 8]).unwrap();
    assert_eq!(node.frame(2, Lane::Log), vec![1; 8]);
}

#[test]
fn silence_is_closed() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut node = impatient(&authority, 300, 64);
    let mut silent = connect(&node);
    let mut half = connect(&node);
    // The beginning of a TLS record that never goes on.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
    let ours = credentials(&authority, CLUSTER, 2);
    // A member who says half a hello.
    let mut member = raw::dial(node.address(), Some(&ours));
    member.write_all(&raw::hello(2, 1).encode()[..40]).unwrap();
    assert!(raw::is_closed(&mut silent));
    assert!(raw::is_closed(&mut half));
    assert!(raw::is_closed(&mut member));
    eventually("all are counted", || {
        node.transport.snapshot().strangers == 3
    });
    assert!(
        !node.has(Duration::ZERO, |_| true),
        "the owner hears nothing of it"
    );
    still_works(&authority, &mut node);
}

#[test]
fn garbage_is_closed() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut node = impatient(&authority, 60_000, 64);
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33).to_le_bytes()[0]
    };
    for round in 0..200 {
        let mut stream = connect(&node);
        let mut bytes: Vec<u8> = (0..round * 7).map(|_| random()).collect();
        // Most are no TLS by their first byte; some get further.
        if round % 2 == 0 && bytes.len() > 5 {
            bytes[..5].copy_from_slice(&[20 + random() % 4, 3, 3, random() % 2, random()]);
        }
        // It may be closed while it writes.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(raw::is_closed(&mut stream), "round {round}");
    }
    eventually("all are counted", || {
        node.transport.snapshot().strangers == 200
    });
    still_works(&authority, &mut node);
}

#[test]
fn a_member_that_talks_garbage_is_closed() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut node = impatient(&authority, 60_000, 64);
    let ours = credentials(&authority, CLUSTER, 2);
    let hello = raw::hello(2, 1);
    let length = (64 << 10) + 1;
    let long = HelloHead { length, ..hello }.encode();
    for (what, bytes) in [
        ("zeros", vec![0; 64]),
        (
            "a text",
            b"GET / HTTP/1.1\r\nHost: node-1.example.org\r\nAccept: everything\r\n\r\n".to_vec(),
        ),
        ("more to follow than is taken", long.to_vec()),
        ("more than a hello", [&hello.encode()[..], &[0; 8]].concat()),
        ("much more", vec![0xff; 1 << 20]),
    ] {
        let mut stream = raw::dial(node.address(), Some(&ours));
        let _ = stream.write_all(&bytes);
        assert!(raw::is_closed(&mut stream), "{what}");
    }
    eventually("all are counted", || {
        node.transport.snapshot().strangers == 5
    });
    assert!(!node.has(Duration::ZERO, |event| matches!(
        event,
        Event::Connected { .. }
    )));
    still_works(&authority, &mut node);
}

#[test]
fn without_a_certificate_nobody_comes_in() {
    let authority = Authority::generate(CLUSTER).unwrap();
    let mut node = impatient(&authority, 60_000, 64);
    let mut stream = raw::dial(node.address(), None);
    let _ = stream.write_all(&raw::hello(2, 1).encode());
    assert!(raw::is_closed(&mut stream));
    eventually("it is counted", || node.transport.snapshot().strangers == 1);
    still_works(&authority, &mut node);
}

#[test]
fn a_crowd_of_silent_strangers_keeps_nobody_out() {
    let authority = Authority::generate(CLUSTER).unwrap();
    // None of them runs out by itself.
    let mut node = impatient(&authority, 600_000, 8);
    let mut crowd: Vec<_> = (0..40).map(|_| connect(&node)).collect();
    eventually("the oldest gave way", || {
        node.transport.snapshot().strangers == 32
    });
    for stream in &mut crowd[..32] {
        assert!(raw::is_closed(stream));
    }
    still_works(&authority, &mut node);
}
