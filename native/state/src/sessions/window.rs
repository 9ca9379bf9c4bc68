//! What a session remembers of its requests.

use std::collections::VecDeque;

use crate::answer::Answer;

/// Answers are given back beyond this many, when most of the room is unused.
const SLOTS_KEPT: usize = 32;

/// A request that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub sequence: u64,
    /// Of the payload; 0 with a fence, which stands for any payload.
    pub hash: u64,
    /// At which it was decided.
    pub revision: u64,
    pub answer: Answer,
}

/// The decided requests of a session that its client has not acknowledged yet.
///
/// Invariant: sequences ascend strictly and none is below `acked_below`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    acked_below: u64,
    slots: VecDeque<Slot>,
    /// Of all answers: [`Answer::bytes`].
    bytes: u64,
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Acknowledged: its answer is no longer kept.
    Acknowledged,
    /// Decided; the slot's number.
    Decided(usize),
    /// Open; the number its slot would have.
    Open(usize),
}

impl Window {
    /// As a snapshot tells it; `None` if the sequences are not as they must be.
    pub fn restored(acked_below: u64, slots: VecDeque<Slot>) -> Option<Self> {
        let ascends = slots
            .iter()
            .zip(slots.iter().skip(1))
            .all(|(a, b)| a.sequence < b.sequence);
        let above = slots
            .front()
            .is_none_or(|first| first.sequence >= acked_below);
        let bytes = slots.iter().map(|slot| slot.answer.bytes()).sum();
        (ascends && above).then_some(Self {
            acked_below,
            slots,
            bytes,
        })
    }

    /// The client holds every answer below this sequence. Never goes back.
    pub fn acknowledge(&mut self, below: u64) {
        // Sequences begin with 1.
        let below = below.max(1);
        if below <= self.acked_below {
            return;
        }
        self.acked_below = below;
        while let Some(first) = self.slots.front()
            && first.sequence < below
        {
            self.bytes -= first.answer.bytes();
            self.slots.pop_front();
        }
        let capacity = self.slots.capacity();
        if capacity > SLOTS_KEPT && self.slots.len() < capacity / 4 {
            self.slots.shrink_to((self.slots.len() * 2).max(SLOTS_KEPT));
        }
    }

    /// Where a sequence stands.
    pub fn find(&self, sequence: u64) -> Place {
        if sequence < self.acked_below {
            return Place::Acknowledged;
        }
        // Requests mostly come in order.
        if self
            .slots
            .back()
            .is_none_or(|last| last.sequence < sequence)
        {
            return Place::Open(self.slots.len());
        }
        match self
            .slots
            .binary_search_by_key(&sequence, |slot| slot.sequence)
        {
            Ok(at) => Place::Decided(at),
            Err(at) => Place::Open(at),
        }
    }

    /// Whether a request is too far ahead of what is acknowledged.
    pub fn is_beyond(&self, sequence: u64, window: u32) -> bool {
        sequence >= self.acked_below.saturating_add(u64::from(window))
    }

    /// A decided request.
    pub fn slot(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    /// Remembers a request at the place that [`Self::find`] told.
    pub fn record(&mut self, at: usize, slot: Slot) {
        debug_assert_eq!(
            self.find(slot.sequence),
            Place::Open(at),
            "sequences ascend"
        );
        self.bytes += slot.answer.bytes();
        if at == self.slots.len() {
            self.slots.push_back(slot);
        } else {
            self.slots.insert(at, slot);
        }
    }

    /// The lowest sequence not acknowledged.
    pub fn acked_below(&self) -> u64 {
        self.acked_below
    }

    /// The decided requests, ascending.
    pub fn slots(&self) -> &VecDeque<Slot> {
        &self.slots
    }

    /// Memory of the answers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Count of decided requests remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(sequence: u64) -> Slot {
        Slot {
            sequence,
            hash: sequence,
            revision: sequence,
            answer: Answer::Done { applied: true },
        }
    }

    fn record(window: &mut Window, sequence: u64) {
        let Place::Open(at) = window.find(sequence) else {
            panic!("{sequence} is not open: it was decided or acknowledged");
        };
        window.record(at, slot(sequence));
    }

    #[test]
    fn sequences_are_kept_in_order_however_they_come() {
        let mut window = Window::default();
        for sequence in [5, 1, 9, 3, 7] {
            record(&mut window, sequence);
        }
        let kept: Vec<u64> = window.slots().iter().map(|slot| slot.sequence).collect();
        assert_eq!(kept, [1, 3, 5, 7, 9]);
        assert_eq!(window.find(7), Place::Decided(3));
        assert_eq!(window.find(8), Place::Open(4));
    }

    #[test]
    fn acknowledging_forgets_and_never_goes_back() {
        let mut window = Window::default();
        window.acknowledge(0);
        assert_eq!(window.acked_below(), 1, "sequences begin with 1");
        assert_eq!(window.find(0), Place::Acknowledged);
        for sequence in 1..10 {
            record(&mut window, sequence);
        }
        window.acknowledge(6);
        window.acknowledge(3);
        assert_eq!(window.acked_below(), 6);
        assert_eq!(window.len(), 4);
        assert_eq!(window.find(5), Place::Acknowledged);
        assert_eq!(window.find(6), Place::Decided(0));
    }

    #[test]
    fn the_window_ends_where_it_ends() {
        let mut window = Window::default();
        window.acknowledge(10);
        assert!(!window.is_beyond(17, 8));
        assert!(window.is_beyond(18, 8));
        window.acknowledge(u64::MAX);
        assert!(window.is_beyond(u64::MAX, 8));
    }

    #[test]
    fn room_is_given_back() {
        let mut window = Window::default();
        for sequence in 1..=4096 {
            record(&mut window, sequence);
        }
        window.acknowledge(4090);
        assert!(window.slots().capacity() < 128);
        assert_eq!(window.len(), 7);
    }
}
