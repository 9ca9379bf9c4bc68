//! The same entries lead to the same state, byte for byte (Promise 9): replayed, restored in the
//! middle, with a snapshot taken meanwhile, with effects or without.

mod state_support;

use domp_state::{Reply, Sink, State, StateConfig, StateLimits};

use state_support::workload::Workload;
use state_support::{bytes_of, restore, snapshot};

/// Remembers a hash of all that was said.
#[derive(Default)]
struct Said<const EFFECTS: bool> {
    replies: Vec<String>,
    effects: Vec<Vec<u8>>,
}

impl<const EFFECTS: bool> Sink for Said<EFFECTS> {
    const WANTS_EFFECTS: bool = EFFECTS;

    fn reply(&mut self, position: u32, reply: &Reply<'_>) {
        self.replies.push(format!("{position} {reply:?}"));
    }

    fn effects(&mut self, _: u32, effects: &[u8]) {
        self.effects.push(effects.to_vec());
    }
}

fn config() -> StateConfig {
    StateConfig::default()
}

fn entries(seed: u64) -> Vec<Vec<u8>> {
    let mut workload = Workload::new(
        seed,
        60,
        StateLimits {
            session_ttl_ms: 300,
            idempotency_ttl_ms: 200,
            ..StateLimits::FOUNDING
        },
    );
    workload.led_badly = seed % 2 == 1;
    (0..600).map(|_| workload.entry()).collect()
}

fn apply<const EFFECTS: bool>(state: &mut State, entries: &[Vec<u8>]) -> Said<EFFECTS> {
    let mut said = Said::default();
    for (index, entry) in (state.applied_index() + 1..).zip(entries) {
        state
            .apply(index, entry, &mut said)
            .expect("the workload's entries are in order");
    }
    said
}

#[test]
fn a_replay_says_and_holds_the_same() {
    for seed in 0..10 {
        let entries = entries(seed);
        let (mut first, mut second) = (State::new(config()), State::new(config()));
        let said: Said<true> = apply(&mut first, &entries);
        let again: Said<true> = apply(&mut second, &entries);
        assert_eq!(said.replies, again.replies);
        assert_eq!(said.effects, again.effects);
        assert!(said.effects.len() > 300, "the workload changes things");
        assert_eq!(bytes_of(&mut first), bytes_of(&mut second));
    }
}

#[test]
fn whether_effects_are_wanted_changes_nothing_else() {
    for seed in 10..20 {
        let entries = entries(seed);
        let (mut with, mut without) = (State::new(config()), State::new(config()));
        let said: Said<true> = apply(&mut with, &entries);
        let silent: Said<false> = apply(&mut without, &entries);
        assert_eq!(said.replies, silent.replies);
        assert!(silent.effects.is_empty());
        assert_eq!(bytes_of(&mut with), bytes_of(&mut without));
    }
}

#[test]
fn a_snapshot_and_the_entries_behind_it_are_as_good_as_all_entries() {
    for seed in 20..30 {
        let entries = entries(seed);
        let mut all = State::new(config());
        let said: Said<true> = apply(&mut all, &entries);
        for cut in [1, 100, 333, 599] {
            let mut before = State::new(config());
            let first: Said<true> = apply(&mut before, &entries[..cut]);
            let slices = snapshot(&mut before, 500);
            let mut behind = restore(config(), &slices);
            let second: Said<true> = apply(&mut behind, &entries[cut..]);
            assert_eq!(said.replies, [first.replies, second.replies].concat());
            assert_eq!(said.effects, [first.effects, second.effects].concat());
            assert_eq!(bytes_of(&mut behind), bytes_of(&mut all));
        }
    }
}

#[test]
fn taking_a_snapshot_changes_nothing() {
    for seed in 30..40 {
        let entries = entries(seed);
        let (mut still, mut taken) = (State::new(config()), State::new(config()));
        let said: Said<true> = apply(&mut still, &entries);
        let mut replies = Vec::new();
        let mut slice = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            if number % 50 == 0 {
                taken.end_snapshot();
                assert!(taken.begin_snapshot());
            }
            taken.snapshot_slice(100, &mut slice);
            let one: Said<true> = apply(&mut taken, std::slice::from_ref(entry));
            replies.extend(one.replies);
        }
        taken.end_snapshot();
        assert_eq!(said.replies, replies);
        assert_eq!(bytes_of(&mut still), bytes_of(&mut taken));
    }
}

#[test]
fn slices_of_any_size_make_the_same_state() {
    let mut state = State::new(config());
    let _: Said<false> = apply(&mut state, &entries(40));
    let whole = bytes_of(&mut state);
    for slice_bytes in [1, 40, 1_000, usize::MAX] {
        let slices = snapshot(&mut state, slice_bytes);
        assert_eq!(
            bytes_of(&mut restore(config(), &slices)),
            whole,
            "slices of {slice_bytes}"
        );
    }
}
