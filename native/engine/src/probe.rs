//! Watches one frame at a time from its arrival to its first reply's departure:
//! a sample of latencies that costs next to nothing.

use domp_node::{Replies, Socket};

/// A frame whose answer never comes (its connection closed) is given up after this.
const GIVE_UP_NS: u64 = 10_000_000_000;

/// Offset of the space's id in a frame; the first item's sequence stands behind it.
const SPACE_AT: usize = 20;

#[derive(Clone, Copy, Debug)]
struct Watched {
    socket: Socket,
    space: u32,
    sequence: [u8; 8],
    arrived_ns: u64,
}

/// The watcher.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    watched: Option<Watched>,
}

impl Probe {
    /// Takes a frame under watch unless another one is.
    pub fn watch(&mut self, socket: Socket, frame: &[u8], arrived_ns: u64) {
        if let Some(watched) = &self.watched
            && arrived_ns < watched.arrived_ns.saturating_add(GIVE_UP_NS)
        {
            return;
        }
        let place = frame.get(SPACE_AT..).and_then(|bytes| {
            let (space, rest) = bytes.split_first_chunk()?;
            Some((u32::from_le_bytes(*space), *rest.first_chunk()?))
        });
        self.watched = place.map(|(space, sequence)| Watched {
            socket,
            space,
            sequence,
            arrived_ns,
        });
    }

    /// Looks whether the watched frame's first item is answered; how long it took.
    pub fn look(&mut self, replies: &Replies, now_ns: u64) -> Option<u64> {
        let watched = self.watched?;
        let answered = replies.spans.iter().any(|span| {
            span.socket == watched.socket
                && span.space == watched.space
                && !span.frame
                && replies.bytes[span.start as usize..].starts_with(&watched.sequence)
        });
        if !answered {
            return None;
        }
        self.watched = None;
        Some(now_ns.saturating_sub(watched.arrived_ns))
    }
}

#[cfg(test)]
mod tests {
    use domp_node::Replies;
    use domp_protocol::reply::ReplyHead;

    use super::*;

    fn frame(sequence: u64) -> Vec<u8> {
        let mut frame = vec![0; SPACE_AT];
        frame.extend_from_slice(&1_u32.to_le_bytes());
        frame.extend_from_slice(&sequence.to_le_bytes());
        frame
    }

    fn answers(to: &[(Socket, u64)]) -> Replies {
        answers_of(1, to)
    }

    fn answers_of(space: u32, to: &[(Socket, u64)]) -> Replies {
        let mut replies = Replies::default();
        for (socket, sequence) in to {
            let head = ReplyHead {
                sequence: *sequence,
                ..ReplyHead::default()
            };
            replies.push(*socket, space, &head, &[]);
        }
        replies
    }

    #[test]
    fn the_watched_frame_is_timed_and_no_other() {
        let one = Socket {
            slot: 1,
            generation: 1,
            door: 0,
        };
        let two = Socket {
            slot: 2,
            generation: 1,
            door: 0,
        };
        let later = Socket {
            slot: 1,
            generation: 2,
            door: 0,
        };
        let mut probe = Probe::default();
        probe.watch(one, &frame(7), 100);
        probe.watch(two, &frame(9), 150);
        assert_eq!(
            probe.look(&answers(&[(two, 9), (one, 8), (later, 7)]), 200),
            None
        );
        assert_eq!(probe.look(&answers_of(2, &[(one, 7)]), 250), None);
        assert_eq!(probe.look(&answers(&[(two, 10), (one, 7)]), 300), Some(200));
        assert_eq!(probe.look(&answers(&[(one, 7)]), 400), None, "timed once");
        probe.watch(two, &frame(11), 500);
        assert_eq!(probe.look(&answers(&[(two, 11)]), 600), Some(100));
    }

    #[test]
    fn a_frame_without_an_answer_is_given_up() {
        let one = Socket {
            slot: 1,
            generation: 1,
            door: 0,
        };
        let mut probe = Probe::default();
        probe.watch(one, &frame(7), 0);
        probe.watch(one, &frame(8), GIVE_UP_NS);
        assert_eq!(probe.look(&answers(&[(one, 8)]), GIVE_UP_NS + 5), Some(5));
        probe.watch(one, b"short", 0);
        assert!(probe.watched.is_none());
    }
}
