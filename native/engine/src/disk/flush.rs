//! Which way of making a write durable is faster on this disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::directory::PROBE_NAME;
use super::{Aligned, BLOCK_BYTES};

/// Blocks of the probe file; the rounds go through them in turn.
const PROBE_BLOCKS: u64 = 16;

/// Rounds of each method, and what ends them early on a slow disk.
const ROUNDS_MAX: usize = 16;
const ROUNDS_MIN: usize = 3;
const TIME_MAX: Duration = Duration::from_millis(15);

/// How a write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// Write, then `fdatasync`.
    DataSync,
    /// The file is open with `O_DSYNC`: the write returns when it is durable.
    Dsync,
}

/// What was chosen, and the measurements behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushChoice {
    /// The method.
    pub method: FlushMethod,
    /// Whether writes go around the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Median time of a 4 KiB write with `fdatasync`, nanoseconds.
    pub data_sync_ns: u64,
    /// The same with `O_DSYNC`.
    pub dsync_ns: u64,
}

impl FlushChoice {
    /// The choice in words, as it is logged.
    pub fn name(&self) -> &'static str {
        match (self.direct, self.method) {
            (true, FlushMethod::DataSync) => "O_DIRECT, fdatasync",
            (true, FlushMethod::Dsync) => "O_DIRECT, O_DSYNC",
            (false, FlushMethod::DataSync) => "buffered, fdatasync",
            (false, FlushMethod::Dsync) => "buffered, O_DSYNC",
        }
    }

    /// Writes a few blocks each way into a file of its own and takes the method
    /// with the lower median; some milliseconds on a fast disk. On a full disk
    /// nothing is measured, and both times are 0: what is there can be read still.
    ///
    /// # Errors
    /// When the directory can't be written to.
    pub fn measure(directory: &Path) -> io::Result<Self> {
        let path = directory.join(PROBE_NAME);
        let choice = Self::measure_in(&path);
        // The file is no one's data; what is left of it is used again next time.
        let removed = fs::remove_file(&path);
        match choice {
            Err(error) if is_full(&error) => Self::unmeasured(directory),
            Err(error) => Err(error),
            Ok(choice) => removed.map(|()| choice),
        }
    }

    /// The method that works everywhere; whether with direct IO, a file that is there tells.
    fn unmeasured(directory: &Path) -> io::Result<Self> {
        let mut direct = false;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                (_, direct) = open_for_flush(&entry.path(), FlushMethod::DataSync, true)?;
                break;
            }
        }
        Ok(Self {
            method: FlushMethod::DataSync,
            direct,
            data_sync_ns: 0,
            dsync_ns: 0,
        })
    }

    /// Whether the disk was too full to measure anything.
    pub fn is_unmeasured(&self) -> bool {
        self.data_sync_ns == 0 && self.dsync_ns == 0
    }

    fn measure_in(path: &Path) -> io::Result<Self> {
        static BLOCK: Aligned<BLOCK_BYTES> = Aligned([0x5a; BLOCK_BYTES]);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        for block in 0..PROBE_BLOCKS {
            file.write_all_at(&BLOCK.0, block * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
        drop(file);

        let (data_sync, direct) = open_for_flush(path, FlushMethod::DataSync, true)?;
        let (dsync, _) = open_for_flush(path, FlushMethod::Dsync, direct)?;
        let mut data_sync_ns = Vec::with_capacity(ROUNDS_MAX);
        let mut dsync_ns = Vec::with_capacity(ROUNDS_MAX);
        let begun = Instant::now();
        for round in 0..ROUNDS_MAX {
            if round >= ROUNDS_MIN && begun.elapsed() > TIME_MAX {
                break;
            }
            let offset = (round as u64 % PROBE_BLOCKS) * BLOCK_BYTES as u64;
            // Alternated, so that a slow moment of the disk meets both.
            data_sync_ns.push(time(|| {
                data_sync.write_all_at(&BLOCK.0, offset)?;
                data_sync.sync_data()
            })?);
            dsync_ns.push(time(|| dsync.write_all_at(&BLOCK.0, offset))?);
        }
        let (data_sync_ns, dsync_ns) = (median(&mut data_sync_ns), median(&mut dsync_ns));
        Ok(Self {
            method: if dsync_ns < data_sync_ns {
                FlushMethod::Dsync
            } else {
                FlushMethod::DataSync
            },
            direct,
            data_sync_ns,
            dsync_ns,
        })
    }
}

/// `O_DSYNC` of Linux's generic ABI. The constant of that name in rustix is
/// `O_SYNC`, which writes out the time of modification with every flush too.
const O_DSYNC: i32 = 0o10000;

/// Opens an existing file for durable writes; around the page cache where that
/// is wished and the file system allows it, which the second value tells.
pub(super) fn open_for_flush(
    path: &Path,
    method: FlushMethod,
    direct: bool,
) -> io::Result<(File, bool)> {
    let open = |direct: bool| {
        let mut flags = OFlags::CLOEXEC;
        if direct {
            flags |= OFlags::DIRECT;
        }
        let mut flags = i32::try_from(flags.bits()).expect("open flags fit an int: they are one");
        if method == FlushMethod::Dsync {
            flags |= O_DSYNC;
        }
        OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    if direct {
        match open(true) {
            // What a file system without direct IO answers.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            file => return Ok((file?, true)),
        }
    }
    Ok((open(false)?, false))
}

/// Whether it failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn time(write: impl FnOnce() -> io::Result<()>) -> io::Result<u64> {
    let begun = Instant::now();
    write()?;
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}
