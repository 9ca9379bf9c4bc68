//! How far revisions run ahead of the wall clock under load.

mod state_support;

use domp_protocol::{ItemKind, limits};
use domp_state::entry::{BatchHead, EntryBuilder};
use domp_state::hlc::{Hlc, wall_ms};
use domp_state::{Reply, Sink, State, StateConfig};

use state_support::item;
use state_support::language::transaction_under;

/// Milliseconds that the clock is ahead after an hour of so many entries a millisecond, each of which
/// reserves so many revisions. Reserving for all entries of a millisecond at once is the same: the
/// wall clock does not move meanwhile.
fn offset_ms(entries_per_ms: u64, revisions: u64) -> u64 {
    const START_MS: u64 = 1_700_000_000_000;
    let mut clock = Hlc::new();
    let mut last_ms = START_MS;
    for now_ms in START_MS..START_MS + 3_600_000 {
        clock.now(now_ms, entries_per_ms * revisions);
        last_ms = now_ms;
    }
    wall_ms(clock.last()) - last_ms
}

/// The revisions that a full entry needs, by its builder.
fn revisions_of_a_full_entry() -> u64 {
    let mut builder = EntryBuilder::new();
    for number in 0..limits::ENTRY_ITEMS_MAX {
        let payload = transaction_under(1, "add n 1", Some(&number.to_le_bytes()), None);
        builder.begin_batch(&BatchHead::stateless(1));
        builder.push_item(&item(1, ItemKind::Transaction, &payload));
    }
    let revisions = builder.revisions();
    let mut state = State::new(StateConfig::default());
    state
        .apply(1, &builder.finish(1_000, 0), &mut Quiet)
        .expect("in order");
    assert_eq!(state.revision(), 1_000 + revisions - 1, "as the state does");
    revisions
}

struct Quiet;

impl Sink for Quiet {
    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        assert_eq!(reply.code, None);
    }
}

#[test]
fn an_hour_of_full_entries_leaves_the_clock_within_the_allowed_offset() {
    let revisions = revisions_of_a_full_entry();
    assert_eq!(revisions, 1 + limits::ENTRY_ITEMS_MAX);
    assert!(offset_ms(200, revisions) <= limits::CLOCK_OFFSET_MS_MAX);
}

#[test]
fn reserving_for_every_key_that_may_expire_would_not() {
    assert!(offset_ms(200, 327) <= limits::CLOCK_OFFSET_MS_MAX);
    assert!(offset_ms(200, 328) > limits::CLOCK_OFFSET_MS_MAX);
    let all_expiries = 64 + limits::EXPIRIES_PER_ENTRY_MAX;
    assert!(offset_ms(200, all_expiries) > limits::CLOCK_OFFSET_MS_MAX);
}
