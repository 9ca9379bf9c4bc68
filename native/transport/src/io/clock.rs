//! Time as the transport's thread lived it.

use std::time::{Duration, Instant};

/// A stall that is still counted.
const STALL_MAX: Duration = Duration::from_millis(250);

/// Leaves out times in which the thread was kept from running: a machine that was paused must hear what came
/// meanwhile before it calls anybody silent.
pub(crate) struct LoopClock {
    last: Instant,
    now: Instant,
}

impl LoopClock {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { last: now, now }
    }

    /// The time now, behind a wait that was meant to take `wait_max` at most.
    pub fn advance(&mut self, wait_max: Duration) -> Instant {
        self.advance_to(Instant::now(), wait_max)
    }

    fn advance_to(&mut self, real: Instant, wait_max: Duration) -> Instant {
        let took = real.saturating_duration_since(self.last);
        let stalled = took.saturating_sub(wait_max);
        self.now += if stalled > STALL_MAX { wait_max } else { took };
        self.last = real;
        self.now
    }

    /// As of the last advance.
    pub fn now(&self) -> Instant {
        self.now
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
