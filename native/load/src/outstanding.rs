//! What one connection has asked and not yet been answered.
//!
//! Operations are numbered from 0 over a connection's life; message `m` holds
//! the numbers `m * K` to `m * K + K - 1` (the last message of a finite stream
//! may hold fewer; the rest of its numbers stay unused). Messages live in a
//! ring, so answers may come in any order as long as the oldest message is not
//! further back than the ring is long.

use crate::fault::{Fault, Result};
use crate::operation::{Answer, Kind, Operation};
use crate::recorder::Recorder;
use crate::stream::Stream;

/// Operations the ring spans at most: the window of a session.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a window is a few thousand"
)]
const RING_OPERATIONS: usize = domp_protocol::limits::SESSION_WINDOW as usize;

#[derive(Clone, Copy, Default)]
struct Message {
    sent_ns: u64,
    operations: usize,
    unanswered: usize,
}

/// The ring of messages of one connection.
pub struct Outstanding {
    per_message: usize,
    in_flight_max: usize,
    messages: Box<[Message]>,
    operations: Box<[Operation]>,
    oldest: u64,
    next: u64,
    in_flight: usize,
}

impl Outstanding {
    /// At most `in_flight_max` messages of at most `per_message` operations.
    ///
    /// # Errors
    /// More than a session's window at once, or nothing at all.
    pub fn new(in_flight_max: usize, per_message: usize) -> Result<Self> {
        if in_flight_max == 0 || per_message == 0 {
            return Err(Fault::new(
                "messages in flight and operations must be at least 1",
            ));
        }
        // Room for answers out of order: four times what is in flight, within the window.
        let window = RING_OPERATIONS / per_message;
        let ring = (in_flight_max * 4)
            .next_power_of_two()
            .min(floor_power_of_two(window));
        if ring < in_flight_max {
            return Err(Fault::new(format!(
                "{in_flight_max} messages of {per_message} operations pass the window of {RING_OPERATIONS}"
            )));
        }
        Ok(Self {
            per_message,
            in_flight_max,
            messages: vec![Message::default(); ring].into(),
            operations: vec![Operation::default(); ring * per_message].into(),
            oldest: 0,
            next: 0,
            in_flight: 0,
        })
    }

    /// Whether another message may be sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max && self.next - self.oldest < self.messages.len() as u64
    }

    /// Whether everything was answered.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// Draws the operations of the next message; `None` where the stream has ended.
    /// Answers the number of its first operation, and the operations.
    #[inline]
    pub fn draw(&mut self, stream: &mut Stream, now_ns: u64) -> Option<(u64, &[Operation])> {
        let slot = self.slot(self.next);
        let first = slot * self.per_message;
        let place = &mut self.operations[first..first + self.per_message];
        let mut drawn = 0;
        for operation in place.iter_mut() {
            let Some(next) = stream.next() else { break };
            *operation = next;
            drawn += 1;
        }
        if drawn == 0 {
            return None;
        }
        self.messages[slot] = Message {
            sent_ns: now_ns,
            operations: drawn,
            unanswered: drawn,
        };
        let number = self.next * self.per_message as u64;
        self.next += 1;
        self.in_flight += 1;
        Some((number, &self.operations[first..first + drawn]))
    }

    /// The number below which every operation is answered.
    #[inline]
    pub fn answered_below(&self) -> u64 {
        self.oldest * self.per_message as u64
    }

    /// Takes the answer to operation `number`.
    ///
    /// # Errors
    /// The number is not outstanding, or the answer is wrong.
    #[inline]
    pub fn answer(
        &mut self,
        number: u64,
        answer: Answer<'_>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let place = self.place(number)?;
        let slot = place / self.per_message;
        recorder.answer(&self.operations[place], answer, self.messages[slot].sent_ns)?;
        self.operations[place].kind = Kind::Answered;
        self.messages[slot].unanswered -= 1;
        if self.messages[slot].unanswered == 0 {
            self.in_flight -= 1;
            while self.oldest < self.next && self.messages[self.slot(self.oldest)].unanswered == 0 {
                self.oldest += 1;
            }
        }
        Ok(())
    }

    /// The oldest operation without an answer, for servers that answer in order, with its number.
    ///
    /// # Errors
    /// Nothing is outstanding.
    #[inline]
    pub fn oldest(&self) -> Result<(u64, Operation)> {
        if self.in_flight == 0 {
            return Err(Fault::new("an answer came to nothing asked"));
        }
        let slot = self.slot(self.oldest);
        let message = self.messages[slot];
        let position = message.operations - message.unanswered;
        let number = self.oldest * self.per_message as u64 + position as u64;
        Ok((number, self.operations[slot * self.per_message + position]))
    }

    /// What kind of operation `number` is.
    ///
    /// # Errors
    /// The number is not outstanding.
    #[inline]
    pub fn kind(&self, number: u64) -> Result<Kind> {
        Ok(self.operations[self.place(number)?].kind)
    }

    /// Operations without an answer in the oldest message.
    #[inline]
    pub fn oldest_message(&self) -> usize {
        self.messages[self.slot(self.oldest)].unanswered
    }

    /// Where an outstanding operation stands in the ring.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a remainder of a usize
    fn place(&self, number: u64) -> Result<usize> {
        let message = number / self.per_message as u64;
        if message < self.oldest || message >= self.next {
            return Err(stray(number));
        }
        Ok(self.slot(message) * self.per_message + (number % self.per_message as u64) as usize)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked by the ring's length
    fn slot(&self, message: u64) -> usize {
        message as usize & (self.messages.len() - 1)
    }
}

