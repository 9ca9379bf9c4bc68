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

/// Where something stands in a payload. Of 32 bits, so that adding a few bytes to it as `usize`
/// can't wrap, which spares every access a check.
pub(crate) type Position = u32;

/// Reads `N` bytes at `at`.
#[inline]
fn read<const N: usize>(bytes: &[u8], at: Position) -> Result<[u8; N], Malformed> {
    let at = at as usize;
    bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Malformed)
}

/// The position so many bytes ahead.
#[inline]
pub(crate) fn ahead(at: Position, offset: u32) -> Result<Position, Malformed> {
    at.checked_add(offset).ok_or(Malformed)
}

/// Why bytes are not the table they should be. Callers turn it into an `ErrorCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The bytes of a vtable whose last field that is present is this one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a table has some ten fields"
)]
pub(crate) const fn vtable_bytes(last_field: usize) -> u16 {
    4 + 2 * (last_field as u16 + 1)
}

/// May a table hold fields beyond the known ones?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    Refuse,
    Ignore,
}

/// A table whose frame is verified. Each field is verified when it is read: a
/// verifier must read, or [`check`](Self::check), all that are present.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    at: Position,
    /// The table itself, without vtable and children.
    body: &'a [u8],
    /// The vtable's slots.
    slots: &'a [[u8; 2]],
    /// Bit `n` is set where field `n` is present.
    pub present: u32,
}

impl<'a> Table<'a> {
    /// Opens the table at `at`, of which this version knows the first `known` fields.
    #[inline]
    pub fn open(
        bytes: &'a [u8],
        at: Position,
        known: usize,
        unknown: UnknownFields,
    ) -> Result<Self, Malformed> {
        let back = i32::from_le_bytes(read(bytes, at)?);
        let vtable_at = u32::try_from(i64::from(at) - i64::from(back)).map_err(|_| Malformed)?;
        let [vtable_low, vtable_high, body_low, body_high] = read(bytes, vtable_at)?;
        let vtable_bytes = u16::from_le_bytes([vtable_low, vtable_high]);
        let body_bytes = u16::from_le_bytes([body_low, body_high]);
        let (start, vtable_start) = (at as usize, vtable_at as usize);
        let slots = bytes.get(vtable_start + 4..vtable_start + usize::from(vtable_bytes));
        let (slots, odd) = slots.ok_or(Malformed)?.as_chunks();
        let body = bytes
            .get(start..start + usize::from(body_bytes))
            .ok_or(Malformed)?;
        if at & 3 != 0 || vtable_at & 1 != 0 || !odd.is_empty() || body_bytes < 4 {
            return Err(Malformed);
        }
        if slots.len() > known && unknown == UnknownFields::Refuse {
            return Err(Malformed);
        }
        let slots = &slots[..slots.len().min(known)];
        let mut present = 0;
        for &slot in slots.iter().rev() {
            present = present << 1 | u32::from(slot != [0, 0]);
        }
        Ok(Self {
            bytes,
            at,
            body,
            slots,
            present,
        })
    }

    /// Opens the root table of a payload.
    #[inline]
    pub fn open_root(
        bytes: &'a [u8],
        known: usize,
        unknown: UnknownFields,
    ) -> Result<Self, Malformed> {
        Self::open(bytes, u32::from_le_bytes(read(bytes, 0)?), known, unknown)
    }

    /// Bytes of the table itself.
    #[inline]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    #[inline]
    pub fn has(&self, field: usize) -> bool {
        self.present & (1 << field) != 0
    }

    /// The bytes of a field, and where they stand in the payload; `Ok(None)` where it is absent.
    #[inline]
    fn field<const SIZE: usize>(
        &self,
        field: usize,
    ) -> Result<Option<(usize, [u8; SIZE])>, Malformed> {
        let offset = match self.slots.get(field) {
            None | Some([0, 0]) => return Ok(None),
            Some(&slot) => usize::from(u16::from_le_bytes(slot)),
        };
        let place = self.at as usize + offset;
        // The first four bytes point to the vtable; a field is aligned to its size.
        if offset < 4 || place & (SIZE - 1) != 0 {
            return Err(Malformed);
        }
        let bytes = self
            .body
            .get(offset..offset + SIZE)
            .and_then(|bytes| bytes.try_into().ok());
        Ok(Some((place, bytes.ok_or(Malformed)?)))
    }

    /// Verifies a field of so many bytes without reading it.
    #[inline]
    pub fn check(&self, field: usize, size: u8) -> Result<(), Malformed> {
        match size {
            1 => self.field::<1>(field).map(drop),
            2 => self.field::<2>(field).map(drop),
            4 => self.field::<4>(field).map(drop),
            _ => self.field::<8>(field).map(drop),
        }
    }

    #[inline]
    pub fn u8(&self, field: usize) -> Result<Option<u8>, Malformed> {
        Ok(self
            .field(field)?
            .map(|(_, bytes)| u8::from_le_bytes(bytes)))
    }

