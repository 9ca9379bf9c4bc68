//! Transactions drawn by chance, over few keys so that they meet.

use domp_protocol::transaction::{Guard, Operation, TransactionBuilder, ValueRef};

use crate::ids::KeyName;
use crate::rng::Rng;

/// Keys of each kind.
const KEYS: u64 = 12;

/// Bytes of the largest value: an entry of a world has room for a little less.
const LARGE_BYTES: usize = 68 << 10;

/// A payload and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    pub payload: Vec<u8>,
    pub reads: bool,
}

fn bytes_key(rng: &mut Rng) -> Vec<u8> {
    format!("item/{:02}", rng.below(KEYS)).into_bytes()
}

fn number_key(rng: &mut Rng) -> Vec<u8> {
    format!("n/{:02}", rng.below(KEYS)).into_bytes()
}

fn any_key(rng: &mut Rng) -> Vec<u8> {
    if rng.percent(50) {
        bytes_key(rng)
    } else {
        number_key(rng)
    }
}

/// A range's bounds.
fn bounds(rng: &mut Rng) -> (Vec<u8>, Option<Vec<u8>>) {
    match rng.below(4) {
        0 => (Vec::new(), None),
        1 => (b"item/".to_vec(), Some(b"item0".to_vec())),
        2 => (b"n/".to_vec(), None),
        _ => {
            let (one, other) = (any_key(rng), any_key(rng));
            if one <= other {
                (one, Some(other))
            } else {
                (other, Some(one))
            }
        }
    }
}

/// A revision that guards may hope to match: one that was seen.
pub struct Seen<'a> {
    pub revisions: &'a [u64],
}

impl Seen<'_> {
    fn pick(&self, rng: &mut Rng) -> u64 {
        if self.revisions.is_empty() || rng.percent(10) {
            rng.next() >> 8
        } else {
            *rng.pick(self.revisions)
        }
    }
}

/// An idempotency key, and what to keep with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Under {
    pub key: Option<KeyName>,
    pub result: Option<Vec<u8>>,
}

impl Under {
    fn begin(&self, space: u32) -> TransactionBuilder {
        let mut builder = TransactionBuilder::new(space);
        if let Some(key) = &self.key {
            builder = builder.idempotency_key(key);
        }
        if let Some(result) = &self.result {
            builder = builder.result(result);
        }
        builder
    }
}

/// Any transaction for a space.
pub fn draw(rng: &mut Rng, space: u32, seen: &Seen<'_>) -> Drawn {
    match rng.below(10) {
        0..=2 => read(rng, space),
        _ => draw_write(rng, space, seen, &Under::default()),
    }
}

/// One that writes, perhaps under an idempotency key.
pub fn draw_write(rng: &mut Rng, space: u32, seen: &Seen<'_>, under: &Under) -> Drawn {
    match rng.below(7) {
        0..=1 => transfer(rng, space, under),
        _ => write(rng, space, seen, under),
    }
}

/// A transaction that only reads.
pub fn read(rng: &mut Rng, space: u32) -> Drawn {
    let mut builder = TransactionBuilder::new(space);
    for _ in 0..rng.between(1, 3) {
        let key = any_key(rng);
        let (from, to) = bounds(rng);
        let operation = match rng.below(4) {
            0 | 1 => Operation::Get { key: &key },
            2 => Operation::Count {
                from: &from,
                to: to.as_deref(),
            },
            _ => Operation::Range {
                from: &from,
                to: to.as_deref(),
                limit: u32::try_from(rng.between(1, 40)).expect("small"),
                reverse: rng.percent(40),
                keys_only: rng.percent(30),
            },
        };
        builder = builder.then(operation);
    }
    Drawn {
        payload: builder.finish(),
        reads: true,
    }
}

/// Two keys at once, the sum of both unchanged; aborted when the first runs dry.
fn transfer(rng: &mut Rng, space: u32, under: &Under) -> Drawn {
    let (from, to) = (number_key(rng), number_key(rng));
    let amount = i64::try_from(rng.between(1, 5)).expect("small");
    let floor = rng.percent(70).then_some(-20);
    let payload = under
        .begin(space)
        .then(Operation::Add {
            key: &from,
            delta: -amount,
            floor,
            ceiling: None,
        })
        .then(Operation::Add {
            key: &to,
            delta: amount,
            floor: None,
            ceiling: Some(1000),
        })
        .finish();
    Drawn {
        payload,
        reads: false,
    }
}

fn write(rng: &mut Rng, space: u32, seen: &Seen<'_>, under: &Under) -> Drawn {
    let mut builder = under.begin(space);
    for _ in 0..rng.below(3) {
        builder = guard(rng, builder, seen);
    }
    for _ in 0..rng.between(1, 3) {
        builder = operation(rng, builder, true);
    }
    if rng.percent(40) {
        for _ in 0..rng.between(1, 2) {
            builder = operation(rng, builder, false);
        }
    }
    // A write to a fixed key makes sure that this is one.
    let key = bytes_key(rng);
    // Now and then one about as long as an entry may be, or a little longer.
    // Under keys that no write reads: a result that is to be kept is short.
    if rng.percent(1) {
        let key = format!("large/{}", rng.below(3));
        let value = vec![b'L'; rng.index(LARGE_BYTES)];
        builder = builder.then(Operation::Put {
            key: key.as_bytes(),
            value: ValueRef::Bytes(&value),
            expire_after_ms: None,
        });
    }
    builder = builder.then(Operation::Put {
        key: &key,
        value: ValueRef::Bytes(b"w"),
        expire_after_ms: None,
    });
    Drawn {
        payload: builder.finish(),
        reads: false,
    }
}

