//! Bytes that are not what they should be: refused, with the state as it was, never a panic.

mod state_support;

use domp_state::entry::{EntryBuilder, EntryError};
use domp_state::{Reply, Restore, Sink, State, StateConfig};

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
    let config = StateConfig {
        session_ttl_ms: 300,
        ..StateConfig::default()
    };
    let mut state = State::new(config);
    let mut workload = Workload::new(seed, 60);
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
        if bytes.len() > 18 {
            // Past the first hurdle, now and then.
            bytes[16..18].copy_from_slice(&[1, 0]);
        }
        assert!(state.apply(1_000, &bytes, &mut Count::default()).is_err());
    }
    assert_eq!(bytes_of(&mut state), before);
}

#[test]
fn entries_out_of_order_are_refused() {
    let (mut state, _) = busy_state(78);
    let (index, revision, lease_ms) = (state.applied_index(), state.revision(), state.lease_ms());
    let before = bytes_of(&mut state);
    let mut apply = |index, revision, lease_ms| {
        let entry = EntryBuilder::new().finish(revision, lease_ms);
        state.apply(index, &entry, &mut Count::default())
    };
    assert_eq!(
        apply(index, revision + 1, lease_ms),
        Err(EntryError::IndexNotGrowing {
            last: index,
            got: index
        })
    );
    assert_eq!(
        apply(index + 1, revision, lease_ms),
        Err(EntryError::RevisionNotGrowing {
            last: revision,
            got: revision
        })
    );
    assert_eq!(
        apply(index + 1, revision + 1, lease_ms - 1),
        Err(EntryError::LeaseDecreased {
            last_ms: lease_ms,
            got_ms: lease_ms - 1
        })
    );
    assert_eq!(bytes_of(&mut state), before);
    let empty = state.apply(index + 5, &[], &mut Count::default());
    assert_eq!(
        (empty, state.applied_index()),
        (Ok(()), index + 5),
        "an empty entry moves the index"
    );
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
    let meta = StateConfig::new(domp_state::StateKind::Meta);
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
fn the_last_revision_of_all_can_be_used() {
    let (mut state, mut workload) = busy_state(83);
    let mut entry = workload.entry();
    while entry.len() == 32 {
        entry = workload.entry();
    }
    let items = u64::from(u32::from_le_bytes([
        entry[24], entry[25], entry[26], entry[27],
    ]));
    let index = state.applied_index() + 1;
    entry[..8].copy_from_slice(&(u64::MAX - items + 2).to_le_bytes());
    assert!(
        state.apply(index, &entry, &mut Count::default()).is_err(),
        "one too many"
    );
    entry[..8].copy_from_slice(&(u64::MAX - items + 1).to_le_bytes());
    assert_eq!(state.apply(index, &entry, &mut Count::default()), Ok(()));
    assert_eq!(state.revision(), u64::MAX);
    let slices = snapshot(&mut state, 1_000);
    assert_eq!(restore(*state.config(), &slices).revision(), u64::MAX);
    let next = EntryBuilder::new().finish(u64::MAX, u64::MAX);
    assert!(
        state
            .apply(index + 1, &next, &mut Count::default())
            .is_err()
    );
}
