//! `Results` of nothing but numbers, counts and silence, laid out by hand: what most writes answer.
//!
//! The bytes are those that the builder makes, bit for bit: answers are remembered in snapshots and
//! repeated by replicas, so how they were made must not show. As the builder does, this writes from
//! the end to the beginning:
//!
//! ```text
//! u32 -> Results   0..7 zero   vtable of Results   Results   vector   the last result ... the first
//! a result: vtable, unless one before it has the same   i32 -> vtable   value u64, if any   0..7 zero
//! ```
//! Zeros bring the values to multiples of 8 from the end. The builder counts them to the table before
//! them, so that results of one kind may come to have vtables of different sizes.

use core::ops::Range;

use crate::generated::fields::{operation_result, results};
use crate::table::vtable_bytes;

/// The most results laid out here. More than that and the builder's share of the work hardly counts.
pub(super) const SCALARS_MAX: usize = 16;

/// What one result holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Nothing; also a count of 0, which is left out like any default.
    Nothing,
    Count(u64),
    Number(i64),
}

impl Scalar {
    pub fn of_count(count: u64) -> Self {
        match count {
            0 => Self::Nothing,
            count => Self::Count(count),
        }
    }

    fn kind(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Count(_) => 1,
            Self::Number(_) => 2,
        }
    }

    fn to_bytes(self) -> [u8; 8] {
        match self {
            Self::Nothing => [0; 8],
            Self::Count(count) => count.to_le_bytes(),
            Self::Number(number) => number.to_le_bytes(),
        }
    }
}

/// Bits of a result in [`Scalars::kinds`], which begins with a 1 that tells how many there are.
const KIND_BITS: usize = 2;
const _: () = assert!(KIND_BITS * SCALARS_MAX < u64::BITS as usize);

/// Bytes of the vtables of a result: without a field, with `count` and with `number`.
const NOTHING_VTABLE_BYTES: u16 = 4;
const COUNT_VTABLE_BYTES: u16 = vtable_bytes(operation_result::COUNT);
const NUMBER_VTABLE_BYTES: u16 = vtable_bytes(operation_result::NUMBER);
/// Bytes of the vtable of `Results`: with `results`, and with `failed_guard` too.
const RESULTS_VTABLE_BYTES: u16 = vtable_bytes(results::RESULTS);
const GUARD_VTABLE_BYTES: u16 = vtable_bytes(results::FAILED_GUARD);

/// The most bytes a result takes: vtable, offset to it, value, zeros, and its offset in the vector.
const RESULT_BYTES_MAX: usize = 14 + 4 + 8 + 6 + 4;
/// The vector's length, `Results`, its vtable, zeros and the offset to it.
const ROOT_BYTES_MAX: usize = 4 + 12 + 8 + 7 + 4;
const BYTES_MAX: usize = SCALARS_MAX * RESULT_BYTES_MAX + ROOT_BYTES_MAX;

/// Results gathered, and the memory they are laid out in.
///
/// Where everything stands follows from the kinds of the results alone, and a shard answers the same
/// kinds over and over: then only the values are written into what was laid out before.
#[derive(Debug)]
pub(super) struct Scalars {
    values: [Scalar; SCALARS_MAX],
    len: usize,
    /// Count and kinds of the results.
    kinds: u64,
    bytes: [u8; BYTES_MAX],
    /// What `bytes` holds: its `kinds`, its guard, how many bytes there are, and by result where the
    /// value stands.
    laid_out: Option<(u64, Option<i32>)>,
    used: usize,
    places: [u16; SCALARS_MAX],
}

impl Default for Scalars {
    fn default() -> Self {
        Self {
            values: [Scalar::Nothing; SCALARS_MAX],
            len: 0,
            kinds: 1,
            bytes: [0; BYTES_MAX],
            laid_out: None,
            used: 0,
            places: [0; SCALARS_MAX],
        }
    }
}

impl Scalars {
    /// Begins with so many results that say nothing; false if there is no room for another one.
    #[inline]
    pub fn begin(&mut self, nothings: usize) -> bool {
        let fits = nothings < SCALARS_MAX;
        if fits {
            self.values[..nothings].fill(Scalar::Nothing);
            self.len = nothings;
            self.kinds = 1 << (KIND_BITS * nothings);
        }
        fits
    }

    /// Adds a result; false if there is no room for it.
    #[inline]
    pub fn push(&mut self, value: Scalar) -> bool {
        match self.values.get_mut(self.len) {
            Some(place) => {
                *place = value;
                self.len += 1;
                self.kinds = self.kinds << KIND_BITS | value.kind();
                true
            }
            None => false,
        }
    }

    pub fn values(&self) -> &[Scalar] {
        &self.values[..self.len]
    }

    /// Lays the results out; `failed_guard` as the field has it.
    #[inline]
    pub fn lay_out(&mut self, failed_guard: Option<i32>) -> &[u8] {
        if self.laid_out == Some((self.kinds, failed_guard)) {
            for (value, place) in self.values[..self.len].iter().zip(self.places) {
                if *value != Scalar::Nothing {
                    let start = usize::from(place);
                    self.bytes[start..start + 8].copy_from_slice(&value.to_bytes());
                }
            }
        } else {
            self.lay_out_anew(failed_guard);
        }
        &self.bytes[BYTES_MAX - self.used..]
    }

