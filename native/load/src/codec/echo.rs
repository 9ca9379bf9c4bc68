//! A WebSocket server that sends back what it got: the limit of the transport.
//! Its messages are as long as DOMP's for the same work.

use crate::codec::Codec;
use crate::codec::domp::Templates;
use crate::fault::{Fault, Result};
use crate::operation::{Answer, Operation};
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use crate::websocket;
use std::net::TcpStream;
use std::rc::Rc;

/// What a message is filled with after its number.
const FILL: u8 = b'.';

/// One connection to the echo.
pub struct Echo {
    templates: Rc<Templates>,
}

impl Echo {
    /// A connection whose messages are as long as these templates'.
    pub fn new(templates: Rc<Templates>) -> Self {
        Self { templates }
    }
}

impl Codec for Echo {
    fn open(&mut self, stream: &mut TcpStream) -> Result<()> {
        websocket::open(stream, "/")
    }

    #[inline]
    fn encode(
        &mut self,
        number: u64,
        _answered_below: u64,
        operations: &[Operation],
        out: &mut Vec<u8>,
    ) {
        let length = self
            .templates
            .frame_bytes(operations[0].kind, operations.len());
        websocket::push_header(websocket::BINARY, length, out);
        let start = out.len();
        out.resize(start + length, FILL);
        out[start..start + 8].copy_from_slice(&number.to_le_bytes());
    }

    #[inline]
    fn decode(
        &mut self,
        input: &[u8],
        outstanding: &mut Outstanding,
        recorder: &mut Recorder,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        let mut used = 0;
        while let Some(message) = websocket::parse(&input[used..])? {
            used += message.length;
            match message.opcode {
                websocket::BINARY => {}
                websocket::PING => {
                    websocket::push_header(websocket::PONG, message.payload.len(), out);
                    out.extend_from_slice(message.payload);
                    continue;
                }
                websocket::PONG => continue,
                _ => return Err(Fault::new("the echo closed the WebSocket")),
            }
            let (number, first) = outstanding.oldest()?;
            let (length, operations) = (message.payload.len(), outstanding.oldest_message());
            let expected = self.templates.frame_bytes(first.kind, operations);
            // A frame's header alone is longer than the number.
            if length != expected || !is_ours(message.payload, number) {
                return Err(Fault::new("the echo is not what was sent"));
            }
            for offset in 0..operations as u64 {
                outstanding.answer(number + offset, Answer::Echoed, recorder)?;
            }
        }
        Ok(used)
    }
}

/// Whether every byte is the one sent.
#[inline]
fn is_ours(payload: &[u8], number: u64) -> bool {
    let (head, fill) = payload.split_at(8);
    // Without an early end: so it is compared many bytes at a time.
    head == number.to_le_bytes() && fill.iter().fold(0, |bits, &byte| bits | (byte ^ FILL)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Kind;
    use crate::stream::{Fill, Stream};

    /// A message of 16 operations as the echo sends it back, with one byte changed.
    fn decode(changed: Option<usize>) -> Result<u64> {
        let mut echo = Echo::new(Templates::new(1));
        let mut outstanding = Outstanding::new(1, 16)?;
        let mut stream = Stream::Fill(Fill::new(Kind::Transfer, 0, 1, 16));
        let mut sent = Vec::new();
        let (number, operations) = outstanding.draw(&mut stream, 0).expect("sixteen");
        echo.encode(number, 0, operations, &mut sent);
        let length = echo.templates.frame_bytes(Kind::Transfer, 16);
        let mut payload = sent.split_off(sent.len() - length);
        if let Some(place) = changed {
            payload[place] ^= 1;
        }
        let mut bytes = Vec::new();
        websocket::push_header(websocket::BINARY, length, &mut bytes);
        // A server's header is a client's without the mask.
        bytes[1] &= 0x7f;
        bytes.truncate(bytes.len() - 4);
        bytes.extend_from_slice(&payload);
        let mut recorder = Recorder::new();
        let used = echo.decode(&bytes, &mut outstanding, &mut recorder, &mut Vec::new())?;
        assert_eq!(used, bytes.len());
        Ok(recorder.tally().echoes)
    }

    #[test]
    fn an_echo_counts_for_all_operations_of_its_message() {
        assert_eq!(decode(None).expect("right"), 16);
    }

    #[test]
    fn every_byte_of_an_echo_is_compared() {
        let length = Templates::new(1).frame_bytes(Kind::Transfer, 16);
        for place in 0..length {
            assert!(decode(Some(place)).is_err(), "byte {place}");
        }
    }
}
