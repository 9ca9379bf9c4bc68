//! What the log asks of storage. One data directory with flat names such as
//! `wal/0000000001.log`; the engine implements it over real files, tests and
//! the simulator over memory.

use std::io;

use crate::AlignedBuf;

/// A file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileInfo {
    /// Name relative to the data directory, parts separated by `/`.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Storage of one data directory. All calls block.
///
/// What the log relies on:
/// - A write becomes durable with the next successful [`Disk::sync`] of the same file and not before;
///   until then any subset of its 512-byte sectors may survive a crash, each whole.
/// - [`Disk::create`], [`Disk::rename`] and [`Disk::remove`] become durable with the next successful
///   [`Disk::sync_directory`].
/// - Offsets, lengths and addresses handed to [`Disk::read`], [`Disk::write`] and
///   [`Disk::write_durable`] are multiples of 4096, so that an implementation may bypass the page cache.
///   Small files ([`Disk::write_small`]) are of any length.
pub trait Disk {
    /// All files below the data directory, in any order.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn list(&mut self) -> io::Result<Vec<FileInfo>>;

    /// Makes a file of `len` zero bytes and syncs its contents: the bytes are really zero on the disk
    /// and their space is taken, so that a later write inside it cannot run out of room. An existing file
    /// of that name is replaced. Directories in the name are made as needed.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Reads into `buf` from `offset` on; returns the number of bytes read, less than asked only at the
    /// file's end.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn read(&mut self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file where needed. Not durable by itself.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written to the file durable.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// The hot path: write and flush by whichever method is faster here.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn write_durable(&mut self, name: &str, offset: u64, bytes: &AlignedBuf) -> io::Result<()>;

    /// Renames a file, replacing an existing one of the new name.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable, in all directories.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Whether writes pass through a cache of the system. After a flush that failed such a cache may
    /// show bytes that the disk never got, and flush them no more; writing them again does.
    fn is_cached(&self) -> bool;

    /// The whole of a small file; None if there is none.
    ///
    /// # Errors
    /// Of the storage.
    fn read_small(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes a small file of these bytes and syncs its contents; an existing one is replaced. Its name is
    /// durable with the next [`Disk::sync_directory`].
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn write_small(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Bytes the file system has left for this process.
    ///
    /// # Errors
    /// Of the storage; nothing is known then about what was done.
    fn free_bytes(&mut self) -> io::Result<u64>;
}
