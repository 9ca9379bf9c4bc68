//! Transactions: verified once, in one pass and without allocating, then read
//! in place.
//!
//! Two rules go beyond what `FlatBuffers` asks for. No field may be unknown or
//! out of place for its kind, because the bytes are logged as they came and
//! every replica must read the same meaning out of them. And the sizes of all
//! tables and vectors, counted each time something points to them, must not
//! exceed the payload: a small frame can't unfold into a large one.

mod builder;
mod read;
mod shape;
mod verify;

pub use builder::{TransactionBuilder, encode_outcome_of_request, encode_outcome_request};
pub use read::{Guards, Operations};

use crate::error::ErrorCode;
use crate::session::SessionToken;
use crate::table::Position;

/// The id of the space that holds the names of spaces.
pub const META_SPACE: u32 = 0;

/// What a key holds: bytes or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueRef<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A 64-bit number, which `add` can change.
    Number(i64),
}

/// A condition; all of a transaction's guards must hold for its operations to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard<'a> {
    /// The key holds something.
    Exists {
        /// The key.
        key: &'a [u8],
    },
    /// The key holds nothing.
    Absent {
        /// The key.
        key: &'a [u8],
    },
    /// The key was written exactly so often since it was created.
    Version {
        /// The key.
        key: &'a [u8],
        /// Count of writes; 0: absent.
        version: u64,
    },
    /// The key was last modified exactly then.
    Modified {
        /// The key.
        key: &'a [u8],
        /// The revision of its last write.
        revision: u64,
    },
    /// The key is absent or was modified no later.
    ModifiedAtMost {
        /// The key.
        key: &'a [u8],
        /// The latest revision allowed.
        revision: u64,
    },
    /// The key holds exactly this.
    Value {
        /// The key.
        key: &'a [u8],
        /// What it must hold.
        value: ValueRef<'a>,
    },
    /// The key holds a number, and at least this one.
    AtLeast {
        /// The key.
        key: &'a [u8],
        /// The least number allowed.
        number: i64,
    },
    /// The range holds what a read of it found: so many entries, none modified since.
    Unchanged {
        /// First key; empty: the first of the space.
        from: &'a [u8],
        /// First key behind the range; `None`: to the end of the space.
        to: Option<&'a [u8]>,
        /// The revision at which it was read.
        revision: u64,
        /// How many entries it held; at most `UNCHANGED_ENTRIES_MAX`.
        count: u64,
    },
}

/// One step of a transaction's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Reads one entry.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Reads entries in order.
    Range {
        /// First key; empty: the first of the space.
        from: &'a [u8],
        /// First key behind the range; `None`: to the end of the space.
        to: Option<&'a [u8]>,
        /// At most so many entries, 1 to `RANGE_PAGE_ENTRIES_MAX`.
        limit: u32,
        /// From the last key downwards.
        reverse: bool,
        /// Leave the values out.
        keys_only: bool,
    },
    /// Counts entries.
    Count {
        /// First key; empty: the first of the space.
        from: &'a [u8],
        /// First key behind the range; `None`: to the end of the space.
        to: Option<&'a [u8]>,
    },
    /// Writes one entry.
    Put {
        /// The key.
        key: &'a [u8],
        /// What it shall hold.
        value: ValueRef<'a>,
        /// Gone after so much lease time, at least 1.
        expire_after_ms: Option<u64>,
    },
    /// Removes one entry.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes all entries of a range.
    DeleteRange {
        /// First key; empty: the first of the space.
        from: &'a [u8],
        /// First key behind the range; `None`: to the end of the space.
        to: Option<&'a [u8]>,
    },
    /// Adds to a number; an absent key starts at 0.
    Add {
        /// The key.
        key: &'a [u8],
        /// What is added.
        delta: i64,
        /// The sum must not be below.
        floor: Option<i64>,
        /// The sum must not be above; never below `floor`.
        ceiling: Option<i64>,
    },
    /// Appends bytes; an absent key starts empty.
    Append {
        /// The key.
        key: &'a [u8],
        /// What is appended.
        value: &'a [u8],
    },
    /// Creates a space; only in [`META_SPACE`].
    SpaceCreate {
        /// Its name: 1 to `SPACE_NAME_BYTES_MAX` of `A-Z a-z 0-9 . _ -`.
        name: &'a [u8],
    },
    /// Drops a space with all it holds; only in [`META_SPACE`].
    SpaceDrop {
        /// Its name.
        name: &'a [u8],
    },
}

impl Operation<'_> {
    /// May it change anything?
    pub fn is_write(&self) -> bool {
        !matches!(
            self,
            Self::Get { .. } | Self::Range { .. } | Self::Count { .. }
        )
    }
}

