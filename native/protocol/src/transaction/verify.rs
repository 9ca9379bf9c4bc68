//! The verifier of transactions: one pass, no allocation.

use super::{META_SPACE, OutcomeRequest, Transaction, Vector};
use crate::bytes::u32_at;
use crate::error::ErrorCode;
use crate::limits::{
    GUARDS_MAX, KEY_BYTES_MAX, OPERATIONS_MAX, SPACE_NAME_BYTES_MAX, TRANSACTION_BYTES_MAX,
    UNCHANGED_ENTRIES_MAX, VALUE_BYTES_MAX,
};
use crate::session::SessionToken;
use crate::table::{Malformed, Table, UnknownFields, vector_at};

impl From<Malformed> for ErrorCode {
    #[inline]
    fn from(_: Malformed) -> Self {
        Self::InvalidRequest
    }
}

/// Fields of `Transaction` by id, and their bytes.
mod transaction_field {
    pub const SPACE: usize = 0;
    pub const GUARDS: usize = 1;
    pub const THEN: usize = 2;
    pub const OTHERWISE: usize = 3;
    pub const SIZES: [u8; 4] = [4; 4];
}

/// Fields of `Guard` by id, and their bytes.
pub(super) mod guard_field {
    pub const KIND: usize = 0;
    pub const SPACE: usize = 1;
    pub const KEY: usize = 2;
    pub const TO: usize = 3;
    pub const VALUE: usize = 4;
    pub const NUMBER: usize = 5;
    pub const REVISION: usize = 6;
    pub const COUNT: usize = 7;
    pub const SIZES: [u8; 8] = [1, 4, 4, 4, 4, 8, 8, 8];
}

/// Fields of `Operation` by id, and their bytes.
pub(super) mod operation_field {
    pub const KIND: usize = 0;
    pub const SPACE: usize = 1;
    pub const KEY: usize = 2;
    pub const TO: usize = 3;
    pub const VALUE: usize = 4;
    pub const NUMBER: usize = 5;
    pub const FLOOR: usize = 6;
    pub const CEILING: usize = 7;
    pub const EXPIRE_AFTER_MS: usize = 8;
    pub const LIMIT: usize = 9;
    pub const FLAGS: usize = 10;
    pub const SIZES: [u8; 11] = [1, 4, 4, 4, 4, 8, 8, 8, 8, 4, 1];
}

/// Fields of `OutcomeRequest` by id, and their bytes.
mod outcome_field {
    pub const SPACE: usize = 0;
    pub const KEY: usize = 1;
    pub const SEQUENCE: usize = 2;
    pub const SESSION: usize = 3;
    pub const SIZES: [u8; 4] = [4, 4, 8, 4];
}

/// Numbers of `GuardKind`.
pub(super) mod guard_kind {
    pub const EXISTS: u8 = 1;
    pub const ABSENT: u8 = 2;
    pub const VERSION: u8 = 3;
    pub const MODIFIED: u8 = 4;
    pub const MODIFIED_AT_MOST: u8 = 5;
    pub const VALUE: u8 = 6;
    pub const AT_LEAST: u8 = 7;
    pub const UNCHANGED: u8 = 8;
}

/// Numbers of `OperationKind`.
pub(super) mod operation_kind {
    pub const GET: u8 = 1;
    pub const RANGE: u8 = 2;
    pub const COUNT: u8 = 3;
    pub const PUT: u8 = 4;
    pub const DELETE: u8 = 5;
    pub const DELETE_RANGE: u8 = 6;
    pub const ADD: u8 = 7;
    pub const APPEND: u8 = 8;
    pub const SPACE_CREATE: u8 = 12;
    pub const SPACE_DROP: u8 = 13;
}

/// Bits of `Operation.flags`.
pub(super) const FLAG_REVERSE: u8 = 1;
pub(super) const FLAG_KEYS_ONLY: u8 = 2;

/// What a kind of guard or operation demands of its fields.
#[derive(Clone, Copy)]
struct Shape {
    /// Fields that may be present; 0 marks a kind that is reserved or unknown.
    allowed: u32,
    /// Fields that must be.
    required: u32,
    /// Exactly one of value and number must be present.
    value_or_number: bool,
    /// The key may be empty or absent: it begins a range.
    ranges: bool,
    /// It changes something.
    writes: bool,
}

