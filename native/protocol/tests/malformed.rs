//! Each way in which a transaction can be malformed is refused, with the right error.

mod support;

use domp_protocol::generated::wire;
use domp_protocol::{
    ErrorCode, Guard, Operation, OutcomeOfRequest, OutcomeRequest, Transaction, TransactionBuilder,
    ValueRef, encode_outcome_of_request, encode_outcome_request,
};
use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};
use support::every_guard;
use wire::{GuardArgs, GuardKind, OperationArgs, OperationKind, TransactionArgs};

type Builder = FlatBufferBuilder<'static>;
type Bytes = WIPOffset<Vector<'static, u8>>;

/// The error of a transaction with this one operation.
fn refusal_of_operation(
    space: u32,
    operation: impl FnOnce(&mut Builder) -> OperationArgs<'static>,
) -> Option<ErrorCode> {
    let mut builder = Builder::new();
    let operation = operation(&mut builder);
    let operation = wire::Operation::create(&mut builder, &operation);
    let then = Some(builder.create_vector(&[operation]));
    let arguments = TransactionArgs {
        space,
        then,
        ..TransactionArgs::default()
    };
    refusal(builder, &arguments)
}

/// The error of a transaction with this one guard.
fn refusal_of_guard(
    space: u32,
    guard: impl FnOnce(&mut Builder) -> GuardArgs<'static>,
) -> Option<ErrorCode> {
    let mut builder = Builder::new();
    let guard = guard(&mut builder);
    let guard = wire::Guard::create(&mut builder, &guard);
    let guards = Some(builder.create_vector(&[guard]));
    let arguments = TransactionArgs {
        space,
        guards,
        ..TransactionArgs::default()
    };
    refusal(builder, &arguments)
}

fn refusal(mut builder: Builder, arguments: &TransactionArgs<'static>) -> Option<ErrorCode> {
    let root = wire::Transaction::create(&mut builder, arguments);
    builder.finish_minimal(root);
    Transaction::parse(builder.finished_data()).err()
}

#[expect(clippy::unnecessary_wraps, reason = "a table's arguments are options")]
fn some(builder: &mut Builder, bytes: &[u8]) -> Option<Bytes> {
    Some(builder.create_vector(bytes))
}

/// Fields that an operation may have besides kind, space and key.
const OPERATION_FIELDS: [&str; 8] = [
    "to",
    "value",
    "number",
    "floor",
    "ceiling",
    "expire_after_ms",
    "limit",
    "flags",
];

/// For each kind: required fields, fields that may be there too.
const OPERATIONS: [(OperationKind, &[&str], &[&str]); 10] = [
    (OperationKind::get, &[], &[]),
    (OperationKind::range, &[], &["to", "limit", "flags"]),
    (OperationKind::count, &[], &["to"]),
    (OperationKind::put, &["value"], &["expire_after_ms"]),
    (OperationKind::delete, &[], &[]),
    (OperationKind::delete_range, &[], &["to"]),
    (OperationKind::add, &["number"], &["floor", "ceiling"]),
    (OperationKind::append, &["value"], &[]),
    (OperationKind::space_create, &[], &[]),
    (OperationKind::space_drop, &[], &[]),
];

fn operation_with(
    builder: &mut Builder,
    kind: OperationKind,
    fields: &[&str],
) -> OperationArgs<'static> {
    let has = |name| fields.contains(&name);
    let key = some(builder, b"key");
    let to = has("to").then(|| builder.create_vector(b"to"));
    let value = has("value").then(|| builder.create_vector(b"value"));
    OperationArgs {
        kind,
        space: None,
        key,
        to,
        value,
        number: has("number").then_some(0),
        floor: has("floor").then_some(0),
        ceiling: has("ceiling").then_some(0),
        expire_after_ms: has("expire_after_ms").then_some(1),
        limit: has("limit").then_some(1),
        flags: u8::from(has("flags")),
    }
}

