//! A growable byte buffer whose address is a multiple of 4096, as direct IO
//! demands. The only place of this crate with `unsafe` code.

#![allow(unsafe_code)]

use std::fmt;

/// Alignment of the buffer and the unit of all writes, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// One page. The alignment of the type makes a `Vec` of it aligned as wanted.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; BLOCK_BYTES]);

/// A byte buffer aligned to 4096. Clearing keeps the allocation: buffers are pooled.
#[derive(Default)]
pub struct AlignedBuf {
    /// Every page is initialised, so any prefix is readable.
    pages: Vec<Page>,
    /// Invariant: `len <= pages.len() * BLOCK_BYTES`.
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer without an allocation.
    pub const fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    /// An empty buffer with room for at least `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buf = Self::new();
        buf.reserve(bytes);
        buf
    }

    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let mut buf = Self::new();
        buf.resize(len);
        buf
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.pages.len() * BLOCK_BYTES
    }

    /// Forgets the bytes, keeps the allocation.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens to `len` bytes; no effect if it is shorter already.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes the length `len`; bytes gained are zero.
    pub fn resize(&mut self, len: usize) {
        let before = self.len;
        self.resize_stale(len);
        if len > before {
            self.as_mut_slice()[before..].fill(0);
        }
    }

    /// Makes the length `len`; bytes gained hold whatever was there before (zero or stale), for callers
    /// that overwrite them at once.
    pub fn resize_stale(&mut self, len: usize) {
        if len > self.capacity() {
            self.reserve(len - self.len);
        }
        self.len = len;
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.resize_stale(start + bytes.len());
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Makes room for `additional` bytes more; doubles, so that appending is linear in all.
    pub fn reserve(&mut self, additional: usize) {
        let pages = (self.len + additional).div_ceil(BLOCK_BYTES);
        if pages > self.pages.len() {
            let pages = pages.max(self.pages.len() * 2);
            self.pages.reserve_exact(pages - self.pages.len());
            self.pages.resize(pages, Page([0; BLOCK_BYTES]));
        }
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the pages are `repr(C)` arrays of initialised bytes without padding, one behind the
        // other, and `len` never exceeds them; the borrow of `self` keeps them alive and unchanged.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast::<u8>(), self.len) }
    }

    /// The bytes in use, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the exclusive borrow of `self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast::<u8>(), self.len) }
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        copy.extend_from_slice(self.as_slice());
        copy
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_bytes_through_growth() {
        let mut buf = AlignedBuf::new();
        let mut model = Vec::new();
        for round in 0..200_usize {
            let piece: Vec<u8> = (0..round * 7)
                .map(|i| (i * 31 + round).to_le_bytes()[0])
                .collect();
            buf.extend_from_slice(&piece);
            model.extend_from_slice(&piece);
            assert_eq!(buf.as_slice().as_ptr().addr() % BLOCK_BYTES, 0);
            assert_eq!(buf.as_slice(), model);
        }
        buf.truncate(10);
        assert_eq!(buf.as_slice(), &model[..10]);
    }

    #[test]
    fn resize_zeroes_what_a_former_use_left_behind() {
        let mut buf = AlignedBuf::new();
        buf.extend_from_slice(&[7; 9000]);
        buf.clear();
        buf.resize(9000);
        assert!(buf.as_slice().iter().all(|&byte| byte == 0));
        let clone = buf.clone();
        assert_eq!(clone.as_slice(), buf.as_slice());
        assert!(AlignedBuf::new().as_slice().is_empty());
        assert_eq!(AlignedBuf::zeroed(5).as_slice(), [0; 5]);
    }
}
