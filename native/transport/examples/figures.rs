//! What a lane carries, and how long a short frame takes there and back: two transports on loopback with TLS.
//!
//! `cargo run --release -p domp-transport --example figures`

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use domp_transport::{
    Authority, Certificate, Credentials, Event, Handshake, Hello, Identity, Lane, NodeKey, Options,
    SendError, Transport, Validity,
};

const CLUSTER: u128 = 1;

struct Quiet;

impl Handshake for Quiet {
    fn hello(&self, _node: u64, _lane: Lane) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, _peer: &Hello, _outgoing: bool) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

fn start(authority: &Authority, node: u64, owner: Thread) -> Transport {
    let key = NodeKey::generate().expect("a key");
    let request = key.signing_request(CLUSTER, node).expect("a request");
    let validity = Validity {
        from_unix_s: 0,
        until_unix_s: u64::MAX,
    };
    let certificate = authority
        .sign(&request, node, validity)
        .expect("a certificate");
    let trusted = Certificate::from_pem(authority.certificate().pem()).expect("a certificate");
    let credentials = Credentials {
        key,
        certificate,
        authorities: vec![trusted],
    };
    let identity = Identity {
        cluster: CLUSTER,
        node,
        incarnation: 1,
        nonce: node,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let wake = Arc::new(move || owner.unpark());
    let options = Options::new(identity, node);
    Transport::start(listener, &credentials, options, Arc::new(Quiet), wake).expect("a transport")
}

/// The next frame; `spins` looks without sleeping.
fn frame(transport: &Transport, spins: bool) -> Vec<u8> {
    loop {
        match transport.poll() {
            Some(Event::Frame { bytes, .. }) => return bytes,
            Some(Event::Disconnected { cause, .. }) => eprintln!("{cause}"),
            Some(Event::Connected { .. }) => {}
            None if spins => std::thread::yield_now(),
            None => std::thread::park(),
        }
    }
}

fn send(transport: &Transport, node: u64, lane: Lane, bytes: &[u8]) {
    loop {
        match transport.send(node, lane, bytes.to_vec()) {
            Ok(()) => return,
            Err(SendError::Length) => panic!("a length that is not taken"),
            Err(_) => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn main() {
    let authority = Authority::generate(CLUSTER).expect("an authority");
    let (to_one, from_one) = std::sync::mpsc::channel();
    let echo = std::thread::spawn(move || {
        let (two, spins): (Transport, bool) = from_one.recv().expect("a transport");
        // An echo of short frames; of long ones only the last.
        loop {
            let bytes = frame(&two, spins);
            match bytes.len() {
                8 => return,
                24 | 256 => send(&two, 1, Lane::Control, &bytes),
                _ => {}
            }
        }
    });
    let spins = std::env::args().any(|argument| argument == "--spin");
    let one = start(&authority, 1, std::thread::current());
    let two = start(&authority, 2, echo.thread().clone());
    one.set_peers(&[(2, vec![two.address()])]);
    two.set_peers(&[(1, vec![one.address()])]);
    to_one.send((two, spins)).expect("the echo runs");

    for length in [256, 24] {
        let mut took_us = Vec::new();
        for _ in 0..20_000 {
            let began = Instant::now();
            send(&one, 2, Lane::Control, &vec![1; length]);
            frame(&one, spins);
            took_us.push(began.elapsed().as_micros());
        }
        took_us.sort_unstable();
        let at = |share: usize| took_us[took_us.len() * share / 1000];
        let (p50, p99, p999) = (at(500), at(990), at(999));
        println!("{length} bytes there and back: p50 {p50} us, p99 {p99} us, p99.9 {p999} us");
    }
    for (length, count) in [(1 << 20, 2_000), (64 << 10, 30_000), (4 << 10, 200_000)] {
        let body = vec![1; length];
        let began = Instant::now();
        for _ in 0..count {
            send(&one, 2, Lane::Log, &body);
        }
        // Behind all of them on the same lane.
        send(&one, 2, Lane::Log, &[1; 24]);
        frame(&one, spins);
        let took_s = began.elapsed().as_secs_f64();
        let frame_mb = f64::from(u32::try_from(body.len()).expect("a frame")) / 1e6;
        let sent_mb = f64::from(count) * frame_mb;
        let (mb_s, frames_s) = (sent_mb / took_s, f64::from(count) / took_s);
        println!("frames of {length} bytes: {mb_s:.0} MB/s, {frames_s:.0} a second");
    }
    send(&one, 2, Lane::Log, &[1; 8]);
    echo.join().expect("the echo");
}
