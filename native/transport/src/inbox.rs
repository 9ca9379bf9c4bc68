//! Events on their way to the owner: one queue a lane, so that short and urgent ones pass long ones.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::event::Event;
use crate::shared::{Peer, Shared, frame_bytes, lock};
use domp_protocol::Lane;

/// Wakes the owner.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Connects and disconnects that may wait: at so many nobody is dialled and nobody accepted until the owner polls.
const STATUS_MAX: usize = 4096;

struct Queued {
    event: Event,
    /// Whose bound a frame counts against.
    peer: Option<Arc<Peer>>,
}

#[derive(Default)]
struct Queues {
    lanes: [VecDeque<Queued>; Lane::COUNT],
    /// Events that are no frames.
    status: usize,
    /// The owner has seen everything, so it sleeps, or soon will.
    owner_waits: bool,
}

/// See the module.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    wake: Wake,
}

impl Inbox {
    pub fn new(wake: Wake) -> Self {
        let queues = Queues {
            owner_waits: true,
            ..Queues::default()
        };
        Self {
            queues: Mutex::new(queues),
            wake,
        }
    }

    pub fn push_status(&self, lane: Lane, event: Event) {
        let peer = None;
        self.push(lane, std::iter::once(Queued { event, peer }));
    }

    /// Frames that came together.
    pub fn push_frames(&self, peer: &Arc<Peer>, lane: Lane, frames: &mut Vec<Vec<u8>>) {
        if frames.is_empty() {
            return;
        }
        let bytes = frames.iter().map(|bytes| frame_bytes(bytes)).sum();
        let waiting = &peer.lane(lane).inbox_bytes;
        waiting.fetch_add(bytes, Ordering::SeqCst);
        let node = peer.node;
        let queued = frames.drain(..).map(|bytes| Queued {
            event: Event::Frame { node, lane, bytes },
            peer: Some(peer.clone()),
        });
        self.push(lane, queued);
    }

    fn push(&self, lane: Lane, queued: impl Iterator<Item = Queued>) {
        let mut inner = lock(&self.queues);
        let queue = &mut inner.lanes[lane.index()];
        let before = queue.len();
        queue.extend(queued);
        let status = queue.range(before..).filter(|queued| queued.peer.is_none());
        let status = status.count();
        inner.status += status;
        if std::mem::take(&mut inner.owner_waits) {
            drop(inner);
            (self.wake)();
        }
    }

    /// Wakes the owner though there is nothing to poll.
    pub fn wake(&self) {
        (self.wake)();
    }

    /// Whether connections may come and go.
    pub fn has_room(&self) -> bool {
        lock(&self.queues).status < STATUS_MAX
    }

    /// The next event of the first of `lanes` that has one.
    pub fn poll(&self, shared: &Shared, lanes: &[Lane]) -> Option<Event> {
        let mut inner = lock(&self.queues);
        let next = lanes.iter().find_map(|lane| {
            let queued = inner.lanes[lane.index()].pop_front();
            queued.map(|queued| (*lane, queued))
        });
        let Some((lane, queued)) = next else {
            inner.owner_waits = true;
            return None;
        };
        let Some(peer) = queued.peer else {
            inner.status -= 1;
            let has_room_again = inner.status == STATUS_MAX / 2;
            drop(inner);
            if has_room_again {
                shared.request(|_| {});
            }
            return Some(queued.event);
        };
        drop(inner);
        if let Event::Frame { bytes, .. } = &queued.event {
            let state = peer.lane(lane);
            let taken = frame_bytes(bytes);
            let left = state.inbox_bytes.fetch_sub(taken, Ordering::SeqCst) - taken;
            let resume_below = shared.options.lane(lane).inbox_bytes_max / 2;
            if left <= resume_below && state.paused.swap(false, Ordering::SeqCst) {
                let node = peer.node;
                shared.request(|requests| requests.resumes.push((lane, node)));
            }
        }
        Some(queued.event)
    }
}