fn space_of(kind: OperationKind) -> u32 {
    u32::from(kind.0 < OperationKind::space_create.0)
}

#[test]
fn each_operation_takes_its_own_fields_and_no_others() {
    for (kind, required, optional) in OPERATIONS {
        let refusal = |fields: &[&str]| {
            refusal_of_operation(space_of(kind), |builder| {
                operation_with(builder, kind, fields)
            })
        };
        assert_eq!(refusal(required), None, "{kind:?} with what it needs");
        assert_eq!(
            refusal(&[required, optional].concat()),
            None,
            "{kind:?} with all it takes"
        );
        for &field in required {
            let without: Vec<_> = required
                .iter()
                .copied()
                .filter(|&name| name != field)
                .collect();
            let refused = refusal(&without);
            assert_eq!(
                refused,
                Some(ErrorCode::InvalidRequest),
                "{kind:?} without {field}"
            );
        }
        for field in OPERATION_FIELDS {
            if required.contains(&field) || optional.contains(&field) {
                continue;
            }
            let refused = refusal(&[required, &[field]].concat());
            assert_eq!(
                refused,
                Some(ErrorCode::InvalidRequest),
                "{kind:?} with {field}"
            );
        }
    }
}

#[test]
fn a_put_takes_a_value_or_a_number() {
    let put = |fields: &[&str]| {
        refusal_of_operation(1, |builder| {
            operation_with(builder, OperationKind::put, fields)
        })
    };
    assert_eq!(put(&["value"]), None);
    assert_eq!(put(&["number"]), None);
    assert_eq!(put(&["value", "number"]), Some(ErrorCode::InvalidRequest));
    assert_eq!(put(&[]), Some(ErrorCode::InvalidRequest));
}

#[test]
fn each_guard_takes_its_own_fields_and_no_others() {
    const FIELDS: [&str; 5] = ["to", "value", "number", "revision", "count"];
    let guards: [(GuardKind, &[&str], &[&str]); 8] = [
        (GuardKind::exists, &[], &[]),
        (GuardKind::absent, &[], &[]),
        (GuardKind::version, &["revision"], &[]),
        (GuardKind::modified, &["revision"], &[]),
        (GuardKind::modified_at_most, &["revision"], &[]),
        (GuardKind::value, &["value"], &[]),
        (GuardKind::at_least, &["number"], &[]),
        (GuardKind::unchanged, &["revision", "count"], &["to"]),
    ];
    for (kind, required, optional) in guards {
        let refusal = |fields: &[&str]| {
            refusal_of_guard(1, |builder| {
                let has = |name| fields.contains(&name);
                let key = some(builder, b"key");
                GuardArgs {
                    kind,
                    space: None,
                    key,
                    to: has("to").then(|| builder.create_vector(b"to")),
                    value: has("value").then(|| builder.create_vector(b"value")),
                    number: has("number").then_some(0),
                    revision: has("revision").then_some(0),
                    count: has("count").then_some(0),
                }
            })
        };
        assert_eq!(refusal(required), None, "{kind:?} with what it needs");
        assert_eq!(
            refusal(&[required, optional].concat()),
            None,
            "{kind:?} with all it takes"
        );
        for &field in required {
            let without: Vec<_> = required
                .iter()
                .copied()
                .filter(|&name| name != field)
                .collect();
            let refused = refusal(&without);
            assert_eq!(
                refused,
                Some(ErrorCode::InvalidRequest),
                "{kind:?} without {field}"
            );
        }
        for field in FIELDS {
            if required.contains(&field) || optional.contains(&field) {
                continue;
            }
            let refused = refusal(&[required, &[field]].concat());
            assert_eq!(
                refused,
                Some(ErrorCode::InvalidRequest),
                "{kind:?} with {field}"
            );
        }
    }
}

