//! The memory of remembered answers is bounded, and the same on every replay.

mod state_support;

use domp_protocol::{ErrorCode, ItemKind};
use domp_state::entry::{BatchHead, BatchKind};
use domp_state::{Reply, Sink, State, StateConfig, StateLimits};

use state_support::language::transaction_under;
use state_support::{bytes_of, entry_of, item, restore, snapshot};

/// Keeps the answer of the one item.
#[derive(Default)]
struct Last(Option<(Option<ErrorCode>, bool)>);

impl Sink for Last {
    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        self.0 = Some((reply.code, reply.replayed));
    }
}

const CONFIG: StateConfig = StateConfig {
    answers_bytes_max: 20_000,
    ..StateConfig::new(domp_state::StateKind::Space)
};

/// A state and its log.
struct Shard {
    state: State,
    log: Vec<Vec<u8>>,
    lease_ms: u64,
}

impl Shard {
    fn new() -> Self {
        Self {
            state: State::new(CONFIG),
            log: Vec::new(),
            lease_ms: 0,
        }
    }

    fn apply(&mut self, head: &BatchHead, sequence: u64, text: &str) -> (Option<ErrorCode>, bool) {
        // Without a session the sequence says which key it is.
        let key = format!("key {sequence}");
        let key = (head.kind == BatchKind::Stateless).then_some(key.as_bytes());
        self.apply_under(head, sequence, text, key, None)
    }

    fn apply_under(
        &mut self,
        head: &BatchHead,
        sequence: u64,
        text: &str,
        key: Option<&[u8]>,
        kept: Option<&[u8]>,
    ) -> (Option<ErrorCode>, bool) {
        let payload = transaction_under(1, text, key, kept);
        let item = item(sequence, ItemKind::Transaction, &payload);
        let index = self.log.len() as u64 + 1;
        let entry = entry_of(head, &item, 1_000 + index, self.lease_ms);
        let mut last = Last::default();
        self.state
            .apply(index, &entry, &mut last)
            .expect("in order");
        self.log.push(entry);
        assert!(self.state.statistics().answer_bytes <= CONFIG.answers_bytes_max);
        last.0.expect("every item is answered")
    }
}

fn session(nonce: u64, acked_below: u64) -> BatchHead {
    BatchHead {
        kind: BatchKind::Session,
        birth: 1_000,
        nonce,
        principal: 1,
        epoch: 1,
        acked_below,
    }
}

const STATELESS: BatchHead = BatchHead::stateless(1);

const FULL: (Option<ErrorCode>, bool) = (Some(ErrorCode::SessionsFull), false);
const DONE: (Option<ErrorCode>, bool) = (None, false);
/// Answers with as much as a write may.
const READS: &str = "add n 1; get big";

/// Fills the shard with answers; the first sequence that found no room.
fn fill(shard: &mut Shard) -> u64 {
    let big = r#"put big "v"*800"#;
    assert_eq!(shard.apply(&session(1, 1), 1, big), DONE);
    for sequence in 2..1_000 {
        match shard.apply(&session(1, 1), sequence, READS) {
            DONE => {}
            FULL => return sequence,
            other => panic!("{other:?}"),
        }
    }
    panic!("the memory of answers is not bounded");
}

#[test]
fn answers_are_refused_room_before_anything_happens_and_none_is_evicted() {
    let mut shard = Shard::new();
    let full_at = fill(&mut shard);
    assert!(full_at > 10, "what fits is kept");
    assert_eq!(
        shard.apply(&STATELESS, 1, READS),
        FULL,
        "one bound for both tables"
    );
    assert_eq!(shard.apply(&session(2, 1), 1, READS), FULL);
    // Every answer that was given is still known.
    for sequence in 2..full_at {
        assert_eq!(shard.apply(&session(1, 1), sequence, READS), (None, true));
    }
    // Acknowledging makes room, and the refused request was not executed.
    assert_eq!(shard.apply(&session(1, full_at), full_at, READS), DONE);
    let counted = format!("if at_least n {full_at} then put wrong 1");
    shard.apply(&session(1, full_at), full_at + 1, &counted);
    assert_eq!(
        shard.apply(&STATELESS, 1, "if absent wrong then put right 1"),
        DONE
    );
}

