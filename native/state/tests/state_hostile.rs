//! Bytes that are not what they should be: refused, with the state as it was, never a panic.

mod state_support;

use domp_protocol::ErrorCode;
use domp_state::entry::{EntryBuilder, EntryError};
use domp_state::{Reply, Restore, Sink, State, StateConfig, StateKind, StateLimits, SystemItem};

use state_support::random::Random;
use state_support::workload::Workload;
use state_support::{bytes_of, restore, snapshot};

#[derive(Default)]
struct Count {
    replies: u32,
}

impl Sink for Count {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, _: u32, _: &Reply<'_>) {
        self.replies += 1;
    }
}

fn busy_state(seed: u64) -> (State, Workload) {
    let limits = StateLimits {
        session_ttl_ms: 300,
        ..StateLimits::FOUNDING
    };
    let mut state = State::new(StateConfig::default());
    let mut workload = Workload::new(seed, 60, limits);
    workload.led_badly = seed < 12;
    for index in 1..=200 {
        let entry = workload.entry();
        state
            .apply(index, &entry, &mut Count::default())
            .expect("the workload is in order");
    }
    (state, workload)
}

fn mutated(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.size(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next().to_le_bytes()[0],
            2 => bytes.truncate(at),
            3 => {
                let value = [0, 1, 0x7f, 0x80, 0xff][random.size(5)];
                let end = bytes.len().min(at + 8);
                bytes[at..end].fill(value);
            }
            _ => bytes.extend_from_slice(&[0; 8]),
        }
    }
    bytes
}

#[test]
fn mutated_entries_are_applied_whole_or_not_at_all() {
    let (mut refused, mut applied) = (0, 0);
    for seed in 0..12 {
        let (mut state, mut workload) = busy_state(seed);
        let mut random = Random::new(seed + 1_000);
        let slices = snapshot(&mut state, 10_000);
        let before = bytes_of(&mut state);
        for _ in 0..400 {
            let entry = mutated(&mut random, &workload.entry());
            let mut count = Count::default();
            let index = state.applied_index() + 1;
            if state.apply(index, &entry, &mut count).is_ok() {
                applied += 1;
                bytes_of(&mut state);
                state = restore(*state.config(), &slices);
            } else {
                refused += 1;
                assert_eq!(count.replies, 0, "nothing was said");
                assert!(bytes_of(&mut state) == before, "nothing was done");
            }
        }
    }
    assert!(
        refused > 500 && applied > 100,
        "{refused} refused, {applied} applied"
    );
}

#[test]
fn random_bytes_are_no_entries() {
    let (mut state, _) = busy_state(77);
    let before = bytes_of(&mut state);
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let mut bytes = random.bytes(200);
        if bytes.is_empty() {
            continue;
        }
        if bytes.len() > 56 {
            // Past the first hurdles, now and then.
            bytes[16..40].fill(0);
            bytes[40..44].copy_from_slice(&[1, 0, 0, 0]);
            bytes[52..56].fill(0);
        }
        assert!(state.apply(1_000, &bytes, &mut Count::default()).is_err());
    }
    assert_eq!(bytes_of(&mut state), before);
}

#[test]
fn an_entry_that_was_applied_is_refused_and_stamps_that_do_not_grow_are_lifted() {
    let (mut state, _) = busy_state(78);
    let (index, revision, lease_ms) = (state.applied_index(), state.revision(), state.lease_ms());
    let before = bytes_of(&mut state);
    let entry = EntryBuilder::new().finish(revision + 1, lease_ms);
    assert_eq!(
        state.apply(index, &entry, &mut Count::default()),
        Err(EntryError::IndexNotGrowing {
            last: index,
            got: index
        })
    );
    assert_eq!(bytes_of(&mut state), before);
    for (number, stamp) in (1..).zip([0, revision, revision + 1, revision + 3]) {
        let entry = EntryBuilder::new().finish(stamp, lease_ms - 1);
        assert_eq!(
            state.apply(index + number, &entry, &mut Count::default()),
            Ok(())
        );
        assert_eq!(state.revision(), revision + number);
        assert_eq!(state.lease_ms(), lease_ms);
    }
    let empty = state.apply(index + 9, &[], &mut Count::default());
    assert_eq!(
        (empty, state.applied_index()),
        (Ok(()), index + 9),
        "an empty entry moves the index"
    );
}