const UNSUPPORTED: Shape = Shape {
    allowed: 0,
    required: 0,
    value_or_number: false,
    ranges: false,
    writes: false,
};

const fn bits(fields: &[usize]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < fields.len() {
        bits |= 1 << fields[index];
        index += 1;
    }
    bits
}

impl Shape {
    /// A kind about one key, with more fields that are required, and others that may be there.
    const fn point(required: &[usize], optional: &[usize]) -> Self {
        let always = bits(&[operation_field::KIND, operation_field::KEY]);
        let required = always | bits(required);
        let allowed = required | bits(optional) | bits(&[operation_field::SPACE]);
        Self {
            allowed,
            required,
            ..UNSUPPORTED
        }
    }

    /// A kind about a range.
    const fn range(required: &[usize], optional: &[usize]) -> Self {
        let shape = Self::point(required, optional);
        Self {
            allowed: shape.allowed | bits(&[operation_field::TO]),
            required: shape.required & !bits(&[operation_field::KEY]),
            ranges: true,
            ..shape
        }
    }

    const fn with_value_or_number(self) -> Self {
        let more = bits(&[operation_field::VALUE, operation_field::NUMBER]);
        Self {
            allowed: self.allowed | more,
            value_or_number: true,
            ..self
        }
    }

    const fn writing(self) -> Self {
        Self {
            writes: true,
            ..self
        }
    }

    /// Are exactly the right fields there?
    #[inline]
    fn fits(&self, present: u32) -> bool {
        const VALUE: u32 = bits(&[operation_field::VALUE]);
        const NUMBER: u32 = bits(&[operation_field::NUMBER]);
        let either = (present & VALUE != 0) != (present & NUMBER != 0);
        present & !self.allowed == 0
            && present & self.required == self.required
            && (either || !self.value_or_number)
    }
}

// Kind, space, key, to, value and number have the same ids in both tables, so
// one constructor serves both.
const _: () = {
    assert!(guard_field::KIND == operation_field::KIND);
    assert!(guard_field::SPACE == operation_field::SPACE);
    assert!(guard_field::KEY == operation_field::KEY);
    assert!(guard_field::TO == operation_field::TO);
    assert!(guard_field::VALUE == operation_field::VALUE);
    assert!(guard_field::NUMBER == operation_field::NUMBER);
};

/// Shapes of guards by kind; kinds 0 and 9 (`holds`, reserved) have none.
const GUARD_SHAPES: [Shape; 16] = {
    use guard_field::{COUNT, NUMBER, REVISION};
    let mut shapes = [UNSUPPORTED; 16];
    shapes[guard_kind::EXISTS as usize] = Shape::point(&[], &[]);
    shapes[guard_kind::ABSENT as usize] = Shape::point(&[], &[]);
    shapes[guard_kind::VERSION as usize] = Shape::point(&[REVISION], &[]);
    shapes[guard_kind::MODIFIED as usize] = Shape::point(&[REVISION], &[]);
    shapes[guard_kind::MODIFIED_AT_MOST as usize] = Shape::point(&[REVISION], &[]);
    shapes[guard_kind::VALUE as usize] = Shape::point(&[], &[]).with_value_or_number();
    shapes[guard_kind::AT_LEAST as usize] = Shape::point(&[NUMBER], &[]);
    shapes[guard_kind::UNCHANGED as usize] = Shape::range(&[REVISION, COUNT], &[]);
    shapes
};

/// Shapes of operations by kind; kinds 0 and 9 to 11 (reserved) have none.
const OPERATION_SHAPES: [Shape; 16] = {
    use operation_field::{CEILING, EXPIRE_AFTER_MS, FLAGS, FLOOR, LIMIT, NUMBER, VALUE};
    let mut shapes = [UNSUPPORTED; 16];
    shapes[operation_kind::GET as usize] = Shape::point(&[], &[]);
    shapes[operation_kind::RANGE as usize] = Shape::range(&[], &[LIMIT, FLAGS]);
    shapes[operation_kind::COUNT as usize] = Shape::range(&[], &[]);
    shapes[operation_kind::PUT as usize] = Shape::point(&[], &[EXPIRE_AFTER_MS])
        .with_value_or_number()
        .writing();
    shapes[operation_kind::DELETE as usize] = Shape::point(&[], &[]).writing();
    shapes[operation_kind::DELETE_RANGE as usize] = Shape::range(&[], &[]).writing();
    shapes[operation_kind::ADD as usize] = Shape::point(&[NUMBER], &[FLOOR, CEILING]).writing();
    shapes[operation_kind::APPEND as usize] = Shape::point(&[VALUE], &[]).writing();
    shapes[operation_kind::SPACE_CREATE as usize] = Shape::point(&[], &[]).writing();
    shapes[operation_kind::SPACE_DROP as usize] = Shape::point(&[], &[]).writing();
    shapes
};