#[test]
fn what_is_kept_with_keys_and_given_to_others_is_bounded_too() {
    let mut shard = Shard::new();
    let big = r#"put big "v"*800"#;
    assert_eq!(shard.apply(&session(1, 1), 1, big), DONE);
    let kept = [7; 1_024];
    let mut done = 0;
    for number in 0_u64..100 {
        let key = number.to_le_bytes();
        let answered =
            shard.apply_under(&session(2, 1), 1 + number, READS, Some(&key), Some(&kept));
        if answered == FULL {
            break;
        }
        assert_eq!(answered, DONE);
        done += 1;
    }
    assert!((2..20).contains(&done), "{done} were kept");
    // Answers from a key are remembered for their request ids, and find no room either.
    let mut full = false;
    for sequence in 1..100 {
        let key = 0_u64.to_le_bytes();
        let answered = shard.apply_under(
            &session(3, 1),
            sequence,
            "delete k",
            Some(&key),
            Some(&kept),
        );
        full |= answered == FULL;
        assert!(full || answered == (None, true));
    }
    assert!(full);
    let key = 0_u64.to_le_bytes();
    let stateless = shard.apply_under(&STATELESS, 1, "delete k", Some(&key), Some(&kept));
    assert_eq!(
        stateless,
        (None, true),
        "one that is not remembered is answered"
    );
    let undone = format!("if at_least n {} then put wrong 1", done + 1);
    let counted = shard.apply(&session(2, 1 + done), 50 + done, &undone);
    assert_eq!(counted, DONE, "acknowledging makes room");
    let mut out = Vec::new();
    let payload = transaction_under(1, "get wrong", None, None);
    let read = shard.state.read(&state_support::parsed(&payload), &mut out);
    assert!(read.is_ok());
    let results = domp_protocol::parse_results(&out).expect("results");
    assert_eq!(results.results[0].entry, None, "refused before it happened");
}

#[test]
fn expiry_makes_room() {
    let mut shard = Shard::new();
    let big = r#"put big "v"*800"#;
    assert_eq!(shard.apply(&session(1, 1), 1, big), DONE);
    let full_at = (1..1_000)
        .find(|low| shard.apply(&STATELESS, *low, READS) == FULL)
        .expect("bounded");
    shard.lease_ms = StateLimits::FOUNDING.idempotency_ttl_ms;
    assert_eq!(shard.apply(&STATELESS, full_at, READS), DONE);
    shard.lease_ms +=
        StateLimits::FOUNDING.session_ttl_ms + StateLimits::FOUNDING.idempotency_ttl_ms;
    shard.apply(&session(1, 1), 1, "get big");
    assert_eq!(shard.state.statistics().answer_bytes, 0);
}

#[test]
fn a_replay_and_a_snapshot_refuse_at_the_same_request() {
    let mut shard = Shard::new();
    let full_at = fill(&mut shard);
    let mut replayed = State::new(CONFIG);
    for (index, entry) in (1..).zip(&shard.log) {
        replayed
            .apply(index, entry, &mut Last::default())
            .expect("as before");
    }
    let slices = snapshot(&mut shard.state, 4_096);
    let restored = restore(CONFIG, &slices);
    assert_eq!(bytes_of(&mut replayed), slices.concat());
    for state in [replayed, restored] {
        assert_eq!(state.statistics(), shard.state.statistics());
        let log = shard.log.clone();
        let mut again = Shard {
            state,
            log,
            lease_ms: 0,
        };
        assert_eq!(again.apply(&session(1, 1), full_at, READS), FULL);
        assert_eq!(again.apply(&session(1, 3), full_at, READS), DONE);
    }
}
