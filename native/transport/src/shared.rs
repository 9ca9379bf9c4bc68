//! What the owner and the transport's thread share: queues of both directions, counters, requests.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use domp_protocol::PEER_FRAME_HEADER_BYTES;

use crate::counters::{Counting, LaneCounters, Snapshot, add};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::tls::Tls;
use domp_protocol::Lane;

/// Locks. A thread that panicked with the lock has left whole values: none is changed in two steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No connection stands: the node is unreachable on this lane.
    NotConnected,
    /// As much waits already as may.
    Full,
    /// A body is 8 to `frame_bytes_max` bytes long, a multiple of 8.
    Length,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "not connected",
            Self::Full => "the lane's queue is full",
            Self::Length => "a frame's length is a multiple of 8 within the lane's bound",
        })
    }
}

impl std::error::Error for SendError {}

/// Frames that wait to be sent on one lane.
#[derive(Default)]
pub(crate) struct SendQueue {
    pub frames: VecDeque<Vec<u8>>,
    /// Of all frames that are not with TLS yet, also of those that were taken out.
    pub bytes: usize,
    /// The thread will look.
    announced: bool,
    is_connected: bool,
}

/// One lane to and from a node.
#[derive(Default)]
pub(crate) struct LaneState {
    pub queue: Mutex<SendQueue>,
    /// Bytes that came and wait for the owner.
    pub inbox_bytes: AtomicUsize,
    /// Reading waits until the owner has polled.
    pub paused: AtomicBool,
    pub counting: Counting,
}

/// What a frame takes of a queue's bound.
pub(crate) fn frame_bytes(body: &[u8]) -> usize {
    PEER_FRAME_HEADER_BYTES + body.len()
}

impl LaneState {
    /// Opens the queue: a connection stands.
    pub fn open(&self) {
        lock(&self.queue).is_connected = true;
    }

    /// Drops what waits, and `taken` frames that were on their way.
    pub fn shut(&self, taken: usize) {
        let queue = std::mem::take(&mut *lock(&self.queue));
        add(&self.counting.dropped_frames, taken + queue.frames.len());
    }

    /// Takes nothing more, but what waits will leave.
    pub fn seal(&self) {
        lock(&self.queue).is_connected = false;
    }

    fn counters(&self, node: u64, lane: Lane) -> LaneCounters {
        let (queue_bytes, is_connected_out) = {
            let queue = lock(&self.queue);
            (queue.bytes as u64, queue.is_connected)
        };
        let counting = &self.counting;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LaneCounters {
            node,
            lane,
            is_connected_out,
            is_connected_in: counting.is_connected_in.load(Ordering::Relaxed),
            sent_frames: count(&counting.sent_frames),
            sent_bytes: count(&counting.sent_bytes),
            received_frames: count(&counting.received_frames),
            received_bytes: count(&counting.received_bytes),
            dropped_frames: count(&counting.dropped_frames),
            connects: count(&counting.connects),
            accepts: count(&counting.accepts),
            failures: count(&counting.failures),
            queue_bytes,
            inbox_bytes: self.inbox_bytes.load(Ordering::Relaxed) as u64,
        }
    }
}

/// A node at the other end.
pub(crate) struct Peer {
    pub node: u64,
    lanes: [LaneState; Lane::COUNT],
}

impl Peer {
    pub fn new(node: u64) -> Self {
        let lanes = Default::default();
        Self { node, lanes }
    }

    pub fn lane(&self, lane: Lane) -> &LaneState {
        &self.lanes[lane.index()]
    }
}

/// What the owner asks of the thread.
#[derive(Default)]
pub(crate) struct Requests {
    /// Queues that something was put into.
    pub sends: Vec<(Lane, u64)>,
    /// Lanes that the owner has polled enough of.
    pub resumes: Vec<(Lane, u64)>,
    /// Outgoing connections that are to end.
    pub resets: Vec<(Lane, u64)>,
    /// The address book, if it changed.
    pub peers: Option<BTreeMap<u64, Vec<SocketAddr>>>,
    /// New connections use these.
    pub tls: Option<Tls>,
    /// End, at that time at the latest.
    pub close: Option<Close>,
}

#[derive(Clone)]
pub(crate) struct Close {
    pub until: Instant,
    pub text: String,
}

