//! What came in and waits for its connection's turn.
//!
//! A turn judges requests up to a cost. What comes beyond waits here, unjudged, each
//! frame behind those of its own connection; connections take turns by what their
//! requests cost (deficit round robin). So one that sends much waits for itself, and the
//! gateway's ring is always read.
//!
//! Invariants:
//! - a connection's requests are judged in the order they came;
//! - a connection stands in the round exactly while it has something waiting;
//! - what waits is bounded in total: at the bound the newest frame of the connection
//!   with the most waiting gives way, so that no other is refused for its sake.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domp_state::entry::BatchHead;

use super::Grants;
use crate::cost;
use crate::replies::Socket;

/// Whoever sent a frame, as known when it came.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub socket: Socket,
    pub principal: u64,
    pub grants: Grants,
    /// What its writes are remembered by.
    pub batch: BatchHead,
    /// It came after the drain had begun.
    pub late: bool,
}

/// A frame, or what is left of one.
#[derive(Debug)]
pub struct Waiting {
    pub sender: Sender,
    /// As the frame says.
    pub space: u32,
    pub deadline_us: u64,
    /// Items left.
    pub count: u32,
    /// Where they begin.
    pub at: usize,
    /// Whole items, their envelope verified.
    pub bytes: Box<[u8]>,
}

impl Waiting {
    /// Memory that it takes.
    fn held_bytes(&self) -> u64 {
        (self.bytes.len() + size_of::<Self>()) as u64
    }
}

/// Why a connection's next request stays where it is, whoever's turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    /// The disk has enough to do.
    Writes,
    /// The log has no room for so many bytes yet.
    Room(usize),
    /// Reads of this space that came before it are not answered yet.
    Reads(u32),
    /// The door that handed it on takes no more answers for now; whether it only reads.
    Answers(bool),
}

/// One connection's.
#[derive(Debug, Default)]
pub struct Queue {
    pub frames: VecDeque<Waiting>,
    pub stalled: Option<Stalled>,
    /// What it may still spend in this round; negative: rounds it has to wait.
    deficit: i64,
    held_bytes: u64,
    /// Its place in the round.
    ticket: u64,
}

/// A connection whose turn it is. Goes back with [`Queues::end_visit`].
#[derive(Debug)]
pub struct Visit {
    socket: Socket,
    pub queue: Queue,
    /// What it may spend before the next has its turn.
    pub allowance: u64,
}

impl Visit {
    /// Whether it may spend more before the next has its turn.
    pub fn is_open(&self) -> bool {
        self.allowance > 0 && !self.queue.frames.is_empty()
    }

    /// It spent so much.
    pub fn spend(&mut self, cost: u64) {
        let signed = i64::try_from(cost).unwrap_or(i64::MAX);
        self.queue.deficit = self.queue.deficit.saturating_sub(signed);
        self.allowance = self.allowance.saturating_sub(cost);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queues {
    by_socket: BTreeMap<Socket, Queue>,
    /// Whose turn comes next.
    round: BTreeMap<u64, Socket>,
    next_ticket: u64,
    /// Who has how much waiting, the most last.
    by_bytes: BTreeSet<(u64, Socket)>,
    held_bytes: u64,
    requests: u64,
}

impl Queues {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_socket.is_empty()
    }

    /// Connections that wait.
    pub fn connections(&self) -> usize {
        self.by_socket.len()
    }

    /// Requests that wait.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Memory that they take.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Every connection's.
    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.by_socket.values()
    }

    /// Puts a frame behind those of its connection.
    pub fn push(&mut self, waiting: Waiting) {
        let socket = waiting.sender.socket;
        let queue = self.by_socket.entry(socket).or_default();
        if queue.frames.is_empty() {
            queue.ticket = self.next_ticket;
            self.next_ticket += 1;
            self.round.insert(queue.ticket, socket);
        } else {
            self.by_bytes.remove(&(queue.held_bytes, socket));
        }
        queue.held_bytes += waiting.held_bytes();
        self.by_bytes.insert((queue.held_bytes, socket));
        self.held_bytes += waiting.held_bytes();
        self.requests += u64::from(waiting.count);
        queue.frames.push_back(waiting);
    }

    /// Begins the next connection's turn.
    pub fn visit(&mut self) -> Option<Visit> {
        let (_, socket) = self.round.pop_first()?;
        let mut queue = self.by_socket.remove(&socket)?;
        self.by_bytes.remove(&(queue.held_bytes, socket));
        // What was not spent is not saved: whoever waits can always take one more.
        let quantum = i64::try_from(cost::QUANTUM).unwrap_or(i64::MAX);
        queue.deficit = queue.deficit.min(0).saturating_add(quantum);
        let allowance = u64::try_from(queue.deficit).unwrap_or(0);
        Some(Visit {
            socket,
            queue,
            allowance,
        })
    }

