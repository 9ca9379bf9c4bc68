//! What a person is told of an entry's body.

mod state_support;

use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{Guard, Operation, TransactionBuilder, ValueRef};
use domp_state::entry::{BatchHead, EntryBuilder, describe_entry};
use domp_state::{SigningKey, StateLimits, SystemItem};
use state_support::item;
use state_support::random::Random;

/// An entry's body as the builder builds it, by hand.
fn entry_body() -> Vec<u8> {
    let transaction = TransactionBuilder::new(3)
        .guard(Guard::Absent { key: b"lock" })
        .then(Operation::Put {
            key: b"lock",
            value: ValueRef::Number(1),
            expire_after_ms: None,
        })
        .then(Operation::Add {
            key: b"balance\x01",
            delta: -5,
            floor: Some(0),
            ceiling: None,
        })
        .otherwise(Operation::Get { key: b"lock" })
        .finish();
    let mut frame = FrameBuilder::new(FrameKind::Submit);
    frame.push_item(17, ItemKind::Transaction, &transaction);
    let items = frame.finish(0, 0, 3)[24..].to_vec();
    let mut body = Vec::new();
    body.extend_from_slice(&1_000_u64.to_le_bytes());
    body.extend_from_slice(&250_u64.to_le_bytes());
    body.extend_from_slice(&[0; 24]);
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    for field in [900_u64, 0xabc, 6, 2, 16] {
        body.extend_from_slice(&field.to_le_bytes());
    }
    body.extend_from_slice(&1_u32.to_le_bytes());
    let bytes = u32::try_from(items.len()).expect("small");
    body.extend_from_slice(&bytes.to_le_bytes());
    body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&items);
    body
}

fn described(body: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    describe_entry(body, &mut |line| lines.push(line.to_owned()));
    lines
}

#[test]
fn an_entry_is_described_down_to_the_operations() {
    let want = [
        "revision 1000, lease 250 ms, apply version 1, 1 items in 1 batches",
        "session 900/0000000000000abc of principal 6, epoch 2, acked below 16",
        "  17: space 3 if absent \"lock\" then put \"lock\", add -5 to \"balance\\x01\" else get \"lock\"",
    ];
    assert_eq!(described(&entry_body()), want);
    assert_eq!(
        described(b"no entry at all"),
        ["the rest of the body cannot be read"]
    );
}

#[test]
fn keys_and_items_of_the_system_are_described_but_no_secret() {
    let mut builder = EntryBuilder::new();
    builder.push_system(&SystemItem::Limits(StateLimits::FOUNDING));
    builder.push_system(&SystemItem::SigningKey(SigningKey {
        id: 7,
        key: [0xab; 32],
    }));
    builder.begin_batch(&BatchHead::stateless(6));
    let transaction = TransactionBuilder::new(3)
        .then(Operation::Delete { key: b"lock" })
        .idempotency_key(b"order 12")
        .result(b"done")
        .finish();
    builder.push_item(&item(1, ItemKind::Transaction, &transaction));
    let mut body = builder.finish(1_000, 250);
    let want = [
        "revision 1000, lease 250 ms, apply version 1, 3 items in 2 batches",
        "of the system",
        "  limits: session ttl 3600000 ms, window 4096, at most 100000 sessions, \
         idempotency ttl 600000 ms, at most 1000000 idempotency keys",
        "  signing key 7",
        "without a session, of principal 6",
        "  1: space 3 under idempotency key \"order 12\" keeping 4 bytes then delete \"lock\"",
    ];
    assert_eq!(described(&body), want);
    body[16] = 9;
    body[56 + 56 + 12] = 5;
    let lines = described(&body);
    assert!(lines[0].ends_with(", closed 9"), "{lines:?}");
    assert!(lines[2].contains("leases"), "{lines:?}");
}

#[test]
fn any_bytes_can_be_described() {
    let body = entry_body();
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut bytes = body.clone();
        for _ in 0..=random.below(4) {
            let at = random.size(bytes.len());
            bytes[at] = random.next().to_le_bytes()[0];
        }
        bytes.truncate(random.size(bytes.len() + 1));
        assert!(!described(&bytes).is_empty());
    }
}
