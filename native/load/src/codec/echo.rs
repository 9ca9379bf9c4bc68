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
        out.resize(start + length, b'.');
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
            if length != expected || message.payload[..8] != number.to_le_bytes() {
                return Err(Fault::new("the echo is not what was sent"));
            }
            for offset in 0..operations as u64 {
                outstanding.answer(number + offset, Answer::Echoed, recorder)?;
            }
        }
        Ok(used)
    }
}
