//! Reads a file in large pieces.

use std::io;

use crate::aligned::BLOCK_BYTES;
use crate::layout::BLOCK;
use crate::{AlignedBuf, Disk};

/// How much is read at a time, in bytes.
const WINDOW_BYTES: u64 = 2 << 20;

/// A piece of a file in memory.
pub(crate) struct Window {
    /// How much is read at a time, in bytes.
    ahead: u64,
    name: String,
    start: u64,
    bytes: AlignedBuf,
}

impl Default for Window {
    fn default() -> Self {
        Self::reading(WINDOW_BYTES)
    }
}

impl Window {
    /// One that reads no more than is asked for.
    pub fn exact() -> Self {
        Self::reading(0)
    }

    fn reading(ahead: u64) -> Self {
        Self {
            ahead,
            name: String::new(),
            start: 0,
            bytes: AlignedBuf::new(),
        }
    }

    /// Turns to another file.
    pub fn open(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.bytes.clear();
    }

    /// The bytes at `offset`, both multiples of 4096, with the file's length in `file_bytes`. They may be
    /// changed in place: each is handed out as on disk only until then.
    ///
    /// # Errors
    /// Of the disk, and `UnexpectedEof` if the file is shorter.
    pub fn read(
        &mut self,
        disk: &mut dyn Disk,
        file_bytes: u64,
        offset: u64,
        len: u64,
    ) -> io::Result<&mut [u8]> {
        if offset < self.start || offset + len > self.start + self.bytes.len() as u64 {
            self.load(disk, file_bytes, offset, len)?;
        }
        let at = usize_of(offset - self.start);
        Ok(&mut self.bytes.as_mut_slice()[at..at + usize_of(len)])
    }

    fn load(
        &mut self,
        disk: &mut dyn Disk,
        file_bytes: u64,
        offset: u64,
        len: u64,
    ) -> io::Result<()> {
        let left = file_bytes.saturating_sub(offset) / BLOCK * BLOCK;
        let want = usize_of(len.max(self.ahead.min(left)));
        self.bytes.clear();
        self.bytes.resize_stale(want);
        self.start = offset;
        let mut done = 0;
        while done < want {
            // A disk may return less than asked; only nothing means the end.
            let at = done / BLOCK_BYTES * BLOCK_BYTES;
            let buf = &mut self.bytes.as_mut_slice()[at..];
            match disk.read(&self.name, offset + at as u64, buf)? {
                read if at + read > done => done = at + read,
                _ => break,
            }
        }
        self.bytes.truncate(done);
        if (done as u64) < len {
            self.bytes.clear();
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} ends at {}", self.name, offset + done as u64),
            ));
        }
        Ok(())
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("pieces are bounded by the largest frame")
}