#[cold]
fn stray(number: u64) -> Fault {
    Fault::new(format!(
        "operation {number} was answered, but is not outstanding"
    ))
}

fn floor_power_of_two(number: usize) -> usize {
    if number == 0 { 0 } else { 1 << number.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Fill, Puts};

    fn puts() -> Stream {
        Stream::Puts(Puts::new(0, 1, 100, 1))
    }

    #[test]
    fn answers_may_come_in_any_order_within_the_ring() {
        let mut outstanding = Outstanding::new(2, 1).expect("fits");
        let mut recorder = Recorder::new();
        let mut stream = puts();
        let mut sent = 0;
        // Operation 0 stays unanswered while the others go round until the ring is full.
        loop {
            while outstanding.has_room() {
                outstanding.draw(&mut stream, 0).expect("endless");
                sent += 1;
            }
            if sent == 8 {
                break;
            }
            outstanding
                .answer(sent - 1, Answer::Done, &mut recorder)
                .expect("outstanding");
        }
        assert_eq!(outstanding.answered_below(), 0);
        outstanding
            .answer(0, Answer::Done, &mut recorder)
            .expect("outstanding");
        assert_eq!(outstanding.answered_below(), 7);
        assert!(outstanding.has_room());
    }

    #[test]
    fn a_second_answer_and_an_answer_to_nothing_are_faults() {
        let mut outstanding = Outstanding::new(2, 2).expect("fits");
        let mut recorder = Recorder::new();
        assert!(outstanding.oldest().is_err());
        outstanding.draw(&mut puts(), 0).expect("endless");
        outstanding
            .answer(1, Answer::Done, &mut recorder)
            .expect("outstanding");
        assert!(outstanding.answer(1, Answer::Done, &mut recorder).is_err());
        assert!(outstanding.answer(2, Answer::Done, &mut recorder).is_err());
    }

    #[test]
    fn a_finite_stream_ends_with_a_shorter_message() {
        let mut outstanding = Outstanding::new(4, 64).expect("fits");
        let mut stream = Stream::Fill(Fill::new(Kind::Put, 0, 1, 100));
        let mut recorder = Recorder::new();
        assert_eq!(outstanding.draw(&mut stream, 0).expect("first").1.len(), 64);
        let (number, last) = outstanding.draw(&mut stream, 0).expect("second");
        assert_eq!((number, last.len()), (64, 36));
        assert!(outstanding.draw(&mut stream, 0).is_none());
        for expected in 0..100 {
            let (number, _) = outstanding.oldest().expect("outstanding");
            assert_eq!(number, expected);
            outstanding
                .answer(number, Answer::Done, &mut recorder)
                .expect("outstanding");
        }
        assert!(outstanding.is_empty());
    }

    #[test]
    fn more_than_a_window_is_refused() {
        assert!(Outstanding::new(64, 64).is_ok());
        assert!(Outstanding::new(65, 64).is_err());
        assert!(Outstanding::new(0, 1).is_err());
    }
}
