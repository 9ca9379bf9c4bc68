//! The same meaning, read by the stock verifier and the generated accessors:
//! whatever our verifier accepts, they must accept and read alike. Shared with
//! the fuzz targets.

use domp_protocol::generated::wire;
use domp_protocol::{Guard, Operation, OutcomeOfRequest, OutcomeRequest, Transaction, ValueRef};
use flatbuffers::{ForwardsUOffset, Vector};

/// Parses a transaction and, if it is accepted, reads it a second time with the stock reader.
///
/// # Panics
/// Where the two differ.
pub fn check_transaction(payload: &[u8]) -> bool {
    let Ok(transaction) = Transaction::parse(payload) else {
        return false;
    };
    let stock = flatbuffers::root::<wire::Transaction<'_>>(payload)
        .expect("the stock verifier accepts what ours does");
    assert_eq!(transaction.space(), stock.space());
    let guards: Vec<_> = stock
        .guards()
        .into_iter()
        .flatten()
        .map(|g| guard(&g))
        .collect();
    assert_eq!(transaction.guards().collect::<Vec<_>>(), guards);
    let then = operations(stock.then());
    let otherwise = operations(stock.otherwise());
    assert_eq!(
        transaction.then().collect::<Vec<_>>(),
        then.clone().unwrap_or_default()
    );
    assert_eq!(
        transaction.otherwise().map(Iterator::collect::<Vec<_>>),
        otherwise
    );
    let writes = then
        .into_iter()
        .chain(otherwise)
        .flatten()
        .any(|o| o.is_write());
    assert_eq!(transaction.is_read_only(), !writes);
    let key = stock.idempotency_key().map(|key| key.bytes());
    assert_eq!(transaction.idempotency_key(), key);
    let result = stock.result().map(|result| result.bytes());
    assert_eq!(transaction.result(), result);
    assert!(key.is_none_or(|key| !key.is_empty()) && (result.is_none() || key.is_some()));
    true
}

/// The same for an outcome request.
///
/// # Panics
/// Where the two differ.
pub fn check_outcome_request(payload: &[u8]) -> bool {
    let Ok(request) = OutcomeRequest::parse(payload) else {
        return false;
    };
    let stock = flatbuffers::root::<wire::OutcomeRequest<'_>>(payload)
        .expect("the stock verifier accepts what ours does");
    assert_eq!(request.space, stock.space());
    assert_eq!(Some(request.key), stock.key().map(|key| key.bytes()));
    assert_eq!(request.sequence, stock.sequence());
    let session = request.session.map(|token| token.to_bytes().to_vec());
    assert_eq!(session, stock.session().map(|token| token.bytes().to_vec()));
    true
}

/// The same for a question about a key.
///
/// # Panics
/// Where the two differ.
pub fn check_outcome_of_request(payload: &[u8]) -> bool {
    let Ok(request) = OutcomeOfRequest::parse(payload) else {
        return false;
    };
    let stock = flatbuffers::root::<wire::OutcomeOfRequest<'_>>(payload)
        .expect("the stock verifier accepts what ours does");
    assert_eq!(request.space, stock.space());
    let key = stock.idempotency_key().map(|key| key.bytes());
    assert_eq!(Some(request.idempotency_key), key);
    true
}

type Operations<'a> = Vector<'a, ForwardsUOffset<wire::Operation<'a>>>;

fn operations(vector: Option<Operations<'_>>) -> Option<Vec<Operation<'_>>> {
    vector.map(|vector| vector.iter().map(|o| operation(&o)).collect())
}

fn bytes(vector: Option<Vector<'_, u8>>) -> &[u8] {
    vector.map(|vector| vector.bytes()).unwrap_or_default()
}

fn value(value: Option<Vector<'_, u8>>, number: Option<i64>) -> ValueRef<'_> {
    match (value, number) {
        (Some(value), None) => ValueRef::Bytes(value.bytes()),
        (None, Some(number)) => ValueRef::Number(number),
        _ => panic!("exactly one of value and number was verified to be there"),
    }
}

fn guard<'a>(guard: &wire::Guard<'a>) -> Guard<'a> {
    let key = bytes(guard.key());
    let revision = || guard.revision().expect("verified to be there");
    match guard.kind() {
        wire::GuardKind::exists => Guard::Exists { key },
        wire::GuardKind::absent => Guard::Absent { key },
        wire::GuardKind::version => Guard::Version {
            key,
            version: revision(),
        },
        wire::GuardKind::modified => Guard::Modified {
            key,
            revision: revision(),
        },
        wire::GuardKind::modified_at_most => Guard::ModifiedAtMost {
            key,
            revision: revision(),
        },
        wire::GuardKind::value => Guard::Value {
            key,
            value: value(guard.value(), guard.number()),
        },
        wire::GuardKind::at_least => Guard::AtLeast {
            key,
            number: guard.number().expect("verified to be there"),
        },
        wire::GuardKind::unchanged => Guard::Unchanged {
            from: key,
            to: guard.to().map(|to| to.bytes()),
            revision: revision(),
            count: guard.count().expect("verified to be there"),
        },
        kind => panic!("guard {kind:?} was accepted"),
    }
}

fn operation<'a>(operation: &wire::Operation<'a>) -> Operation<'a> {
    let key = bytes(operation.key());
    let to = operation.to().map(|to| to.bytes());
    match operation.kind() {
        wire::OperationKind::get => Operation::Get { key },
        wire::OperationKind::range => Operation::Range {
            from: key,
            to,
            limit: operation.limit().unwrap_or(4096).min(4096),
            reverse: operation.flags() & 1 != 0,
            keys_only: operation.flags() & 2 != 0,
        },
        wire::OperationKind::count => Operation::Count { from: key, to },
        wire::OperationKind::put => Operation::Put {
            key,
            value: value(operation.value(), operation.number()),
            expire_after_ms: operation.expire_after_ms(),
        },
        wire::OperationKind::delete => Operation::Delete { key },
        wire::OperationKind::delete_range => Operation::DeleteRange { from: key, to },
        wire::OperationKind::add => Operation::Add {
            key,
            delta: operation.number().expect("verified to be there"),
            floor: operation.floor(),
            ceiling: operation.ceiling(),
        },
        wire::OperationKind::append => Operation::Append {
            key,
            value: bytes(operation.value()),
        },
        wire::OperationKind::space_create => Operation::SpaceCreate { name: key },
        wire::OperationKind::space_drop => Operation::SpaceDrop { name: key },
        kind => panic!("operation {kind:?} was accepted"),
    }
}
