//! Looking for work for a moment before sleeping.
//!
//! A thread that sleeps is woken by an interrupt to its core, which takes some
//! microseconds on bare metal and some ten in a virtual machine: more than most
//! requests take to handle. Where the next request tends to come at once, the
//! worker therefore looks for it for a while first. It gives its core away at
//! every look, and it looks only after a wait that was short: one burst of
//! requests costs at most one look in vain, and a server with nothing to do
//! takes nothing.

use std::thread;

/// The longest look. About what one client takes to read an answer and to send
/// its next request while every other thread of the machine has to be woken.
const LIMIT_NS: u64 = 150_000;

/// Decides whether to look, by how long the last wait took.
#[derive(Debug)]
pub(crate) struct Poll {
    enabled: bool,
    last_wait_ns: u64,
}

impl Poll {
    /// On a machine of one core nothing can come while the worker looks.
    pub fn new(wanted: bool) -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            enabled: wanted && cores > 1,
            last_wait_ns: u64::MAX,
        }
    }

    /// Whether [`Self::look`] would look at all.
    pub fn looks(&self) -> bool {
        self.enabled && self.last_wait_ns <= LIMIT_NS
    }

    /// Looks until there is work or the time is over; true if there is work.
    /// `now_ns` is called at every look.
    pub fn look(&self, is_work: impl Fn() -> bool, now_ns: impl Fn() -> u64) -> bool {
        if !self.looks() {
            return false;
        }
        let until_ns = now_ns() + LIMIT_NS;
        loop {
            if is_work() {
                return true;
            }
            if now_ns() >= until_ns {
                return false;
            }
            thread::yield_now();
        }
    }

    /// A wait took this long, by looking, by sleeping, or both.
    pub fn waited(&mut self, took_ns: u64) {
        self.last_wait_ns = took_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT_NS, Poll};
    use std::cell::Cell;

    /// A clock that moves on by 10 us a look.
    fn looks(poll: &Poll, work_at_look: u64) -> (bool, u64) {
        let looked = Cell::new(0);
        let found = poll.look(
            || {
                looked.set(looked.get() + 1);
                looked.get() >= work_at_look
            },
            || looked.get() * 10_000,
        );
        (found, looked.get())
    }

    fn enabled() -> Poll {
        Poll {
            enabled: true,
            last_wait_ns: u64::MAX,
        }
    }

    #[test]
    fn sleeps_at_once_after_a_long_wait() {
        let mut poll = enabled();
        assert_eq!(looks(&poll, 1), (false, 0));
        poll.waited(LIMIT_NS + 1);
        assert_eq!(looks(&poll, 1), (false, 0));
    }

    #[test]
    fn looks_after_a_short_wait_and_no_longer_than_the_limit() {
        let mut poll = enabled();
        poll.waited(LIMIT_NS);
        assert_eq!(looks(&poll, 3), (true, 3));
        assert_eq!(looks(&poll, u64::MAX), (false, LIMIT_NS / 10_000));
    }

    #[test]
    fn never_looks_where_it_is_off() {
        let mut poll = Poll::new(false);
        poll.waited(0);
        assert_eq!(looks(&poll, 1), (false, 0));
    }
}
