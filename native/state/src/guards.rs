//! Judging guards.

use domp_protocol::{Guard, ValueRef};

use crate::index::{Index, Place, Record, Value};
use crate::keys::bounds;
use crate::places::{At, Places};

/// The number of the first guard that does not hold.
pub(super) fn first_failed(
    index: &Index,
    guards: &[(Guard<'_>, At)],
    places: &Places,
) -> Option<u32> {
    for (number, (guard, at)) in (0..).zip(guards) {
        if !holds(index, guard, places.of(*at)) {
            return Some(number);
        }
    }
    None
}

fn holds(index: &Index, guard: &Guard<'_>, place: Place) -> bool {
    let get = |key| index.get_at(key, place);
    match *guard {
        Guard::Exists { key } => get(key).is_some(),
        Guard::Absent { key } => get(key).is_none(),
        Guard::Version { key, version } => get(key).map_or(0, Record::version) == version,
        Guard::Modified { key, revision } => {
            get(key).is_some_and(|record| record.modified() == revision)
        }
        Guard::ModifiedAtMost { key, revision } => {
            get(key).is_none_or(|record| record.modified() <= revision)
        }
        Guard::Value { key, value } => {
            get(key).is_some_and(|record| record.value() == stored(value))
        }
        Guard::AtLeast { key, number } => get(key)
            .is_some_and(|record| matches!(record.value(), Value::Number(held) if held >= number)),
        Guard::Unchanged {
            from,
            to,
            revision,
            count,
        } => is_unchanged(index, from, to, revision, count),
    }
}

/// Whether a range still holds exactly what it held at `revision`, when it held `count` entries.
/// As many entries as then, none of them written since, are the same entries: each was there then,
/// so none that was there then can be missing. A phantom was written since.
fn is_unchanged(index: &Index, from: &[u8], to: Option<&[u8]>, revision: u64, count: u64) -> bool {
    let (low, high) = bounds(from, to);
    let range = index.range(low, high);
    // The count comes first, from the tree's own counts: what is walked is at most what the
    // guard's limit allows.
    range.len() as u64 == count
        && range
            .into_iter()
            .all(|record| record.modified() <= revision)
}

/// A value as it would be stored.
pub(super) fn stored(value: ValueRef<'_>) -> Value<'_> {
    match value {
        ValueRef::Bytes(bytes) => Value::Bytes(bytes),
        ValueRef::Number(number) => Value::Number(number),
    }
}
