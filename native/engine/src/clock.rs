//! The one place that reads clocks for the node.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use domp_node::Clock;

/// Clocks since the engine's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineClock {
    start: Instant,
}

impl EngineClock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Both clocks, for a turn.
    pub fn read(&self) -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            monotonic_us: self.now_us(),
            // Before 1970 the machine's clock is as wrong as one can be; a hint of zero is fine.
            wall_ms: wall.map_or(0, |wall| {
                u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
            }),
        }
    }

    /// Monotonic microseconds, from 1 on.
    pub fn now_us(&self) -> u64 {
        self.now_ns() / 1000 + 1
    }

    /// Monotonic nanoseconds.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
