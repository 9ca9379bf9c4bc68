//! What comes in: items form an entry, the entry is proposed.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::transaction::Outline;
use domp_state::SystemItem;
use domp_state::entry::{BATCH_HEADER_BYTES, BatchHead, BatchKind, ENTRY_HEADER_BYTES};

use super::{Proposed, Shard, Stamper};
use crate::config::Clock;
use crate::replies::Socket;

impl Shard {
    /// Takes a verified item that writes: a transaction with what its verifier said, or an outcome
    /// request. The bytes are those of the client's frame.
    pub fn write(
        &mut self,
        origin: (Socket, u64),
        head: &BatchHead,
        item: &Item<'_>,
        outline: Option<Outline>,
        stamper: &mut Stamper<'_>,
    ) -> Result<(), ErrorCode> {
        if !self.may_propose() {
            return Err(ErrorCode::Unavailable);
        }
        // An item stands behind a batch header of its own at worst.
        let item_bytes = (item.bytes.len() + BATCH_HEADER_BYTES) as u64;
        if item_bytes + ENTRY_HEADER_BYTES as u64 > self.entry_bytes_max {
            return Err(ErrorCode::TooLarge);
        }
        let guarded_keys = outline.map_or(0, |outline| outline.guarded_keys());
        // An entry is applied whole, so it may take no longer than one transaction can.
        let full = u64::from(self.builder.items()) >= limits::ENTRY_ITEMS_MAX
            || self.builder.bytes() as u64 + item_bytes > self.entry_bytes_max
            || self.guarded_keys + guarded_keys > limits::VISITED_KEYS_MAX;
        if full && self.builder.items() > 0 {
            self.propose(stamper);
        }
        // Neighbours of one session share a batch; a batch under a key has one item.
        if head.kind == BatchKind::Stateless || self.batch.as_ref() != Some(head) {
            self.builder.begin_batch(head);
            self.batch = Some(*head);
        }
        match outline {
            Some(outline) => self.builder.push_transaction(item, outline),
            None => self.builder.push_item(item.bytes),
        }
        self.origins.push(origin);
        self.guarded_keys += guarded_keys;
        Ok(())
    }

    /// Proposes what has formed, if anything has.
    pub fn propose(&mut self, stamper: &mut Stamper<'_>) {
        let items = self.builder.items();
        if items > 0 {
            self.propose_entry(items, stamper);
        }
    }

    fn propose_entry(&mut self, items: u32, stamper: &mut Stamper<'_>) {
        // One for the sweep of what expires, which comes first, and one for each item.
        let revision = stamper
            .hlc
            .now(stamper.clock.wall_ms, self.builder.revisions());
        self.builder.set_apply_version(self.state.apply_version());
        let lease_ms = self.lease_now_ms(stamper.clock);
        let (entry, plan) = self.builder.finish_planned(revision, lease_ms);
        self.batch = None;
        let guarded_keys = std::mem::take(&mut self.guarded_keys);
        let spare = self.spare_origins.pop().unwrap_or_default();
        let mut origins = std::mem::replace(&mut self.origins, spare);
        if let Ok(index) = self.group.propose(entry) {
            self.counters.proposed += u64::from(items);
            self.proposed.push_back(Proposed {
                index,
                term: self.group.term(),
                plan,
                guarded_keys,
                origins,
            });
        } else {
            // In no log: those who wait are told in this turn's `drive`.
            self.advance_in_flight = false;
            self.system_in_flight = false;
            let refused = origins.drain(..);
            self.orphans
                .extend(refused.map(|origin| (origin, ErrorCode::Overloaded)));
            self.spare_origins.push(origins);
        }
    }

    /// Whether the shard may propose and has no entry of its own on its way.
    pub fn takes_system(&self) -> bool {
        self.may_propose() && !self.system_in_flight
    }

    /// Proposes an entry of the shard's own, behind what has formed.
    pub fn propose_system(&mut self, item: &SystemItem, stamper: &mut Stamper<'_>) {
        self.propose(stamper);
        self.system_in_flight = true;
        self.builder.push_system(item);
        // It takes a position in the entry, and nobody waits for it.
        self.origins.push((Socket::NOBODY, 0));
        self.propose_entry(0, stamper);
    }

    /// Whether something is to be expired by an entry made for that alone.
    pub fn is_due(&self, clock: Clock) -> bool {
        let due_us = self.due_us(clock);
        due_us.is_some_and(|at_us| at_us <= clock.monotonic_us) && self.builder.items() == 0
    }

    /// Proposes an entry that only advances lease time.
    pub fn expire(&mut self, stamper: &mut Stamper<'_>) {
        self.advance_in_flight = true;
        self.propose_entry(0, stamper);
    }

    /// When (monotonic, microseconds) something expires; not after now if it is due. None while
    /// somebody else leads, and while an entry is on its way, which sweeps: ask again then.
    pub fn due_us(&self, clock: Clock) -> Option<u64> {
        let due_ms = self.state.next_due_ms()?;
        if !self.may_propose() || !self.proposed.is_empty() || self.advance_in_flight {
            return None;
        }
        let wait_ms = due_ms.saturating_sub(self.lease_now_ms(clock));
        Some(
            clock
                .monotonic_us
                .saturating_add(wait_ms.saturating_mul(1000)),
        )
    }
}