/// The shape of a kind: 0 is a missing kind, what else has no shape is reserved or unknown.
#[inline]
fn shape_of(shapes: &'static [Shape; 16], kind: u8) -> Result<&'static Shape, ErrorCode> {
    match shapes.get(usize::from(kind)) {
        Some(shape) if shape.allowed != 0 => Ok(shape),
        _ if kind == 0 => Err(ErrorCode::InvalidRequest),
        _ => Err(ErrorCode::UnsupportedOperation),
    }
}

struct Verifier<'a> {
    bytes: &'a [u8],
    space: u32,
    /// Bytes of all tables and vectors, counted each time something points to them.
    apparent_bytes: usize,
    read_only: bool,
}

pub(super) fn transaction(payload: &[u8]) -> Result<Transaction<'_>, ErrorCode> {
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::<4>::open_root(payload, &transaction_field::SIZES, UnknownFields::Refuse)?;
    let mut verifier = Verifier {
        bytes: payload,
        space: table.u32(transaction_field::SPACE).unwrap_or_default(),
        apparent_bytes: 4 + table.size,
        read_only: true,
    };
    let mut transaction = Transaction {
        bytes: payload,
        space: verifier.space,
        guards: Vector::default(),
        then: Vector::default(),
        otherwise: None,
        read_only: true,
    };
    if let Some(place) = table.place(transaction_field::GUARDS) {
        transaction.guards = verifier.tables(place, GUARDS_MAX, Verifier::guard)?;
    }
    if let Some(place) = table.place(transaction_field::THEN) {
        transaction.then = verifier.tables(place, OPERATIONS_MAX, Verifier::operation)?;
    }
    if let Some(place) = table.place(transaction_field::OTHERWISE) {
        transaction.otherwise =
            Some(verifier.tables(place, OPERATIONS_MAX, Verifier::operation)?);
    }
    if verifier.apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    transaction.read_only = verifier.read_only;
    Ok(transaction)
}

impl<'a> Verifier<'a> {
    /// Verifies the vector of tables that the u32 at `place` points to.
    #[inline]
    fn tables(
        &mut self,
        place: usize,
        count_max: u64,
        verify: impl Fn(&mut Self, usize) -> Result<(), ErrorCode>,
    ) -> Result<Vector, ErrorCode> {
        let (start, offsets) = vector_at(self.bytes, place, 4)?;
        let count = offsets.len() / 4;
        if count as u64 > count_max {
            return Err(ErrorCode::TooLarge);
        }
        self.apparent_bytes += 4 + offsets.len();
        for index in 0..count {
            let at = start + 4 * index;
            verify(self, at + u32_at(self.bytes, at).ok_or(Malformed)? as usize)?;
        }
        Ok(Vector { start, count })
    }