#[test]
fn a_value_guard_takes_a_value_or_a_number() {
    let guard = |value: bool, number: bool| {
        refusal_of_guard(1, |builder| {
            let key = some(builder, b"key");
            let value = value.then(|| builder.create_vector(b"v"));
            let number = number.then_some(0);
            GuardArgs {
                kind: GuardKind::value,
                key,
                value,
                number,
                ..GuardArgs::default()
            }
        })
    };
    assert_eq!(guard(true, false), None);
    assert_eq!(guard(false, true), None);
    assert_eq!(guard(true, true), Some(ErrorCode::InvalidRequest));
    assert_eq!(guard(false, false), Some(ErrorCode::InvalidRequest));
}

#[test]
fn reserved_and_unknown_kinds_are_unsupported_and_none_is_invalid() {
    for kind in 0..=255 {
        let known = OPERATIONS.iter().any(|(known, ..)| known.0 == kind);
        let refused = refusal_of_operation(1, |builder| {
            let key = some(builder, b"key");
            OperationArgs {
                kind: OperationKind(kind),
                key,
                ..OperationArgs::default()
            }
        });
        let expected = if kind == 0 {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::UnsupportedOperation
        };
        assert!(
            known || refused == Some(expected),
            "operation {kind}: {refused:?}"
        );
        let refused = refusal_of_guard(1, |builder| {
            let key = some(builder, b"key");
            GuardArgs {
                kind: GuardKind(kind),
                key,
                ..GuardArgs::default()
            }
        });
        assert!(
            (1..=8).contains(&kind) || refused == Some(expected),
            "guard {kind}: {refused:?}"
        );
    }
}

#[test]
fn keys_are_there_but_where_a_range_begins() {
    for (kind, required, _) in OPERATIONS {
        let ranges = [
            OperationKind::range,
            OperationKind::count,
            OperationKind::delete_range,
        ];
        let expected = (!ranges.contains(&kind)).then_some(ErrorCode::InvalidRequest);
        for key in [None, Some(b"")] {
            let refused = refusal_of_operation(space_of(kind), |builder| {
                let key = key.map(|key| builder.create_vector(key));
                OperationArgs {
                    key,
                    ..operation_with(builder, kind, required)
                }
            });
            assert_eq!(refused, expected, "{kind:?} with key {key:?}");
        }
    }
    for guard in every_guard() {
        let kind = guard_kind(&guard);
        let ranges = kind == GuardKind::unchanged;
        let refused = refusal_of_guard(1, |_| GuardArgs {
            kind,
            revision: needs_revision(kind).then_some(1),
            number: matches!(kind, GuardKind::value | GuardKind::at_least).then_some(1),
            count: ranges.then_some(1),
            ..GuardArgs::default()
        });
        assert_eq!(
            refused,
            (!ranges).then_some(ErrorCode::InvalidRequest),
            "{kind:?}"
        );
    }
}

fn needs_revision(kind: GuardKind) -> bool {
    use GuardKind as Kind;
    matches!(
        kind,
        Kind::version | Kind::modified | Kind::modified_at_most | Kind::unchanged
    )
}

fn guard_kind(guard: &Guard<'_>) -> GuardKind {
    match guard {
        Guard::Exists { .. } => GuardKind::exists,
        Guard::Absent { .. } => GuardKind::absent,
        Guard::Version { .. } => GuardKind::version,
        Guard::Modified { .. } => GuardKind::modified,
        Guard::ModifiedAtMost { .. } => GuardKind::modified_at_most,
        Guard::Value { .. } => GuardKind::value,
        Guard::AtLeast { .. } => GuardKind::at_least,
        Guard::Unchanged { .. } => GuardKind::unchanged,
    }
}