/// A verified transaction over its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    bytes: &'a [u8],
    outline: Outline,
}

/// What the verifier found out about the bytes of a transaction; only it makes one. With an outline
/// kept beside a copy of the bytes, they need not be verified again: see [`Outline::over`].
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    space: u32,
    guards: Vector,
    then: Vector,
    otherwise: Option<Vector>,
    idempotency_key: Option<Span>,
    result: Option<Span>,
    read_only: bool,
    guarded_keys: u32,
}

/// Verified bytes: where they stand in the payload.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Position,
    length: u16,
}

impl Span {
    fn over(self, payload: &[u8]) -> Option<&[u8]> {
        let start = self.start as usize;
        payload.get(start..start + usize::from(self.length))
    }
}

/// A verified vector of tables: where its offsets begin, and how many they are.
#[derive(Clone, Copy, Debug, Default)]
struct Vector {
    start: Position,
    count: u32,
}

impl Outline {
    /// The transaction in the bytes that were verified, or in a copy of them.
    ///
    /// With other bytes it is some other transaction, or one that breaks off early: as every access
    /// is checked all the same, that breaks the promises of the verifier, but no memory.
    #[inline]
    pub fn over(self, payload: &[u8]) -> Transaction<'_> {
        Transaction {
            bytes: payload,
            outline: self,
        }
    }

    /// How many keys its `unchanged` guards cover: each may have to be looked at.
    #[inline]
    pub fn guarded_keys(&self) -> u64 {
        self.guarded_keys.into()
    }
}

impl<'a> Transaction<'a> {
    /// Verifies a payload of kind `transaction`.
    ///
    /// # Errors
    /// `invalid_request` where it is malformed; `unsupported_operation` for kinds
    /// that are reserved or unknown; `too_large` over a limit; `cross_shard`
    /// where a guard or operation names another space.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, ErrorCode> {
        verify::transaction(payload)
    }

    /// What the verifier found out, apart from the bytes.
    #[inline]
    pub fn outline(&self) -> Outline {
        self.outline
    }

    /// The space it stays in.
    #[inline]
    pub fn space(&self) -> u32 {
        self.outline.space
    }

    /// Its guards, in order.
    #[inline]
    pub fn guards(&self) -> Guards<'a> {
        Guards::new(self.bytes, self.outline.guards)
    }

    /// What runs when every guard holds.
    #[inline]
    pub fn then(&self) -> Operations<'a> {
        Operations::new(self.bytes, self.outline.then)
    }

    /// What runs when a guard fails; `None`: nothing, and the answer says `applied: false`.
    #[inline]
    pub fn otherwise(&self) -> Option<Operations<'a>> {
        self.outline
            .otherwise
            .map(|vector| Operations::new(self.bytes, vector))
    }

    /// The key under which it takes effect at most once, whoever sends it: 1 to
    /// `IDEMPOTENCY_KEY_BYTES_MAX` bytes.
    #[inline]
    pub fn idempotency_key(&self) -> Option<&'a [u8]> {
        let span = self.outline.idempotency_key?;
        span.over(self.bytes)
    }

    /// What is to be kept with the idempotency key and given back, at most
    /// `RESULT_BYTES_MAX` bytes, perhaps none; only with a key.
    #[inline]
    pub fn result(&self) -> Option<&'a [u8]> {
        let span = self.outline.result?;
        span.over(self.bytes)
    }

    /// No branch holds a write: it need not be logged.
    #[inline]
    pub fn is_read_only(&self) -> bool {
        self.outline.read_only
    }

    /// The payload it was parsed from.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Asks what became of a request; if nothing did, forbids it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRequest<'a> {
    /// The space the request was for.
    pub space: u32,
    /// A key of the request: tells the shard.
    pub key: &'a [u8],
    /// Its sequence, at least 1.
    pub sequence: u64,
    /// The session it was sent in; `None`: the one that asks.
    pub session: Option<SessionToken>,
}

impl<'a> OutcomeRequest<'a> {
    /// Verifies a payload of kind `outcome`.
    ///
    /// # Errors
    /// `invalid_request` where it is malformed; `too_large` over a limit.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ErrorCode> {
        verify::outcome_request(payload)
    }
}

/// Asks what became of the transaction under an idempotency key. It only reads: an
/// attempt that is under way may yet apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeOfRequest<'a> {
    /// The space the transaction was for.
    pub space: u32,
    /// Its key.
    pub idempotency_key: &'a [u8],
}

impl<'a> OutcomeOfRequest<'a> {
    /// Verifies a payload of kind `outcome_of`.
    ///
    /// # Errors
    /// `invalid_request` where it is malformed; `too_large` over a limit.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ErrorCode> {
        verify::outcome_of_request(payload)
    }
}
