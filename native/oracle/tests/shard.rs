//! What the oracle itself must get right, on entries laid out by hand.

use domp_oracle::keys::{Entry, Value};
use domp_oracle::{AppliedEntry, AppliedItem, Moment, Reply, Shard};
use domp_protocol::ErrorCode;
use domp_protocol::transaction::{Operation, TransactionBuilder, ValueRef};

const SPACE: u32 = 1;
const TRANSACTION: u8 = 1;

fn put(key: &[u8], expire_after_ms: Option<u64>) -> Operation<'_> {
    Operation::Put {
        key,
        value: ValueRef::Number(7),
        expire_after_ms,
    }
}

fn transaction(operations: &[Operation<'_>]) -> Vec<u8> {
    let begin = TransactionBuilder::new(SPACE);
    let all = operations
        .iter()
        .fold(begin, |builder, operation| builder.then(*operation));
    all.finish()
}

/// An entry with one batch, of the session that was born at revision 5.
fn entry(stamped: Moment, items: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (sequence, payload) in items {
        batch.extend(sequence.to_le_bytes());
        batch.extend(u32::try_from(payload.len()).expect("short").to_le_bytes());
        batch.extend([TRANSACTION, 0, 0, 0]);
        batch.extend(payload);
        batch.resize(batch.len().next_multiple_of(8), 0);
    }
    let count = u32::try_from(items.len()).expect("few").to_le_bytes();
    let (birth, nonce, principal, epoch, acked_below) = (5_u64, 1_u64, 1_u64, 1_u64, 1_u64);
    let mut bytes = Vec::new();
    bytes.extend(stamped.revision.to_le_bytes());
    bytes.extend(stamped.lease_ms.to_le_bytes());
    bytes.extend([0; 24]);
    bytes.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    bytes.extend(count);
    bytes.extend([0; 4]);
    for word in [birth, nonce, principal, epoch, acked_below] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(count);
    bytes.extend(u32::try_from(batch.len()).expect("short").to_le_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(batch);
    bytes
}

fn apply(
    shard: &mut Shard,
    revision: u64,
    lease_ms: u64,
    items: &[(u64, Vec<u8>)],
) -> AppliedEntry {
    let stamped = Moment { revision, lease_ms };
    let applied = shard.apply(&entry(stamped, items));
    applied.expect("the entry is in order")
}

fn only(applied: AppliedEntry) -> AppliedItem {
    let [item] = <[AppliedItem; 1]>::try_from(applied.items).expect("one item");
    item
}

#[test]
fn an_entry_that_is_cut_anywhere_is_refused() {
    let stamped = Moment {
        revision: 10,
        lease_ms: 0,
    };
    let whole = entry(stamped, &[(1, transaction(&[put(b"k", None)]))]);
    for length in 1..whole.len() {
        assert!(
            Shard::new(SPACE.into()).apply(&whole[..length]).is_err(),
            "{length}"
        );
    }
    assert!(Shard::new(SPACE.into()).apply(&whole).is_ok());
    assert!(Shard::new(2).apply(&whole).is_err(), "of another space");
}

#[test]
fn changes_are_what_is_different_in_the_end() {
    let mut shard = Shard::new(SPACE.into());
    apply(&mut shard, 10, 0, &[(1, transaction(&[put(b"old", None)]))]);
    let come_and_gone = [
        put(b"short", None),
        Operation::Delete { key: b"short" },
        Operation::Delete { key: b"old" },
        put(b"new", None),
    ];
    let item = only(apply(
        &mut shard,
        20,
        0,
        &[(2, transaction(&come_and_gone))],
    ));
    let held = Entry {
        value: Value::Number(7),
        created: 21,
        modified: 21,
        version: 1,
        expires_at_ms: None,
    };
    let changes = vec![(b"new".to_vec(), Some(held)), (b"old".to_vec(), None)];
    assert_eq!(item.changes, changes);
}

#[test]
fn what_is_aborted_leaves_nothing_and_is_remembered() {
    let mut shard = Shard::new(SPACE.into());
    let append = Operation::Append {
        key: b"k",
        value: b"bytes",
    };
    let failing = transaction(&[put(b"k", None), append]);
    let item = only(apply(&mut shard, 10, 0, &[(1, failing.clone())]));
    let refused = Reply {
        revision: 11,
        code: Some(ErrorCode::WrongKind),
        ..Reply::default()
    };
    assert_eq!(item.expected.reply(), refused);
    assert!(item.changes.is_empty() && shard.keys.map.is_empty());
    let again = only(apply(&mut shard, 20, 0, &[(1, failing)]));
    let replayed = Reply {
        replayed: true,
        ..refused
    };
    assert_eq!(again.expected.reply(), replayed);
    assert!(!again.executed);
}

#[test]
fn stamps_never_go_back() {
    let mut shard = Shard::new(SPACE.into());
    apply(&mut shard, 10, 500, &[(1, transaction(&[put(b"k", None)]))]);
    let applied = apply(&mut shard, 3, 100, &[(2, transaction(&[put(b"k", None)]))]);
    let (revision, lease_ms) = (12, 500);
    assert_eq!(applied.taken_for, Moment { revision, lease_ms });
    assert_eq!(only(applied).revision, 13);
}

#[test]
fn a_key_is_there_until_an_entry_swept_it() {
    let mut shard = Shard::new(SPACE.into());
    apply(
        &mut shard,
        10,
        0,
        &[(1, transaction(&[put(b"k", Some(100))]))],
    );
    assert_eq!(shard.next_due_ms(), Some(100));
    let applied = apply(
        &mut shard,
        20,
        99,
        &[(2, transaction(&[put(b"other", None)]))],
    );
    assert!(applied.expired.is_empty());
    let applied = apply(&mut shard, 30, 100, &[(3, transaction(&[put(b"k", None)]))]);
    assert_eq!(applied.expired, [b"k"]);
    let item = only(applied);
    let made = item.changes[0].1.as_ref().map(|entry| entry.created);
    assert_eq!(made, Some(31), "it is another one");
}