fn guard(rng: &mut Rng, builder: TransactionBuilder, seen: &Seen<'_>) -> TransactionBuilder {
    let key = any_key(rng);
    let number = number_key(rng);
    let (from, to) = bounds(rng);
    let revision = seen.pick(rng);
    builder.guard(match rng.below(9) {
        0 => Guard::Exists { key: &key },
        1 => Guard::Absent { key: &key },
        2 => Guard::Version {
            key: &key,
            version: rng.below(4),
        },
        3 => Guard::Modified {
            key: &key,
            revision,
        },
        4 => Guard::ModifiedAtMost {
            key: &key,
            revision,
        },
        5 => Guard::Value {
            key: &key,
            value: ValueRef::Bytes(b"w"),
        },
        6 => Guard::AtLeast {
            key: &number,
            number: -5,
        },
        _ => Guard::Unchanged {
            from: &from,
            to: to.as_deref(),
            revision,
            count: rng.below(2 * KEYS),
        },
    })
}

fn operation(rng: &mut Rng, builder: TransactionBuilder, then: bool) -> TransactionBuilder {
    let (bytes, number, any) = (bytes_key(rng), number_key(rng), any_key(rng));
    let (from, to) = bounds(rng);
    let value = vec![b'a' + u8::try_from(rng.below(26)).expect("a letter"); rng.index(120)];
    let expire_after_ms = rng.percent(25).then(|| rng.between(1, 400));
    let operation = match rng.below(13) {
        0..=3 => Operation::Put {
            key: &bytes,
            value: ValueRef::Bytes(&value),
            expire_after_ms,
        },
        4 => Operation::Put {
            key: &number,
            value: ValueRef::Number(7),
            expire_after_ms: None,
        },
        5 => Operation::Delete { key: &any },
        6 if rng.percent(30) => Operation::DeleteRange {
            from: &from,
            to: to.as_deref(),
        },
        6 | 7 => Operation::Append {
            key: &bytes,
            value: b"+",
        },
        // Sometimes of the wrong kind, which aborts.
        8 => Operation::Append {
            key: &any,
            value: b"-",
        },
        9 => Operation::Add {
            key: &any,
            delta: 3,
            floor: None,
            ceiling: None,
        },
        10 => Operation::Add {
            key: &number,
            delta: -1,
            floor: Some(-10),
            ceiling: None,
        },
        11 => Operation::Add {
            key: &number,
            delta: i64::MAX,
            floor: None,
            ceiling: None,
        },
        _ => Operation::Get { key: &any },
    };
    if then {
        builder.then(operation)
    } else {
        builder.otherwise(operation)
    }
}

/// Creates or drops a space.
pub fn draw_space(rng: &mut Rng) -> Drawn {
    let name = format!("space-{}", rng.below(3)).into_bytes();
    let operation = if rng.percent(55) {
        Operation::SpaceCreate { name: &name }
    } else {
        Operation::SpaceDrop { name: &name }
    };
    Drawn {
        payload: TransactionBuilder::new(0).then(operation).finish(),
        reads: false,
    }
}

/// Reads the names of spaces.
pub fn list_spaces() -> Drawn {
    audit(0)
}

/// Reads everything a space holds.
pub fn audit(space: u32) -> Drawn {
    let payload = TransactionBuilder::new(space)
        .then(Operation::Range {
            from: &[],
            to: None,
            limit: 4096,
            reverse: false,
            keys_only: false,
        })
        .then(Operation::Count {
            from: &[],
            to: None,
        })
        .finish();
    Drawn {
        payload,
        reads: true,
    }
}

/// A transaction that names two spaces.
pub fn cross_shard(payload_space: u32) -> Vec<u8> {
    use domp_protocol::generated::wire;
    use flatbuffers::FlatBufferBuilder;
    let mut builder = FlatBufferBuilder::new();
    let key = builder.create_vector(b"k");
    let value = builder.create_vector(b"v");
    let operation = wire::Operation::create(
        &mut builder,
        &wire::OperationArgs {
            kind: wire::OperationKind::put,
            space: Some(payload_space + 1),
            key: Some(key),
            value: Some(value),
            ..Default::default()
        },
    );
    let then = builder.create_vector(&[operation]);
    let transaction = wire::Transaction::create(
        &mut builder,
        &wire::TransactionArgs {
            space: payload_space,
            then: Some(then),
            ..Default::default()
        },
    );
    builder.finish(transaction, None);
    builder.finished_data().to_vec()
}
