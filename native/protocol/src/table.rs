//! Reads `FlatBuffers` tables with every access checked.
//!
//! A table stands at a multiple of 4 and begins with an i32: its position minus
//! that is the vtable's, which holds u16s: its own bytes, the table's bytes,
//! then for each field its offset in the table or 0. Children (vectors,
//! strings, tables) lie ahead of the u32 that points to them.
//!
//! Two strictnesses: what is logged and applied by every replica (transactions)
//! must hold no field this version does not know; what only one side reads
//! (hello, welcome, results) may, so that either side can be the newer one.

use crate::bytes::{array_at, u16_at, u32_at, u64_at};

// Positions are sums of a usize below 2^33 and u32s: they can't wrap in 64 bits.
const _: () = assert!(
    usize::BITS >= 64,
    "offsets are added without overflow checks"
);

/// Why bytes are not the table they should be. Callers turn it into an `ErrorCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A field's id, from where generated code finds it in a vtable.
pub(crate) const fn id(vtable_place: u16) -> usize {
    (vtable_place as usize - 4) / 2
}

/// May a table hold fields beyond the known ones?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    Refuse,
    Ignore,
}

/// A table with `N` known fields, its frame and every present field's place verified.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a, const N: usize> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of the table itself, without vtable and children.
    pub size: usize,
    fields: [u16; N],
    /// Bit `n` is set where field `n` is present.
    pub present: u32,
}

impl<'a, const N: usize> Table<'a, N> {
    /// Opens the table at `at`; `sizes` are the bytes (and alignment) of each
    /// field: 4 for what is pointed to.
    #[inline]
    pub fn open(
        bytes: &'a [u8],
        at: usize,
        sizes: &[u8; N],
        unknown: UnknownFields,
    ) -> Result<Self, Malformed> {
        if !at.is_multiple_of(4) {
            return Err(Malformed);
        }
        let back = i32::from_le_bytes(array_at(bytes, at).ok_or(Malformed)?);
        let vtable_at = at.checked_add_signed(-(back as isize)).ok_or(Malformed)?;
        let vtable_bytes = usize::from(u16_at(bytes, vtable_at).ok_or(Malformed)?);
        let vtable = bytes
            .get(vtable_at..vtable_at + vtable_bytes)
            .ok_or(Malformed)?;
        let size = usize::from(u16_at(vtable, 2).ok_or(Malformed)?);
        if vtable_at % 2 != 0 || vtable_bytes % 2 != 0 || size < 4 || at + size > bytes.len() {
            return Err(Malformed);
        }
        let slots = vtable.get(4..).ok_or(Malformed)?;
        if slots.len() > 2 * N && unknown == UnknownFields::Refuse {
            return Err(Malformed);
        }
        let mut table = Self {
            bytes,
            at,
            size,
            fields: [0; N],
            present: 0,
        };
        for (field, slot) in slots.chunks_exact(2).take(N).enumerate() {
            let offset = u16::from_le_bytes([slot[0], slot[1]]);
            if offset == 0 {
                continue;
            }
            let offset_bytes = usize::from(offset);
            let field_bytes = usize::from(sizes[field]);
            if offset < 4
                || offset_bytes + field_bytes > size
                || (at + offset_bytes) & (field_bytes - 1) != 0
            {
                return Err(Malformed);
            }
            table.fields[field] = offset;
            table.present |= 1 << field;
        }
        Ok(table)
    }

    /// Opens the root table of a payload.
    #[inline]
    pub fn open_root(
        bytes: &'a [u8],
        sizes: &[u8; N],
        unknown: UnknownFields,
    ) -> Result<Self, Malformed> {
        let at = u32_at(bytes, 0).ok_or(Malformed)?;
        Self::open(bytes, at as usize, sizes, unknown)
    }

    /// Where the field stands, if present.
    #[inline]
    pub fn place(&self, field: usize) -> Option<usize> {
        match self.fields[field] {
            0 => None,
            offset => Some(self.at + usize::from(offset)),
        }
    }

    #[inline]
    pub fn u8(&self, field: usize) -> Option<u8> {
        self.bytes.get(self.place(field)?).copied()
    }

    #[inline]
    pub fn u16(&self, field: usize) -> Option<u16> {
        u16_at(self.bytes, self.place(field)?)
    }

    #[inline]
    pub fn u32(&self, field: usize) -> Option<u32> {
        u32_at(self.bytes, self.place(field)?)
    }

    #[inline]
    pub fn u64(&self, field: usize) -> Option<u64> {
        u64_at(self.bytes, self.place(field)?)
    }

    #[inline]
    pub fn i64(&self, field: usize) -> Option<i64> {
        self.u64(field).map(u64::cast_signed)
    }

    /// A vector of bytes; `Ok(None)` where the field is absent.
    #[inline]
    pub fn vector(&self, field: usize) -> Result<Option<&'a [u8]>, Malformed> {
        match self.place(field) {
            None => Ok(None),
            Some(place) => vector_at(self.bytes, place, 1).map(|(_, bytes)| Some(bytes)),
        }
    }

    /// A string; `Ok(None)` where the field is absent. It must be UTF-8 and end in a zero byte.
    pub fn string(&self, field: usize) -> Result<Option<&'a str>, Malformed> {
        let Some(place) = self.place(field) else {
            return Ok(None);
        };
        let (start, bytes) = vector_at(self.bytes, place, 1)?;
        if self.bytes.get(start + bytes.len()) != Some(&0) {
            return Err(Malformed);
        }
        core::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }
}

/// The vector that the u32 at `place` points to: where its elements begin, and their bytes.
#[inline]
pub(crate) fn vector_at(
    bytes: &[u8],
    place: usize,
    element_bytes: usize,
) -> Result<(usize, &[u8]), Malformed> {
    let at = place + u32_at(bytes, place).ok_or(Malformed)? as usize;
    if !at.is_multiple_of(4) {
        return Err(Malformed);
    }
    let length = u32_at(bytes, at).ok_or(Malformed)? as usize;
    let start = at + 4;
    let elements = bytes
        .get(start..start + length * element_bytes)
        .ok_or(Malformed)?;
    Ok((start, elements))
}
