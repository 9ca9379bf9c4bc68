//! Random requests, against the oracle: every answer, every effect, every count; with retries, resumed
//! sessions, outcomes, expiry and snapshots in between.

mod state_support;

use std::collections::BTreeMap;

use domp_oracle::keys::{self, Change, Outcome};
use domp_oracle::request::Request;
use domp_oracle::{AppliedEntry, AppliedItem, Decided, Moment, Shard};
use domp_protocol::results::Results;
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

use state_support::random::{Random, Requests};
use state_support::{bytes_of, contents_of, item, parsed, restore, snapshot};

/// What an entry leads to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Collected {
    /// Position, sequence, answer.
    replies: Vec<(u32, u64, domp_oracle::Reply)>,
    /// Position, revision, changed keys.
    effects: Vec<(u32, u64, Vec<Change>)>,
}

impl Collected {
    fn expected(entry: &AppliedEntry) -> Self {
        let mut collected = Self::default();
        if !entry.expired.is_empty() {
            let gone = entry.expired.iter().map(|key| (key.clone(), None));
            let revision = entry.taken_for.revision;
            let effects = (EXPIRY_POSITION, revision, gone.collect());
            collected.effects.push(effects);
        }
        for item in &entry.items {
            let reply = (item.position, item.sequence, item.expected.reply());
            collected.replies.push(reply);
            if !item.changes.is_empty() {
                let effects = (item.position, item.revision, item.changes.clone());
                collected.effects.push(effects);
            }
        }
        collected
    }
}

