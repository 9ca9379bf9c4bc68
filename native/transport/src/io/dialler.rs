//! When a lane to a node is dialled, and at which of its addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Cause;
use crate::options::Options;
use crate::shared::Peer;

/// A connection that stood for less does not end the wait that came before it.
const SETTLED: Duration = Duration::from_millis(100);

/// Two nodes that refuse each other, and hear each other dial, dial no more often.
const PACE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialState {
    /// Dials then.
    Waiting(Instant),
    /// That connection stands or is being made.
    Busy(u64),
}

/// Dials one lane to one node.
pub(crate) struct Dialler {
    pub peer: Arc<Peer>,
    pub state: DialState,
    addresses: Vec<SocketAddr>,
    /// The next address's place.
    next: usize,
    /// Addresses that failed since the last wait.
    failed: usize,
    /// Waits since a connection settled.
    waits: u32,
    dialled_at: Option<Instant>,
}

impl Dialler {
    pub fn new(peer: Arc<Peer>, addresses: Vec<SocketAddr>, now: Instant) -> Self {
        Self {
            peer,
            state: DialState::Waiting(now),
            addresses,
            next: 0,
            failed: 0,
            waits: 0,
            dialled_at: None,
        }
    }

    /// Has new addresses, and tries them at once if it waits.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>, now: Instant) {
        if self.addresses == addresses {
            return;
        }
        self.addresses = addresses;
        self.next = 0;
        self.failed = 0;
        if let DialState::Waiting(_) = self.state {
            self.state = DialState::Waiting(now);
        }
    }

    /// When to dial.
    pub fn due_at(&self) -> Option<Instant> {
        match self.state {
            DialState::Waiting(at) if !self.addresses.is_empty() => Some(at),
            _ => None,
        }
    }

    /// Which address to dial now.
    pub fn dial(&mut self, now: Instant) -> Option<SocketAddr> {
        let address = *self.addresses.get(self.next)?;
        self.dialled_at = Some(now);
        Some(address)
    }

    /// A connection could not be made. True if that was the last address for now, and the cause is to be told.
    pub fn failed(&mut self, cause: &Cause, options: &Options, random: u64, now: Instant) -> bool {
        self.next = (self.next + 1) % self.addresses.len().max(1);
        self.failed += 1;
        // Another node may have taken over an address; one that answers as itself answers for all of them.
        let may_be_elsewhere = matches!(cause, Cause::Dial(_) | Cause::Untrusted(_));
        if may_be_elsewhere && self.failed < self.addresses.len() {
            self.state = DialState::Waiting(now);
            return false;
        }
        self.failed = 0;
        self.wait(options, random, now);
        true
    }

    /// A connection that stood since then is gone.
    pub fn lost(
        &mut self,
        since: Instant,
        cause: &Cause,
        options: &Options,
        random: u64,
        now: Instant,
    ) {
        // The address that answered is tried first.
        self.failed = 0;
        let has_settled = now.saturating_duration_since(since) >= SETTLED;
        if has_settled {
            self.waits = 0;
        }
        if has_settled && matches!(cause, Cause::Reset | Cause::Silent) {
            // At once: whether a new one is refused tells whether the process is gone.
            self.state = DialState::Waiting(now);
        } else {
            self.wait(options, random, now);
        }
    }

    /// The other node has just dialled here, so it is there: a wait ends.
    pub fn hurry(&mut self, now: Instant) {
        let paced = self.dialled_at.map_or(now, |at| now.max(at + PACE));
        if let DialState::Waiting(at) = self.state {
            self.state = DialState::Waiting(at.min(paced));
        }
    }

    fn wait(&mut self, options: &Options, random: u64, now: Instant) {
        let wait_ms = backoff_ms(options, self.waits, random);
        self.waits = self.waits.saturating_add(1);
        self.state = DialState::Waiting(now + Duration::from_millis(wait_ms));
    }
}

/// The wait behind so many others: it doubles up to the longest; between half of it and all of it.
fn backoff_ms(options: &Options, waits: u32, random: u64) -> u64 {
    let doubled = options.backoff_min_ms.saturating_mul(1 << waits.min(20));
    let whole_ms = doubled.min(options.backoff_max_ms).max(1);
    whole_ms - random % (whole_ms / 2 + 1)
}