    #[inline]
    fn guard(&mut self, at: usize) -> Result<(), ErrorCode> {
        use guard_field::{COUNT, KEY, KIND, SIZES, SPACE, TO, VALUE};
        let guard = Table::<8>::open(self.bytes, at, &SIZES, UnknownFields::Refuse)?;
        self.apparent_bytes += guard.size;
        let shape = shape_of(&GUARD_SHAPES, guard.u8(KIND).unwrap_or_default())?;
        if !shape.fits(guard.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(guard.u32(SPACE))?;
        self.key(&guard, KEY, shape.ranges)?;
        self.vector(&guard, TO, KEY_BYTES_MAX)?;
        self.vector(&guard, VALUE, VALUE_BYTES_MAX)?;
        match guard.u64(COUNT) {
            Some(count) if count > UNCHANGED_ENTRIES_MAX => Err(ErrorCode::TooLarge),
            _ => Ok(()),
        }
    }

    #[inline]
    fn operation(&mut self, at: usize) -> Result<(), ErrorCode> {
        use operation_field::{KEY, KIND, SIZES, SPACE, TO, VALUE};
        let operation = Table::<11>::open(self.bytes, at, &SIZES, UnknownFields::Refuse)?;
        self.apparent_bytes += operation.size;
        let kind = operation.u8(KIND).unwrap_or_default();
        let shape = shape_of(&OPERATION_SHAPES, kind)?;
        if !shape.fits(operation.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(operation.u32(SPACE))?;
        let key = self.key(&operation, KEY, shape.ranges)?;
        self.vector(&operation, TO, KEY_BYTES_MAX)?;
        self.vector(&operation, VALUE, VALUE_BYTES_MAX)?;
        scalars(&operation)?;
        let names_space = kind >= operation_kind::SPACE_CREATE;
        if names_space {
            space_name(key)?;
        }
        // Space 0 is read like any other, but written only by these two, and they only write there.
        if shape.writes && names_space != (self.space == META_SPACE) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.read_only &= !shape.writes;
        Ok(())
    }

    #[inline]
    fn same_space(&self, space: Option<u32>) -> Result<(), ErrorCode> {
        match space {
            Some(space) if space != self.space => Err(ErrorCode::CrossShard),
            _ => Ok(()),
        }
    }

    /// A vector of bytes of at most `bytes_max`; empty where absent.
    #[inline]
    fn vector<const N: usize>(
        &mut self,
        table: &Table<'a, N>,
        field: usize,
        bytes_max: u64,
    ) -> Result<&'a [u8], ErrorCode> {
        let Some(vector) = table.vector(field)? else {
            return Ok(&[]);
        };
        if vector.len() as u64 > bytes_max {
            return Err(ErrorCode::TooLarge);
        }
        self.apparent_bytes += 4 + vector.len();
        Ok(vector)
    }

    #[inline]
    fn key<const N: usize>(
        &mut self,
        table: &Table<'a, N>,
        field: usize,
        may_be_empty: bool,
    ) -> Result<&'a [u8], ErrorCode> {
        let key = self.vector(table, field, KEY_BYTES_MAX)?;
        if key.is_empty() && !may_be_empty {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(key)
    }
}

/// What is left to check of an operation: its numbers.
#[inline]
fn scalars(operation: &Table<'_, 11>) -> Result<(), ErrorCode> {
    use operation_field::{CEILING, EXPIRE_AFTER_MS, FLAGS, FLOOR, LIMIT};
    const CHECKED: u32 = bits(&[FLOOR, CEILING, EXPIRE_AFTER_MS, LIMIT, FLAGS]);
    if operation.present & CHECKED == 0 {
        return Ok(());
    }
    let bounds = match (operation.i64(FLOOR), operation.i64(CEILING)) {
        (Some(floor), Some(ceiling)) => floor <= ceiling,
        _ => true,
    };
    let flags = operation.u8(FLAGS).unwrap_or_default();
    let valid = bounds
        && operation.u64(EXPIRE_AFTER_MS) != Some(0)
        && operation.u32(LIMIT) != Some(0)
        && flags & !(FLAG_REVERSE | FLAG_KEYS_ONLY) == 0;
    if valid {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

fn space_name(name: &[u8]) -> Result<(), ErrorCode> {
    if name.len() as u64 > SPACE_NAME_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if name.iter().all(allowed) {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

pub(super) fn outcome_request(payload: &[u8]) -> Result<OutcomeRequest<'_>, ErrorCode> {
    use outcome_field::{KEY, SEQUENCE, SESSION, SIZES, SPACE};
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::<4>::open_root(payload, &SIZES, UnknownFields::Refuse)?;
    let key = table.vector(KEY)?.unwrap_or_default();
    if key.len() as u64 > KEY_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let token = table.vector(SESSION)?;
    let session = token
        .map(|bytes| SessionToken::from_bytes(bytes).ok_or(Malformed))
        .transpose()?;
    let sequence = table.u64(SEQUENCE).unwrap_or_default();
    let apparent_bytes = 4
        + table.size
        + table.vector(KEY)?.map_or(0, |key| 4 + key.len())
        + token.map_or(0, |token| 4 + token.len());
    if key.is_empty() || sequence == 0 || apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(OutcomeRequest {
        space: table.u32(SPACE).unwrap_or_default(),
        key,
        sequence,
        session,
    })
}
