//! The owner's handle.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::authority::Credentials;
use crate::counters::Snapshot;
use crate::event::{Event, Hello};
use crate::inbox::{Inbox, Wake};
use crate::io::Io;
use crate::options::Options;
use crate::shared::{Close, SendError, Shared};
use crate::tls::Tls;
use crate::verify::Pins;
use domp_protocol::Lane;

/// What the layers above add to the handshakes of connections. Called on the transport's thread, which waits
/// meanwhile: nothing here may block.
pub trait Handshake: Send + Sync {
    /// What this node says when it dials: at most 64 KiB.
    fn hello(&self, node: u64, lane: Lane) -> Vec<u8>;

    /// Judges who is at the other end: of a connection that came (then what it returns, at most 64 KiB, is the
    /// answer), or of one that this node dialled (`outgoing`; what it returns is not used).
    ///
    /// # Errors
    /// Why the connection is refused, for the operator at the other end.
    fn judge(&self, peer: &Hello, outgoing: bool) -> Result<Vec<u8>, String>;
}

/// Connections to and from the other nodes, on a thread of their own.
pub struct Transport {
    shared: Arc<Shared>,
    cluster: u128,
    pins: Arc<RwLock<Pins>>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Transport {
    /// Starts. Nobody is dialled before [`Self::set_peers`]. `wake` is called from the transport's thread when
    /// there is something to poll for an owner that has polled everything.
    ///
    /// # Errors
    /// Credentials that do not go together (kind `InvalidInput`), or what the system says.
    pub fn start(
        listener: TcpListener,
        credentials: &Credentials,
        options: Options,
        handshake: Arc<dyn Handshake>,
        wake: Wake,
    ) -> io::Result<Self> {
        let cluster = options.identity.cluster;
        let pins = Arc::new(RwLock::new(Pins::new()));
        let tls = Tls::new(cluster, credentials, pins.clone()).map_err(invalid)?;
        let address = listener.local_addr()?;
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared::new(options, Inbox::new(wake), wakeup));
        let io = Io::new(shared.clone(), listener, tls, handshake)?;
        let thread = std::thread::Builder::new()
            .name("domp-transport".into())
            .spawn(move || {
                let _last = WakesAtEnd(io.shared());
                io.run();
            })?;
        Ok(Self {
            shared,
            cluster,
            pins,
            address,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is dialled, and at which addresses: all are tried in turn. Connections to and from nodes that were
    /// here before and are not now are closed.
    pub fn set_peers(&self, peers: &[(u64, Vec<SocketAddr>)]) {
        let peers: BTreeMap<_, _> = peers.iter().cloned().collect();
        self.shared.request(|requests| requests.peers = Some(peers));
    }

    /// The only keys that these nodes may have; of others any that the authority signed. For connections to come.
    pub fn set_pins(&self, pins: Pins) {
        *crate::shared::write(&self.pins) = pins;
    }

    /// What this node shows, and whom it trusts, from the next connection on.
    ///
    /// # Errors
    /// Kind `InvalidInput`: they do not go together; those of before stay.
    pub fn set_credentials(&self, credentials: &Credentials) -> io::Result<()> {
        let tls = Tls::new(self.cluster, credentials, self.pins.clone()).map_err(invalid)?;
        self.shared.request(|requests| requests.tls = Some(tls));
        Ok(())
    }

    /// Sends a frame's body: 8 bytes to `frame_bytes_max`, a multiple of 8. What is taken may still be lost with
    /// its connection, which [`Event::Disconnected`] tells.
    ///
    /// # Errors
    /// [`SendError`]: the frame is gone.
    pub fn send(&self, node: u64, lane: Lane, bytes: Vec<u8>) -> Result<(), SendError> {
        self.shared.send(node, lane, bytes)
    }

    /// Ends the connection that frames leave on, and dials anew: for an owner that lost one of them and can't go
    /// on without it. What waits there is lost.
    pub fn reset(&self, node: u64, lane: Lane) {
        self.shared
            .request(|requests| requests.resets.push((lane, node)));
    }

    /// The next event, of the most urgent lane that has one. Only an owner that has seen `None` is woken.
    pub fn poll(&self) -> Option<Event> {
        self.shared.inbox.poll(&self.shared, &Lane::ALL)
    }

    /// The next event of one lane: for an owner that can't take more of another just now, whose sender then waits.
    pub fn poll_lane(&self, lane: Lane) -> Option<Event> {
        self.shared.inbox.poll(&self.shared, &[lane])
    }

    /// Whether the transport's thread runs. It ends by [`Self::close`] alone, unless it panics, of which the owner
    /// is woken.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Counters.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Takes no more frames, sends what waits, says goodbye with that text, and ends; by the deadline with what
    /// was done till then.
    pub fn close(mut self, text: &str, deadline: Duration) {
        self.end(text, deadline);
    }

    fn end(&mut self, text: &str, deadline: Duration) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let close = Close {
            until: Instant::now() + deadline,
            text: text.to_owned(),
        };
        self.shared.request(|requests| requests.close = Some(close));
        let _ = thread.join();
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.end("", Duration::ZERO);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport at {}", self.address)
    }
}

/// Whatever ends the thread, nothing more is taken, and the owner hears of it.
struct WakesAtEnd(Arc<Shared>);

impl Drop for WakesAtEnd {
    fn drop(&mut self) {
        self.0.shut();
        self.0.inbox.wake();
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
