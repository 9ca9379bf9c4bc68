//! What the log wants done on the disk: the group commit itself, and the jobs
//! of the background. The sans-IO side builds them, an executor runs them here.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::layout::{self, BLOCK, FileHeader, FileKind};
use crate::snapshot::{ReadPlace, SnapshotError, SnapshotInfo, SnapshotPiece, read_piece};
use crate::{AlignedBuf, BLOCK_BYTES, Disk};

/// Zeros written at a time, in bytes.
const ZEROS_BYTES: usize = 1 << 20;

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
    /// Make a segment, synced, under its name: of one that nobody needs, or else zero-filled.
    PrepareSegment(NewSegment),
    /// Keep the file of a segment that nobody needs for a later one. What is behind its last frame is
    /// zeroed, so that every sector of a spare is of that segment or zero.
    RetireSegment {
        /// Its number.
        segment: u64,
        /// Its length.
        bytes: u64,
        /// Where its last frame ends.
        used_bytes: u64,
        /// Remove it instead, and refuse as full, unless this much is free beside it.
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
    /// Read a piece of a snapshot, and verify it.
    SnapshotRead {
        /// The snapshot.
        info: SnapshotInfo,
        /// Which piece.
        place: ReadPlace,
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

/// A segment to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSegment {
    /// Its number.
    pub segment: u64,
    /// Its length.
    pub bytes: u64,
    /// Its salt.
    pub salt: u64,
    /// The spare to make it of, if there is one.
    pub spare: Option<Spare>,
    /// Refuse as full unless this much stays free for snapshots.
    pub keep_free_bytes: u64,
}

/// The file of a segment that nobody needs, as long as a new one has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Number of the segment it was.
    pub segment: u64,
    /// Its salt then.
    pub salt: u64,
}

/// Names a job of the writer after it was handed away; see [`crate::Writer::on_job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobTag {
    /// [`Job::PrepareSegment`].
    PrepareSegment(u64),
    /// [`Job::RetireSegment`].
    RetireSegment(u64),
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
            Self::PrepareSegment(new) => JobTag::PrepareSegment(new.segment),
            Self::RetireSegment { segment, .. } => JobTag::RetireSegment(*segment),
            Self::SnapshotWrite { .. }
            | Self::SnapshotRead { .. }
            | Self::SnapshotFinish { .. } => JobTag::Snapshot,
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
    /// Answer to [`Job::SnapshotRead`].
    Piece(SnapshotPiece),
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
        Job::PrepareSegment(new) => prepare_segment(disk, new),
        Job::RetireSegment {
            segment,
            bytes,
            used_bytes,
            keep_free_bytes,
        } => retire_segment(disk, *segment, *used_bytes..*bytes, *keep_free_bytes),
        Job::SnapshotWrite {
            file,
            offset,
            bytes,
            sync,
        } => snapshot_write(disk, file, *offset, bytes, *sync),
        Job::SnapshotRead { info, place } => match read_piece(disk, info, place) {
            Ok(piece) => return JobResult::Piece(piece),
            Err(error) => Err(lift_io(error)),
        },
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

fn lift_io(error: SnapshotError) -> io::Error {
    match error {
        SnapshotError::Io { error, .. } => error,
        damaged => io::Error::new(io::ErrorKind::InvalidData, damaged.to_string()),
    }
}

