//! The hybrid logical clock that stamps revisions.
//!
//! A revision is 64 bits: 48 of milliseconds, 16 of counter. The clock follows
//! the wall clock when that is ahead and counts on by itself when it is not, so
//! revisions grow strictly whatever the wall clock does (Promise 8: a wall clock
//! is a hint; a jump back never repeats a revision).

/// Bits of the counter below the milliseconds.
pub const COUNTER_BITS: u32 = 16;

/// The highest wall-clock reading a revision can bear, in milliseconds.
pub const WALL_MS_MAX: u64 = (1 << (64 - COUNTER_BITS)) - 1;

/// A hybrid logical clock. One serves a whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hlc {
    /// The highest revision given out or observed.
    last: u64,
}

impl Hlc {
    /// A clock that has seen nothing.
    pub const fn new() -> Self {
        Self { last: 0 }
    }

    /// Reserves `n` consecutive revisions (at least one) and returns the first. All are above
    /// everything given out or observed before.
    ///
    /// At the very end of the 64 bits the clock stands still; a shard's state then refuses items,
    /// because revisions must grow.
    pub fn now(&mut self, wall_ms: u64, n: u64) -> u64 {
        let wall = wall_ms.min(WALL_MS_MAX) << COUNTER_BITS;
        let first = wall.max(self.last.saturating_add(1));
        self.last = first.saturating_add(n.max(1) - 1);
        first
    }

    /// Takes note of a revision stamped elsewhere or earlier: what is given out next is above it.
    pub fn observe(&mut self, revision: u64) {
        self.last = self.last.max(revision);
    }

    /// The highest revision given out or observed; 0 for none.
    pub const fn last(&self) -> u64 {
        self.last
    }
}

/// The milliseconds in a revision. A hint for people, never for decisions.
pub const fn wall_ms(revision: u64) -> u64 {
    revision >> COUNTER_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_clock_and_survives_its_jumps() {
        let mut clock = Hlc::new();
        let first = clock.now(1_000, 1);
        assert_eq!(first, 1_000 << COUNTER_BITS);
        assert_eq!(wall_ms(first), 1_000);
        let back = clock.now(10, 1);
        assert_eq!(back, first + 1, "a jump back counts on");
        let ahead = clock.now(2_000, 1);
        assert_eq!(wall_ms(ahead), 2_000, "a jump ahead is followed");
    }

    #[test]
    fn reserves_consecutive_revisions() {
        let mut clock = Hlc::new();
        let first = clock.now(5, 64);
        assert_eq!(clock.last(), first + 63);
        assert_eq!(clock.now(5, 1), first + 64);
        assert_eq!(clock.now(5, 0), first + 65, "zero counts as one");
        assert_eq!(clock.now(5, 1), first + 66);
    }

    #[test]
    fn grows_past_the_counter_of_one_millisecond() {
        let mut clock = Hlc::new();
        let first = clock.now(7, 1 << COUNTER_BITS);
        assert_eq!(wall_ms(first), 7);
        assert_eq!(
            wall_ms(clock.now(7, 1)),
            8,
            "the counter carries into the milliseconds"
        );
    }

    #[test]
    fn stamps_above_what_it_observed() {
        let mut clock = Hlc::new();
        clock.observe(99 << COUNTER_BITS);
        clock.observe(3);
        assert_eq!(clock.now(1, 1), (99 << COUNTER_BITS) + 1);
    }

    #[test]
    fn stands_still_at_the_end() {
        let mut clock = Hlc::new();
        clock.observe(u64::MAX - 1);
        assert_eq!(clock.now(u64::MAX, 8), u64::MAX);
        assert_eq!(clock.now(0, 1), u64::MAX);
    }
}
