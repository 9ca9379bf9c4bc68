//! Between the node and its connections to others: frames and what became of connections go in, what a turn
//! sends goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use domp_node::{Direction, Lane, Node, PeerSend};
use domp_transport::{
    Cause, ClosingReason, Event, Handshake, Hello, Identity, Options, SendError, Transport,
};

use super::membership::Membership;
use super::report::{ClusterReport, PeersReport};
use super::resolver::Resolver;
use super::standing::Standing;

/// Bytes of frames taken in by one turn at most, beside the frame that passes it.
const TURN_BYTES_MAX: usize = 4 << 20;
/// What an event without a frame counts for.
const EVENT_BYTES: usize = 64;
/// How long the end waits for what is on its way to others.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Link {
    transport: Arc<Transport>,
    membership: Membership,
    /// Something came since everything was taken.
    is_woken: Arc<AtomicBool>,
    /// What one turn may take was less than there is.
    has_more: bool,
    /// Nodes and lanes on which something could not be sent, which the node is still to hear.
    unsent: BTreeSet<(u64, Lane)>,
    standings: BTreeMap<u64, Standing>,
    /// Looks up the members' names from time to time, where they are names.
    resolver: Option<Resolver>,
}

/// Only members are let in.
struct Members(BTreeSet<u64>);

impl Handshake for Members {
    fn hello(&self, _node: u64, _lane: Lane) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, peer: &Hello, _outgoing: bool) -> Result<Vec<u8>, String> {
        if self.0.contains(&peer.node) {
            Ok(Vec::new())
        } else {
            Err(format!("node {:016x} is no member here", peer.node))
        }
    }
}

impl Link {
    /// Listens for the others at `listen`, or where the others expect it, and dials them. `worker` is woken when
    /// something comes. The error is for the operator.
    pub fn start(
        membership: Membership,
        listen: Option<&str>,
        identity: Identity,
        seed: u64,
        worker: Thread,
    ) -> Result<Self, String> {
        let at = listen.unwrap_or(membership.own_address());
        let listener = bind(at).map_err(|error| {
            format!("can't listen for the cluster's other nodes at {at}: {error}")
        })?;
        let is_woken = Arc::new(AtomicBool::new(true));
        let flag = is_woken.clone();
        let wake = move || {
            flag.store(true, Ordering::Release);
            worker.unpark();
        };
        let others: BTreeSet<u64> = membership.others().map(|member| member.node).collect();
        let transport = Transport::start(
            listener,
            &membership.credentials,
            Options::new(identity, seed),
            Arc::new(Members(others)),
            Arc::new(wake),
        )
        .map_err(|error| format!("can't start the connections between nodes: {error}"))?;
        let transport = Arc::new(transport);
        let resolver = Resolver::start(&membership, &transport)
            .map_err(|error| format!("can't start the thread that looks up names: {error}"))?;
        Ok(Self {
            transport,
            membership,
            is_woken,
            has_more: false,
            unsent: BTreeSet::new(),
            standings: BTreeMap::new(),
            resolver,
        })
    }

    /// For the report at the start.
    pub fn report(&self) -> ClusterReport {
        ClusterReport::new(&self.membership, self.transport.address())
    }

    /// For statistics.
    pub fn snapshot(&self) -> PeersReport {
        PeersReport::new(&self.transport.snapshot(), self.standings.values())
    }

    /// Whether there may be something to take.
    pub fn has_events(&self) -> bool {
        self.has_more || !self.unsent.is_empty() || self.is_woken.load(Ordering::Acquire)
    }

    /// Whether the connections' thread lives: without it the node would be cut off for ever.
    pub fn is_running(&self) -> bool {
        self.transport.is_running()
    }

    /// A log write is on stable storage.
    pub fn note_durable(&mut self) -> io::Result<()> {
        self.membership.note_durable()
    }

    /// Hands the node what came, as much as one turn may take. Returns what there is to say of the others.
    pub fn take(&mut self, node: &mut Node) -> Vec<Standing> {
        let mut said = Vec::new();
        // Before the look: what comes behind it wakes again.
        self.is_woken.store(false, Ordering::Release);
        for (other, lane) in std::mem::take(&mut self.unsent) {
            node.on_peer_lost(other, lane, Direction::To);
        }
        let mut taken = 0;
        self.has_more = true;
        while taken < TURN_BYTES_MAX {
            let Some(event) = self.transport.poll() else {
                self.has_more = false;
                break;
            };
            taken += EVENT_BYTES;
            match event {
                Event::Frame {
                    node: from,
                    lane,
                    bytes,
                } => {
                    taken += bytes.len();
                    node.on_peer(from, lane, &bytes);
                }
                Event::Connected { outgoing, peer } => {
                    node.on_peer_connected(peer.node, peer.lane, direction(outgoing));
                    if outgoing && peer.lane == Lane::Control {
                        said.extend(self.changed(Standing::reached(&peer)));
                    }
                }
                Event::Disconnected {
                    node: other,
                    lane,
                    outgoing,
                    cause,
                } => {
                    node.on_peer_lost(other, lane, direction(outgoing));
                    if outgoing && lane == Lane::Control {
                        said.extend(self.changed(Standing::lost(other, &cause)));
                    }
                    if lane == Lane::Control && is_gone(&cause) {
                        node.on_peer_gone(other);
                    }
                }
            }
        }
        said
    }

    /// Sends what a turn said. What can't be sent is lost, which the node hears in the next turn.
    pub fn send(&mut self, sends: &mut Vec<PeerSend>) {
        for PeerSend { node, lane, bytes } in sends.drain(..) {
            match self.transport.send(node, lane, bytes) {
                Ok(()) => {}
                // Requests and answers that are lost end their connection, as the node expects: the event of
                // its end follows, or is on its way where nobody is connected.
                Err(SendError::NotConnected) if lane == Lane::Requests => {}
                Err(SendError::Full | SendError::Length) if lane == Lane::Requests => {
                    self.transport.reset(node, lane);
                }
                Err(_) => {
                    self.unsent.insert((node, lane));
                }
            }
        }
    }

    /// Says goodbye to the others.
    pub fn close(self) {
        drop(self.resolver);
        if let Ok(transport) = Arc::try_unwrap(self.transport) {
            transport.close("the node stops", CLOSE_TIMEOUT);
        }
    }

    fn changed(&mut self, standing: Standing) -> Option<Standing> {
        let before = self.standings.insert(standing.node(), standing.clone());
        (before.as_ref() != Some(&standing)).then_some(standing)
    }
}

fn direction(outgoing: bool) -> Direction {
    if outgoing {
        Direction::To
    } else {
        Direction::From
    }
}

/// Whether no process is there any more: it said that it stops, or its machine refuses connections to where it
/// listened.
fn is_gone(cause: &Cause) -> bool {
    match cause {
        Cause::Closed(closing) => closing.reason == ClosingReason::Stopping,
        Cause::Dial(kind) => *kind == io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn bind(at: &str) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = at.to_socket_addrs()?.collect();
    TcpListener::bind(&addresses[..])
}
