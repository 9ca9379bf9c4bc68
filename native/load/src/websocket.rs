//! As much of RFC 6455 as a client of our own servers needs: binary messages,
//! unfragmented, masked with the zero key (which the servers undo at no gain to
//! anyone, so nothing is gained by a random one here), no extensions.

use crate::fault::{Fault, Result};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A binary message.
pub const BINARY: u8 = 2;
/// The other side closes.
pub const CLOSE: u8 = 8;
/// The other side wants a sign of life.
pub const PING: u8 = 9;
/// The sign.
pub const PONG: u8 = 10;

/// Asks for the upgrade and waits for it. What the server computes from the
/// key is not checked: it protects against caches, and there is none here.
///
/// # Errors
/// The server does not switch protocols.
pub fn open(stream: &mut TcpStream, path: &str) -> Result<()> {
    let host = stream.peer_addr()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: ZG9tcC1sb2FkLXNwZWFrcw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8_192 {
            return Err(Fault::new("the answer to the upgrade has no end"));
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(())
    } else {
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        Err(Fault::new(format!("no upgrade to WebSocket: {line}")))
    }
}

/// Appends the header of a whole message of `length` bytes.
#[inline]
pub fn push_header(opcode: u8, length: usize, out: &mut Vec<u8>) {
    const MASKED: u8 = 0x80;
    /// In place of a length: it follows in two bytes, in eight.
    const TWO: u8 = 0x7e;
    const EIGHT: u8 = 0x7f;
    out.push(0x80 | opcode);
    #[allow(clippy::cast_possible_truncation)] // each arm holds what it casts
    match length {
        0..=125 => out.push(MASKED | length as u8),
        126..=0xffff => {
            out.push(MASKED | TWO);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | EIGHT);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// One message from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub opcode: u8,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Bytes it took, header included.
    pub length: usize,
}

/// The message at the start of `input`; `None` until it is whole.
///
/// # Errors
/// It is fragmented, masked, or compressed.
#[inline]
pub fn parse(input: &[u8]) -> Result<Option<Message<'_>>> {
    let &[first, second, ref rest @ ..] = input else {
        return Ok(None);
    };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(Fault::new(
            "the server sent a WebSocket frame this client does not read",
        ));
    }
    let (length, header) = match second {
        126 => match rest.first_chunk() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length < 1 << 30)
        .ok_or_else(|| Fault::new("the server sent a message of an absurd length"))?;
    Ok(input.get(header..header + length).map(|payload| Message {
        opcode: first & 0x0f,
        payload,
        length: header + length,
    }))
}

/// Reads one binary message from a blocking socket, answering pings on the way.
///
/// # Errors
/// The connection ends, or the server closes it.
pub fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut input = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        input.push(byte[0]);
        let Some(message) = parse(&input)? else {
            continue;
        };
        match message.opcode {
            BINARY => return Ok(message.payload.to_vec()),
            PING => {
                let mut pong = Vec::new();
                push_header(PONG, message.payload.len(), &mut pong);
                pong.extend_from_slice(message.payload);
                stream.write_all(&pong)?;
            }
            PONG => {}
            _ => return Err(Fault::new("the server closed the WebSocket")),
        }
        input.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_the_length_in_the_shortest_form() {
        for (length, header) in [(5, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            let mut out = Vec::new();
            push_header(BINARY, length, &mut out);
            assert_eq!(out.len(), header, "length {length}");
            assert_eq!(out[0], 0x82);
        }
    }

    #[test]
    fn a_message_is_read_once_it_is_whole() {
        for length in [0, 1, 125, 126, 300, 70_000] {
            let mut masked = Vec::new();
            push_header(BINARY, length, &mut masked);
            // A server's header is a client's without the mask.
            masked[1] &= 0x7f;
            masked.truncate(masked.len() - 4);
            masked.extend(std::iter::repeat_n(7, length));
            for cut in [0, 1, 2, masked.len() - 1] {
                if cut < masked.len() {
                    assert_eq!(parse(&masked[..cut]).expect("valid"), None);
                }
            }
            let message = parse(&masked).expect("valid").expect("whole");
            assert_eq!(
                (message.payload.len(), message.length),
                (length, masked.len())
            );
        }
    }

    #[test]
    fn fragments_and_masked_frames_are_faults() {
        assert!(parse(&[0x02, 0]).is_err());
        assert!(parse(&[0x82, 0x80]).is_err());
    }
}