#[test]
fn what_is_reserved_is_refused_by_name_and_changes_nothing() {
    let (mut state, mut workload) = busy_state(77);
    let before = bytes_of(&mut state);
    let index = state.applied_index() + 1;
    let entry = workload.entry();
    let mut refused = |at: usize, value: u8| {
        let mut entry = entry.clone();
        entry[at] = value;
        let mut count = Count::default();
        let error = state.apply(index, &entry, &mut count).expect_err("refused");
        assert_eq!(count.replies, 0);
        assert!(bytes_of(&mut state) == before, "nothing was done");
        error
    };
    for (from, to, field) in [
        (16, 24, "EntryHeader.closed"),
        (24, 32, "EntryHeader.key_floor"),
        (32, 40, "EntryHeader.history_floor"),
        (42, 44, "EntryHeader.reserved0"),
        (52, 56, "EntryHeader.reserved1"),
    ] {
        for at in from..to {
            assert_eq!(refused(at, 1), EntryError::Reserved(field));
        }
    }
    assert_eq!(refused(40, 2), EntryError::ApplyVersion(2));
    assert_eq!(refused(40, 0), EntryError::ApplyVersion(0));
    assert_eq!(refused(41, 1), EntryError::ApplyVersion(257));
}

#[test]
fn items_of_the_system_are_whole_and_in_their_place() {
    let (mut state, _) = busy_state(76);
    let before = bytes_of(&mut state);
    let index = state.applied_index() + 1;
    let revision = state.revision() + 1;
    let mut refused = |entry: &[u8]| {
        let error = state.apply(index, entry, &mut Count::default());
        assert!(bytes_of(&mut state) == before, "nothing was done");
        error.expect_err("refused")
    };
    let entry_of = |item| {
        let mut builder = EntryBuilder::new();
        builder.push_system(&item);
        builder.finish(revision, u64::MAX)
    };
    let limits = entry_of(SystemItem::Limits(StateLimits::FOUNDING));
    // Header and batch header stand before the item's own header of 16 bytes.
    let item = 56 + 56;
    for kind in [0, 4, 5, 6, 7, 255] {
        let mut entry = limits.clone();
        entry[item + 12] = kind;
        assert_eq!(refused(&entry), EntryError::SystemKind(kind));
    }
    let mut entry = limits.clone();
    entry[item + 16 + 28] = 1;
    assert_eq!(
        refused(&entry),
        EntryError::Reserved("StateLimits.reserved")
    );
    for at in [item, item + 7, item + 8, item + 13, item + 15, 56, 56 + 16] {
        let mut entry = limits.clone();
        entry[at] ^= 1;
        assert!(matches!(refused(&entry), EntryError::Corrupt(_)), "{at}");
    }
    let wanted = entry_of(SystemItem::WantedLimits(StateLimits::FOUNDING));
    assert_eq!(refused(&wanted), EntryError::OnlyMeta("wanted_limits"));
    let key = entry_of(SystemItem::SigningKey(domp_state::SigningKey {
        id: 1,
        key: [1; 32],
    }));
    assert_eq!(refused(&key), EntryError::OnlyMeta("signing_key"));
    // What a client sends is no item of the system, and the other way round.
    let mut entry = limits.clone();
    entry[56 + 48] = 1;
    assert!(matches!(refused(&entry), EntryError::Corrupt(_)));
    let (_, mut workload) = busy_state(75);
    let mut entry = workload.entry();
    while entry.len() == 56 {
        entry = workload.entry();
    }
    entry[56 + 48] = 3;
    assert!(matches!(refused(&entry), EntryError::Corrupt(_)));
}

