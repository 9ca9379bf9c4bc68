//! Nothing hangs: whatever a node took in is answered, or its connection ends.

use std::collections::BTreeMap;

use domp_node::Socket;
use domp_protocol::frame::Frame;

use crate::arrival::Arrival;
use crate::history::Broken;

/// What a request may take: its deadline of two seconds at the door; or from being proposed until its leader,
/// which hears nobody, steps down; and the way there.
const ANSWER_US: u64 = 4_500_000;

/// Requests that nodes took in and have not answered.
#[derive(Default)]
pub struct Waiting {
    /// By connection, space and sequence: the machine, and when it came there, not counting pauses.
    since_us: BTreeMap<(Socket, u64, u64), (usize, u64)>,
}

impl Waiting {
    /// A machine takes something in.
    pub fn arrives(&mut self, at: usize, arrival: &Arrival, now_us: u64) {
        match arrival {
            Arrival::Frame { socket, frame } | Arrival::Stateless { socket, frame, .. } => {
                let Ok(frame) = Frame::parse(frame) else {
                    return;
                };
                for item in frame.items() {
                    let place = (*socket, u64::from(frame.space), item.sequence);
                    self.since_us.entry(place).or_insert((at, now_us));
                }
            }
            Arrival::Detach { socket } => self.end(*socket),
            Arrival::Attach { .. } => {}
        }
    }

    /// An answer leaves.
    pub fn answered(&mut self, socket: Socket, group: u64, sequence: u64) {
        self.since_us.remove(&(socket, group, sequence));
    }

    /// A connection ended.
    pub fn end(&mut self, socket: Socket) {
        self.since_us.retain(|(of, _, _), _| *of != socket);
    }

    /// A machine is gone, and what it had taken in.
    pub fn crash(&mut self, at: usize) {
        self.since_us.retain(|_, (home, _)| *home != at);
    }

    /// A machine does nothing for so long.
    pub fn pause(&mut self, at: usize, by_us: u64) {
        for (home, since_us) in self.since_us.values_mut() {
            if *home == at {
                *since_us += by_us;
            }
        }
    }

    /// Whether something waits for too long whose connection is there.
    pub fn check(
        &mut self,
        now_us: u64,
        is_connected: impl Fn(Socket) -> bool,
    ) -> Result<(), Broken> {
        self.since_us
            .retain(|(socket, _, _), _| is_connected(*socket));
        let late = self
            .since_us
            .iter()
            .find(|(_, (_, since_us))| now_us > since_us + ANSWER_US);
        match late {
            None => Ok(()),
            Some(((socket, group, sequence), (at, since_us))) => Err(format!(
                "Promise 11: machine {at} has not answered {sequence} of space {group} to {socket:?} for {} ms",
                (now_us - since_us) / 1000
            )),
        }
    }
}