#[test]
fn limits_hold_for_every_part() {
    let long = [7; 1025];
    let too_large = Some(ErrorCode::TooLarge);
    for (kind, required, _) in OPERATIONS {
        let refused = refusal_of_operation(space_of(kind), |builder| {
            let key = some(builder, &long);
            OperationArgs {
                key,
                ..operation_with(builder, kind, required)
            }
        });
        assert_eq!(refused, too_large, "{kind:?} with a long key");
    }
    let range = TransactionBuilder::new(1).then(Operation::Count {
        from: b"",
        to: Some(&long),
    });
    assert_eq!(Transaction::parse(&range.finish()).err(), too_large);
    let unchanged = Guard::Unchanged {
        from: b"",
        to: None,
        revision: 1,
        count: 4097,
    };
    let guard = TransactionBuilder::new(1).guard(unchanged);
    assert_eq!(Transaction::parse(&guard.finish()).err(), too_large);
    let name = [b'n'; 65];
    let create = TransactionBuilder::new(0).then(Operation::SpaceCreate { name: &name });
    assert_eq!(Transaction::parse(&create.finish()).err(), too_large);
    assert_eq!(Transaction::parse(&vec![0; 4_259_841]).err(), too_large);
}

#[test]
fn numbers_out_of_range_are_invalid() {
    let invalid = Some(ErrorCode::InvalidRequest);
    let add = |floor, ceiling| {
        let add = Operation::Add {
            key: b"k",
            delta: 1,
            floor,
            ceiling,
        };
        Transaction::parse(&TransactionBuilder::new(1).then(add).finish()).err()
    };
    assert_eq!(add(Some(1), Some(0)), invalid);
    assert_eq!(add(Some(1), Some(1)), None);
    let put = Operation::Put {
        key: b"k",
        value: ValueRef::Number(1),
        expire_after_ms: Some(0),
    };
    let put = TransactionBuilder::new(1).then(put).finish();
    assert_eq!(Transaction::parse(&put).err(), invalid);
    let range = Operation::Range {
        from: b"",
        to: None,
        limit: 0,
        reverse: false,
        keys_only: false,
    };
    let range = TransactionBuilder::new(1).then(range).finish();
    assert_eq!(Transaction::parse(&range).err(), invalid);
    for flags in [4, 8, 16, 32, 64, 128, 255] {
        let refused = refusal_of_operation(1, |_| OperationArgs {
            kind: OperationKind::range,
            flags,
            ..OperationArgs::default()
        });
        assert_eq!(refused, invalid, "flags {flags}");
    }
}

#[test]
fn another_space_in_a_guard_or_operation_is_cross_shard() {
    for (space, expected) in [
        (7, None),
        (8, Some(ErrorCode::CrossShard)),
        (0, Some(ErrorCode::CrossShard)),
    ] {
        let space = Some(space);
        let refused = refusal_of_operation(7, |builder| OperationArgs {
            space,
            ..operation_with(builder, OperationKind::get, &[])
        });
        assert_eq!(refused, expected);
        let refused = refusal_of_guard(7, |builder| {
            let key = some(builder, b"key");
            GuardArgs {
                kind: GuardKind::exists,
                space,
                key,
                ..GuardArgs::default()
            }
        });
        assert_eq!(refused, expected);
    }
}

#[test]
fn space_zero_is_written_by_creating_and_dropping_alone() {
    for (kind, required, _) in OPERATIONS {
        let writes_spaces = space_of(kind) == 0;
        let reads = [
            OperationKind::get,
            OperationKind::range,
            OperationKind::count,
        ]
        .contains(&kind);
        let refusal =
            |space| refusal_of_operation(space, |builder| operation_with(builder, kind, required));
        let invalid = Some(ErrorCode::InvalidRequest);
        let expected = if reads || writes_spaces {
            None
        } else {
            invalid
        };
        assert_eq!(refusal(0), expected, "{kind:?} in space 0");
        let expected = if writes_spaces { invalid } else { None };
        assert_eq!(refusal(1), expected, "{kind:?} in space 1");
    }
}

