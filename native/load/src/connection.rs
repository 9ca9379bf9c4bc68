//! One connection of the loop: a socket, its buffers, what it has outstanding.

use crate::codec::Codec;
use crate::fault::{Fault, Result};
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use crate::stream::Stream;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Connects, says hello, and leaves the socket blocking. A server that is just
/// starting is tried again until `patience` is over.
///
/// # Errors
/// The last attempt's.
pub fn open(address: SocketAddr, codec: &mut dyn Codec, patience: Duration) -> Result<TcpStream> {
    let deadline = Instant::now() + patience;
    loop {
        match open_once(address, codec) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

fn open_once(address: SocketAddr, codec: &mut dyn Codec) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, GREETING)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_write_timeout(Some(GREETING))?;
    codec.open(&mut stream)?;
    Ok(stream)
}

/// A connection in the loop.
pub struct Connection {
    stream: TcpStream,
    codec: Box<dyn Codec>,
    outstanding: Outstanding,
    source: Stream,
    out: Vec<u8>,
    sent: usize,
    partial: Vec<u8>,
}

impl Connection {
    /// Wraps a connection that has said hello.
    ///
    /// # Errors
    /// The socket can't be made non-blocking.
    pub fn new(stream: TcpStream, codec: Box<dyn Codec>, outstanding: Outstanding) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            codec,
            outstanding,
            source: Stream::List(Vec::new().into_iter()),
            out: Vec::with_capacity(64 * 1024),
            sent: 0,
            partial: Vec::new(),
        })
    }

    /// The socket, to be registered.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// What it asks from now on.
    pub fn set_source(&mut self, source: Stream) {
        self.source = source;
    }

    /// What it has asked, as far as drawn.
    pub fn source(&self) -> &Stream {
        &self.source
    }

    /// Whether everything asked was answered.
    pub fn is_quiet(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Appends messages until as many are outstanding as may be.
    #[inline]
    pub fn ask(&mut self, now_ns: u64) {
        while self.outstanding.has_room() {
            let answered_below = self.outstanding.answered_below();
            let Some((number, operations)) = self.outstanding.draw(&mut self.source, now_ns) else {
                return;
            };
            self.codec
                .encode(number, answered_below, operations, &mut self.out);
        }
    }

    /// Writes what was appended, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is gone.
    #[inline]
    pub fn flush(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            match (&self.stream).write(&self.out[self.sent..]) {
                Ok(0) => return Err(Fault::new("the server closed the connection")),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once and takes the answers; `scratch` is shared by all connections.
    ///
    /// # Errors
    /// The connection is gone, or an answer is wrong.
    #[inline]
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        now_ns: impl FnOnce() -> u64,
        recorder: &mut Recorder,
    ) -> Result<u64> {
        let kept = self.partial.len();
        if kept >= scratch.len() {
            return Err(Fault::new("an answer is larger than the buffer"));
        }
        scratch[..kept].copy_from_slice(&self.partial);
        let filled = match (&self.stream).read(&mut scratch[kept..]) {
            Ok(0) => return Err(Fault::new("the server closed the connection")),
            Ok(read) => kept + read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(now_ns());
            }
            Err(error) => return Err(error.into()),
        };
        let now_ns = now_ns();
        recorder.arrived(now_ns);
        let used = self.codec.decode(
            &scratch[..filled],
            &mut self.outstanding,
            recorder,
            &mut self.out,
        )?;
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[used..filled]);
        Ok(now_ns)
    }
}
