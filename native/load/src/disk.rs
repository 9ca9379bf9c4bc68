//! The disk alone: durable writes one after the other into a file that is
//! there already, by the faster of the two ways to make them durable.

use crate::clock::{Clock, thread_cpu_ns};
use crate::fault::{Fault, Result};
use crate::generator::Span;
use crate::operation::{Answer, Kind, Operation};
use crate::recorder::Recorder;
use rustix::fs::{OFlags, fdatasync};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Alignment that every disk's O_DIRECT accepts.
const ALIGNMENT: usize = 4096;
/// Bytes of the file that is written over and over.
const FILE_BYTES: u64 = 64 << 20;
/// How long each method is tried before one is chosen.
const TRIAL_NS: u64 = 250_000_000;

/// A way to make a write durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// O_DIRECT write, then fdatasync.
    DirectThenSync,
    /// O_DIRECT and O_DSYNC: the write returns when it is durable.
    DirectDsync,
    /// Through the page cache, then fdatasync: where the file system has no O_DIRECT.
    BufferedThenSync,
}

impl Method {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::DirectThenSync => "O_DIRECT + fdatasync",
            Self::DirectDsync => "O_DIRECT | O_DSYNC",
            Self::BufferedThenSync => "buffered + fdatasync",
        }
    }

    fn flags(self) -> OFlags {
        match self {
            Self::DirectThenSync => OFlags::DIRECT,
            Self::DirectDsync => OFlags::DIRECT | OFlags::DSYNC,
            Self::BufferedThenSync => OFlags::empty(),
        }
    }
}

/// A file to write to, and what is written.
pub struct Disk {
    path: PathBuf,
    file: File,
    method: Method,
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
    offset: u64,
    clock: Clock,
}

impl Disk {
    /// Lays the file out, writes it full, tries both methods and keeps the faster.
    /// `bytes` of each write are rounded up to 4 KiB.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn new(directory: &Path, bytes: usize) -> Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        if bytes as u64 > FILE_BYTES {
            return Err(Fault::new("a write is larger than the file"));
        }
        let path = directory.join("disk.bin");
        lay_out(&path)?;
        let memory: Vec<u8> = (0..bytes + ALIGNMENT)
            .map(|place| place.to_le_bytes()[0])
            .collect();
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let clock = Clock::start();
        let open = |method| open(&path, method);
        let (file, method) = match open(Method::DirectThenSync) {
            Ok(file) => (file, Method::DirectThenSync),
            Err(_) => (open(Method::BufferedThenSync)?, Method::BufferedThenSync),
        };
        let mut disk = Self {
            path: path.clone(),
            file,
            method,
            memory,
            start,
            bytes,
            offset: 0,
            clock,
        };
        if disk.method == Method::DirectThenSync {
            let synced_us = disk.trial()?;
            disk.file = open(Method::DirectDsync)?;
            disk.method = Method::DirectDsync;
            if disk.trial()? > synced_us {
                disk.file = open(Method::DirectThenSync)?;
                disk.method = Method::DirectThenSync;
            }
        }
        Ok(disk)
    }

    /// The method chosen.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Median of a short trial in microseconds.
    fn trial(&mut self) -> Result<f64> {
        let mut recorder = Recorder::new();
        self.run(0, TRIAL_NS, 1, &mut recorder, || Ok(()))?;
        Ok(recorder.quantile_us(0.5))
    }

    /// Writes for a warm-up and a window; each write counts as `operations`.
    ///
    /// # Errors
    /// A write fails.
    pub fn run(
        &mut self,
        warm_ns: u64,
        window_ns: u64,
        operations: u64,
        recorder: &mut Recorder,
        begin: impl FnOnce() -> Result<()>,
    ) -> Result<Span> {
        recorder.reset();
        let warm_end_ns = self.clock.now_ns() + warm_ns;
        while self.clock.now_ns() < warm_end_ns {
            self.write()?;
        }
        begin()?;
        let begun_ns = self.clock.now_ns();
        let cpu_ns = thread_cpu_ns();
        recorder.begin_window(begun_ns);
        let put = Operation {
            kind: Kind::Put,
            ..Operation::default()
        };
        let mut sent_ns = begun_ns;
        while sent_ns - begun_ns < window_ns {
            self.write()?;
            let now_ns = self.clock.now_ns();
            recorder.arrived(now_ns);
            for _ in 0..operations {
                recorder.answer(&put, Answer::Done, sent_ns)?;
            }
            sent_ns = now_ns;
        }
        recorder.end_window(sent_ns);
        Ok(Span {
            elapsed_ns: sent_ns - begun_ns,
            cpu_ns: thread_cpu_ns() - cpu_ns,
        })
    }

    fn write(&mut self) -> Result<()> {
        let bytes = &self.memory[self.start..self.start + self.bytes];
        self.file.write_all_at(bytes, self.offset)?;
        if self.method != Method::DirectDsync {
            fdatasync(&self.file)?;
        }
        self.offset += self.bytes as u64;
        if self.offset + self.bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Left behind it is only a file in a directory that is removed anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lay_out(path: &Path) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let zeros = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < FILE_BYTES {
        file.write_all_at(&zeros, offset)?;
        offset += zeros.len() as u64;
    }
    file.sync_all()?;
    Ok(())
}

fn open(path: &Path, method: Method) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    options.custom_flags(method.flags().bits().cast_signed());
    Ok(options.open(path)?)
}
