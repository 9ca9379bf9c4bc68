//! What a builder writes, the verifier accepts and reads back.

mod support;

use domp_protocol::{
    ErrorCode, Operation, OutcomeOfRequest, OutcomeRequest, SessionToken, Transaction,
    TransactionBuilder, ValueRef, encode_outcome_of_request, encode_outcome_request,
};
use support::{every_guard, every_operation};

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
    assert_eq!(transaction.then().len(), then.len());
    assert_eq!(transaction.then().collect::<Vec<_>>(), then);
    let otherwise = transaction.otherwise().expect("it was given");
    assert_eq!(
        otherwise.collect::<Vec<_>>(),
        [Operation::Get { key: b"k" }]
    );
    assert!(!transaction.is_read_only());
    assert_eq!(transaction.bytes(), payload);
}

#[test]
fn spaces_are_created_and_dropped_in_space_zero() {
    let operations = [
        Operation::SpaceCreate { name: b"game-1" },
        Operation::SpaceDrop { name: b"Old_one.2" },
    ];
    let payload = TransactionBuilder::new(0)
        .then(operations[0])
        .then(operations[1])
        .finish();
    let transaction = Transaction::parse(&payload).expect("valid");
    assert_eq!(transaction.then().collect::<Vec<_>>(), operations);
    assert!(!transaction.is_read_only());
}

#[test]
fn an_empty_transaction_is_one() {
    let payload = TransactionBuilder::new(3).finish();
    let transaction = Transaction::parse(&payload).expect("valid");
    assert_eq!(transaction.guards().len() + transaction.then().len(), 0);
    assert!(transaction.otherwise().is_none());
    assert!(transaction.is_read_only());
}

#[test]
fn only_reads_make_a_transaction_read_only() {
    for operation in every_operation() {
        let then = TransactionBuilder::new(1).then(operation).finish();
        let otherwise = TransactionBuilder::new(1).otherwise(operation).finish();
        for payload in [then, otherwise] {
            let transaction = Transaction::parse(&payload).expect("valid");
            assert_eq!(
                transaction.is_read_only(),
                !operation.is_write(),
                "{operation:?}"
            );
        }
    }
}

#[test]
fn a_limit_over_the_page_is_the_page() {
    let range = |limit| Operation::Range {
        from: b"",
        to: None,
        limit,
        reverse: false,
        keys_only: false,
    };
    let payload = TransactionBuilder::new(1).then(range(1_000_000)).finish();
    let transaction = Transaction::parse(&payload).expect("valid");
    assert_eq!(transaction.then().collect::<Vec<_>>(), [range(4096)]);
}

#[test]
fn keys_and_values_may_have_every_length_up_to_their_limit() {
    let bytes = vec![7; 1 << 20];
    let key = &bytes[..1024];
    for value_bytes in [0, 1, 2, 3, 4, 5, 1 << 20] {
        let value = ValueRef::Bytes(&bytes[..value_bytes]);
        let put = Operation::Put {
            key,
            value,
            expire_after_ms: None,
        };
        let payload = TransactionBuilder::new(1).then(put).finish();
        let transaction = Transaction::parse(&payload).expect("valid");
        assert_eq!(transaction.then().next(), Some(put));
    }
    let put = |key, value| {
        let value = ValueRef::Bytes(value);
        TransactionBuilder::new(1)
            .then(Operation::Put {
                key,
                value,
                expire_after_ms: None,
            })
            .finish()
    };
    let over = vec![7; (1 << 20) + 1];
    for payload in [put(&bytes[..1025], b""), put(b"k", &over)] {
        assert_eq!(
            Transaction::parse(&payload).err(),
            Some(ErrorCode::TooLarge)
        );
    }
}

#[test]
fn four_thousand_and_ninety_six_operations_are_the_most() {
    for (count, expected) in [(4096, None), (4097, Some(ErrorCode::TooLarge))] {
        let mut then = TransactionBuilder::new(1);
        let mut guards = TransactionBuilder::new(1);
        for _ in 0..count {
            then = then.then(Operation::Delete { key: b"k" });
            guards = guards.guard(domp_protocol::Guard::Exists { key: b"k" });
        }
        assert_eq!(Transaction::parse(&then.finish()).err(), expected);
        assert_eq!(Transaction::parse(&guards.finish()).err(), expected);
    }
}

#[test]
fn an_outcome_request_reads_back_as_it_was_built() {
    let session = SessionToken {
        birth: 1,
        nonce: 2,
        principal: 3,
        epoch: 4,
        key: 5,
        mac: *b"0123456789abcdef",
    };
    for session in [None, Some(session)] {
        let request = OutcomeRequest {
            space: 9,
            key: b"k",
            sequence: u64::MAX,
            session,
        };
        let payload = encode_outcome_request(&request);
        assert_eq!(OutcomeRequest::parse(&payload), Ok(request));
    }
}

#[test]
fn a_session_token_keeps_its_bytes() {
    let token = SessionToken {
        birth: 1,
        nonce: 2,
        principal: 3,
        epoch: 4,
        key: 5,
        mac: [9; 16],
    };
    let bytes = token.to_bytes();
    assert_eq!(SessionToken::from_bytes(&bytes), Some(token));
    assert_eq!(bytes[..40], token.signed_bytes());
    assert_eq!(SessionToken::from_bytes(&bytes[..55]), None);
    assert_eq!(
        SessionToken::from_bytes(&[bytes.as_slice(), &[0]].concat()),
        None
    );
}

#[test]
fn an_idempotency_key_and_its_result_read_back_as_they_were_built() {
    let get = Operation::Get { key: b"a" };
    let key = [9; 255];
    let result = vec![8; 1024];
    for result in [None, Some(&b""[..]), Some(&result[..])] {
        let mut builder = TransactionBuilder::new(1).then(get).idempotency_key(&key);
        if let Some(result) = result {
            builder = builder.result(result);
        }
        let payload = builder.finish();
        let transaction = Transaction::parse(&payload).expect("valid");
        assert_eq!(transaction.idempotency_key(), Some(&key[..]));
        assert_eq!(transaction.result(), result);
        // And out of a copy of the bytes, as they wait or stand in the log.
        let copy = payload.clone();
        let again = transaction.outline().over(&copy);
        assert_eq!(again.idempotency_key(), Some(&key[..]));
        assert_eq!(again.result(), result);
    }
}

#[test]
fn an_outcome_of_request_reads_back_as_it_was_built() {
    let request = OutcomeOfRequest {
        space: u32::MAX,
        idempotency_key: b"order/7",
    };
    let payload = encode_outcome_of_request(&request);
    assert_eq!(OutcomeOfRequest::parse(&payload), Ok(request));
}