impl Sink for Collected {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, position: u32, reply: &Reply<'_>) {
        let seen = domp_oracle::Reply {
            revision: reply.revision,
            code: reply.code,
            applied: reply.applied,
            replayed: reply.replayed,
            outcome_applied: reply.outcome_applied,
            results: results_of(reply.results),
        };
        self.replies.push((position, reply.sequence, seen));
    }

    fn effects(&mut self, position: u32, effects: &[u8]) {
        let effects = Effects::parse(effects).expect("effects are what their format says");
        assert_eq!(effects.cause == Cause::Expiry, position == EXPIRY_POSITION);
        let revision = effects.revision;
        let changes = effects
            .changes()
            .expect("effects are what their format says");
        let changes = changes.into_iter().map(|change| {
            let held = change.now.map(|now| keys::Entry {
                value: match now.value {
                    Value::Bytes(bytes) => keys::Value::Bytes(bytes.to_vec()),
                    Value::Number(number) => keys::Value::Number(number),
                },
                created: now.created,
                modified: revision,
                version: now.version,
                expires_at_ms: now.expires_at_ms,
            });
            (change.key.to_vec(), held)
        });
        self.effects.push((position, revision, changes.collect()));
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

/// Of the shard, which is the space that requests name.
const GROUP: u64 = 1;

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
    oracle: Shard,
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
            oracle: Shard::new(GROUP),
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
        if self.index == 0 {
            builder.push_system(&SystemItem::Limits(LIMITS));
        }
        for _ in 0..self.random().below(6) {
            if self.random().below(400) < 3 {
                let limits = self.limits();
                builder.push_system(&SystemItem::Limits(limits));
                self.count("limits");
            }
            let (head, item) = self.request();
            builder.begin_batch(&head);
            builder.push_item(&item);
        }
        self.revision += u64::from(builder.items());
        self.index += 1;
        let bytes = builder.finish(stamp, stamp_ms);
        let mut collected = Collected::default();
        self.state
            .apply(self.index, &bytes, &mut collected)
            .expect("the entry is in order");

        let entry = self.oracle.apply(&bytes).expect("the entry is in order");
        assert_eq!(entry.taken_for, Moment { revision, lease_ms });
        assert_eq!(self.state.revision(), self.revision);
        assert_eq!(self.oracle.revision, self.revision);
        let expected = Collected::expected(&entry);
        for (n, item) in entry.items.iter().enumerate() {
            let (got, wanted) = (collected.replies.get(n), expected.replies.get(n));
            assert_eq!(got, wanted, "the answer to {item:?}");
        }
        assert_eq!(collected, expected, "of {entry:?}");
        if !entry.expired.is_empty() {
            self.count("expiry");
        }
        for item in &entry.items {
            self.answered(item);
        }
    }

    fn answered(&mut self, item: &AppliedItem) {
        let reply = item.expected.reply();
        self.count(match reply.code {
            Some(code) => code.name(),
            None if reply.outcome_applied => "outcome_applied",
            None if reply.replayed => "replayed",
            None if reply.applied => "applied",
            None if item.kind == ItemKind::Outcome => "never",
            None => "not_applied",
        });
        if reply.results.kept.is_some() {
            self.count("kept");
        }
        if reply.code == Some(ErrorCode::SessionExpired) {
            // A client whose session is gone begins another.
            self.clients
                .retain(|client| client.head.nonce != item.head.nonce);
        }
    }

    /// An item, and what stands over it.
    fn request(&mut self) -> (BatchHead, Vec<u8>) {
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
                (head, transaction_item(sequence, &payload))
            }
            4 if !client.sent.is_empty() => {
                let (sequence, _) = client.sent[random.size(client.sent.len())];
                let payload = self.requests.transaction();
                (head, transaction_item(sequence, &payload))
            }
            5 | 6 => {
                let about = random.chance(60).then(|| {
                    let other = others[random.size(others.len())];
                    (other.birth, other.nonce, other.principal)
                });
                let asked = 1 + random.below(client.next_sequence + 4);
                let sequence = client.next_sequence;
                client.next_sequence += 1;
                (head, outcome_item(sequence, about, asked))
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
                (head, transaction_item(sequence, &payload))
            }
        }
    }

    fn stateless_request(&mut self) -> (BatchHead, Vec<u8>) {
        let head = BatchHead::stateless(1 + self.random().below(2));
        if self.random().chance(5) {
            return (head, outcome_item(1, None, 1));
        }
        let payload = if self.random().chance(3) {
            self.requests.transaction()
        } else {
            self.keyed()
        };
        let sequence = 1 + self.random().below(3);
        (head, transaction_item(sequence, &payload))
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
        let expected = self.oracle.outcome_of(principal, &key);
        let expected = expected.map(Decided::reply);
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
        let answer = self
            .state
            .read(&transaction, &mut out)
            .expect("small reads are answered");
        let request = Request::read(&payload).expect("the test's own transaction is valid");
        let expected = self.oracle.read(&request);
        let Outcome::Executed { applied, .. } = expected else {
            panic!("reads do not fail");
        };
        assert_eq!(answer.applied, applied);
        assert_eq!(answer.revision, self.oracle.revision);
        assert_eq!(results_of(&out), expected.results());
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
        assert_eq!(statistics.keys, self.oracle.keys.map.len() as u64);
        assert_eq!(statistics.sessions, self.oracle.sessions() as u64);
        assert_eq!(
            statistics.idempotency_keys,
            self.oracle.idempotency_keys() as u64
        );
        assert_eq!(self.state.next_due_ms(), self.oracle.next_due_ms());
        assert_eq!(self.state.lease_ms(), self.oracle.lease_ms);
    }
}

fn transaction_item(sequence: u64, payload: &[u8]) -> Vec<u8> {
    item(sequence, ItemKind::Transaction, payload)
}

/// Asks about a session (birth, nonce, principal), or the asker's own.
fn outcome_item(sequence: u64, about: Option<(u64, u64, u64)>, asked: u64) -> Vec<u8> {
    let request = encode_outcome_request(&OutcomeRequest {
        space: 1,
        key: b"any",
        sequence: asked,
        session: about.map(|(birth, nonce, principal)| SessionToken {
            birth,
            nonce,
            principal,
            epoch: 1,
            key: 1,
            mac: [9; 16],
        }),
    });
    item(sequence, ItemKind::Outcome, &request)
}

#[test]
fn the_state_does_what_the_oracle_says() {
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
