//! What a builder writes, the verifier accepts and reads back.

use super::*;
use crate::limits::RANGE_PAGE_ENTRIES_MAX;

#[test]
fn every_guard_and_operation_reads_back_as_it_was_built() {
    let guards = every_guard();
    let then = every_operation();
    let mut builder = TransactionBuilder::new(7);
    for &guard in &guards {
        builder = builder.guard(guard);
    }
    for &operation in &then {
        builder = builder.then(operation);
    }
    let payload = builder.otherwise(Operation::Get { key: b"k" }).finish();
    let transaction = Transaction::parse(&payload).expect("the builder writes valid bytes");
    assert_eq!(transaction.space(), 7);
    assert_eq!(transaction.guards().len(), guards.len());
    assert_eq!(transaction.guards().collect::<Vec<_>>(), guards);
    assert_eq!(transaction.then().collect::<Vec<_>>(), then);
    let otherwise = transaction.otherwise().expect("it was given");
    assert_eq!(
        otherwise.collect::<Vec<_>>(),
        [Operation::Get { key: b"k" }]
    );
    assert!(!transaction.is_read_only());
}

#[test]
fn spaces_are_created_and_dropped_in_space_zero() {
    let operations = [
        Operation::SpaceCreate { name: b"game-1" },
        Operation::SpaceDrop { name: b"old_one" },
    ];
    let payload = TransactionBuilder::new(META_SPACE)
        .then(operations[0])
        .then(operations[1])
        .finish();
    let transaction = Transaction::parse(&payload).expect("valid");
    assert_eq!(transaction.then().collect::<Vec<_>>(), operations);
}

fn every_guard() -> Vec<Guard<'static>> {
    vec![
        Guard::Exists { key: b"a" },
        Guard::Absent { key: b"b" },
        Guard::Version {
            key: b"c",
            version: 0,
        },
        Guard::Modified {
            key: b"d",
            revision: u64::MAX,
        },
        Guard::ModifiedAtMost {
            key: b"e",
            revision: 9,
        },
        Guard::Value {
            key: b"f",
            value: ValueRef::Bytes(b""),
        },
        Guard::Value {
            key: b"f",
            value: ValueRef::Number(i64::MIN),
        },
        Guard::AtLeast {
            key: b"g",
            number: -3,
        },
        Guard::Unchanged {
            from: b"",
            to: None,
            revision: 1,
            count: 0,
        },
        Guard::Unchanged {
            from: b"h",
            to: Some(b"i"),
            revision: 1,
            count: 4096,
        },
    ]
}

fn every_operation() -> Vec<Operation<'static>> {
    let limit = u32::try_from(RANGE_PAGE_ENTRIES_MAX).expect("fits");
    vec![
        Operation::Get { key: b"a" },
        Operation::Range {
            from: b"",
            to: None,
            limit,
            reverse: false,
            keys_only: false,
        },
        Operation::Range {
            from: b"b",
            to: Some(b"c"),
            limit: 3,
            reverse: true,
            keys_only: true,
        },
        Operation::Count {
            from: b"",
            to: Some(b"z"),
        },
        Operation::Put {
            key: b"d",
            value: ValueRef::Bytes(b"v"),
            expire_after_ms: None,
        },
        Operation::Put {
            key: b"e",
            value: ValueRef::Number(0),
            expire_after_ms: Some(5),
        },
        Operation::Delete { key: b"f" },
        Operation::DeleteRange {
            from: b"g",
            to: None,
        },
        Operation::Add {
            key: b"h",
            delta: -1,
            floor: Some(0),
            ceiling: Some(0),
        },
        Operation::Add {
            key: b"h",
            delta: i64::MAX,
            floor: None,
            ceiling: None,
        },
        Operation::Append {
            key: b"i",
            value: b"",
        },
    ]
}
