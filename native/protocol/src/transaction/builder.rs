//! Encodes transactions; for tests, the simulator and load generators.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::shape::{FLAG_KEYS_ONLY, FLAG_REVERSE};
use super::{Guard, Operation, OutcomeOfRequest, OutcomeRequest, ValueRef};
use crate::generated::wire;
use crate::limits::RANGE_PAGE_ENTRIES_MAX;

type Bytes<'b> = WIPOffset<flatbuffers::Vector<'b, u8>>;

/// Encodes one transaction. It checks nothing: [`super::Transaction::parse`] does.
pub struct TransactionBuilder {
    builder: FlatBufferBuilder<'static>,
    space: u32,
    guards: Vec<WIPOffset<wire::Guard<'static>>>,
    then: Vec<WIPOffset<wire::Operation<'static>>>,
    otherwise: Option<Vec<WIPOffset<wire::Operation<'static>>>>,
    idempotency_key: Option<Bytes<'static>>,
    result: Option<Bytes<'static>>,
}

impl TransactionBuilder {
    /// An empty transaction in that space.
    pub fn new(space: u32) -> Self {
        Self {
            builder: FlatBufferBuilder::new(),
            space,
            guards: Vec::new(),
            then: Vec::new(),
            otherwise: None,
            idempotency_key: None,
            result: None,
        }
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, guard: Guard<'_>) -> Self {
        let guard = encode_guard(&mut self.builder, guard);
        self.guards.push(guard);
        self
    }

    /// Adds an operation that runs when every guard holds.
    #[must_use]
    pub fn then(mut self, operation: Operation<'_>) -> Self {
        let operation = encode_operation(&mut self.builder, operation);
        self.then.push(operation);
        self
    }

    /// Adds an operation that runs when a guard fails.
    #[must_use]
    pub fn otherwise(mut self, operation: Operation<'_>) -> Self {
        let operation = encode_operation(&mut self.builder, operation);
        self.otherwise.get_or_insert_default().push(operation);
        self
    }

    /// Binds it to an idempotency key.
    #[must_use]
    pub fn idempotency_key(mut self, key: &[u8]) -> Self {
        self.idempotency_key = bytes(&mut self.builder, key);
        self
    }

    /// What is to be kept with the idempotency key.
    #[must_use]
    pub fn result(mut self, result: &[u8]) -> Self {
        self.result = bytes(&mut self.builder, result);
        self
    }

    /// The payload.
    pub fn finish(mut self) -> Vec<u8> {
        let builder = &mut self.builder;
        let guards = (!self.guards.is_empty()).then(|| builder.create_vector(&self.guards));
        let then = (!self.then.is_empty()).then(|| builder.create_vector(&self.then));
        let otherwise = self
            .otherwise
            .map(|operations| builder.create_vector(&operations));
        let arguments = wire::TransactionArgs {
            space: self.space,
            guards,
            then,
            otherwise,
            idempotency_key: self.idempotency_key,
            result: self.result,
        };
        let root = wire::Transaction::create(builder, &arguments);
        builder.finish_minimal(root);
        builder.finished_data().to_vec()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a table's arguments are options")]
fn bytes<'b>(builder: &mut FlatBufferBuilder<'b>, bytes: &[u8]) -> Option<Bytes<'b>> {
    Some(builder.create_vector(bytes))
}

/// The beginning of a range: absent where it is empty.
fn from<'b>(builder: &mut FlatBufferBuilder<'b>, key: &[u8]) -> Option<Bytes<'b>> {
    if key.is_empty() {
        None
    } else {
        bytes(builder, key)
    }
}

fn value<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    value: ValueRef<'_>,
) -> (Option<Bytes<'b>>, Option<i64>) {
    match value {
        ValueRef::Bytes(value) => (bytes(builder, value), None),
        ValueRef::Number(number) => (None, Some(number)),
    }
}