#[test]
fn names_of_spaces_are_plain() {
    for name in [&b"a b"[..], b"a/b", "gr\u{fc}n".as_bytes(), b"\0", b"a\n"] {
        let create = TransactionBuilder::new(0)
            .then(Operation::SpaceCreate { name })
            .finish();
        assert_eq!(
            Transaction::parse(&create).err(),
            Some(ErrorCode::InvalidRequest)
        );
    }
}

#[test]
fn an_outcome_request_needs_key_sequence_and_a_whole_token() {
    let invalid = Some(ErrorCode::InvalidRequest);
    let good = OutcomeRequest {
        space: 1,
        key: b"k",
        sequence: 1,
        session: None,
    };
    let parse = |request| OutcomeRequest::parse(&encode_outcome_request(&request)).err();
    assert_eq!(parse(good), None);
    assert_eq!(parse(OutcomeRequest { key: b"", ..good }), invalid);
    assert_eq!(
        parse(OutcomeRequest {
            sequence: 0,
            ..good
        }),
        invalid
    );
    assert_eq!(
        parse(OutcomeRequest {
            key: &[7; 1025],
            ..good
        }),
        Some(ErrorCode::TooLarge)
    );
    for session_bytes in [0, 40, 55] {
        let mut builder = Builder::new();
        let key = some(&mut builder, b"k");
        let session = some(&mut builder, &vec![1; session_bytes]);
        let arguments = wire::OutcomeRequestArgs {
            space: 1,
            key,
            sequence: 1,
            session,
        };
        let root = wire::OutcomeRequest::create(&mut builder, &arguments);
        builder.finish_minimal(root);
        assert_eq!(
            OutcomeRequest::parse(builder.finished_data()).err(),
            invalid
        );
    }
}

/// The error of a transaction with such an idempotency key and result.
fn refusal_of_key(key: Option<&[u8]>, result: Option<&[u8]>) -> Option<ErrorCode> {
    let mut builder = Builder::new();
    let idempotency_key = key.map(|key| builder.create_vector(key));
    let result = result.map(|result| builder.create_vector(result));
    let arguments = TransactionArgs {
        space: 1,
        idempotency_key,
        result,
        ..TransactionArgs::default()
    };
    refusal(builder, &arguments)
}

#[test]
fn an_idempotency_key_has_bytes_and_a_result_has_a_key() {
    let invalid = Some(ErrorCode::InvalidRequest);
    let too_large = Some(ErrorCode::TooLarge);
    assert_eq!(refusal_of_key(Some(b"k"), None), None);
    assert_eq!(refusal_of_key(Some(b"k"), Some(b"")), None);
    assert_eq!(refusal_of_key(Some(b""), None), invalid);
    assert_eq!(refusal_of_key(Some(b""), Some(b"r")), invalid);
    assert_eq!(refusal_of_key(None, Some(b"r")), invalid);
    assert_eq!(refusal_of_key(None, Some(b"")), invalid);
    assert_eq!(refusal_of_key(Some(&[7; 255]), Some(&[7; 1024])), None);
    assert_eq!(refusal_of_key(Some(&[7; 256]), None), too_large);
    assert_eq!(refusal_of_key(Some(b"k"), Some(&[7; 1025])), too_large);
}

#[test]
fn an_outcome_of_request_needs_a_key() {
    let parse = |key: &[u8]| {
        let request = OutcomeOfRequest {
            space: 1,
            idempotency_key: key,
        };
        OutcomeOfRequest::parse(&encode_outcome_of_request(&request)).err()
    };
    assert_eq!(parse(b"k"), None);
    assert_eq!(parse(&[7; 255]), None);
    assert_eq!(parse(b""), Some(ErrorCode::InvalidRequest));
    assert_eq!(parse(&[7; 256]), Some(ErrorCode::TooLarge));
    let mut builder = Builder::new();
    let arguments = wire::OutcomeOfRequestArgs::default();
    let root = wire::OutcomeOfRequest::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    assert_eq!(
        OutcomeOfRequest::parse(builder.finished_data()).err(),
        Some(ErrorCode::InvalidRequest)
    );
}
