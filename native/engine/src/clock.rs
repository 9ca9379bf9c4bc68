//! The one place that reads clocks for the node.
//!
//! The wall clock stamps revisions, so a jump of it would be theirs for ever: stamps that ran ahead
//! can't be taken back. It is therefore taken once, at the start, and carried on by the monotonic
//! clock. As long as the machine's clock stays near, it is followed, at 10 ms a second at most; if it
//! leaves by more than a setting it is not, until it is near again or the server starts anew.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use domp_node::Clock;

/// How much monotonic time it takes to follow by a unit.
const FOLLOW_DIVISOR: u64 = 100;

/// Processor time that this thread has used.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Neither part is ever negative.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Clocks since the engine's start, for one thread.
#[derive(Clone, Debug)]
pub(crate) struct EngineClock {
    start: Instant,
    wall: Cell<WallClock>,
    /// A jump that was not told yet.
    jump: Cell<Option<Jump>>,
}

impl EngineClock {
    /// A machine's clock that differs by more than `jump_max_ms` is not followed.
    pub fn new(jump_max_ms: u64) -> Self {
        let start = Instant::now();
        let wall = WallClock::new(jump_max_ms, monotonic_us(start), machine_us());
        Self {
            start,
            wall: Cell::new(wall),
            jump: Cell::new(None),
        }
    }

    /// Both clocks, for a turn.
    pub fn read(&self) -> Clock {
        let monotonic_us = self.now_us();
        let mut wall = self.wall.get();
        let (wall_ms, jump) = wall.read(monotonic_us, machine_us());
        self.wall.set(wall);
        if jump.is_some() {
            self.jump.set(jump);
        }
        Clock {
            monotonic_us,
            wall_ms,
        }
    }

    /// The jump of the machine's clock that was not told yet.
    pub fn take_jump(&self) -> Option<Jump> {
        self.jump.take()
    }

    /// How far the machine's clock is ahead of the one that is used, in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        self.wall.get().skew_us / 1000
    }

    /// Monotonic microseconds, from 1 on.
    pub fn now_us(&self) -> u64 {
        monotonic_us(self.start)
    }

    /// Monotonic nanoseconds.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn monotonic_us(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).map_or(u64::MAX, |ns| ns / 1000 + 1)
}

/// What the machine's clock says, in microseconds since 1970.
fn machine_us() -> u64 {
    let machine = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 the machine's clock is as wrong as one can be; a hint of zero is fine.
    machine.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The machine's clock left the one that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// How far it is ahead; behind where negative.
    pub skew_ms: i64,
    /// How far it may be to be followed.
    pub jump_max_ms: u64,
}

/// A wall clock that the machine's can't move at once. It is handed both clocks, and reads none.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    jump_max_ms: u64,
    /// What is added to monotonic time.
    offset_us: i64,
    /// The machine's clock less this one, at the last reading.
    skew_us: i64,
    /// Monotonic time up to which the machine's clock was followed.
    followed_us: u64,
    /// Whether the machine's clock is too far away.
    left: bool,
}

impl WallClock {
    fn new(jump_max_ms: u64, monotonic_us: u64, machine_us: u64) -> Self {
        Self {
            jump_max_ms,
            offset_us: difference(machine_us, monotonic_us),
            skew_us: 0,
            followed_us: monotonic_us,
            left: false,
        }
    }

