//! Which fields each kind of guard and operation has: the form of the rows in
//! `generated/operations.rs`.

use crate::error::ErrorCode;
use crate::generated::fields::{guard, operation};

/// What a kind of guard or operation demands of its fields.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "columns of a table")]
pub(crate) struct Shape {
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
    /// The key is the name of a space; only [`super::META_SPACE`] takes it.
    pub names_space: bool,
}

/// Of kinds that are reserved or unknown.
pub(crate) const UNSUPPORTED: Shape = Shape {
    allowed: 0,
    required: 0,
    value_or_number: false,
    ranges: false,
    writes: false,
    names_space: false,
};

/// One bit for each field.
pub(crate) const fn bits(fields: &[usize]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < fields.len() {
        bits |= 1 << fields[index];
        index += 1;
    }
    bits
}

const VALUE: u32 = bits(&[operation::VALUE]);
const NUMBER: u32 = bits(&[operation::NUMBER]);

// Both tables have them in the same place, so one check serves both.
const _: () = assert!(VALUE == bits(&[guard::VALUE]) && NUMBER == bits(&[guard::NUMBER]));

impl Shape {
    /// Are exactly the right fields there?
    #[inline]
    pub fn fits(&self, present: u32) -> bool {
        let either = (present & VALUE != 0) != (present & NUMBER != 0);
        present & !self.allowed == 0
            && present & self.required == self.required
            && (either || !self.value_or_number)
    }
}

/// The shape of a kind: 0 is a missing kind, what else has no shape is reserved or unknown.
#[inline]
pub(super) fn shape_of<const N: usize>(
    shapes: &'static [Shape; N],
    kind: u8,
) -> Result<&'static Shape, ErrorCode> {
    match shapes.get(usize::from(kind)) {
        Some(shape) if shape.allowed != 0 => Ok(shape),
        _ if kind == 0 => Err(ErrorCode::InvalidRequest),
        _ => Err(ErrorCode::UnsupportedOperation),
    }
}