/// Numbers for jitter (splitmix64).
pub(crate) struct Jitter(pub u64);

impl Jitter {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Identity;
    use crate::shared::Peer;
    use std::io::ErrorKind;

    fn options() -> Options {
        let identity = Identity {
            cluster: 1,
            node: 1,
            incarnation: 1,
            nonce: 1,
        };
        Options::new(identity, 1)
    }

    fn dialler(count: u16, now: Instant) -> (Dialler, Vec<SocketAddr>) {
        let addresses: Vec<_> = (0..count)
            .map(|at| ([127, 0, 0, 1], 1000 + at).into())
            .collect();
        (
            Dialler::new(Arc::new(Peer::new(2)), addresses.clone(), now),
            addresses,
        )
    }

    #[test]
    fn waits_double_and_are_jittered_within_their_half() {
        let options = options();
        for (waits, whole_ms) in [(0, 20), (1, 40), (5, 640), (6, 1000), (400, 1000)] {
            let mut jitter = Jitter(1);
            let many: Vec<_> = (0..1000)
                .map(|_| backoff_ms(&options, waits, jitter.next()))
                .collect();
            assert_eq!(many.iter().max(), Some(&whole_ms));
            assert_eq!(many.iter().min(), Some(&(whole_ms / 2)));
        }
    }

    #[test]
    fn all_addresses_are_tried_before_it_is_told_and_waited() {
        let (options, now) = (options(), Instant::now());
        let (mut dialler, addresses) = dialler(3, now);
        let cause = Cause::Dial(ErrorKind::ConnectionRefused);
        for round in 0..2 {
            for (at, address) in addresses.iter().enumerate() {
                assert_eq!(dialler.dial(now), Some(*address));
                let is_told = dialler.failed(&cause, &options, 0, now);
                assert_eq!(is_told, at == 2, "round {round}, address {at}");
                let waits = dialler.due_at().unwrap() > now;
                assert_eq!(waits, is_told);
            }
        }
        // A node that answers, if only to refuse, is the node.
        dialler.dial(now);
        assert!(dialler.failed(&Cause::Declined(String::new()), &options, 0, now));
    }

    #[test]
    fn a_lost_connection_is_dialled_at_once_only_if_it_had_settled() {
        let (options, start) = (options(), Instant::now());
        let (mut dialler, _) = dialler(1, start);
        let settled = start + SETTLED;
        dialler.lost(start, &Cause::Reset, &options, 0, settled);
        assert_eq!(dialler.due_at(), Some(settled));
        dialler.lost(settled, &Cause::Reset, &options, 0, settled);
        assert_eq!(dialler.due_at(), Some(settled + Duration::from_millis(20)));
        dialler.lost(settled, &Cause::Reset, &options, 0, settled);
        assert_eq!(dialler.due_at(), Some(settled + Duration::from_millis(40)));
    }

    #[test]
    fn hurry_keeps_a_pace_and_new_addresses_do_not_wait() {
        let (options, now) = (options(), Instant::now());
        let (mut dialler, _) = dialler(1, now);
        let fail = |dialler: &mut Dialler| {
            dialler.dial(now);
            for _ in 0..3 {
                dialler.failed(&Cause::Dial(ErrorKind::TimedOut), &options, 0, now);
            }
        };
        fail(&mut dialler);
        dialler.hurry(now);
        assert_eq!(dialler.due_at(), Some(now + PACE), "it dialled just now");
        fail(&mut dialler);
        let later = now + 2 * PACE;
        dialler.hurry(later);
        assert_eq!(dialler.due_at(), Some(later));
        dialler.hurry(later + PACE);
        assert_eq!(dialler.due_at(), Some(later), "nothing is put off");
        dialler.set_addresses(vec![([127, 0, 0, 1], 1).into()], now);
        assert_eq!(dialler.due_at(), Some(now));
        dialler.set_addresses(Vec::new(), now);
        assert_eq!(dialler.due_at(), None);
    }
}
