//! What the log wants done on the disk: the group commit itself, and the jobs
//! of the background. The sans-IO side builds them, an executor runs them here.

use std::io;
use std::sync::Arc;

use crate::layout::{self, FileHeader, FileKind};
use crate::{AlignedBuf, Disk};

/// Bytes for one place of one file, to be durable before the next part starts.
#[derive(Debug)]
pub struct WritePart {
    /// File to write to.
    pub file: Arc<str>,
    /// Where, a multiple of 4096.
    pub offset: u64,
    /// What, a multiple of 4096 bytes.
    pub bytes: AlignedBuf,
}

/// One group commit. Nothing in it may be acknowledged before all its parts are durable.
#[derive(Debug)]
pub struct LogWrite {
    /// Names this write in [`crate::Writer::on_written`].
    pub ticket: u64,
    /// The write in the present segment.
    pub first: WritePart,
    /// Writes into segments after it, where the commit did not fit. Each must be durable before the
    /// next begins: recovery takes a later segment's frame as proof that the former is whole.
    pub rest: Vec<WritePart>,
}

impl LogWrite {
    /// The parts in the order they must become durable.
    pub fn parts(&self) -> impl Iterator<Item = &WritePart> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts().map(|part| part.bytes.len() as u64).sum()
    }
}

/// Work of the background.
#[derive(Debug)]
pub enum Job {
    /// Make the segment: zero-filled, header written, synced, under its name.
    PrepareSegment {
        /// Its number.
        segment: u64,
        /// Its length.
        bytes: u64,
        /// Its salt.
        salt: u64,
        /// Refuse as full unless this much stays free for snapshots.
        keep_free_bytes: u64,
    },
    /// Write a piece of a snapshot under its temporary name.
    SnapshotWrite {
        /// The temporary name.
        file: Arc<str>,
        /// Where; 0 makes the file anew.
        offset: u64,
        /// What.
        bytes: AlignedBuf,
        /// Flush as well, so that the amount of unflushed bytes stays bounded.
        sync: bool,
    },
    /// Make a snapshot durable and give it its name.
    SnapshotFinish {
        /// The temporary name.
        temporary: Arc<str>,
        /// The name.
        file: Arc<str>,
    },
    /// Remove a file that nothing needs any more: a segment, or a snapshot, finished or not. That it
    /// does not exist is no failure; after one, whoever runs jobs tries again later.
    Remove {
        /// The name, temporary or not.
        file: Arc<str>,
    },
    /// Ask for the free space of the file system.
    FreeSpace,
}

/// Names a job of the writer after it was handed away; see [`crate::Writer::on_job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobTag {
    /// [`Job::PrepareSegment`].
    PrepareSegment(u64),
    /// A job of a snapshot: none of the writer's business.
    Snapshot,
    /// [`Job::Remove`]: how it ended is none either.
    Remove,
    /// [`Job::FreeSpace`].
    FreeSpace,
}

impl Job {
    /// What to remember of the job while it runs.
    pub fn tag(&self) -> JobTag {
        match self {
            Self::PrepareSegment { segment, .. } => JobTag::PrepareSegment(*segment),
            Self::SnapshotWrite { .. } | Self::SnapshotFinish { .. } => JobTag::Snapshot,
            Self::Remove { .. } => JobTag::Remove,
            Self::FreeSpace => JobTag::FreeSpace,
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// Done, and durable.
    Done,
    /// Answer to [`Job::FreeSpace`].
    FreeBytes(u64),
    /// Not done.
    Failed {
        /// What kind of failure; see [`JobResult::is_full`].
        kind: io::ErrorKind,
        /// For a person.
        message: String,
    },
}

impl JobResult {
    /// Whether the job failed for want of space, which may pass.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Failed { kind, .. } if is_full(*kind))
    }
}

pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes a group commit durable. After an error nothing may be written any more: which bytes are on the
/// disk is unknown, and a flush that failed once may report success the next time without having flushed.
///
/// # Errors
/// The first error of the disk; later parts were not begun.
pub fn run_write(disk: &mut dyn Disk, write: &LogWrite) -> io::Result<()> {
    for part in write.parts() {
        disk.write_durable(&part.file, part.offset, &part.bytes)?;
    }
    Ok(())
}

/// Runs a job to its end.
pub fn run_job(disk: &mut dyn Disk, job: &Job) -> JobResult {
    let result = match job {
        Job::PrepareSegment {
            segment,
            bytes,
            salt,
            keep_free_bytes,
        } => prepare_segment(disk, *segment, *bytes, *salt, *keep_free_bytes),
        Job::SnapshotWrite {
            file,
            offset,
            bytes,
            sync,
        } => snapshot_write(disk, file, *offset, bytes, *sync),
        Job::SnapshotFinish { temporary, file } => snapshot_finish(disk, temporary, file),
        Job::Remove { file } => remove(disk, file),
        Job::FreeSpace => match disk.free_bytes() {
            Ok(bytes) => return JobResult::FreeBytes(bytes),
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => JobResult::Done,
        Err(error) => JobResult::Failed {
            kind: error.kind(),
            message: error.to_string(),
        },
    }
}

/// Builds the segment under a temporary name, so that one under its own name is always whole.
pub(crate) fn prepare_segment(
    disk: &mut dyn Disk,
    segment: u64,
    bytes: u64,
    salt: u64,
    keep_free_bytes: u64,
) -> io::Result<()> {
    let free = disk.free_bytes()?;
    if free < bytes.saturating_add(keep_free_bytes) {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "a log segment of {bytes} bytes and {keep_free_bytes} bytes in reserve need more than the {free} bytes free"
            ),
        ));
    }
    let temporary = layout::segment_temporary_name(segment);
    let built = (|| {
        disk.create(&temporary, bytes)?;
        let header = FileHeader {
            kind: FileKind::Segment,
            number: segment,
            group: 0,
            salt,
            bytes,
            replica: 0,
        };
        let mut block = AlignedBuf::zeroed(layout::FILE_HEADER_BYTES);
        header.encode(block.as_mut_slice());
        disk.write(&temporary, 0, block.as_slice())?;
        disk.sync(&temporary)?;
        disk.rename(&temporary, &layout::segment_name(segment))?;
        disk.sync_directory()
    })();
    if let Err(error) = &built
        && is_full(error.kind())
    {
        // Gives the half-made file's space back; the reason for failing is the one worth telling.
        drop(disk.remove(&temporary));
    }
    built
}

fn snapshot_write(
    disk: &mut dyn Disk,
    file: &str,
    offset: u64,
    bytes: &AlignedBuf,
    sync: bool,
) -> io::Result<()> {
    if offset == 0 {
        disk.create(file, 0)?;
    }
    disk.write(file, offset, bytes.as_slice())?;
    if sync { disk.sync(file) } else { Ok(()) }
}

fn snapshot_finish(disk: &mut dyn Disk, temporary: &str, file: &str) -> io::Result<()> {
    disk.sync(temporary)?;
    disk.rename(temporary, file)?;
    disk.sync_directory()
}

fn remove(disk: &mut dyn Disk, file: &str) -> io::Result<()> {
    match disk.remove(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => disk.sync_directory(),
    }
}