    /// Milliseconds since 1970, and the jump of the machine's clock where it is seen first.
    fn read(&mut self, monotonic_us: u64, machine_us: u64) -> (u64, Option<Jump>) {
        let wall_us = monotonic_us.saturating_add_signed(self.offset_us);
        let skew_us = difference(machine_us, wall_us);
        // In whole milliseconds: the two clocks are read one after the other, so that even two
        // that agree seem some microseconds apart.
        let near = skew_us.unsigned_abs() / 1000 <= self.jump_max_ms;
        let may_us = monotonic_us.saturating_sub(self.followed_us) / FOLLOW_DIVISOR;
        if !near || skew_us == 0 {
            // Time in which there was nothing to follow is not made up for.
            self.followed_us = monotonic_us;
        } else if may_us > 0 {
            let may_us = i64::try_from(may_us).unwrap_or(i64::MAX);
            self.offset_us = self
                .offset_us
                .saturating_add(skew_us.clamp(-may_us, may_us));
            self.followed_us = monotonic_us;
        }
        let jump = (!near && !self.left).then_some(Jump {
            skew_ms: skew_us / 1000,
            jump_max_ms: self.jump_max_ms,
        });
        self.left = !near;
        let wall_us = monotonic_us.saturating_add_signed(self.offset_us);
        self.skew_us = difference(machine_us, wall_us);
        (wall_us / 1000, jump)
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: u64 = 1_700_000_000_000_000;
    const SECOND_US: u64 = 1_000_000;

    /// Both clocks, moved by hand.
    struct Hands {
        monotonic_us: u64,
        machine_us: u64,
        wall: WallClock,
    }

    impl Hands {
        fn new(jump_max_ms: u64) -> Self {
            Self {
                monotonic_us: 1,
                machine_us: START_US,
                wall: WallClock::new(jump_max_ms, 1, START_US),
            }
        }

        /// Lets time go by in steps, reading at each; the jumps that were told.
        fn run(&mut self, for_us: u64, step_us: u64) -> Vec<Jump> {
            let mut jumps = Vec::new();
            for _ in 0..for_us / step_us {
                self.monotonic_us += step_us;
                self.machine_us += step_us;
                let (wall_ms, jump) = self.wall.read(self.monotonic_us, self.machine_us);
                let expected = difference(self.machine_us, wall_ms * 1000) - self.wall.skew_us;
                assert!((0..1000).contains(&expected), "skew and time agree");
                jumps.extend(jump);
            }
            jumps
        }

        fn jump(&mut self, by_ms: i64) {
            self.machine_us = self.machine_us.saturating_add_signed(by_ms * 1000);
        }
    }

    #[test]
    fn a_steady_clock_is_the_machines() {
        let mut hands = Hands::new(1000);
        assert_eq!(hands.run(10 * SECOND_US, 1700), []);
        assert_eq!(hands.wall.skew_us, 0);
    }

    #[test]
    fn a_jump_beyond_the_setting_is_told_once_and_never_followed() {
        for by_ms in [1001, 3_600_000, -1001, -86_400_000] {
            let mut hands = Hands::new(1000);
            hands.run(SECOND_US, 1000);
            hands.jump(by_ms);
            let told = hands.run(3600 * SECOND_US, SECOND_US);
            let expected = Jump {
                skew_ms: by_ms,
                jump_max_ms: 1000,
            };
            assert_eq!(told, [expected]);
            assert_eq!(hands.wall.skew_us, by_ms * 1000, "time went on as before");
        }
    }

    #[test]
    fn a_clock_that_comes_back_is_followed_and_its_next_jump_told() {
        let mut hands = Hands::new(1000);
        hands.jump(5000);
        assert_eq!(hands.run(SECOND_US, 1000).len(), 1);
        hands.jump(-5000);
        assert_eq!(hands.run(SECOND_US, 1000), []);
        assert_eq!(hands.wall.skew_us, 0);
        hands.jump(-5000);
        assert_eq!(hands.run(SECOND_US, 1000).len(), 1);
    }

    #[test]
    fn a_step_within_the_setting_is_made_up_for_at_ten_milliseconds_a_second() {
        for (by_ms, step_us) in [(1000_i64, 10), (-1000, 10), (1000, 30_000), (-1000, 30_000)] {
            let mut hands = Hands::new(1000);
            hands.run(3600 * SECOND_US, SECOND_US);
            hands.jump(by_ms);
            assert_eq!(hands.run(30 * SECOND_US, step_us), []);
            let left_ms = hands.wall.skew_us / by_ms;
            assert!((690..=710).contains(&left_ms), "{left_ms} of 1000");
            hands.run(120 * SECOND_US, 1000);
            assert_eq!(hands.wall.skew_us, 0);
        }
    }

    #[test]
    fn a_slow_drift_is_followed_however_far_it_goes() {
        let mut hands = Hands::new(1000);
        for second in 0..10_000 {
            // Two milliseconds a second: what no quartz does.
            hands.jump(2);
            assert_eq!(hands.run(SECOND_US, SECOND_US / 10), [], "second {second}");
            assert!(hands.wall.skew_us.abs() <= 2000);
        }
    }

    #[test]
    fn many_small_steps_do_not_carry_it_away() {
        let mut hands = Hands::new(1000);
        let mut jumps = Vec::new();
        for _ in 0..100 {
            hands.jump(900);
            jumps.extend(hands.run(SECOND_US, 1000));
        }
        assert_eq!(jumps.len(), 1);
        let behind_ms = hands.wall.skew_us / 1000;
        assert!(behind_ms > 85_000, "{behind_ms}");
    }

    #[test]
    fn a_setting_of_zero_follows_nothing() {
        let mut hands = Hands::new(0);
        hands.jump(1);
        assert_eq!(hands.run(60 * SECOND_US, 1000).len(), 1);
        assert_eq!(hands.wall.skew_us, 1000);
    }

    #[test]
    fn what_lies_between_two_readings_is_no_jump() {
        let mut hands = Hands::new(0);
        for apart_us in [3, 900, 0, 40, 0, 1] {
            hands.machine_us += apart_us;
            assert_eq!(hands.run(1000, 1000), [], "{apart_us} us apart");
            hands.machine_us -= apart_us;
            assert_eq!(hands.run(1000, 1000), [], "{apart_us} us apart before");
        }
    }

    #[test]
    fn clocks_at_their_ends_do_not_overflow() {
        let mut wall = WallClock::new(u64::MAX, u64::MAX, 0);
        for (monotonic_us, machine_us) in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            wall.read(monotonic_us, machine_us);
        }
    }
}
