//! One stored entry in one heap block: header, key, value, and the expiry where there is one.
//!
//! ```text
//! 0        32          32+key        32+key+value                      block-8     block
//! | Header | key bytes | value bytes | free, up to the size class ... | expiry_ms |
//! ```
//! The expiry occupies the last eight bytes of the block only if the header says so; so neither key
//! nor value moves when an expiry comes or goes. A number is eight value bytes.
//!
//! Blocks come in size classes (steps of 16 bytes up to 1 KiB, then eighths of a power of two), each
//! eight bytes short of a multiple of 16: what common allocators hand out without rounding. The class
//! stands in the header, so that a rewrite knows what fits in place.
//!
//! This module is one of the two places of the crate with `unsafe` code (the other is `prefetch`).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::ptr::NonNull;
use std::slice;

/// A value as it is stored: bytes, or a 64-bit number of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any bytes, possibly none.
    Bytes(&'a [u8]),
    /// A signed 64-bit number.
    Number(i64),
}

/// What a record says about its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamps {
    /// Revision that created the entry.
    pub created: u64,
    /// Revision of its last write.
    pub modified: u64,
    /// Count of its writes since it was created.
    pub version: u64,
    /// Lease time at which the entry expires, if it does.
    pub expires_at_ms: Option<u64>,
}

/// The key or the value is longer than a record can hold ([`Record::KEY_BYTES_MAX`],
/// [`Record::VALUE_BYTES_MAX`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTooLarge;

impl fmt::Display for RecordTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key or value too large for a record")
    }
}

impl std::error::Error for RecordTooLarge {}

/// Why bytes could not be appended to a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The value is a number.
    NotBytes,
    /// The result would be longer than a record can hold.
    TooLarge,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBytes => "the value is a number",
            Self::TooLarge => "value too large for a record",
        })
    }
}

impl std::error::Error for AppendError {}

const HEADER_BYTES: usize = size_of::<Header>();
const EXPIRY_BYTES: usize = size_of::<u64>();
const NUMBER_BYTES: usize = size_of::<i64>();

/// The value is a number.
const NUMBER: u8 = 1;
/// The block ends in an expiry.
const EXPIRES: u8 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    created: u64,
    modified: u64,
    version: u64,
    value_bytes: u32,
    key_bytes: u16,
    class: u8,
    flags: u8,
}

const _: () = assert!(HEADER_BYTES == 32 && align_of::<Header>() == 8);

/// Classes 0 to 61: 40, 56, ... 1016 bytes. From 62: eight for each doubling, 1144, 1272, ...
const LINEAR_CLASSES: usize = 62;
const LINEAR_BYTES_MAX: usize = 1016;

/// Bytes of the blocks of a class.
const fn class_bytes(class: u8) -> usize {
    let class = class as usize;
    if class < LINEAR_CLASSES {
        40 + 16 * class
    } else {
        let step = class - LINEAR_CLASSES;
        (1024 << (step / 8)) / 8 * (9 + step % 8) - 8
    }
}

/// The smallest class with blocks of at least `bytes` (at most what [`Record`]'s limits add up to).
const fn class_of(bytes: usize) -> u8 {
    let class = if bytes <= 40 {
        0
    } else if bytes <= LINEAR_BYTES_MAX {
        (bytes - 40).div_ceil(16)
    } else {
        // `last` is in [1024 * 2^d, 1024 * 2^(d+1)): eight classes of 128 * 2^d bytes each.
        let last = bytes + 7;
        let doublings = last.ilog2() as usize - 10;
        LINEAR_CLASSES + 8 * doublings + ((last >> (doublings + 7)) - 8)
    };
    // The limits of keys and values keep the class far below 256; see the assertion below.
    #[expect(clippy::cast_possible_truncation)]
    {
        class as u8
    }
}

const BLOCK_BYTES_MAX: usize =
    HEADER_BYTES + Record::KEY_BYTES_MAX + Record::VALUE_BYTES_MAX + EXPIRY_BYTES;
const _: () = assert!(class_bytes(class_of(BLOCK_BYTES_MAX)) >= BLOCK_BYTES_MAX);
const _: () = assert!(class_of(BLOCK_BYTES_MAX) < 240);