    #[inline(never)]
    fn lay_out_anew(&mut self, failed_guard: Option<i32>) {
        let mut writer = Backwards {
            bytes: &mut self.bytes,
            used: 0,
            vtables: [(0, 0); SCALARS_MAX],
            vtable_count: 0,
        };
        // Where each result stands, from the end.
        let mut places = [0; SCALARS_MAX];
        let mut holds_values = false;
        for (at, value) in self.values[..self.len].iter().enumerate() {
            places[at] = writer.result(*value);
            if *value != Scalar::Nothing {
                holds_values = true;
                // The value stands behind the offset to the vtable.
                self.places[at] = place(BYTES_MAX - places[at] + 4);
            }
        }
        let mut vector = None;
        if self.len > 0 {
            writer.align(4, 0);
            for place in places[..self.len].iter().rev() {
                writer.offset_to(*place);
            }
            writer.u32(count(self.len));
            vector = Some(writer.used);
        }
        let root = writer.root(vector, failed_guard);
        writer.align(if holds_values { 8 } else { 4 }, 4);
        writer.offset_to(root);
        self.used = writer.used;
        self.laid_out = Some((self.kinds, failed_guard));
    }
}

/// A buffer filled from its end. Places are told as distances from there.
struct Backwards<'b> {
    bytes: &'b mut [u8; BYTES_MAX],
    used: usize,
    /// Vtables of results: where each stands, and its first four bytes, which tell the rest.
    vtables: [(usize, u32); SCALARS_MAX],
    vtable_count: usize,
}

impl Backwards<'_> {
    /// The place of the last `bytes` bytes but those behind.
    fn last(&self, bytes: usize) -> Range<usize> {
        let start = BYTES_MAX - self.used;
        start..start + bytes
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.used += N;
        let place = self.last(N);
        self.bytes[place].copy_from_slice(&bytes);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.put(value.to_le_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }

    /// Fills with zeros so that `more` bytes from here end at a multiple of `alignment`.
    #[inline]
    fn align(&mut self, alignment: usize, more: usize) {
        let zeros = (self.used + more).wrapping_neg() & (alignment - 1);
        self.used += zeros;
        let place = self.last(zeros);
        self.bytes[place].fill(0);
    }

    /// An offset to what stands at `place`.
    #[inline]
    fn offset_to(&mut self, place: usize) {
        self.u32(count(self.used + 4 - place));
    }

    /// The table of all, with what it has of its two fields; returns its place.
    #[inline]
    fn root(&mut self, vector: Option<usize>, failed_guard: Option<i32>) -> usize {
        let end = self.used;
        let (mut guard_at, mut vector_at) = (0, 0);
        if let Some(guard) = failed_guard {
            self.u32(guard.cast_unsigned());
            guard_at = if vector.is_some() { 8 } else { 4 };
        }
        if let Some(vector) = vector {
            self.offset_to(vector);
            vector_at = 4;
        }
        let vtable_bytes = match failed_guard {
            None => RESULTS_VTABLE_BYTES,
            Some(_) => GUARD_VTABLE_BYTES,
        };
        self.u32(u32::from(vtable_bytes));
        let table = self.used;
        if failed_guard.is_some() {
            self.u16(guard_at);
        }
        self.u16(vector_at);
        self.u32(u32::from(vtable_bytes) | count(table - end) << 16);
        table
    }

    /// A result; returns its place.
    #[inline]
    fn result(&mut self, value: Scalar) -> usize {
        let end = self.used;
        let vtable_bytes = match value {
            Scalar::Nothing => NOTHING_VTABLE_BYTES,
            Scalar::Count(_) => COUNT_VTABLE_BYTES,
            Scalar::Number(_) => NUMBER_VTABLE_BYTES,
        };
        if value != Scalar::Nothing {
            self.align(8, 8);
            self.put(value.to_bytes());
        }
        self.align(4, 4);
        let table = self.used + 4;
        let table_bytes = count(table - end);
        let head = u32::from(vtable_bytes) | table_bytes << 16;
        let known = self.vtables[..self.vtable_count]
            .iter()
            .find(|vtable| vtable.1 == head);
        if let Some(&(vtable, _)) = known {
            // Behind the table: the distance is negative.
            self.u32(count(table - vtable).wrapping_neg());
            return table;
        }
        self.u32(u32::from(vtable_bytes));
        if value != Scalar::Nothing {
            // The value stands behind the offset.
            self.u16(4);
            self.put([0; 6]);
            if vtable_bytes == NUMBER_VTABLE_BYTES {
                self.u16(0);
            }
        }
        self.u32(head);
        self.vtables[self.vtable_count] = (self.used, head);
        self.vtable_count += 1;
        table
    }
}

/// A length or distance in the buffer.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the buffer has some hundred bytes"
)]
fn count(bytes: usize) -> u32 {
    bytes as u32
}

/// A place in the buffer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the buffer has some hundred bytes"
)]
fn place(at: usize) -> u16 {
    at as u16
}
