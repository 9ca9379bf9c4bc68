//! Random requests, against a model that is written as plainly as can be: every answer, every
//! effect, every count; with retries, resumed sessions, outcomes, expiry and snapshots in between.

mod state_support;

use std::collections::BTreeMap;

use domp_protocol::results::{EntryValue, Results};
use domp_protocol::{
    ErrorCode, ItemKind, OutcomeRequest, SessionToken, encode_outcome_request, parse_results,
};
use domp_state::effects::{Cause, Effects};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_state::index::Value;
use domp_state::{
    EXPIRY_POSITION, KeyOutcome, Reply, Sink, SnapshotProgress, State, StateConfig, StateLimits,
    SystemItem,
};

use state_support::model::Held;
use state_support::random::{Random, Requests};
use state_support::session_model::{Changes, Model, Request, Seen};
use state_support::{bytes_of, contents_of, item, parsed, restore, snapshot};

#[derive(Default)]
struct Collected {
    replies: Vec<(u32, Seen)>,
    effects: Vec<(u32, Changes)>,
}

impl Sink for Collected {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, position: u32, reply: &Reply<'_>) {
        let seen = Seen {
            sequence: reply.sequence,
            revision: reply.revision,
            code: reply.code,
            applied: reply.applied,
            replayed: reply.replayed,
            outcome_applied: reply.outcome_applied,
            results: results_of(reply.results),
        };
        self.replies.push((position, seen));
    }

    fn effects(&mut self, position: u32, effects: &[u8]) {
        let effects = Effects::parse(effects).expect("effects are what their format says");
        assert_eq!(effects.cause == Cause::Expiry, position == EXPIRY_POSITION);
        let revision = effects.revision;
        let changes = effects
            .changes()
            .expect("effects are what their format says");
        let changes = changes.into_iter().map(|change| {
            let held = change.now.map(|now| Held {
                value: match now.value {
                    Value::Bytes(bytes) => EntryValue::Bytes(bytes.to_vec()),
                    Value::Number(number) => EntryValue::Number(number),
                },
                created: now.created,
                modified: revision,
                version: now.version,
                expires_at_ms: now.expires_at_ms,
            });
            (change.key.to_vec(), held)
        });
        self.effects.push((position, changes.collect()));
    }
}

fn results_of(payload: &[u8]) -> Results {
    if payload.is_empty() {
        return Results::default();
    }
    parse_results(payload).expect("results are what the schema says")
}

/// A client of sorts: it retries, changes its mind, acknowledges, resumes.
struct Client {
    head: BatchHead,
    next_sequence: u64,
    /// What it sent and may send again.
    sent: Vec<(u64, Vec<u8>)>,
}

/// A snapshot under way, and what it must lead to.
struct Taking {
    expected: Vec<u8>,
    contents: Vec<u8>,
    slices: Vec<Vec<u8>>,
}

/// Limits that are met soon.
const LIMITS: StateLimits = StateLimits {
    session_ttl_ms: 1_000,
    idempotency_ttl_ms: 500,
    session_window: 8,
    sessions_max: 6,
    idempotency_keys_max: 12,
};

