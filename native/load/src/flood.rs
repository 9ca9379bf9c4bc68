//! A crowd that asks for as much as it can: frames full of range reads, the next as soon
//! as one is answered. What is answered is counted and thrown away.

use crate::arguments::Arguments;
use crate::fault::{Fault, Result};
use crate::json;
use crate::system::{self, Kind, System};
use crate::websocket;
use domp_protocol::frame::FRAME_HEADER_BYTES;
use domp_protocol::limits::RANGE_PAGE_ENTRIES_MAX;
use domp_protocol::{
    FrameBuilder, FrameKind, ItemKind, Operation, TransactionBuilder, encode_parts,
};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long the server may take over a request.
const TIMEOUT_MS: u32 = 60_000;
/// Frames that each connection keeps outstanding.
const OUTSTANDING: u64 = 2;
/// Where a reply's header has its error's number, of two bytes; 0: none.
const CODE_AT: usize = 20;
/// Read at once.
const READ_BYTES: usize = 256 * 1024;

/// What the crowd has come to.
#[derive(Default)]
struct Counters {
    frames: AtomicU64,
    answers: AtomicU64,
    /// Of those: in frames that begin with an error.
    refused: AtomicU64,
    /// Times the server ended a connection, as it does with one that reads too slowly.
    closed: AtomicU64,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct Report {
    frames: u64,
    answers: u64,
    refused: u64,
    closed: u64,
}

/// `flood --system domp --address A --connections C --frame-bytes B`. Floods until its
/// standard input ends; each line of it is answered with what was counted so far.
///
/// # Errors
/// The server can't be reached at the beginning.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&[&system::ARGUMENTS[..], &["connections", "frame-bytes"]].concat())?;
    let connections: u32 = arguments.required("connections")?;
    let frame_bytes: usize = arguments.required("frame-bytes")?;
    let counters = Arc::new(Counters::default());
    for _ in 0..connections {
        let system = System::from_arguments(arguments)?;
        if system.kind() != Kind::Domp {
            return Err(Fault::new("only domp can be flooded"));
        }
        let stream = system.open()?;
        let words = arguments.clone();
        let counters = Arc::clone(&counters);
        std::thread::spawn(move || flood(stream, &words, frame_bytes, &counters));
    }
    println!("{}", json::line(&Ready { ready: true }));
    for line in std::io::stdin().lines() {
        line?;
        let report = Report {
            frames: counters.frames.load(Ordering::Relaxed),
            answers: counters.answers.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            closed: counters.closed.load(Ordering::Relaxed),
        };
        println!("{}", json::line(&report));
    }
    Ok(())
}

/// One member of the crowd: it comes back when it is thrown out.
fn flood(mut stream: TcpStream, arguments: &Arguments, frame_bytes: usize, counters: &Counters) {
    let (messages, reads) = messages(frame_bytes);
    loop {
        // Whatever ends the connection, another one goes on.
        let _ = flood_once(&mut stream, &messages, reads, counters);
        counters.closed.fetch_add(1, Ordering::Relaxed);
        let again = System::from_arguments(arguments).and_then(|system| system.open());
        match again {
            Ok(again) => stream = again,
            // The server is gone: so is its crowd.
            Err(_) => return,
        }
    }
}

fn flood_once(
    stream: &mut TcpStream,
    messages: &[u8],
    reads: u64,
    counters: &Counters,
) -> Result<()> {
    let (mut sent, mut answered) = (0, 0);
    let mut input = Vec::new();
    let mut scratch = vec![0; READ_BYTES];
    stream.set_read_timeout(None)?;
    loop {
        while sent * reads < answered + OUTSTANDING * reads {
            stream.write_all(messages)?;
            sent += 1;
            counters.frames.fetch_add(1, Ordering::Relaxed);
        }
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Err(Fault::new("the server closed the connection"));
        }
        input.extend_from_slice(&scratch[..read]);
        let mut used = 0;
        while let Some(message) = websocket::parse(&input[used..])? {
            used += message.length;
            match message.opcode {
                websocket::BINARY => {
                    let count = replies(message.payload);
                    answered += count;
                    counters.answers.fetch_add(count, Ordering::Relaxed);
                    if is_refusal(message.payload) {
                        counters.refused.fetch_add(count, Ordering::Relaxed);
                    }
                }
                websocket::PING => {
                    let mut pong = Vec::new();
                    websocket::push_header(websocket::PONG, message.payload.len(), &mut pong);
                    pong.extend_from_slice(message.payload);
                    stream.write_all(&pong)?;
                }
                websocket::PONG => {}
                _ => return Err(Fault::new("the server closed the WebSocket")),
            }
        }
        input.drain(..used);
    }
}

/// How many replies a frame holds.
fn replies(frame: &[u8]) -> u64 {
    let header: Option<&[u8; FRAME_HEADER_BYTES]> = frame.first_chunk();
    match header {
        Some(header) if header[3] == FrameKind::Replies as u8 => {
            u32::from_le_bytes([header[4], header[5], header[6], header[7]]).into()
        }
        _ => 0,
    }
}

/// Whether the first reply of a frame is an error.
fn is_refusal(frame: &[u8]) -> bool {
    frame
        .get(FRAME_HEADER_BYTES + CODE_AT..FRAME_HEADER_BYTES + CODE_AT + 2)
        .is_some_and(|code| code.iter().any(|byte| *byte != 0))
}

/// A frame of about so many bytes as it travels, and how many reads are in it.
fn messages(frame_bytes: usize) -> (Vec<u8>, u64) {
    // The space `default`: the first that a node ever has.
    let space = 1;
    let transaction = TransactionBuilder::new(space)
        .then(Operation::Range {
            from: b"",
            to: None,
            limit: u32::try_from(RANGE_PAGE_ENTRIES_MAX).expect("a few thousand"),
            reverse: false,
            keys_only: false,
        })
        .finish();
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    let mut reads = 0;
    while builder.bytes() < frame_bytes {
        reads += 1;
        builder.push_item(reads, ItemKind::Transaction, &transaction);
    }
    let frame = builder.finish(1, TIMEOUT_MS, space);
    let mut messages = Vec::new();
    for part in encode_parts(&frame) {
        websocket::push_header(websocket::BINARY, part.len(), &mut messages);
        messages.extend_from_slice(&part);
    }
    (messages, reads)
}
