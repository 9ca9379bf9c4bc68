//! What a run has shown: answers counted, latencies, gaps.

use crate::fault::{Fault, Result};
use crate::operation::{Answer, Kind, Operation, value_is_right};
use hdrhistogram::Histogram;

/// Latencies above this are counted as this.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Answers by their kind, over a whole run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Puts that took effect.
    pub puts: u64,
    /// Values read and found right.
    pub hits: u64,
    /// Guarded writes that took effect.
    pub applied: u64,
    /// Guarded writes whose guard failed.
    pub refused: u64,
    /// Numbers read.
    pub numbers: u64,
    /// Sum of the numbers read.
    pub sum: i64,
    /// Echoes that came back as sent.
    pub echoes: u64,
}

/// Collects what one run shows.
pub struct Recorder {
    latencies_ns: Histogram<u32>,
    tally: Tally,
    counting: bool,
    now_ns: u64,
    last_answer_ns: u64,
    gap_max_ns: u64,
}

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        let latencies_ns =
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are in order");
        Self {
            latencies_ns,
            tally: Tally::default(),
            counting: false,
            now_ns: 0,
            last_answer_ns: 0,
            gap_max_ns: 0,
        }
    }

    /// Forgets everything: a new run begins.
    pub fn reset(&mut self) {
        self.latencies_ns.reset();
        self.tally = Tally::default();
        self.counting = false;
        self.gap_max_ns = 0;
    }

    /// From now on answers count as part of the window.
    pub fn begin_window(&mut self, now_ns: u64) {
        self.counting = true;
        self.last_answer_ns = now_ns;
    }

    /// Answers after this no longer count as part of the window.
    pub fn end_window(&mut self, now_ns: u64) {
        if self.counting {
            self.gap_max_ns = self
                .gap_max_ns
                .max(now_ns.saturating_sub(self.last_answer_ns));
        }
        self.counting = false;
    }

    /// The time at which the answers that follow arrived.
    #[inline]
    pub fn arrived(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Takes one answer, if it is a right one.
    ///
    /// # Errors
    /// The answer does not fit what was asked, or a value read is not the right one.
    #[inline]
    pub fn answer(
        &mut self,
        operation: &Operation,
        answer: Answer<'_>,
        sent_ns: u64,
    ) -> Result<()> {
        match (operation.kind, answer) {
            (Kind::Put | Kind::OpenAccount, Answer::Done) => self.tally.puts += 1,
            (Kind::Get, Answer::Bytes(bytes))
                if value_is_right(operation.key, operation.stamp, bytes) =>
            {
                self.tally.hits += 1;
            }
            (Kind::Transfer, Answer::Applied) => self.tally.applied += 1,
            (Kind::Transfer, Answer::Refused) => self.tally.refused += 1,
            (Kind::ReadAccount, Answer::Number(number)) => {
                self.tally.numbers += 1;
                self.tally.sum += number;
            }
            (Kind::Answered, _) => return Err(Fault::new("an operation was answered twice")),
            (_, Answer::Echoed) => self.tally.echoes += 1,
            _ => return Err(wrong(operation, answer)),
        }
        if self.counting {
            self.latencies_ns
                .saturating_record(self.now_ns.saturating_sub(sent_ns).max(1));
            if self.now_ns != self.last_answer_ns {
                self.gap_max_ns = self
                    .gap_max_ns
                    .max(self.now_ns.saturating_sub(self.last_answer_ns));
                self.last_answer_ns = self.now_ns;
            }
        }
        Ok(())
    }

    /// Operations answered within the window.
    pub fn operations(&self) -> u64 {
        self.latencies_ns.len()
    }

    /// A latency quantile of the window in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies_ns.value_at_quantile(quantile) as f64 / 1_000.0
    }

    /// The longest latency of the window in microseconds.
    pub fn max_us(&self) -> f64 {
        self.latencies_ns.max() as f64 / 1_000.0
    }

    /// The longest time of the window in which nothing was answered, in microseconds.
    pub fn gap_max_us(&self) -> f64 {
        self.gap_max_ns as f64 / 1_000.0
    }

    /// Answers by kind since the last reset.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

#[cold]
fn wrong(operation: &Operation, answer: Answer<'_>) -> Fault {
    match answer {
        Answer::Bytes(bytes) => Fault::new(format!(
            "wrong value for {operation:?}: {} bytes {:02x?}",
            bytes.len(),
            &bytes[..bytes.len().min(24)]
        )),
        other => Fault::new(format!("wrong answer {other:?} to {operation:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{VALUE_BYTES, write_value};

    fn get(key: u32, stamp: u64) -> Operation {
        Operation {
            kind: Kind::Get,
            key,
            stamp,
            ..Operation::default()
        }
    }

    #[test]
    fn only_a_right_answer_is_taken() {
        let mut recorder = Recorder::new();
        let mut value = [0; VALUE_BYTES];
        write_value(5, 1, &mut value);
        assert!(
            recorder
                .answer(&get(5, 1), Answer::Bytes(&value), 0)
                .is_ok()
        );
        assert!(
            recorder
                .answer(&get(5, 2), Answer::Bytes(&value), 0)
                .is_err()
        );
        assert!(
            recorder
                .answer(&get(6, 1), Answer::Bytes(&value), 0)
                .is_err()
        );
        assert!(recorder.answer(&get(5, 1), Answer::Absent, 0).is_err());
        assert!(recorder.answer(&get(5, 1), Answer::Done, 0).is_err());
        assert!(
            recorder
                .answer(&Operation::default(), Answer::Done, 0)
                .is_err()
        );
        assert_eq!(recorder.tally().hits, 1);
    }

    #[test]
    fn only_the_window_counts_and_the_longest_gap_is_kept() {
        let mut recorder = Recorder::new();
        let put = Operation {
            kind: Kind::Put,
            ..Operation::default()
        };
        let at = |recorder: &mut Recorder, now_ns, sent_ns| {
            recorder.arrived(now_ns);
            recorder.answer(&put, Answer::Done, sent_ns).expect("right");
        };
        at(&mut recorder, 1_000, 0);
        recorder.begin_window(2_000);
        at(&mut recorder, 3_000, 2_000);
        at(&mut recorder, 9_000, 3_000);
        at(&mut recorder, 10_000, 9_000);
        recorder.end_window(12_000);
        at(&mut recorder, 90_000, 0);
        assert_eq!(recorder.operations(), 3);
        assert_eq!(recorder.tally().puts, 5);
        assert!((recorder.gap_max_us() - 6.0).abs() < 1e-9);
    }
}