struct World {
    config: StateConfig,
    requests: Requests,
    state: State,
    model: Model,
    clients: Vec<Client>,
    index: u64,
    revision: u64,
    lease_ms: u64,
    taking: Option<Taking>,
    /// How often each kind of answer was given, and each other thing worth a count happened.
    occurred: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = StateConfig::default();
        let keys = [4, 40, 400][random.size(3)];
        Self {
            config,
            requests: Requests {
                random,
                keys,
                revision: 0,
            },
            state: State::new(config),
            model: Model::new(),
            clients: Vec::new(),
            index: 0,
            revision: 100,
            lease_ms: 0,
            taking: None,
            occurred: BTreeMap::new(),
        }
    }

    fn random(&mut self) -> &mut Random {
        &mut self.requests.random
    }

    fn step(&mut self) {
        match self.random().below(100) {
            0..=2 => self.snapshot_at_rest(),
            3..=6 if self.taking.is_none() => self.begin_snapshot(),
            7..=20 if self.taking.is_some() => self.snapshot_slice(),
            21..=35 => self.read(),
            36..=40 => self.outcome_of(),
            _ => self.entry(),
        }
        self.compare_counts();
    }

    fn mint(&mut self) {
        let nonce = self.random().next();
        let principal = 1 + self.random().below(2);
        let head = BatchHead {
            kind: BatchKind::Session,
            birth: self.revision,
            nonce,
            principal,
            epoch: self.revision,
            acked_below: 1,
        };
        self.revision += 1;
        self.clients.push(Client {
            head,
            next_sequence: 1,
            sent: Vec::new(),
        });
        if self.clients.len() > 9 {
            let gone = self.random().size(9);
            self.clients.remove(gone);
        }
    }

    fn entry(&mut self) {
        if self.clients.is_empty() || self.random().chance(8) {
            self.mint();
        }
        self.lease_ms += match self.random().below(80) {
            0 => self.random().below(1_500),
            1..=39 => self.random().below(12),
            _ => 0,
        };
        // What a leader stamps, and what it is taken for.
        self.revision += 1 + self.random().below(3);
        let (revision, lease_ms) = (self.revision, self.lease_ms);
        let (mut stamp, mut stamp_ms) = (revision, lease_ms);
        if revision == self.state.revision() + 1 && self.random().chance(50) {
            stamp -= self.random().below(9);
            self.count("lifted_revision");
        }
        if lease_ms == self.state.lease_ms() && self.random().chance(10) {
            stamp_ms = stamp_ms.saturating_sub(self.random().below(2_000));
            self.count("lifted_lease");
        }
        self.requests.revision = revision;

        let mut builder = EntryBuilder::new();
        let mut items = Vec::new();
        if self.index == 0 {
            push_limits(&mut builder, &mut items, LIMITS);
        }
        for _ in 0..self.random().below(6) {
            if self.random().below(400) < 3 {
                let limits = self.limits();
                push_limits(&mut builder, &mut items, limits);
                self.count("limits");
            }
            let (head, sequence, request) = self.request();
            let kind = match &request {
                Request::Transaction(_) => ItemKind::Transaction,
                Request::Outcome(..) => ItemKind::Outcome,
                Request::Limits(_) => panic!("clients set no limits"),
            };
            builder.begin_batch(&head);
            builder.push_item(&item(sequence, kind, &encoded(&request)));
            items.push((head, sequence, request));
        }
        self.index += 1;
        let bytes = builder.finish(stamp, stamp_ms);
        let mut collected = Collected::default();
        self.state
            .apply(self.index, &bytes, &mut collected)
            .expect("the entry is in order");

        let mut expected = Collected::default();
        let expired = self.model.begin_entry(revision, lease_ms);
        if !expired.is_empty() {
            self.count("expiry");
            let changes = expired.into_iter().map(|key| (key, None)).collect();
            expected.effects.push((EXPIRY_POSITION, changes));
        }
        for (position, (head, sequence, request)) in (0..).zip(&items) {
            let revision = revision + 1 + u64::from(position);
            let (seen, changes) = self
                .model
                .item(head, *sequence, request, revision, lease_ms);
            self.count(match &seen {
                _ if matches!(request, Request::Limits(_)) => "limits_set",
                Seen {
                    code: Some(code), ..
                } => code.name(),
                Seen {
                    outcome_applied: true,
                    ..
                } => "outcome_applied",
                Seen { replayed: true, .. } => "replayed",
                Seen { applied: true, .. } => "applied",
                _ if matches!(request, Request::Outcome(..)) => "never",
                _ => "not_applied",
            });
            let seen_expired = seen.code == Some(ErrorCode::SessionExpired);
            if seen.results.kept.is_some() {
                self.count("kept");
            }
            if head.kind != BatchKind::System {
                expected.replies.push((position, seen));
            }
            if seen_expired {
                // A client whose session is gone begins another.
                self.clients
                    .retain(|client| client.head.nonce != head.nonce);
            }
            if !changes.is_empty() {
                expected.effects.push((position, changes));
            }
        }
        self.revision += items.len() as u64;
        assert_eq!(self.state.revision(), self.revision);
        for (n, (got, expected)) in collected.replies.iter().zip(&expected.replies).enumerate() {
            assert_eq!(got, expected, "reply {n} of {items:?}");
        }
        assert_eq!(collected.replies.len(), expected.replies.len());
        assert_eq!(collected.effects, expected.effects, "of {items:?}");
    }

    fn request(&mut self) -> (BatchHead, u64, Request) {
        if self.random().chance(10) {
            return self.stateless_request();
        }
        let at = self.requests.random.size(self.clients.len());
        let others: Vec<BatchHead> = self.clients.iter().map(|client| client.head).collect();
        let random = &mut self.requests.random;
        let client = &mut self.clients[at];
        let mut head = client.head;
        match random.below(30) {
            // Resumed elsewhere; the older connection's frames may still come.
            0 => {
                client.head.epoch += 1;
                head.epoch = client.head.epoch;
            }
            27..=29 => head.epoch -= 1,
            1 => head.principal = 3 - head.principal,
            2 => head.birth = self.revision + 50,
            3..=9 => {
                let acked = client.next_sequence.saturating_sub(random.below(4)).max(1);
                client.head.acked_below = client.head.acked_below.max(acked);
                head = client.head;
            }
            _ => {}
        }
        match random.below(20) {
            0..=3 if !client.sent.is_empty() => {
                let (sequence, payload) = client.sent[random.size(client.sent.len())].clone();
                (head, sequence, Request::Transaction(payload))
            }
            4 if !client.sent.is_empty() => {
                let (sequence, _) = client.sent[random.size(client.sent.len())];
                (
                    head,
                    sequence,
                    Request::Transaction(self.requests.transaction()),
                )
            }
            5 | 6 => {
                let about = random.chance(60).then(|| {
                    let other = others[random.size(others.len())];
                    (other.birth, other.nonce, other.principal)
                });
                let asked = 1 + random.below(client.next_sequence + 4);
                let sequence = client.next_sequence;
                client.next_sequence += 1;
                (head, sequence, Request::Outcome(about, asked))
            }
            _ => {
                let skipped = if random.chance(10) {
                    random.below(4)
                } else {
                    0
                };
                let sequence = client.next_sequence + skipped;
                client.next_sequence = sequence + 1;
                let payload = if random.chance(15) {
                    self.keyed()
                } else {
                    self.requests.transaction()
                };
                let client = &mut self.clients[at];
                client.sent.push((sequence, payload.clone()));
                if client.sent.len() > 12 {
                    client.sent.remove(0);
                }
                (head, sequence, Request::Transaction(payload))
            }
        }
    }

    fn stateless_request(&mut self) -> (BatchHead, u64, Request) {
        let head = BatchHead::stateless(1 + self.random().below(2));
        if self.random().chance(5) {
            return (head, 1, Request::Outcome(None, 1));
        }
        let payload = if self.random().chance(3) {
            self.requests.transaction()
        } else {
            self.keyed()
        };
        let sequence = 1 + self.random().below(3);
        (head, sequence, Request::Transaction(payload))
    }

    /// A transaction under one of a few keys.
    fn keyed(&mut self) -> Vec<u8> {
        let key = self.random().below(20);
        // The same key mostly brings the same payload: it is made from a seed of its own.
        let seed = if self.random().chance(90) {
            key
        } else {
            key + 1_000
        };
        let kept = self.random().chance(25).then(|| self.random().bytes(5));
        let mut requests = Requests {
            random: Random::new(seed),
            keys: self.requests.keys,
            revision: 7,
        };
        requests.transaction_under(Some(&key.to_le_bytes()), kept.as_deref())
    }

    fn limits(&mut self) -> StateLimits {
        let random = self.random();
        StateLimits {
            session_ttl_ms: [300, 1_000, 1_000, 3_000, 0][random.size(5)],
            idempotency_ttl_ms: [100, 500, 2_000, 0][random.size(4)],
            session_window: [2, 8, 8, 16][random.size(4)],
            sessions_max: [2, 6, 6, 9][random.size(4)],
            idempotency_keys_max: [3, 12, 20][random.size(3)],
        }
    }

    fn outcome_of(&mut self) {
        let key = self.random().below(20).to_le_bytes();
        let principal = 1 + self.random().below(2);
        let expected = self.model.outcome_of(principal, &key);
        match (self.state.outcome_of(principal, &key), expected) {
            (KeyOutcome::NotSeen, None) => self.count("not_seen"),
            (KeyOutcome::NotApplied { revision, code }, Some(seen)) => {
                assert_eq!((revision, Some(code)), (seen.revision, seen.code));
                self.count("key_not_applied");
            }
            (
                KeyOutcome::Applied {
                    revision,
                    results,
                    kept,
                },
                Some(seen),
            ) => {
                assert_eq!((revision, None), (seen.revision, seen.code));
                let mut got = results_of(results);
                assert_eq!(got.kept, None, "the results are without it");
                got.kept = kept.map(<[u8]>::to_vec);
                assert_eq!(got, seen.results);
                self.count("key_applied");
            }
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self) {
        let payload = self.requests.read();
        let transaction = parsed(&payload);
        let mut out = Vec::new();
        let (revision, lease_ms) = (self.state.revision(), self.state.lease_ms());
        let answer = self
            .state
            .read(&transaction, &mut out)
            .expect("small reads are answered");
        let expected = self
            .model
            .keys
            .clone()
            .execute(&transaction, revision, lease_ms);
        let expected = expected.expect("reads do not fail");
        assert_eq!(answer.applied, expected.applied);
        assert_eq!(answer.revision, revision);
        assert_eq!(results_of(&out), expected.results);
    }

    fn snapshot_at_rest(&mut self) {
        if self.taking.is_some() {
            return;
        }
        let slice_bytes = 1 + self.random().size(3_000);
        let slices = snapshot(&mut self.state, slice_bytes);
        let mut restored = restore(self.config, &slices);
        assert_eq!(
            bytes_of(&mut restored),
            bytes_of(&mut self.state),
            "a restored state"
        );
        if self.random().chance(50) {
            self.state = restored;
        }
    }

    fn begin_snapshot(&mut self) {
        let whole = snapshot(&mut self.state, 1 << 20);
        let (expected, contents) = (whole.concat(), contents_of(&whole));
        assert!(self.state.begin_snapshot());
        assert!(!self.state.begin_snapshot(), "one is under way");
        self.taking = Some(Taking {
            expected,
            contents,
            slices: Vec::new(),
        });
    }

    fn snapshot_slice(&mut self) {
        let slice_bytes = 1 + self.random().size(600);
        let Some(mut taking) = self.taking.take() else {
            return;
        };
        let mut slice = Vec::new();
        let progress = self.state.snapshot_slice(slice_bytes, &mut slice);
        taking.slices.push(slice);
        match progress {
            SnapshotProgress::More if self.random().chance(2) => self.state.end_snapshot(),
            SnapshotProgress::More => self.taking = Some(taking),
            SnapshotProgress::Abandoned => panic!("little was kept"),
            SnapshotProgress::Done => {
                self.state.end_snapshot();
                assert!(
                    contents_of(&taking.slices) == taking.contents,
                    "in the same order as one taken at once"
                );
                let mut restored = restore(self.config, &taking.slices);
                assert_eq!(
                    bytes_of(&mut restored),
                    taking.expected,
                    "as of its beginning"
                );
                assert_eq!(self.state.statistics().overlay_bytes, 0);
                self.count("snapshot_under_writes");
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.occurred.entry(what).or_default() += 1;
    }

    fn compare_counts(&self) {
        let statistics = self.state.statistics();
        assert_eq!(statistics.keys, self.model.keys.len() as u64);
        assert_eq!(statistics.sessions, self.model.sessions() as u64);
        assert_eq!(
            statistics.idempotency_keys,
            self.model.idempotency_keys() as u64
        );
        assert_eq!(self.state.next_due_ms(), self.model.next_due_ms());
    }
}

/// Sets limits, as an item of the entry.
fn push_limits(
    builder: &mut EntryBuilder,
    items: &mut Vec<(BatchHead, u64, Request)>,
    limits: StateLimits,
) {
    builder.push_system(&SystemItem::Limits(limits));
    let head = BatchHead {
        kind: BatchKind::System,
        ..BatchHead::stateless(0)
    };
    items.push((head, 0, Request::Limits(limits)));
}

fn encoded(request: &Request) -> Vec<u8> {
    match request {
        Request::Transaction(payload) => payload.clone(),
        Request::Outcome(about, sequence) => encode_outcome_request(&OutcomeRequest {
            space: 1,
            key: b"any",
            sequence: *sequence,
            session: about.map(|(birth, nonce, principal)| SessionToken {
                birth,
                nonce,
                principal,
                epoch: 1,
                key: 1,
                mac: [9; 16],
            }),
        }),
        Request::Limits(_) => panic!("no item of a client"),
    }
}

#[test]
fn the_state_does_what_the_model_does() {
    let mut occurred: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..800 {
            world.step();
        }
        for (what, count) in world.occurred {
            *occurred.entry(what).or_default() += count;
        }
    }
    let must_occur = [
        "applied",
        "not_applied",
        "replayed",
        "outcome_applied",
        "never",
        "fenced",
        "wrong_kind",
        "number_overflow",
        "out_of_bounds",
        "request_id_conflict",
        "idempotency_conflict",
        "idempotency_key_required",
        "kept",
        "limits",
        "lifted_revision",
        "lifted_lease",
        "key_applied",
        "key_not_applied",
        "not_seen",
        "request_id_stale",
        "window_exceeded",
        "session_expired",
        "session_superseded",
        "session_refused",
        "sessions_full",
        "invalid_request",
        "expiry",
        "snapshot_under_writes",
    ];
    for what in must_occur {
        let count = occurred.get(what).copied().unwrap_or_default();
        assert!(count >= 20, "{what} occurred {count} times; {occurred:?}");
    }
}
