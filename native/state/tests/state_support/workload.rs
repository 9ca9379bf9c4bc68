//! A deterministic stream of entries that does a little of everything.

use domp_protocol::{ItemKind, OutcomeRequest, encode_outcome_request};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_state::{StateLimits, SystemItem};

use super::item;
use super::random::{Random, Requests};

/// Makes entries from a seed.
pub struct Workload {
    requests: Requests,
    revision: u64,
    lease_ms: u64,
    sequences: [u64; 4],
    /// Set by the first entry.
    limits: Option<StateLimits>,
    /// What leaders may do to it: other limits now and then, stamps that do not grow.
    pub led_badly: bool,
}

impl Workload {
    pub fn new(seed: u64, keys: u64, limits: StateLimits) -> Self {
        let random = Random::new(seed);
        Self {
            requests: Requests {
                random,
                keys,
                revision: 0,
            },
            revision: 1_000,
            lease_ms: 0,
            sequences: [1; 4],
            limits: Some(limits),
            led_badly: false,
        }
    }

    /// The next entry.
    pub fn entry(&mut self) -> Vec<u8> {
        let random = &mut self.requests.random;
        self.revision += 1 + random.below(5);
        self.lease_ms += random.below(4);
        let revision = self.revision;
        self.requests.revision = revision;
        let mut builder = EntryBuilder::new();
        if let Some(limits) = self.limits.take() {
            builder.push_system(&SystemItem::Limits(limits));
        }
        for _ in 0..self.requests.random.below(7) {
            self.push_item(&mut builder);
            if self.led_badly && self.requests.random.chance(2) {
                let random = &mut self.requests.random;
                builder.push_system(&SystemItem::Limits(StateLimits {
                    session_ttl_ms: random.below(400),
                    idempotency_ttl_ms: random.below(300),
                    session_window: 1 + u32::try_from(random.below(20)).expect("small"),
                    sessions_max: u32::try_from(random.below(6)).expect("small"),
                    idempotency_keys_max: u32::try_from(random.below(40)).expect("small"),
                }));
            }
        }
        self.revision += u64::from(builder.items());
        if self.led_badly && self.requests.random.chance(20) {
            let random = &mut self.requests.random;
            return builder.finish(
                revision.saturating_sub(random.below(100)),
                self.lease_ms.saturating_sub(random.below(50)),
            );
        }
        builder.finish(revision, self.lease_ms)
    }

    fn push_item(&mut self, builder: &mut EntryBuilder) {
        let random = &mut self.requests.random;
        let who = random.size(4);
        let mut head = BatchHead {
            kind: BatchKind::Session,
            birth: 10 + who as u64,
            nonce: who as u64,
            principal: 1,
            epoch: 1,
            acked_below: self.sequences[who].saturating_sub(5).max(1),
        };
        let sequence = self.sequences[who];
        self.sequences[who] += random.below(2);
        if random.chance(10) {
            let asked = sequence.saturating_sub(random.below(4)).max(1);
            let request = OutcomeRequest {
                space: 1,
                key: b"k",
                sequence: asked,
                session: None,
            };
            builder.begin_batch(&head);
            builder.push_item(&item(
                sequence,
                ItemKind::Outcome,
                &encode_outcome_request(&request),
            ));
            return;
        }
        let key = random
            .chance(25)
            .then(|| format!("key {}", random.below(30)));
        let kept = key
            .as_ref()
            .filter(|_| random.chance(30))
            .map(|_| random.bytes(9));
        if key.is_some() && random.chance(50) {
            head = BatchHead::stateless(1);
        }
        let under = key.as_deref().map(str::as_bytes);
        let payload = self.requests.transaction_under(under, kept.as_deref());
        builder.begin_batch(&head);
        builder.push_item(&item(sequence, ItemKind::Transaction, &payload));
    }
}
