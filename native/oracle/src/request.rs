//! Requests, read by the stock reader of the schema's tables: never by the product's own. What guards and
//! operations there are is the schema's as well; what is made of them is in [`crate::keys`].

use domp_protocol::generated::wire;
use domp_protocol::limits;
use domp_protocol::transaction::{Guard, Operation, ValueRef};
use flatbuffers::{ForwardsUOffset, Vector};

/// A page of a range has at most so many entries.
#[expect(clippy::cast_possible_truncation, reason = "some thousands")]
const PAGE_ENTRIES_MAX: u32 = limits::RANGE_PAGE_ENTRIES_MAX as u32;
/// Bit 0 of `Operation.flags`.
const REVERSE: u8 = 1;
/// Bit 1.
const KEYS_ONLY: u8 = 2;

/// Whether it may change something.
pub(crate) fn may_write(operation: &Operation<'_>) -> bool {
    !matches!(
        operation,
        Operation::Get { .. } | Operation::Range { .. } | Operation::Count { .. }
    )
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Where.
    pub space: u32,
    /// All must hold for `then` to run.
    pub guards: Vec<Guard<'a>>,
    /// What to do if they hold.
    pub then: Vec<Operation<'a>>,
    /// And if one does not.
    pub otherwise: Vec<Operation<'a>>,
    /// What it is done once under.
    pub idempotency_key: Option<&'a [u8]>,
    /// To be kept with the key.
    pub result: Option<&'a [u8]>,
}

/// A question about a request of a session.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where.
    pub space: u32,
    /// The request's.
    pub sequence: u64,
    /// Birth, nonce and principal of the session; `None`: the asker's own.
    pub session: Option<(u64, u64, u64)>,
}

fn bytes(vector: Option<Vector<'_, u8>>) -> &[u8] {
    vector.map(|vector| vector.bytes()).unwrap_or_default()
}

fn given(value: Option<Vector<'_, u8>>, number: Option<i64>) -> Result<ValueRef<'_>, String> {
    match (value, number) {
        (Some(value), None) => Ok(ValueRef::Bytes(value.bytes())),
        (None, Some(number)) => Ok(ValueRef::Number(number)),
        _ => Err("neither or both of a value and a number".to_owned()),
    }
}

fn wanted<T>(what: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("no {what}"))
}

impl<'a> Request<'a> {
    /// Reads a transaction.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(payload: &'a [u8]) -> Result<Self, String> {
        let root = flatbuffers::root::<wire::Transaction<'a>>(payload)
            .map_err(|error| error.to_string())?;
        let guards = root.guards().into_iter().flatten();
        let request = Self {
            space: root.space(),
            guards: guards.map(|each| guard(&each)).collect::<Result<_, _>>()?,
            then: operations(root.then())?,
            otherwise: operations(root.otherwise())?,
            idempotency_key: root.idempotency_key().map(|key| key.bytes()),
            result: root.result().map(|result| result.bytes()),
        };
        if request.idempotency_key.is_some_and(<[u8]>::is_empty)
            || (request.result.is_some() && request.idempotency_key.is_none())
        {
            return Err("a result without a key, or an empty key".to_owned());
        }
        Ok(request)
    }

    /// Whether it changes nothing, whichever branch runs.
    pub fn only_reads(&self) -> bool {
        let mut all = self.then.iter().chain(&self.otherwise);
        !all.any(may_write)
    }
}

impl Question {
    /// Reads the payload of an outcome request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let root = flatbuffers::root::<wire::OutcomeRequest<'_>>(payload)
            .map_err(|error| error.to_string())?;
        let session = match root.session().map(|token| token.bytes()) {
            None => None,
            Some(token) if token.len() == 56 => {
                let word = |at: usize| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&token[at..at + 8]);
                    u64::from_le_bytes(word)
                };
                Some((word(0), word(8), word(16)))
            }
            Some(token) => return Err(format!("a token of {} bytes", token.len())),
        };
        Ok(Self {
            space: root.space(),
            sequence: root.sequence(),
            session,
        })
    }
}

type Tables<'a> = Vector<'a, ForwardsUOffset<wire::Operation<'a>>>;

fn operations(vector: Option<Tables<'_>>) -> Result<Vec<Operation<'_>>, String> {
    let all = vector.into_iter().flatten();
    all.map(|each| operation(&each)).collect()
}

fn guard<'a>(table: &wire::Guard<'a>) -> Result<Guard<'a>, String> {
    let key = bytes(table.key());
    let revision = || wanted("revision", table.revision());
    Ok(match table.kind() {
        wire::GuardKind::exists => Guard::Exists { key },
        wire::GuardKind::absent => Guard::Absent { key },
        wire::GuardKind::version => Guard::Version {
            key,
            version: revision()?,
        },
        wire::GuardKind::modified => Guard::Modified {
            key,
            revision: revision()?,
        },
        wire::GuardKind::modified_at_most => Guard::ModifiedAtMost {
            key,
            revision: revision()?,
        },
        wire::GuardKind::value => Guard::Value {
            key,
            value: given(table.value(), table.number())?,
        },
        wire::GuardKind::at_least => Guard::AtLeast {
            key,
            number: wanted("number", table.number())?,
        },
        wire::GuardKind::unchanged => Guard::Unchanged {
            from: key,
            to: table.to().map(|to| to.bytes()),
            revision: revision()?,
            count: wanted("count", table.count())?,
        },
        kind => return Err(format!("a guard of kind {}", kind.0)),
    })
}

fn operation<'a>(table: &wire::Operation<'a>) -> Result<Operation<'a>, String> {
    let key = bytes(table.key());
    let to = table.to().map(|to| to.bytes());
    Ok(match table.kind() {
        wire::OperationKind::get => Operation::Get { key },
        wire::OperationKind::range => Operation::Range {
            from: key,
            to,
            limit: table
                .limit()
                .unwrap_or(PAGE_ENTRIES_MAX)
                .min(PAGE_ENTRIES_MAX),
            reverse: table.flags() & REVERSE != 0,
            keys_only: table.flags() & KEYS_ONLY != 0,
        },
        wire::OperationKind::count => Operation::Count { from: key, to },
        wire::OperationKind::put => Operation::Put {
            key,
            value: given(table.value(), table.number())?,
            expire_after_ms: table.expire_after_ms(),
        },
        wire::OperationKind::delete => Operation::Delete { key },
        wire::OperationKind::delete_range => Operation::DeleteRange { from: key, to },
        wire::OperationKind::add => Operation::Add {
            key,
            delta: wanted("number", table.number())?,
            floor: table.floor(),
            ceiling: table.ceiling(),
        },
        wire::OperationKind::append => Operation::Append {
            key,
            value: bytes(table.value()),
        },
        wire::OperationKind::space_create => Operation::SpaceCreate { name: key },
        wire::OperationKind::space_drop => Operation::SpaceDrop { name: key },
        kind => return Err(format!("an operation of kind {}", kind.0)),
    })
}
