//! Time as the transport's thread lived it.

use std::time::{Duration, Instant};

/// A stall that is still counted.
const STALL_MAX: Duration = Duration::from_millis(250);

/// Leaves out times in which the thread was kept from running: a machine that was paused must hear what came
/// meanwhile before it calls anybody silent.
pub(crate) struct LoopClock {
    last: Instant,
    left_out: Duration,
}

impl LoopClock {
    pub fn new() -> Self {
        Self {
            last: Instant::now(),
            left_out: Duration::ZERO,
        }
    }

    /// The time now, behind a wait that was meant to take `wait_max` at most.
    pub fn advance(&mut self, wait_max: Duration) -> Instant {
        self.advance_to(Instant::now(), wait_max)
    }

    fn advance_to(&mut self, real: Instant, wait_max: Duration) -> Instant {
        let stalled = (real - self.last).saturating_sub(wait_max);
        if stalled > STALL_MAX {
            self.left_out += stalled;
        }
        self.last = real;
        self.now()
    }

    /// As of the last advance.
    pub fn now(&self) -> Instant {
        self.last - self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_left_out_and_a_wait_is_not() {
        let mut clock = LoopClock::new();
        let (start, second) = (clock.now(), Duration::from_secs(1));
        let real = clock.last;
        assert_eq!(clock.advance_to(real + second, second), start + second);
        let stalled = real + second + 5 * second;
        assert_eq!(clock.advance_to(stalled, second), start + 2 * second);
        let short = stalled + STALL_MAX;
        assert_eq!(
            clock.advance_to(short, Duration::ZERO),
            start + 2 * second + STALL_MAX
        );
    }
}