/// Builds the segment under a temporary name, so that one under its own name is always whole.
pub(crate) fn prepare_segment(disk: &mut dyn Disk, new: &NewSegment) -> io::Result<()> {
    let temporary = layout::segment_temporary_name(new.segment);
    let reused = new
        .spare
        .is_some_and(|spare| take_spare(disk, &spare, new.bytes, &temporary));
    let built = (|| {
        if !reused {
            let (bytes, reserve) = (new.bytes, new.keep_free_bytes);
            let what = format!("a log segment of {bytes} bytes and {reserve} bytes in reserve");
            need_free(disk, bytes.saturating_add(reserve), &what)?;
            disk.create(&temporary, bytes)?;
        }
        let mut block = AlignedBuf::zeroed(layout::FILE_HEADER_BYTES);
        new.header().encode(block.as_mut_slice());
        disk.write(&temporary, 0, block.as_slice())?;
        disk.sync(&temporary)?;
        disk.rename(&temporary, &layout::segment_name(new.segment))?;
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

impl NewSegment {
    pub(crate) fn header(&self) -> FileHeader {
        FileHeader {
            kind: FileKind::Segment,
            number: self.segment,
            group: 0,
            salt: self.salt,
            bytes: self.bytes,
            replica: 0,
            earlier_salt: self.spare.map_or(0, |spare| spare.salt),
        }
    }
}

/// Gives the spare its temporary name. Should a crash undo that, and not the header behind it, the header's
/// number tells that it is a spare no more. False: it can't be used, for whatever reason. Nobody needs it,
/// so that is no failure, and what there is of it goes.
fn take_spare(disk: &mut dyn Disk, spare: &Spare, bytes: u64, temporary: &str) -> bool {
    let name = layout::spare_name(spare.segment);
    let is_it =
        matches!(read_spare(disk, spare.segment, bytes), Ok(Some(found)) if found == *spare);
    let taken = is_it && disk.rename(&name, temporary).is_ok();
    if !taken {
        drop(disk.remove(&name));
    }
    taken
}

/// The spare of that segment, if it has that length and says who it was.
///
/// # Errors
/// Of the disk. The caller can do without.
pub(crate) fn read_spare(
    disk: &mut dyn Disk,
    segment: u64,
    bytes: u64,
) -> io::Result<Option<Spare>> {
    let name = layout::spare_name(segment);
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    let reads_whole = |disk: &mut dyn Disk, offset, block: &mut AlignedBuf| {
        Ok::<_, io::Error>(disk.read(&name, offset, block.as_mut_slice())? == BLOCK_BYTES)
    };
    // Space it lacks at its end would have to be found while a commit waits.
    if bytes < 2 * BLOCK || !reads_whole(disk, bytes - BLOCK, &mut block)? {
        return Ok(None);
    }
    if !reads_whole(disk, 0, &mut block)? {
        return Ok(None);
    }
    let header = FileHeader::decode(block.as_slice(), FileKind::Segment).header();
    let is_it = |header: &FileHeader| (header.number, header.bytes) == (segment, bytes);
    Ok(header.filter(is_it).map(|header| Spare {
        segment,
        salt: header.salt,
    }))
}

fn retire_segment(
    disk: &mut dyn Disk,
    segment: u64,
    unused: Range<u64>,
    keep_free_bytes: u64,
) -> io::Result<()> {
    let name = layout::segment_name(segment);
    if let Err(error) = need_free(
        disk,
        keep_free_bytes,
        "a segment kept for later and its reserve",
    ) {
        remove(disk, &name)?;
        return Err(error);
    }
    write_zeros(disk, &name, unused)?;
    disk.sync(&name)?;
    disk.rename(&name, &layout::spare_name(segment))?;
    disk.sync_directory()
}

/// Writes zeros, not durably.
pub(crate) fn write_zeros(disk: &mut dyn Disk, name: &str, place: Range<u64>) -> io::Result<()> {
    let left =
        |at: u64| usize::try_from(place.end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
    let mut at = place.start;
    if at >= place.end {
        return Ok(());
    }
    let zeros = AlignedBuf::zeroed(left(at));
    while at < place.end {
        let piece = &zeros.as_slice()[..left(at)];
        disk.write(name, at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn need_free(disk: &mut dyn Disk, bytes: u64, what: &str) -> io::Result<()> {
    let free = disk.free_bytes()?;
    if free >= bytes {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        format!("{what} need more than the {free} bytes free"),
    ))
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
