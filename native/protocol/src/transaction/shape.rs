//! Which fields each kind of guard and operation has.

use crate::error::ErrorCode;

/// Fields of `Transaction` by id.
pub(super) mod transaction_field {
    use crate::generated::wire::Transaction;
    use crate::table::id;

    pub const SPACE: usize = id(Transaction::VT_SPACE);
    pub const GUARDS: usize = id(Transaction::VT_GUARDS);
    pub const THEN: usize = id(Transaction::VT_THEN);
    pub const OTHERWISE: usize = id(Transaction::VT_OTHERWISE);
    pub const IDEMPOTENCY_KEY: usize = id(Transaction::VT_IDEMPOTENCY_KEY);
    pub const RESULT: usize = id(Transaction::VT_RESULT);
    pub const KNOWN: usize = 6;
}

/// Fields of `Guard` by id, and their bytes.
pub(super) mod guard_field {
    use crate::generated::wire::Guard;
    use crate::table::id;

    pub const KIND: usize = id(Guard::VT_KIND);
    pub const SPACE: usize = id(Guard::VT_SPACE);
    pub const KEY: usize = id(Guard::VT_KEY);
    pub const TO: usize = id(Guard::VT_TO);
    pub const VALUE: usize = id(Guard::VT_VALUE);
    pub const NUMBER: usize = id(Guard::VT_NUMBER);
    pub const REVISION: usize = id(Guard::VT_REVISION);
    pub const COUNT: usize = id(Guard::VT_COUNT);
    pub const KNOWN: usize = 8;
    pub const SIZES: [u8; KNOWN] = [1, 4, 4, 4, 4, 8, 8, 8];
}

/// Fields of `Operation` by id, and their bytes.
pub(super) mod operation_field {
    use crate::generated::wire::Operation;
    use crate::table::id;

    pub const KIND: usize = id(Operation::VT_KIND);
    pub const SPACE: usize = id(Operation::VT_SPACE);
    pub const KEY: usize = id(Operation::VT_KEY);
    pub const TO: usize = id(Operation::VT_TO);
    pub const VALUE: usize = id(Operation::VT_VALUE);
    pub const NUMBER: usize = id(Operation::VT_NUMBER);
    pub const FLOOR: usize = id(Operation::VT_FLOOR);
    pub const CEILING: usize = id(Operation::VT_CEILING);
    pub const EXPIRE_AFTER_MS: usize = id(Operation::VT_EXPIRE_AFTER_MS);
    pub const LIMIT: usize = id(Operation::VT_LIMIT);
    pub const FLAGS: usize = id(Operation::VT_FLAGS);
    pub const KNOWN: usize = 11;
    pub const SIZES: [u8; KNOWN] = [1, 4, 4, 4, 4, 8, 8, 8, 8, 4, 1];
}

/// Fields of `OutcomeRequest` by id.
pub(super) mod outcome_field {
    use crate::generated::wire::OutcomeRequest;
    use crate::table::id;

    pub const SPACE: usize = id(OutcomeRequest::VT_SPACE);
    pub const KEY: usize = id(OutcomeRequest::VT_KEY);
    pub const SEQUENCE: usize = id(OutcomeRequest::VT_SEQUENCE);
    pub const SESSION: usize = id(OutcomeRequest::VT_SESSION);
    pub const KNOWN: usize = 4;
}

/// Fields of `OutcomeOfRequest` by id.
pub(super) mod outcome_of_field {
    use crate::generated::wire::OutcomeOfRequest;
    use crate::table::id;

    pub const SPACE: usize = id(OutcomeOfRequest::VT_SPACE);
    pub const IDEMPOTENCY_KEY: usize = id(OutcomeOfRequest::VT_IDEMPOTENCY_KEY);
    pub const KNOWN: usize = 2;
}

/// Numbers of `GuardKind`.
pub(super) mod guard_kind {
    use crate::generated::wire::GuardKind;

    pub const EXISTS: u8 = GuardKind::exists.0;
    pub const ABSENT: u8 = GuardKind::absent.0;
    pub const VERSION: u8 = GuardKind::version.0;
    pub const MODIFIED: u8 = GuardKind::modified.0;
    pub const MODIFIED_AT_MOST: u8 = GuardKind::modified_at_most.0;
    pub const VALUE: u8 = GuardKind::value.0;
    pub const AT_LEAST: u8 = GuardKind::at_least.0;
    pub const UNCHANGED: u8 = GuardKind::unchanged.0;
}

/// Numbers of `OperationKind`.
pub(super) mod operation_kind {
    use crate::generated::wire::OperationKind;

    pub const GET: u8 = OperationKind::get.0;
    pub const RANGE: u8 = OperationKind::range.0;
    pub const COUNT: u8 = OperationKind::count.0;
    pub const PUT: u8 = OperationKind::put.0;
    pub const DELETE: u8 = OperationKind::delete.0;
    pub const DELETE_RANGE: u8 = OperationKind::delete_range.0;
    pub const ADD: u8 = OperationKind::add.0;
    pub const APPEND: u8 = OperationKind::append.0;
    pub const SPACE_CREATE: u8 = OperationKind::space_create.0;
    pub const SPACE_DROP: u8 = OperationKind::space_drop.0;
}

/// Bits of `Operation.flags`.
pub(super) const FLAG_REVERSE: u8 = 1;
pub(super) const FLAG_KEYS_ONLY: u8 = 2;

/// What a kind of guard or operation demands of its fields.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Fields that may be present; 0 marks a kind that is reserved or unknown.
    pub allowed: u32,
    /// Fields that must be.
    pub required: u32,
    /// Exactly one of value and number must be present.
    pub value_or_number: bool,
    /// The key may be empty or absent: it begins a range.
    pub ranges: bool,
    /// It changes something.
    pub writes: bool,
}

const UNSUPPORTED: Shape = Shape {
    allowed: 0,
    required: 0,
    value_or_number: false,
    ranges: false,
    writes: false,
};

pub(super) const fn bits(fields: &[usize]) -> u32 {
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
    pub fn fits(&self, present: u32) -> bool {
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
pub(super) const GUARD_SHAPES: [Shape; 16] = {
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
pub(super) const OPERATION_SHAPES: [Shape; 16] = {
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
pub(super) fn shape_of(
    shapes: &'static [Shape; 16],
    kind: u8,
) -> Result<&'static Shape, ErrorCode> {
    match shapes.get(usize::from(kind)) {
        Some(shape) if shape.allowed != 0 => Ok(shape),
        _ if kind == 0 => Err(ErrorCode::InvalidRequest),
        _ => Err(ErrorCode::UnsupportedOperation),
    }
}