    /// `requests` of the visited connection's were taken out of its first frame.
    pub fn taken(&mut self, visit: &mut Visit, requests: u32) {
        self.requests -= u64::from(requests);
        if let Some(first) = visit.queue.frames.front()
            && first.count == 0
        {
            let bytes = first.held_bytes();
            visit.queue.held_bytes -= bytes;
            self.held_bytes -= bytes;
            visit.queue.frames.pop_front();
        }
    }

    /// Its turn is over.
    pub fn end_visit(&mut self, visit: Visit) {
        let Visit {
            socket, mut queue, ..
        } = visit;
        if queue.frames.is_empty() {
            return;
        }
        queue.ticket = self.next_ticket;
        self.next_ticket += 1;
        self.round.insert(queue.ticket, socket);
        self.by_bytes.insert((queue.held_bytes, socket));
        self.by_socket.insert(socket, queue);
    }

    /// Takes the newest frame of the connection that has the most waiting.
    pub fn pop_greediest(&mut self) -> Option<Waiting> {
        let (bytes, socket) = self.by_bytes.pop_last()?;
        let queue = self.by_socket.get_mut(&socket)?;
        let newest = queue.frames.pop_back()?;
        queue.held_bytes = bytes - newest.held_bytes();
        self.held_bytes -= newest.held_bytes();
        self.requests -= u64::from(newest.count);
        if queue.frames.is_empty() {
            self.round.remove(&queue.ticket);
            self.by_socket.remove(&socket);
        } else {
            self.by_bytes.insert((queue.held_bytes, socket));
        }
        Some(newest)
    }

    /// Forgets what a connection has waiting. Returns how many requests that were.
    pub fn forget(&mut self, socket: Socket) -> u64 {
        let Some(queue) = self.by_socket.remove(&socket) else {
            return 0;
        };
        self.round.remove(&queue.ticket);
        self.by_bytes.remove(&(queue.held_bytes, socket));
        self.held_bytes -= queue.held_bytes;
        let requests = queue.frames.iter().map(|frame| u64::from(frame.count));
        let requests = requests.sum();
        self.requests -= requests;
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(slot: u32) -> Socket {
        Socket {
            slot,
            generation: 1,
            door: 0,
        }
    }

    fn waiting(slot: u32, bytes: usize, count: u32) -> Waiting {
        Waiting {
            sender: Sender {
                socket: socket(slot),
                principal: 1,
                grants: Grants::READ,
                batch: BatchHead::stateless(5),
                late: false,
            },
            space: 1,
            deadline_us: 0,
            count,
            at: 0,
            bytes: vec![0; bytes].into(),
        }
    }

    /// Spends as told until so many visits were made; whose they were.
    fn visits(queues: &mut Queues, spend: impl Fn(u32) -> u64, count: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        while slots.len() < count {
            let Some(mut visit) = queues.visit() else {
                break;
            };
            let slot = visit.socket.slot;
            if visit.is_open() {
                slots.push(slot);
            }
            while visit.is_open() {
                visit.spend(spend(slot));
                if let Some(first) = visit.queue.frames.front_mut() {
                    first.count -= 1;
                }
                queues.taken(&mut visit, 1);
            }
            queues.end_visit(visit);
        }
        slots
    }

    #[test]
    fn connections_take_turns_by_what_they_spend() {
        let mut queues = Queues::default();
        queues.push(waiting(1, 10, 1000));
        queues.push(waiting(2, 10, 1000));
        // Each request of the first takes four quanta, each of the second one.
        let spend = |slot| cost::QUANTUM * if slot == 1 { 4 } else { 1 };
        let slots = visits(&mut queues, spend, 10);
        assert_eq!(slots, [1, 2, 2, 2, 2, 1, 2, 2, 2, 2]);
        assert_eq!(queues.requests(), 1990);
    }

    #[test]
    fn whoever_comes_waits_for_one_round_and_not_for_what_waits_before() {
        let mut queues = Queues::default();
        for slot in 0..8 {
            queues.push(waiting(slot, 600_000, 4000));
        }
        queues.push(waiting(9, 64, 1));
        let slots = visits(&mut queues, |_| cost::QUANTUM, 9);
        assert_eq!(slots.last(), Some(&9));
        assert_eq!(queues.connections(), 8);
    }

    #[test]
    fn the_greediest_gives_way_with_its_newest() {
        let mut queues = Queues::default();
        queues.push(waiting(1, 500, 5));
        queues.push(waiting(2, 400, 4));
        queues.push(waiting(2, 300, 3));
        let gone = queues.pop_greediest().expect("there is one");
        assert_eq!((gone.sender.socket, gone.count), (socket(2), 3));
        let gone = queues.pop_greediest().expect("there is one");
        assert_eq!((gone.sender.socket, gone.count), (socket(1), 5));
        assert_eq!(queues.forget(socket(2)), 4);
        assert_eq!((queues.held_bytes(), queues.requests()), (0, 0));
        assert!(queues.is_empty() && queues.visit().is_none());
        assert!(queues.pop_greediest().is_none());
    }
}
