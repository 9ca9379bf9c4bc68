//! A socket with TLS on it, neither of which ever blocks.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use domp_protocol::PeerFrameError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, Connection, Error};

use crate::event::Cause;

/// Why a connection can't go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Closed by the other side.
    Ended,
    /// Cut, or never made.
    Io(ErrorKind),
    /// TLS says no.
    Tls(Error),
    /// Said by what read it.
    Said(Cause),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Self::Said(cause)
    }
}

impl Fault {
    /// Of a connection that stood.
    pub fn into_cause(self) -> Cause {
        match self {
            Self::Ended | Self::Io(_) => Cause::Reset,
            Self::Tls(
                Error::DecryptError | Error::AlertReceived(AlertDescription::BadRecordMac),
            ) => Cause::Broken(PeerFrameError::Checksum),
            Self::Tls(error) => Cause::Malformed(error.to_string()),
            Self::Said(cause) => cause,
        }
    }
}

/// See the module.
pub(crate) struct Socket {
    stream: TcpStream,
    tls: Connection,
}

impl Socket {
    /// A socket that begins to connect; writable when that is decided.
    pub fn dial(address: SocketAddr, tls: Connection) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Self::new(TcpStream::from(socket), tls)
    }

    /// A socket that was accepted.
    pub fn accept(stream: TcpStream, tls: Connection) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(stream, tls)
    }

    fn new(stream: TcpStream, mut tls: Connection) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // A lane without traffic is not pinged; a machine that is gone still frees its sockets within a minute.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        // Who writes bounds it: by the batch, and only once the last has left.
        tls.set_buffer_limit(None);
        Ok(Self { stream, tls })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether something waits for the socket to be writable.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// What the other side has proved to own.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Reads once, as much as fits into `scratch`, and hands on what it says. Frees nothing of `scratch` for
    /// later: all that was read has been handed on. True if something was there.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        mut hand_on: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Fault> {
        let count = match self.stream.read(scratch) {
            Ok(0) => return Err(Fault::Ended),
            Ok(count) => count,
            Err(error) if is_later(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut input = &scratch[..count];
        while !input.is_empty() {
            let before = input.len();
            self.tls.read_tls(&mut input)?;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that tells the other side why.
                    let _ = self.flush();
                    return Err(Fault::Tls(error));
                }
            };
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let mut reader = self.tls.reader();
                let bytes = reader.fill_buf()?;
                let count = bytes.len();
                hand_on(bytes)?;
                reader.consume(count);
                left = left.saturating_sub(count.max(1));
            }
            if state.peer_has_closed() || input.len() == before {
                return Err(Fault::Ended);
            }
        }
        Ok(true)
    }

    /// Encrypts. [`Self::flush`] sends.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Fault> {
        Ok(self.tls.writer().write_vectored(slices)?)
    }

    /// Encrypts all of it.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.tls.writer().write_all(bytes)?)
    }

    /// Sends what waits; true if all of it has left.
    pub fn flush(&mut self) -> Result<bool, Fault> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Says that nothing follows, as far as that can be said now.
    pub fn finish(&mut self) {
        self.tls.send_close_notify();
        self.end_if_flushed();
    }

    /// For a connection that only waits for the other side to have read: sends, and throws away what comes, so
    /// that no reset overtakes the last words.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn linger(&mut self, scratch: &mut [u8]) -> Result<(), Fault> {
        self.end_if_flushed();
        match self.stream.read(scratch) {
            Ok(0) => Err(Fault::Ended),
            Ok(_) => Ok(()),
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn end_if_flushed(&mut self) {
        if let Ok(true) = self.flush() {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

/// Whether it is to be tried again when the socket is ready.
fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
