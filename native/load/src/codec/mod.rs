//! What the loop needs to know of a protocol.

pub mod domp;
pub mod echo;
pub mod flat;
pub mod postgres;
pub mod redis;

use crate::fault::Result;
use crate::operation::Operation;
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use std::net::TcpStream;

/// One connection's side of a protocol.
pub trait Codec {
    /// Says hello on a fresh, blocking connection.
    ///
    /// # Errors
    /// The server is not what it should be, or refuses.
    fn open(&mut self, stream: &mut TcpStream) -> Result<()>;

    /// Appends one message of these operations; `number` is that of the first,
    /// `answered_below` the one below which all are answered.
    fn encode(
        &mut self,
        number: u64,
        answered_below: u64,
        operations: &[Operation],
        out: &mut Vec<u8>,
    );

    /// Takes the whole answers at the start of `input` and says how many bytes
    /// they were; what has to be said at once (a pong) is appended to `out`.
    ///
    /// # Errors
    /// An answer that is an error, is wrong, or can't be understood.
    fn decode(
        &mut self,
        input: &[u8],
        outstanding: &mut Outstanding,
        recorder: &mut Recorder,
        out: &mut Vec<u8>,
    ) -> Result<usize>;
}