#[test]
fn an_apply_version_is_raised_and_stays() {
    let later = StateConfig {
        apply_version_known: 3,
        ..StateConfig::default()
    };
    let mut state = State::new(later);
    assert_eq!(state.apply_version(), 1);
    let mut builder = EntryBuilder::new();
    for (index, version, then) in [(1, 1, 1), (2, 3, 3), (3, 2, 3)] {
        builder.set_apply_version(version);
        let entry = builder.finish(index * 10, 0);
        assert_eq!(state.apply(index, &entry, &mut Count::default()), Ok(()));
        assert_eq!(state.apply_version(), then);
    }
    builder.set_apply_version(4);
    let entry = builder.finish(1_000, 0);
    assert_eq!(
        state.apply(4, &entry, &mut Count::default()),
        Err(EntryError::ApplyVersion(4))
    );
    let slices = snapshot(&mut state, 1_000);
    assert_eq!(restore(later, &slices).apply_version(), 3);
    let earlier = slices
        .iter()
        .try_for_each(|slice| Restore::new(StateConfig::default()).feed(slice));
    assert_eq!(earlier, Err(EntryError::ApplyVersion(3)));
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_noticed() {
    let (mut state, _) = busy_state(79);
    let config = *state.config();
    let whole = snapshot(&mut state, 2_000).concat();
    let restored = |bytes: &[u8]| {
        let mut restore = Restore::new(config);
        restore.feed(bytes)?;
        restore.finish()
    };
    assert!(restored(&whole).is_ok());
    let mut bytes = whole.clone();
    for at in 0..whole.len() {
        bytes[at] ^= 1 << (at % 8);
        assert!(restored(&bytes).is_err(), "byte {at} of {}", whole.len());
        bytes[at] = whole[at];
    }
    for length in 0..whole.len() {
        assert!(restored(&whole[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn chunks_that_are_missing_swapped_or_doubled_are_noticed() {
    let (mut state, _) = busy_state(80);
    let config = *state.config();
    let slices = snapshot(&mut state, 300);
    assert!(slices.len() > 10);
    let restored = |slices: &[Vec<u8>]| {
        let mut restore = Restore::new(config);
        slices.iter().try_for_each(|slice| restore.feed(slice))?;
        restore.finish()
    };
    assert!(restored(&slices).is_ok());
    for at in 0..slices.len() {
        let mut missing = slices.clone();
        missing.remove(at);
        assert!(restored(&missing).is_err(), "without slice {at}");
        let mut doubled = slices.clone();
        doubled.insert(at, slices[at].clone());
        assert!(restored(&doubled).is_err(), "slice {at} twice");
        let mut swapped = slices.clone();
        swapped.swap(at, (at + 1) % slices.len());
        assert!(
            restored(&swapped).is_err(),
            "slice {at} swapped with the next"
        );
    }
}

#[test]
fn a_snapshot_of_another_kind_of_state_is_refused() {
    let (mut state, _) = busy_state(81);
    let whole = snapshot(&mut state, 2_000).concat();
    let meta = StateConfig::new(StateKind::Meta);
    assert!(Restore::new(meta).feed(&whole).is_err());
}

#[test]
fn chunks_with_a_right_hash_but_wrong_contents_never_panic() {
    let (mut state, _) = busy_state(82);
    let config = *state.config();
    let slices = snapshot(&mut state, 400);
    let mut random = Random::new(9);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut restore = Restore::new(config);
        let changed = random.size(slices.len());
        let fed = slices.iter().enumerate().try_for_each(|(at, slice)| {
            let mut slice = slice.clone();
            if at == changed {
                change_and_seal(&mut random, &mut slice);
            }
            restore.feed(&slice)
        });
        if fed.is_ok()
            && let Ok(mut state) = restore.finish()
        {
            // What can't be told from a snapshot must at least be usable.
            accepted += 1;
            bytes_of(&mut state);
        }
    }
    assert!(accepted > 100, "some changes are of values: {accepted}");
}

/// Changes a byte of the body of a slice's first chunk and makes its hash right again, by the
/// format's own specification.
fn change_and_seal(random: &mut Random, slice: &mut [u8]) {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
    const HEADER_BYTES: usize = 32;
    if slice.len() <= HEADER_BYTES {
        return;
    }
    let length = u32::from_le_bytes([slice[16], slice[17], slice[18], slice[19]]) as usize;
    let at = if length == 0 || random.chance(10) {
        random.size(20)
    } else {
        HEADER_BYTES + random.size(length)
    };
    slice[at] = [0, 1, 0xff, random.next().to_le_bytes()[0]][random.size(4)];
    let length = u32::from_le_bytes([slice[16], slice[17], slice[18], slice[19]]) as usize;
    let end = slice.len().min(HEADER_BYTES.saturating_add(length));
    let hash = xxh3_64_with_seed(&slice[HEADER_BYTES..end], xxh3_64(&slice[..24]));
    slice[24..32].copy_from_slice(&hash.to_le_bytes());
}

#[test]
fn at_the_end_of_revisions_items_are_refused_and_nothing_else() {
    let (mut state, mut workload) = busy_state(83);
    let mut entry = workload.entry();
    while entry[48] < 3 {
        entry = workload.entry();
    }
    let items = u64::from(entry[48]);
    let index = state.applied_index() + 1;
    // The sweep has a revision, and all items but one.
    entry[..8].copy_from_slice(&(u64::MAX - items + 1).to_le_bytes());
    let mut answers = Codes::default();
    assert_eq!(state.apply(index, &entry, &mut answers), Ok(()));
    assert_eq!(state.revision(), u64::MAX);
    assert_eq!(answers.0.len() as u64, items);
    assert_eq!(answers.0.last(), Some(&Some(ErrorCode::Unavailable)));
    let refused = answers
        .0
        .iter()
        .filter(|code| **code == Some(ErrorCode::Unavailable));
    assert_eq!(refused.count(), 1);
    let slices = snapshot(&mut state, 1_000);
    assert_eq!(restore(*state.config(), &slices).revision(), u64::MAX);
    let keys = state.statistics().keys;
    let mut answers = Codes::default();
    entry[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(state.apply(index + 1, &entry, &mut answers), Ok(()));
    let all = vec![Some(ErrorCode::Unavailable); usize::from(entry[48])];
    assert_eq!(answers.0, all);
    assert_eq!(state.statistics().keys, keys, "no key expires without one");
    assert_eq!(state.statistics().sessions, 0, "sessions need none");
    assert_eq!(state.next_due_ms(), None);
    let slices = snapshot(&mut state, 1_000);
    assert_eq!(restore(*state.config(), &slices).lease_ms(), u64::MAX);
}

/// The code of every answer.
#[derive(Default)]
struct Codes(Vec<Option<ErrorCode>>);

impl Sink for Codes {
    fn reply(&mut self, _: u32, reply: &Reply<'_>) {
        self.0.push(reply.code);
    }
}