fn layout(class: u8) -> Layout {
    Layout::from_size_align(class_bytes(class), align_of::<Header>())
        .expect("the largest class is about 1 GiB and every class a multiple of eight")
}

/// A new block of a class, uninitialised.
fn allocate(class: u8) -> NonNull<Header> {
    let layout = layout(class);
    // SAFETY: the layout's size is not zero (the smallest class has 40 bytes).
    let block = unsafe { alloc(layout) };
    NonNull::new(block.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Whether a block of class `have` may stay for contents that need class `need`: they fit, and do
/// not leave more than half of a larger block unused.
fn may_stay(have: u8, need: u8) -> bool {
    need <= have && (class_bytes(have) <= 128 || class_bytes(have) <= 2 * class_bytes(need))
}

/// One entry, owned: key, value and stamps in one heap block; the handle is one pointer.
///
/// The key never changes.
pub struct Record {
    /// Start of a live block of class `header.class` from the global allocator, owned by this
    /// record alone, of which the header, `key_bytes + value_bytes` bytes after it and (if flagged)
    /// the last eight bytes are initialised, and do not overlap. The pointer was made by the
    /// allocator and may be used for the whole block.
    block: NonNull<Header>,
}

// SAFETY: a record is the only owner of its block, which holds plain data; sharing `&Record`
// only allows reads.
unsafe impl Send for Record {}
// SAFETY: as above; nothing is changed through `&Record`.
unsafe impl Sync for Record {}

impl Record {
    /// Longest key a record can hold, in bytes.
    pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
    /// Longest value a record can hold, in bytes.
    pub const VALUE_BYTES_MAX: usize = 1 << 30;

    /// Makes a record.
    ///
    /// # Errors
    /// [`RecordTooLarge`] beyond [`Self::KEY_BYTES_MAX`] or [`Self::VALUE_BYTES_MAX`].
    pub fn new(key: &[u8], value: Value<'_>, stamps: Stamps) -> Result<Self, RecordTooLarge> {
        let key_bytes = u16::try_from(key.len()).map_err(|_| RecordTooLarge)?;
        let (value_bytes, flags) = measure(value, stamps)?;
        let class = class_of(needed_bytes(key.len(), value_bytes as usize, flags));
        let block = allocate(class);
        // SAFETY: the block is new and of `class`, which has room for a header and, behind it,
        // the key; `key` can't overlap memory that was just allocated.
        unsafe {
            block.write(Header {
                created: 0,
                modified: 0,
                version: 0,
                value_bytes,
                key_bytes,
                class,
                flags,
            });
            let to = block.as_ptr().cast::<u8>().add(HEADER_BYTES);
            to.copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        // The value and the expiry that the header speaks of are written before anything else can
        // see the record; nothing between here and there can panic.
        let mut record = Self { block };
        record.fill(value, value_bytes, flags, stamps);
        Ok(record)
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the block starts with an initialised header (see `block`), and is only written
        // through `&mut self`.
        unsafe { self.block.as_ref() }
    }

    /// Start of the block's bytes.
    #[inline]
    fn base(&self) -> *mut u8 {
        self.block.as_ptr().cast()
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let bytes = usize::from(self.header().key_bytes);
        // SAFETY: `key_bytes` bytes behind the header are initialised and part of the block; they
        // stay untouched as long as `self` is borrowed.
        unsafe { slice::from_raw_parts(self.base().add(HEADER_BYTES), bytes) }
    }

    /// The value's bytes, also of a number.
    #[inline]
    fn value_slice(&self) -> &[u8] {
        let header = self.header();
        let offset = HEADER_BYTES + usize::from(header.key_bytes);
        // SAFETY: `value_bytes` bytes behind the key are initialised and part of the block; they
        // stay untouched as long as `self` is borrowed.
        unsafe { slice::from_raw_parts(self.base().add(offset), header.value_bytes as usize) }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> Value<'_> {
        let bytes = self.value_slice();
        match bytes.first_chunk() {
            Some(number) if self.header().flags & NUMBER != 0 => {
                Value::Number(i64::from_le_bytes(*number))
            }
            _ => Value::Bytes(bytes),
        }
    }

    /// Bytes of the value (8 for a number).
    #[inline]
    pub fn value_len(&self) -> usize {
        self.header().value_bytes as usize
    }

    /// All stamps.
    #[inline]
    pub fn stamps(&self) -> Stamps {
        let header = self.header();
        Stamps {
            created: header.created,
            modified: header.modified,
            version: header.version,
            expires_at_ms: self.expires_at_ms(),
        }
    }

    /// Revision that created the entry.
    #[inline]
    pub fn created(&self) -> u64 {
        self.header().created
    }

    /// Revision of the last write.
    #[inline]
    pub fn modified(&self) -> u64 {
        self.header().modified
    }

    /// Count of writes.
    #[inline]
    pub fn version(&self) -> u64 {
        self.header().version
    }

    /// Lease time at which the entry expires, if it does.
    #[inline]
    pub fn expires_at_ms(&self) -> Option<u64> {
        let header = self.header();
        if header.flags & EXPIRES == 0 {
            return None;
        }
        // SAFETY: the flag says that the last eight bytes of the block are initialised; blocks
        // start and end at multiples of eight, so the read is aligned.
        Some(unsafe { self.expiry_place(header.class).read() })
    }

    /// Where the expiry of a block of `class` stands.
    #[inline]
    fn expiry_place(&self, class: u8) -> *mut u64 {
        self.base()
            .wrapping_add(class_bytes(class) - EXPIRY_BYTES)
            .cast()
    }

    /// Memory of this record, in bytes: its block, without the allocator's own header.
    #[inline]
    pub fn bytes(&self) -> usize {
        class_bytes(self.header().class)
    }

    /// Address for prefetching.
    #[inline]
    pub(super) fn address(&self) -> *const u8 {
        self.base()
    }

    /// Replaces value and stamps; the block stays unless it is too small or far too large.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; the record is then unchanged.
    pub fn write(&mut self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        let (value_bytes, flags) = measure(value, stamps)?;
        let class = class_of(needed_bytes(self.key().len(), value_bytes as usize, flags));
        if may_stay(self.header().class, class) {
            self.fill(value, value_bytes, flags, stamps);
        } else {
            *self = Self::new(self.key(), value, stamps)?;
        }
        Ok(())
    }

    /// Appends to a value of bytes and replaces the stamps.
    ///
    /// # Errors
    /// [`AppendError`]; the record is then unchanged.
    pub fn append(&mut self, tail: &[u8], stamps: Stamps) -> Result<(), AppendError> {
        let header = *self.header();
        if header.flags & NUMBER != 0 {
            return Err(AppendError::NotBytes);
        }
        let old_bytes = header.value_bytes as usize;
        if tail.len() > Self::VALUE_BYTES_MAX - old_bytes {
            return Err(AppendError::TooLarge);
        }
        let new_bytes = old_bytes + tail.len();
        let flags = if stamps.expires_at_ms.is_some() {
            EXPIRES
        } else {
            0
        };
        let class = class_of(needed_bytes(
            usize::from(header.key_bytes),
            new_bytes,
            flags,
        ));
        if class > header.class {
            self.grow(class);
        }
        let offset = HEADER_BYTES + usize::from(header.key_bytes) + old_bytes;
        // SAFETY: the block has room for header, key and `new_bytes` of value (its class is at
        // least `class`); `tail` can't overlap a block this record is mutably borrowed for.
        unsafe {
            self.base()
                .add(offset)
                .copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        }
        let value_bytes = u32::try_from(new_bytes).map_err(|_| AppendError::TooLarge)?;
        self.stamp(value_bytes, flags, stamps);
        Ok(())
    }

    /// Moves the contents to a block of a larger class. The expiry, if any, is lost: callers write
    /// a new one.
    fn grow(&mut self, class: u8) {
        let header = *self.header();
        let new = layout(class);
        // SAFETY: the block came from this allocator with the layout of its class, and the new
        // size is that of a valid layout with the same alignment and not zero. All that was
        // initialised is copied; the old block is not used again.
        let block = unsafe { realloc(self.base(), layout(header.class), new.size()) };
        self.block = NonNull::new(block.cast()).unwrap_or_else(|| handle_alloc_error(new));
        // SAFETY: the block is live and as large as `class` says; without the flag nothing is
        // claimed about its last bytes.
        unsafe {
            self.block.write(Header {
                class,
                flags: header.flags & !EXPIRES,
                ..header
            });
        }
    }

    /// Writes value and stamps into the present block, which must have room for them.
    fn fill(&mut self, value: Value<'_>, value_bytes: u32, flags: u8, stamps: Stamps) {
        let number;
        let bytes = match value {
            Value::Bytes(bytes) => bytes,
            Value::Number(value) => {
                number = value.to_le_bytes();
                &number[..]
            }
        };
        let header = *self.header();
        let key_bytes = usize::from(header.key_bytes);
        debug_assert!(needed_bytes(key_bytes, bytes.len(), flags) <= class_bytes(header.class));
        // SAFETY: callers saw to it that the block's class has room for header, key, these bytes
        // and the expiry; `bytes` can't overlap a block this record is mutably borrowed for.
        unsafe {
            let to = self.base().add(HEADER_BYTES + key_bytes);
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.stamp(value_bytes, flags, stamps);
    }

    /// Writes the header and the expiry; `value_bytes` bytes of value must be initialised.
    fn stamp(&mut self, value_bytes: u32, flags: u8, stamps: Stamps) {
        let header = *self.header();
        if let Some(expiry) = stamps.expires_at_ms {
            // SAFETY: the last eight bytes of the block are aligned, part of it, and beyond the
            // value: `flags` has EXPIRES exactly if there is an expiry, and callers counted it.
            unsafe { self.expiry_place(header.class).write(expiry) };
        }
        let Stamps {
            created,
            modified,
            version,
            expires_at_ms: _,
        } = stamps;
        // SAFETY: the block starts with a header and is mutably borrowed.
        unsafe {
            self.block.write(Header {
                created,
                modified,
                version,
                value_bytes,
                flags,
                ..header
            });
        }
    }
}

/// Length of a value and the flags of its record.
fn measure(value: Value<'_>, stamps: Stamps) -> Result<(u32, u8), RecordTooLarge> {
    let (bytes, kind) = match value {
        Value::Bytes(bytes) => (bytes.len(), 0),
        Value::Number(_) => (NUMBER_BYTES, NUMBER),
    };
    if bytes > Record::VALUE_BYTES_MAX {
        return Err(RecordTooLarge);
    }
    let expires = if stamps.expires_at_ms.is_some() {
        EXPIRES
    } else {
        0
    };
    Ok((
        u32::try_from(bytes).map_err(|_| RecordTooLarge)?,
        kind | expires,
    ))
}

/// Bytes a block must have for these contents.
fn needed_bytes(key_bytes: usize, value_bytes: usize, flags: u8) -> usize {
    let expiry = if flags & EXPIRES == 0 {
        0
    } else {
        EXPIRY_BYTES
    };
    HEADER_BYTES + key_bytes + value_bytes + expiry
}

impl Clone for Record {
    fn clone(&self) -> Self {
        let header = *self.header();
        let class = class_of(needed_bytes(
            usize::from(header.key_bytes),
            header.value_bytes as usize,
            header.flags,
        ));
        let contents = usize::from(header.key_bytes) + header.value_bytes as usize;
        let block = allocate(class);
        // SAFETY: the new block has room for the header and the contents behind it, which are
        // initialised in the old one; two live blocks don't overlap.
        unsafe {
            block.write(Header { class, ..header });
            let to = block.as_ptr().cast::<u8>().add(HEADER_BYTES);
            to.copy_from_nonoverlapping(self.base().add(HEADER_BYTES), contents);
        }
        let mut clone = Self { block };
        clone.stamp(header.value_bytes, header.flags, self.stamps());
        clone
    }
}

impl Drop for Record {
    #[inline]
    fn drop(&mut self) {
        let class = self.header().class;
        // SAFETY: the block came from the global allocator with the layout of its class (`grow`
        // and `allocate` write the class they ask for), and this is its only owner's end.
        unsafe { dealloc(self.base(), layout(class)) };
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key())
            .field("value", &self.value())
            .field("stamps", &self.stamps())
            .finish()
    }
}

#[cfg(test)]
mod tests;
