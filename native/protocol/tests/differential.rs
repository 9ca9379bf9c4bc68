//! Property: whatever our verifier accepts, the stock verifier accepts and reads alike.

#[path = "support/stock.rs"]
mod stock;
mod support;

use domp_protocol::{
    Guard, Operation, OutcomeOfRequest, OutcomeRequest, SessionToken, TransactionBuilder, ValueRef,
    encode_outcome_of_request, encode_outcome_request,
};
use support::{Random, every_guard, every_operation};

/// Changes that a payload suffers before it is parsed.
const ROUNDS: usize = 300_000;

/// A transaction of a few guards and operations, drawn at random.
fn random_transaction(random: &mut Random) -> Vec<u8> {
    let guards = every_guard();
    let operations = every_operation();
    let mut builder = TransactionBuilder::new(u32::try_from(random.below(3)).expect("small"));
    for _ in 0..random.below(3) {
        builder = builder.guard(guards[random.below(guards.len())]);
    }
    for _ in 0..random.below(4) {
        builder = builder.then(operations[random.below(operations.len())]);
    }
    for _ in 0..random.below(2) {
        builder = builder.otherwise(operations[random.below(operations.len())]);
    }
    if random.below(2) == 0 {
        builder = builder.idempotency_key(&[7; 255][..=random.below(255)]);
        if random.below(2) == 0 {
            builder = builder.result(&[8; 40][..random.below(41)]);
        }
    }
    builder.finish()
}

/// Changes a byte, a bit, a word to a small or extreme number, or the length.
fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = u8::try_from(random.below(256)).expect("a byte"),
        // Offsets in vtables and tables are small multiples of 2 and 4.
        2 => bytes[at] = u8::try_from(2 * random.below(24)).expect("a byte"),
        3 => bytes[at] = bytes[at].wrapping_add(4),
        4 => bytes[at] = bytes[at].wrapping_sub(4),
        _ => bytes.truncate(at),
    }
}

#[test]
fn accepted_transactions_mean_the_same_to_the_stock_reader() {
    let mut random = Random(1);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut payload = random_transaction(&mut random);
        for _ in 0..random.below(4) {
            change(&mut random, &mut payload);
        }
        accepted += u32::from(stock::check_transaction(&payload));
    }
    // Some changes must leave the transaction valid, or nothing was compared.
    assert!(accepted > 50_000, "{accepted} of {ROUNDS} were accepted");
    assert!(accepted < 250_000, "{accepted} of {ROUNDS} were accepted");
}

#[test]
fn accepted_outcome_requests_mean_the_same_to_the_stock_reader() {
    let session = SessionToken {
        birth: 1,
        nonce: 2,
        principal: 3,
        epoch: 5,
        key: 6,
        mac: [4; 16],
    };
    let mut random = Random(2);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let session = (round % 2 == 0).then_some(session);
        let request = OutcomeRequest {
            space: 1,
            key: b"key",
            sequence: 5,
            session,
        };
        let mut payload = encode_outcome_request(&request);
        for _ in 0..random.below(4) {
            change(&mut random, &mut payload);
        }
        accepted += u32::from(stock::check_outcome_request(&payload));
    }
    assert!(
        accepted > 50_000 && accepted < 280_000,
        "{accepted} of {ROUNDS} were accepted"
    );
}

#[test]
fn accepted_outcome_of_requests_mean_the_same_to_the_stock_reader() {
    let mut random = Random(4);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let request = OutcomeOfRequest {
            space: 1,
            idempotency_key: &[7; 20][..=random.below(20)],
        };
        let mut payload = encode_outcome_of_request(&request);
        for _ in 0..random.below(4) {
            change(&mut random, &mut payload);
        }
        accepted += u32::from(stock::check_outcome_of_request(&payload));
    }
    assert!(
        accepted > 50_000 && accepted < 280_000,
        "{accepted} of {ROUNDS} were accepted"
    );
}

#[test]
fn random_bytes_are_refused_and_harm_nobody() {
    let mut random = Random(3);
    for _ in 0..ROUNDS {
        let length = random.below(96);
        // Small numbers, as offsets are: others are refused at once.
        let payload: Vec<u8> = (0..length)
            .map(|_| {
                let bound = if random.below(2) == 0 { 2 } else { 32 };
                u8::try_from(random.below(bound)).expect("a byte")
            })
            .collect();
        stock::check_transaction(&payload);
        stock::check_outcome_request(&payload);
        stock::check_outcome_of_request(&payload);
    }
}

#[test]
fn every_pair_of_operations_shares_what_it_may() {
    // Two operations of one kind share a vtable, which is the only thing they may share.
    for &first in &every_operation() {
        for &second in &every_operation() {
            let payload = TransactionBuilder::new(1).then(first).then(second).finish();
            assert!(
                stock::check_transaction(&payload),
                "{first:?} and {second:?}"
            );
        }
    }
    let value = ValueRef::Bytes(b"");
    let put = Operation::Put {
        key: b"k",
        value,
        expire_after_ms: Some(u64::MAX),
    };
    let unchanged = Guard::Unchanged {
        from: b"",
        to: Some(b""),
        revision: 0,
        count: 0,
    };
    let payload = TransactionBuilder::new(u32::MAX)
        .guard(unchanged)
        .then(put)
        .finish();
    assert!(stock::check_transaction(&payload));
}
