//! Bytes that no builder writes: cut off, with offsets and lengths gone astray,
//! with fields of the future, with children that two parents share.

mod support;

use domp_protocol::generated::wire;
use domp_protocol::{ErrorCode, Operation, Transaction, TransactionBuilder};
use flatbuffers::{FlatBufferBuilder, UOffsetT};
use support::{every_guard, every_operation};
use wire::{OperationArgs, OperationKind, TransactionArgs};

type Builder = FlatBufferBuilder<'static>;

fn refusal(mut builder: Builder, arguments: &TransactionArgs<'static>) -> Option<ErrorCode> {
    let root = wire::Transaction::create(&mut builder, arguments);
    builder.finish_minimal(root);
    Transaction::parse(builder.finished_data()).err()
}

/// A transaction that holds some of everything.
fn example() -> Vec<u8> {
    let mut builder = TransactionBuilder::new(7);
    for guard in every_guard() {
        builder = builder.guard(guard);
    }
    for operation in every_operation() {
        builder = builder.then(operation).otherwise(operation);
    }
    builder.idempotency_key(b"key").result(b"result").finish()
}

#[test]
fn a_transaction_cut_anywhere_is_refused() {
    let whole = example();
    let last = whole
        .iter()
        .rposition(|&byte| byte != 0)
        .expect("it has bytes");
    for length in 0..=last {
        let refused = Transaction::parse(&whole[..length]).err();
        assert_eq!(
            refused,
            Some(ErrorCode::InvalidRequest),
            "the first {length} bytes"
        );
    }
}

/// Offsets and lengths that are far off: nothing of them may be followed out of the payload.
#[test]
fn hostile_numbers_anywhere_are_refused_or_read_within_the_payload() {
    const HOSTILE: [u32; 9] = [
        0,
        1,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xffff_fff0,
        0xffff_fffc,
        0xffff_fffe,
        UOffsetT::MAX,
    ];
    let whole = example();
    for at in 0..whole.len() - 3 {
        for hostile in HOSTILE {
            let mut changed = whole.clone();
            changed[at..at + 4].copy_from_slice(&hostile.to_le_bytes());
            if let Ok(transaction) = Transaction::parse(&changed) {
                let guards = transaction.guards().count();
                let operations =
                    transaction.then().count() + transaction.otherwise().map_or(0, Iterator::count);
                assert_eq!(
                    guards,
                    transaction.guards().len(),
                    "all that it says is there"
                );
                assert!(operations <= 2 * 4096);
            }
        }
    }
}

/// Builds a payload by hand: the u16s and u32s of a list, one behind the other.
fn words(words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(size, word) in words {
        bytes.extend_from_slice(&word.to_le_bytes()[..size]);
    }
    bytes
}

/// A transaction `get "key"`, with the vtable of the operation in the open.
fn get_by_hand(slots: &[u32], fields: &[(usize, u32)]) -> Vec<u8> {
    let vtable_bytes = 4 + 2 * u32::try_from(slots.len()).expect("few");
    let padding = (4 - vtable_bytes % 4) % 4;
    let fields_bytes: usize = fields.iter().map(|field| field.0).sum();
    let table_bytes = 4 + u32::try_from(fields_bytes).expect("few");
    let mut list = vec![
        (4, 16), // -> Transaction
        (2, 10),
        (2, 8),
        (2, 0),
        (2, 0),
        (2, 4),
        (2, 0), // its vtable: `then` at 4
        (4, 12),
        (4, 4), // Transaction: then -> vector
        (4, 1),
        (4, 4 + vtable_bytes + padding), // one operation
        (2, vtable_bytes),
        (2, table_bytes),
    ];
    list.extend(slots.iter().map(|&slot| (2, slot)));
    list.extend((0..padding).map(|_| (1, 0)));
    list.push((4, vtable_bytes + padding)); // Operation
    list.extend_from_slice(fields);
    list.extend([(4, 3), (4, 0x0079_656b)]); // "key"
    words(&list)
}

#[test]
fn a_transaction_by_hand_is_as_good_as_any() {
    let payload = get_by_hand(&[8, 0, 4], &[(4, 8), (1, 1), (3, 0)]);
    let transaction = Transaction::parse(&payload).expect("valid");
    assert_eq!(
        transaction.then().collect::<Vec<_>>(),
        [Operation::Get { key: b"key" }]
    );
}

