//! Leading a shard: what this replica may do by it, and what becomes of those who wait when it ends.

use domp_protocol::error::ErrorCode;

use super::Shard;
use crate::config::Clock;

/// A leadership of this replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leading {
    term: u64,
    /// Index of the term's first entry, which is empty.
    first_index: u64,
    /// Lease time and monotonic time at which this replica began to count the one by the other.
    lease_since: Option<(u64, u64)>,
    /// The node has heard that it began.
    is_told: bool,
}

impl Shard {
    /// Whether this replica leads, and was told so.
    pub fn is_leader(&self) -> bool {
        self.leading.is_some() && !self.is_stopped()
    }

    /// While this replica leads: the others, and how many entries each is not known to hold.
    pub fn lags_behind(&self) -> Vec<(u64, u64)> {
        self.group.lags()
    }

    /// Whether this replica may propose. What an earlier leader left in the log has stamps that it must not go
    /// below, and is known only when it is applied; a group's only voter knew all of its log when it started.
    pub fn may_propose(&self) -> bool {
        let began = |leading: Leading| {
            self.group.is_alone() || self.state.applied_index() >= leading.first_index
        };
        self.is_leader() && self.leading.is_some_and(began)
    }

    /// Whether this replica takes what only reads, or what is to be proposed.
    pub fn takes(&self, reads: bool) -> bool {
        self.is_leader() && (reads || self.may_propose())
    }

    /// The node whose replica leads, as far as this one knows: a replica has the id of its node.
    pub fn leader(&self) -> Option<u64> {
        self.group.leader()
    }

    /// Takes note of what became of the leadership. To be called whenever that may have changed, before
    /// anything is proposed.
    pub fn note_leadership(&mut self, clock: Clock) {
        let term = self.group.is_leader().then(|| self.group.term());
        let is_known = self
            .leading
            .is_some_and(|leading| Some(leading.term) == term && leading.lease_since.is_some());
        if is_known {
            return;
        }
        if self.leading.map(|leading| leading.term) != term {
            if self.leading.take().is_some() {
                self.lose_leadership();
            }
            self.leading = term.map(|term| Leading {
                term,
                first_index: self.group.last_index(),
                lease_since: None,
                is_told: false,
            });
        }
        let may_propose = self.may_propose();
        let base_ms = self.state.lease_ms().max(self.lease_floor_ms);
        if let Some(leading) = &mut self.leading
            && leading.lease_since.is_none()
            && may_propose
        {
            leading.lease_since = Some((base_ms, clock.monotonic_us));
        }
    }

    /// Whether this replica began to lead since this was asked last.
    pub fn take_began_to_lead(&mut self) -> bool {
        let Some(leading) = &mut self.leading else {
            return false;
        };
        let began = leading.lease_since.is_some();
        began && !std::mem::replace(&mut leading.is_told, began)
    }

    /// Lease time now: what the log says plus what this leader's monotonic
    /// clock has counted since it leads. Stands still while nobody leads.
    pub fn lease_now_ms(&self, clock: Clock) -> u64 {
        let logged_ms = self.state.lease_ms().max(self.lease_floor_ms);
        match self.leading.and_then(|leading| leading.lease_since) {
            None => logged_ms,
            Some((base_ms, since_us)) => {
                let led_us = clock.monotonic_us.saturating_sub(since_us);
                logged_ms.max(base_ms + led_us / 1000)
            }
        }
    }

    /// Whoever waits is told with this turn's replies: what was proposed may still take effect, the rest was
    /// never proposed.
    fn lose_leadership(&mut self) {
        let proposed = self.proposed.drain(..);
        let unknown = proposed.flat_map(|proposed| proposed.origins);
        let unknown = unknown.map(|origin| (origin, ErrorCode::LeaderChanged));
        self.orphans.extend(unknown);
        if self.builder.items() > 0 {
            drop(self.builder.finish(0, 0));
        }
        self.batch = None;
        self.guarded_keys = 0;
        let forming = self.origins.drain(..);
        self.orphans
            .extend(forming.map(|origin| (origin, ErrorCode::Unavailable)));
        self.advance_in_flight = false;
        self.system_in_flight = false;
    }
}