    #[inline]
    pub fn u16(&self, field: usize) -> Result<Option<u16>, Malformed> {
        Ok(self
            .field(field)?
            .map(|(_, bytes)| u16::from_le_bytes(bytes)))
    }

    #[inline]
    pub fn u32(&self, field: usize) -> Result<Option<u32>, Malformed> {
        Ok(self
            .field(field)?
            .map(|(_, bytes)| u32::from_le_bytes(bytes)))
    }

    #[inline]
    pub fn u64(&self, field: usize) -> Result<Option<u64>, Malformed> {
        Ok(self
            .field(field)?
            .map(|(_, bytes)| u64::from_le_bytes(bytes)))
    }

    #[inline]
    pub fn i64(&self, field: usize) -> Result<Option<i64>, Malformed> {
        Ok(self
            .field(field)?
            .map(|(_, bytes)| i64::from_le_bytes(bytes)))
    }

    /// Where the vector that a field points to has its elements, and their bytes.
    #[inline]
    pub fn elements(
        &self,
        field: usize,
        element_bytes: usize,
    ) -> Result<Option<(usize, &'a [u8])>, Malformed> {
        let Some((place, offset)) = self.field(field)? else {
            return Ok(None);
        };
        let at = place + u32::from_le_bytes(offset) as usize;
        let start = at + 4;
        let length = self
            .bytes
            .get(at..start)
            .and_then(|bytes| bytes.try_into().ok());
        let length = u32::from_le_bytes(length.ok_or(Malformed)?) as usize;
        let elements = self
            .bytes
            .get(start..start + length * element_bytes)
            .ok_or(Malformed)?;
        if !at.is_multiple_of(4) {
            return Err(Malformed);
        }
        Ok(Some((start, elements)))
    }

    /// A vector of bytes; `Ok(None)` where the field is absent.
    #[inline]
    pub fn vector(&self, field: usize) -> Result<Option<&'a [u8]>, Malformed> {
        Ok(self.elements(field, 1)?.map(|(_, bytes)| bytes))
    }

    /// A string; `Ok(None)` where the field is absent. It must be UTF-8 and end in a zero byte.
    pub fn string(&self, field: usize) -> Result<Option<&'a str>, Malformed> {
        let Some((start, bytes)) = self.elements(field, 1)? else {
            return Ok(None);
        };
        if self.bytes.get(start + bytes.len()) != Some(&0) {
            return Err(Malformed);
        }
        core::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }
}

/// A table whose every field was verified before, in the same bytes: nothing is judged again but that
/// each access stays inside them. A field that is not there, and one that can't be read, are `None`.
#[derive(Clone, Copy)]
pub(crate) struct VerifiedTable<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The vtable's slots.
    slots: &'a [[u8; 2]],
}

impl<'a> VerifiedTable<'a> {
    #[inline]
    pub fn open(bytes: &'a [u8], at: Position) -> Option<Self> {
        let back = i32::from_le_bytes(*bytes.get(at as usize..)?.first_chunk()?);
        let vtable_at = usize::try_from(i64::from(at) - i64::from(back)).ok()?;
        let vtable = bytes.get(vtable_at..)?;
        let vtable_bytes = u16::from_le_bytes(*vtable.first_chunk()?);
        let (slots, _) = vtable.get(4..usize::from(vtable_bytes))?.as_chunks();
        let at = at as usize;
        Some(Self { bytes, at, slots })
    }

    #[inline]
    fn field<const SIZE: usize>(&self, field: usize) -> Option<(usize, [u8; SIZE])> {
        match u16::from_le_bytes(*self.slots.get(field)?) {
            0 => None,
            offset => {
                let place = self.at + usize::from(offset);
                Some((place, *self.bytes.get(place..)?.first_chunk()?))
            }
        }
    }

    #[inline]
    pub fn u8(&self, field: usize) -> Option<u8> {
        self.field(field).map(|(_, bytes)| u8::from_le_bytes(bytes))
    }

    #[inline]
    pub fn u32(&self, field: usize) -> Option<u32> {
        self.field(field)
            .map(|(_, bytes)| u32::from_le_bytes(bytes))
    }

    #[inline]
    pub fn u64(&self, field: usize) -> Option<u64> {
        self.field(field)
            .map(|(_, bytes)| u64::from_le_bytes(bytes))
    }

    #[inline]
    pub fn i64(&self, field: usize) -> Option<i64> {
        self.field(field)
            .map(|(_, bytes)| i64::from_le_bytes(bytes))
    }

    /// A vector of bytes.
    #[inline]
    pub fn vector(&self, field: usize) -> Option<&'a [u8]> {
        let (place, offset) = self.field(field)?;
        let vector = self
            .bytes
            .get(place + u32::from_le_bytes(offset) as usize..)?;
        let (length, elements) = vector.split_first_chunk()?;
        elements.get(..u32::from_le_bytes(*length) as usize)
    }
}
