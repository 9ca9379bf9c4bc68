//! Transactions: verified once, in one pass and without allocating, then read
//! in place.
//!
//! Two rules go beyond what `FlatBuffers` asks for. No field may be unknown or
//! out of place for its kind, because the bytes are logged as they came and
//! every replica must read the same meaning out of them. And the sizes of all
//! tables and vectors, counted each time something points to them, must not
//! exceed the payload: a small frame can't unfold into a large one.

pub(crate) mod builder;
pub(crate) mod read;
pub(crate) mod shape;
mod verify;

pub use crate::generated::operations::{Guard, Operation};
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