/// See the module.
pub(crate) struct Shared {
    pub options: Options,
    pub inbox: Inbox,
    /// Also of nodes that are not in the address book but connected.
    peers: RwLock<BTreeMap<u64, Arc<Peer>>>,
    requests: Mutex<Requests>,
    /// An eventfd that the thread waits on.
    pub wakeup: OwnedFd,
    signalled: AtomicBool,
    pub strangers: AtomicU64,
    pub last_stranger: Mutex<Option<String>>,
    pub refused: AtomicU64,
}

impl Shared {
    pub fn new(options: Options, inbox: Inbox, wakeup: OwnedFd) -> Self {
        Self {
            options,
            inbox,
            peers: RwLock::default(),
            requests: Mutex::default(),
            wakeup,
            signalled: AtomicBool::new(false),
            strangers: AtomicU64::new(0),
            last_stranger: Mutex::new(None),
            refused: AtomicU64::new(0),
        }
    }

    /// The node's lanes, made if they are not there.
    pub fn peer(&self, node: u64) -> Arc<Peer> {
        if let Some(peer) = read(&self.peers).get(&node) {
            return peer.clone();
        }
        let mut peers = write(&self.peers);
        let made = peers
            .entry(node)
            .or_insert_with(|| Arc::new(Peer::new(node)));
        made.clone()
    }

    pub fn forget_peer(&self, node: u64) {
        write(&self.peers).remove(&node);
    }

    /// Puts a frame into its queue.
    pub fn send(&self, node: u64, lane: Lane, bytes: Vec<u8>) -> Result<(), SendError> {
        let options = self.options.lane(lane);
        let length = bytes.len();
        // No frame is empty: an empty one ends a connection.
        if length == 0 || !length.is_multiple_of(8) || length > options.frame_bytes_max as usize {
            return Err(SendError::Length);
        }
        let peers = read(&self.peers);
        let state = peers.get(&node).ok_or(SendError::NotConnected)?.lane(lane);
        let mut queue = lock(&state.queue);
        if !queue.is_connected {
            add(&state.counting.dropped_frames, 1);
            return Err(SendError::NotConnected);
        }
        let bytes_then = queue.bytes + frame_bytes(&bytes);
        // One frame always fits, or a bound below `frame_bytes_max` would keep it out for ever.
        if bytes_then > options.queue_bytes_max && queue.bytes > 0 {
            add(&state.counting.dropped_frames, 1);
            return Err(SendError::Full);
        }
        queue.bytes = bytes_then;
        queue.frames.push_back(bytes);
        if std::mem::replace(&mut queue.announced, true) {
            return Ok(());
        }
        drop(queue);
        self.request(|requests| requests.sends.push((lane, node)));
        Ok(())
    }

    /// Asks the thread for something.
    pub fn request(&self, ask: impl FnOnce(&mut Requests)) {
        ask(&mut lock(&self.requests));
        // Once is enough until the thread has seen it.
        if !self.signalled.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.wakeup, &1_u64.to_ne_bytes());
        }
    }

    /// What is asked for. The queues it names are announced anew from here on.
    pub fn take_requests(&self) -> Requests {
        // Before the look: what is asked for behind it signals again.
        self.signalled.store(false, Ordering::SeqCst);
        let requests = std::mem::take(&mut *lock(&self.requests));
        for (lane, node) in &requests.sends {
            if let Some(peer) = read(&self.peers).get(node) {
                lock(&peer.lane(*lane).queue).announced = false;
            }
        }
        requests
    }

    /// Nothing is sent any more.
    pub fn shut(&self) {
        for peer in read(&self.peers).values() {
            for lane in &peer.lanes {
                lane.shut(0);
            }
        }
    }

    /// Counts a connection that never proved who it is.
    pub fn note_stranger(&self, text: String) {
        add(&self.strangers, 1);
        *lock(&self.last_stranger) = Some(text);
    }

    pub fn snapshot(&self) -> Snapshot {
        let peers = read(&self.peers);
        let lanes = peers
            .values()
            .flat_map(|peer| Lane::ALL.map(|lane| peer.lane(lane).counters(peer.node, lane)));
        Snapshot {
            lanes: lanes.collect(),
            strangers: self.strangers.load(Ordering::Relaxed),
            last_stranger: lock(&self.last_stranger).clone(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
