//! Reads single fields of a FlatBuffer with every access checked, without
//! verifying the whole: the loop wants one value of each answer.

use crate::fault::{Fault, Result};

/// A table inside a buffer.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    /// The root table of a buffer.
    ///
    /// # Errors
    /// The buffer is too short.
    #[inline]
    pub fn root(bytes: &'a [u8]) -> Result<Self> {
        let at = read_u32(bytes, 0)? as usize;
        Ok(Self { bytes, at })
    }

    /// Where a field's bytes begin, if it is there; `id` counts from 0 as declared.
    #[inline]
    fn field(&self, id: usize) -> Result<Option<usize>> {
        let back = read_u32(self.bytes, self.at)?.cast_signed();
        let distance = back.unsigned_abs() as usize;
        let vtable = if back < 0 {
            self.at.checked_add(distance)
        } else {
            self.at.checked_sub(distance)
        };
        let vtable = vtable.ok_or_else(bad)?;
        let length = read_u16(self.bytes, vtable)? as usize;
        let entry = 4 + 2 * id;
        if entry + 2 > length {
            return Ok(None);
        }
        let offset = read_u16(self.bytes, vtable + entry)? as usize;
        Ok((offset != 0).then_some(self.at + offset))
    }

    #[inline]
    fn follow(&self, id: usize) -> Result<Option<usize>> {
        match self.field(id)? {
            None => Ok(None),
            Some(place) => Ok(Some(place + read_u32(self.bytes, place)? as usize)),
        }
    }

    /// A field that is a table.
    ///
    /// # Errors
    /// The buffer is too short.
    #[inline]
    pub fn table(&self, id: usize) -> Result<Option<Self>> {
        let bytes = self.bytes;
        Ok(self.follow(id)?.map(|at| Self { bytes, at }))
    }

    /// The only element of a field that is a vector of tables.
    ///
    /// # Errors
    /// The buffer is too short, or the vector has another length than one.
    #[inline]
    pub fn only_table(&self, id: usize) -> Result<Option<Self>> {
        let bytes = self.bytes;
        let Some(vector) = self.follow(id)? else {
            return Ok(None);
        };
        if read_u32(bytes, vector)? != 1 {
            return Err(bad());
        }
        let at = vector + 4 + read_u32(bytes, vector + 4)? as usize;
        Ok(Some(Self { bytes, at }))
    }

    /// A field that is a vector of bytes.
    ///
    /// # Errors
    /// The buffer is too short.
    #[inline]
    pub fn bytes(&self, id: usize) -> Result<Option<&'a [u8]>> {
        let Some(vector) = self.follow(id)? else {
            return Ok(None);
        };
        let length = read_u32(self.bytes, vector)? as usize;
        let found = self.bytes.get(vector + 4..vector + 4 + length);
        Ok(Some(found.ok_or_else(bad)?))
    }

    /// A field that is a signed 64-bit number.
    ///
    /// # Errors
    /// The buffer is too short.
    #[inline]
    pub fn number(&self, id: usize) -> Result<Option<i64>> {
        let Some(place) = self.field(id)? else {
            return Ok(None);
        };
        let bytes = self.bytes.get(place..place + 8).ok_or_else(bad)?;
        Ok(Some(i64::from_le_bytes(
            bytes.try_into().map_err(|_| bad())?,
        )))
    }
}

#[inline]
fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_le_bytes([a, b, c, d])),
        _ => Err(bad()),
    }
}

#[inline]
fn read_u16(bytes: &[u8], at: usize) -> Result<u16> {
    match bytes.get(at..at + 2) {
        Some(&[a, b]) => Ok(u16::from_le_bytes([a, b])),
        _ => Err(bad()),
    }
}

#[cold]
fn bad() -> Fault {
    Fault::new("an answer's payload is not what the schema says")
}