#[test]
fn unknown_fields_are_refused_wherever_they_stand() {
    let known = [8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    let fields = [(4, 8), (1, 1), (3, 0)];
    assert_eq!(
        Transaction::parse(&get_by_hand(&known, &fields)).err(),
        None
    );
    // A twelfth field, present or not: this version can't know that it means nothing.
    for slot in [0, 4, 8] {
        let more = [&known[..], &[slot]].concat();
        let refused = Transaction::parse(&get_by_hand(&more, &fields)).err();
        assert_eq!(
            refused,
            Some(ErrorCode::InvalidRequest),
            "a twelfth slot of {slot}"
        );
    }
    // The same in the transaction itself: a vtable of six slots, then one of seven.
    for (vtable_bytes, expected) in [(16, None), (18, Some(ErrorCode::InvalidRequest))] {
        let vtable = [
            (2, vtable_bytes),
            (2, 8),
            (2, 4),
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
        ];
        let payload = words(&[&[(4, 24)], &vtable[..], &[(4, 20), (4, 1)]].concat());
        assert_eq!(Transaction::parse(&payload).err(), expected);
    }
}

#[test]
fn fields_must_lie_in_their_table_and_be_aligned() {
    let fields = [(4, 8), (1, 1), (3, 0)];
    for (what, slots) in [
        ("a key over the pointer to the vtable", [8, 0, 0]),
        ("a kind over the pointer to the vtable", [3, 0, 4]),
        ("a key that is not aligned", [8, 0, 5]),
        ("a key half beyond the table", [8, 0, 10]),
        ("a kind beyond the table", [12, 0, 4]),
        ("a key far beyond the payload", [8, 0, 0xfffc]),
    ] {
        let refused = Transaction::parse(&get_by_hand(&slots, &fields)).err();
        assert_eq!(refused, Some(ErrorCode::InvalidRequest), "{what}");
    }
}

/// A range whose flags would be read out of the pointer to the vtable, where they are zero.
#[test]
fn no_field_lies_in_the_pointer_to_the_vtable() {
    for (flags, expected) in [(0, None), (3, Some(ErrorCode::InvalidRequest))] {
        let slots = [8, 0, 4, 0, 0, 0, 0, 0, 0, 0, flags];
        let payload = get_by_hand(&slots, &[(4, 8), (1, 2), (3, 0)]);
        assert_eq!(Transaction::parse(&payload).err(), expected);
    }
}

/// Transactions of nothing but a space, whose tables and vtables lie where they like.
#[test]
fn tables_and_vtables_are_aligned() {
    let invalid = Some(ErrorCode::InvalidRequest);
    let aligned = words(&[(4, 12), (2, 6), (2, 8), (2, 4), (2, 0), (4, 8), (4, 1)]);
    assert_eq!(Transaction::parse(&aligned).err(), None);
    let table = [
        (4, 14),
        (2, 6),
        (2, 10),
        (2, 6),
        (4, 0),
        (4, 10),
        (2, 0),
        (4, 1),
    ];
    assert_eq!(
        Transaction::parse(&words(&table)).err(),
        invalid,
        "a table at 14"
    );
    let vtable = [
        (4, 12),
        (1, 0),
        (2, 6),
        (2, 8),
        (2, 4),
        (1, 0),
        (4, 7),
        (4, 1),
    ];
    assert_eq!(
        Transaction::parse(&words(&vtable)).err(),
        invalid,
        "a vtable at 5"
    );
}

#[test]
fn a_vector_longer_than_the_payload_is_refused() {
    let good = get_by_hand(&[8, 0, 4], &[(4, 8), (1, 1), (3, 0)]);
    let length_at = good.len() - 8;
    for length in [4, 5, 0xffff, 0x7fff_ffff, 0xffff_fffb, u32::MAX] {
        let mut payload = good.clone();
        payload[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        let refused = Transaction::parse(&payload).err();
        let expected = (length != 4).then_some(ErrorCode::InvalidRequest);
        assert_eq!(refused, expected, "a key of {length} bytes");
    }
}

/// Many operations that share one key: small on the wire, large once unfolded.
#[test]
fn children_with_two_parents_are_refused() {
    let mut builder = Builder::new();
    let key = Some(builder.create_vector(&[7_u8; 1000]));
    let get = OperationArgs {
        kind: OperationKind::get,
        key,
        ..OperationArgs::default()
    };
    let operations: Vec<_> = (0..3)
        .map(|_| wire::Operation::create(&mut builder, &get))
        .collect();
    let then = Some(builder.create_vector(&operations));
    let shared_key = TransactionArgs {
        space: 1,
        then,
        ..TransactionArgs::default()
    };
    assert_eq!(
        refusal(builder, &shared_key),
        Some(ErrorCode::InvalidRequest)
    );

    let mut builder = Builder::new();
    let key = Some(builder.create_vector(&[7_u8; 1000]));
    let get = OperationArgs {
        kind: OperationKind::get,
        key,
        ..OperationArgs::default()
    };
    let operation = wire::Operation::create(&mut builder, &get);
    let then = Some(builder.create_vector(&[operation; 4096]));
    let shared_table = TransactionArgs {
        space: 1,
        then,
        ..TransactionArgs::default()
    };
    assert_eq!(
        refusal(builder, &shared_table),
        Some(ErrorCode::InvalidRequest)
    );

    let mut builder = Builder::new();
    let key = Some(builder.create_vector(&[7_u8; 1000]));
    let get = OperationArgs {
        kind: OperationKind::get,
        key,
        ..OperationArgs::default()
    };
    let operation = wire::Operation::create(&mut builder, &get);
    let branch = Some(builder.create_vector(&[operation]));
    let shared_branch = TransactionArgs {
        space: 1,
        then: branch,
        otherwise: branch,
        ..TransactionArgs::default()
    };
    assert_eq!(
        refusal(builder, &shared_branch),
        Some(ErrorCode::InvalidRequest)
    );

    let mut builder = Builder::new();
    let shared = Some(builder.create_vector(&[7_u8; 200]));
    let shared_bytes = TransactionArgs {
        space: 1,
        idempotency_key: shared,
        result: shared,
        ..TransactionArgs::default()
    };
    assert_eq!(
        refusal(builder, &shared_bytes),
        Some(ErrorCode::InvalidRequest)
    );
}