fn encode_guard<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    guard: Guard<'_>,
) -> WIPOffset<wire::Guard<'b>> {
    use wire::GuardKind;
    let mut arguments = wire::GuardArgs::default();
    let kind;
    match guard {
        Guard::Exists { key } => {
            kind = GuardKind::exists;
            arguments.key = bytes(builder, key);
        }
        Guard::Absent { key } => {
            kind = GuardKind::absent;
            arguments.key = bytes(builder, key);
        }
        Guard::Version { key, version } => {
            kind = GuardKind::version;
            arguments.key = bytes(builder, key);
            arguments.revision = Some(version);
        }
        Guard::Modified { key, revision } => {
            kind = GuardKind::modified;
            arguments.key = bytes(builder, key);
            arguments.revision = Some(revision);
        }
        Guard::ModifiedAtMost { key, revision } => {
            kind = GuardKind::modified_at_most;
            arguments.key = bytes(builder, key);
            arguments.revision = Some(revision);
        }
        Guard::Value {
            key,
            value: expected,
        } => {
            kind = GuardKind::value;
            arguments.key = bytes(builder, key);
            (arguments.value, arguments.number) = value(builder, expected);
        }
        Guard::AtLeast { key, number } => {
            kind = GuardKind::at_least;
            arguments.key = bytes(builder, key);
            arguments.number = Some(number);
        }
        Guard::Unchanged {
            from: key,
            to,
            revision,
            count,
        } => {
            kind = GuardKind::unchanged;
            arguments.key = from(builder, key);
            arguments.to = to.and_then(|to| bytes(builder, to));
            arguments.revision = Some(revision);
            arguments.count = Some(count);
        }
    }
    arguments.kind = kind;
    wire::Guard::create(builder, &arguments)
}

fn encode_operation<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    operation: Operation<'_>,
) -> WIPOffset<wire::Operation<'b>> {
    use wire::OperationKind;
    let mut arguments = wire::OperationArgs::default();
    let mut kind_and_key = |kind, key: Option<Bytes<'b>>| {
        arguments.kind = kind;
        arguments.key = key;
    };
    match operation {
        Operation::Get { key } => kind_and_key(OperationKind::get, bytes(builder, key)),
        Operation::Range {
            from: key,
            to,
            limit,
            reverse,
            keys_only,
        } => {
            kind_and_key(OperationKind::range, from(builder, key));
            arguments.to = to.and_then(|to| bytes(builder, to));
            arguments.limit = (u64::from(limit) != RANGE_PAGE_ENTRIES_MAX).then_some(limit);
            arguments.flags =
                (u8::from(reverse) * FLAG_REVERSE) | (u8::from(keys_only) * FLAG_KEYS_ONLY);
        }
        Operation::Count { from: key, to } => {
            kind_and_key(OperationKind::count, from(builder, key));
            arguments.to = to.and_then(|to| bytes(builder, to));
        }
        Operation::Put {
            key,
            value: new,
            expire_after_ms,
        } => {
            kind_and_key(OperationKind::put, bytes(builder, key));
            (arguments.value, arguments.number) = value(builder, new);
            arguments.expire_after_ms = expire_after_ms;
        }
        Operation::Delete { key } => kind_and_key(OperationKind::delete, bytes(builder, key)),
        Operation::DeleteRange { from: key, to } => {
            kind_and_key(OperationKind::delete_range, from(builder, key));
            arguments.to = to.and_then(|to| bytes(builder, to));
        }
        Operation::Add {
            key,
            delta,
            floor,
            ceiling,
        } => {
            kind_and_key(OperationKind::add, bytes(builder, key));
            arguments.number = Some(delta);
            arguments.floor = floor;
            arguments.ceiling = ceiling;
        }
        Operation::Append { key, value } => {
            kind_and_key(OperationKind::append, bytes(builder, key));
            arguments.value = bytes(builder, value);
        }
        Operation::SpaceCreate { name } => {
            kind_and_key(OperationKind::space_create, bytes(builder, name));
        }
        Operation::SpaceDrop { name } => {
            kind_and_key(OperationKind::space_drop, bytes(builder, name));
        }
    }
    wire::Operation::create(builder, &arguments)
}

/// Encodes the payload of an item of kind `outcome`.
pub fn encode_outcome_request(request: &OutcomeRequest<'_>) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let key = bytes(&mut builder, request.key);
    let session = request
        .session
        .and_then(|token| bytes(&mut builder, &token.to_bytes()));
    let arguments = wire::OutcomeRequestArgs {
        space: request.space,
        key,
        sequence: request.sequence,
        session,
    };
    let root = wire::OutcomeRequest::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

/// Encodes the payload of an item of kind `outcome_of`.
pub fn encode_outcome_of_request(request: &OutcomeOfRequest<'_>) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let idempotency_key = bytes(&mut builder, request.idempotency_key);
    let arguments = wire::OutcomeOfRequestArgs {
        space: request.space,
        idempotency_key,
    };
    let root = wire::OutcomeOfRequest::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}
