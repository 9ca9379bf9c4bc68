//! Reads a snapshot, slice by slice; every byte is verified before it is handed
//! out, and the whole is known to be right only after the last.

use std::fmt;
use std::io;

use super::{
    ContentDigest, END_BYTES, SLICE_HEAD_BYTES, SliceKind, SnapshotHead, SnapshotInfo,
    SnapshotOrigin,
};
use crate::Disk;
use crate::body::SnapshotName;
use crate::bytes::{u32_at, u64_at, u128_at};
use crate::frame::{FrameHeader, FrameKind, HeaderState, Judgement};
use crate::layout::{BLOCK, FILE_HEADER_BYTES, FORMAT_VERSION, FileHeader, FileKind, HeaderRead};
use crate::recover::RecoverError;
use crate::report::{Damage, DamagedGroups, Note};
use crate::sector::FileIdentity;
use crate::window::Window;

/// A snapshot that could not be read.
#[derive(Debug)]
pub enum SnapshotError {
    /// It is damaged.
    Damaged(Damage),
    /// It is another snapshot than its name says, or none.
    Misnamed(Damage),
    /// The disk failed.
    Io {
        /// The file.
        file: String,
        /// How.
        error: io::Error,
    },
    /// It is of another version of the format.
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) | Self::Misnamed(damage) => damage.fmt(f),
            Self::Io { file, error } => write!(f, "reading {file}: {error}"),
            Self::Version { file, version } => {
                write!(
                    f,
                    "{file} has format version {version}; this program reads version {FORMAT_VERSION}"
                )
            }
        }
    }
}

impl std::error::Error for SnapshotError {}

/// A snapshot being read.
pub struct SnapshotReader {
    info: SnapshotInfo,
    identity: FileIdentity,
    head: SnapshotHead,
    origin: SnapshotOrigin,
    content: ContentDigest,
    content_digest: u128,
    note: Option<Note>,
    window: Window,
    /// Offset of the frame that comes next.
    offset: u64,
    sequence: u64,
    digest: u128,
    /// The frame whose slices are handed out: offset, length.
    frame: (u64, u64),
    /// What of its payload is still to come: start and end, from the frame's start.
    rest: (usize, usize),
    slices: u64,
    slice_bytes: u64,
    ended: bool,
}

impl SnapshotReader {
    /// Opens a snapshot and reads its head.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(disk: &mut dyn Disk, info: &SnapshotInfo) -> Result<Self, SnapshotError> {
        Self::open_with(disk, info, Window::default())
    }

    /// The same, reading in such pieces.
    pub(super) fn open_with(
        disk: &mut dyn Disk,
        info: &SnapshotInfo,
        mut window: Window,
    ) -> Result<Self, SnapshotError> {
        window.open(&info.file);
        if info.bytes < FILE_HEADER_BYTES as u64 {
            return Err(damaged(info, 0, "the file was cut short"));
        }
        let block = window
            .read(disk, info.bytes, 0, FILE_HEADER_BYTES as u64)
            .map_err(|error| failed(info, error))?;
        let mut note = None;
        let header = match FileHeader::decode(block, FileKind::Snapshot) {
            HeaderRead::Whole(header) => header,
            HeaderRead::Half(header, at) => {
                let what =
                    "a copy of the file header is damaged; harmless, since the other is whole";
                note = Some(Note {
                    file: info.file.to_string(),
                    offset: at,
                    what: what.into(),
                });
                header
            }
            HeaderRead::Bad => {
                return Err(damaged(
                    info,
                    0,
                    "both copies of the file header are damaged",
                ));
            }
            HeaderRead::Version(version) => {
                return Err(SnapshotError::Version {
                    file: info.file.to_string(),
                    version,
                });
            }
        };
        if (header.group, header.replica, header.number) != (info.group, info.replica, info.index) {
            let what = "the file is another snapshot under this name";
            return Err(SnapshotError::Misnamed(damage(info, 0, what)));
        }
        let mut reader = Self {
            info: info.clone(),
            identity: header.identity(),
            head: SnapshotHead::default(),
            origin: SnapshotOrigin::default(),
            content: ContentDigest::new(Vec::new()),
            content_digest: 0,
            note,
            window,
            offset: FILE_HEADER_BYTES as u64,
            sequence: 0,
            digest: 0,
            frame: (0, 0),
            rest: (0, 0),
            slices: 0,
            slice_bytes: 0,
            ended: false,
        };
        reader.read_head(disk)?;
        Ok(reader)
    }

    /// Goes on at a place that [`Self::place`] gave.
    pub(super) fn resume(
        info: &SnapshotInfo,
        identity: FileIdentity,
        place: (u64, u64, u128),
    ) -> Self {
        let mut window = Window::exact();
        window.open(&info.file);
        let (offset, sequence, digest) = place;
        Self {
            info: info.clone(),
            identity,
            head: SnapshotHead::default(),
            origin: SnapshotOrigin::default(),
            content: ContentDigest::new(Vec::new()),
            content_digest: 0,
            note: None,
            window,
            offset,
            sequence,
            digest,
            frame: (0, 0),
            rest: (0, 0),
            slices: 0,
            slice_bytes: 0,
            ended: false,
        }
    }

    /// Where the next frame begins, and what it continues.
    pub(super) fn place(&self) -> (FileIdentity, (u64, u64, u128)) {
        (self.identity, (self.offset, self.sequence, self.digest))
    }

    /// The payload of the next frame. Of the last one the file ends behind it.
    pub(super) fn next_payload(
        &mut self,
        disk: &mut dyn Disk,
    ) -> Result<(FrameKind, Vec<u8>), SnapshotError> {
        let header = self.next_frame(disk)?;
        if header.kind == FrameKind::SnapshotEnd && self.offset != self.info.bytes {
            return Err(self.damaged(self.offset, "there are bytes behind the end"));
        }
        let payload = header.payload(self.frame_bytes(disk)?).to_vec();
        Ok((header.kind, payload))
    }

    pub(super) fn refuse(&self, what: &str) -> SnapshotError {
        self.damaged(self.frame.0, what)
    }

    /// What the snapshot is of.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// Whose file it is.
    pub fn origin(&self) -> &SnapshotOrigin {
        &self.origin
    }

    /// What a hard state calls it by; known behind the last slice.
    pub fn name(&self) -> Option<SnapshotName> {
        self.ended.then_some(SnapshotName {
            index: self.head.index,
            term: self.head.term,
            digest: self.content_digest,
        })
    }

    /// A harmless find, if there was one.
    pub fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Slices handed out so far.
    pub fn slices(&self) -> u64 {
        self.slices
    }

    /// The next slice and its kind, as it was pushed; None behind the last, when the whole snapshot is known to be
    /// right. Its address is a multiple of 8.
    ///
    /// # Errors
    /// See [`SnapshotError`]. What was handed out before must then be thrown away.
    pub fn next_slice(
        &mut self,
        disk: &mut dyn Disk,
    ) -> Result<Option<(SliceKind, &[u8])>, SnapshotError> {
        while self.rest.0 == self.rest.1 {
            if self.ended {
                return Ok(None);
            }
            let header = self.next_frame(disk)?;
            match header.kind {
                FrameKind::SnapshotSlices => {
                    let start = crate::frame::HEADER_BYTES;
                    self.rest = (start, start + header.payload_bytes as usize);
                }
                FrameKind::SnapshotEnd => self.check_end(disk)?,
                _ => return Err(self.damaged(header.offset, "a frame of the wrong kind")),
            }
        }
        let (at, end) = self.rest;
        let (offset, length) = self.frame;
        let malformed = damaged(&self.info, offset, "a slice can't be read");
        let bytes = self
            .window
            .read(disk, self.info.bytes, offset, length)
            .map_err(|error| failed(&self.info, error))?;
        let Some(head) = bytes[..end].get(at..at + SLICE_HEAD_BYTES) else {
            return Err(malformed);
        };
        let start = at + SLICE_HEAD_BYTES;
        let len = u32_at(head, 0) as usize;
        let next = start + len.next_multiple_of(8);
        let Some(kind) = SliceKind::from_number(u32_at(head, 4)).filter(|_| next <= end) else {
            return Err(malformed);
        };
        self.rest.0 = next;
        self.slices += 1;
        self.slice_bytes += len as u64;
        let slice = &bytes[start..start + len];
        self.content.add(kind, slice);
        Ok(Some((kind, slice)))
    }

    fn read_head(&mut self, disk: &mut dyn Disk) -> Result<(), SnapshotError> {
        let header = self.next_frame(disk)?;
        let payload = header.payload(self.frame_bytes(disk)?);
        let read = SnapshotOrigin::split(payload).and_then(|(origin, portable)| {
            let head = SnapshotHead::decode(portable)?;
            Some((origin, head, ContentDigest::new(portable.to_vec())))
        });
        match read.filter(|_| header.kind == FrameKind::SnapshotHead) {
            Some((origin, head, content))
                if (head.group, origin.replica, head.index)
                    == (self.info.group, self.info.replica, self.info.index) =>
            {
                (self.origin, self.head, self.content) = (origin, head, content);
                Ok(())
            }
            _ => Err(self.damaged(header.offset, "the snapshot's head contradicts itself")),
        }
    }

    fn check_end(&mut self, disk: &mut dyn Disk) -> Result<(), SnapshotError> {
        let (offset, _) = self.frame;
        let want = (self.slices, self.slice_bytes);
        let digest = self.content.digest();
        let Some(end) = End::read(self.frame_bytes(disk)?) else {
            return Err(self.damaged(offset, "the snapshot's end can't be read"));
        };
        if (end.slices, end.slice_bytes) != want {
            return Err(self.damaged(offset, "slices are missing"));
        }
        if end.digest != digest {
            return Err(self.damaged(offset, "the content's digest is not what the end says"));
        }
        self.content_digest = digest;
        if self.offset != self.info.bytes {
            return Err(self.damaged(self.offset, "there are bytes behind the end"));
        }
        self.ended = true;
        Ok(())
    }

    /// Verifies the next frame and leaves it in the window, restored.
    fn next_frame(&mut self, disk: &mut dyn Disk) -> Result<FrameHeader, SnapshotError> {
        let offset = self.offset;
        if offset + BLOCK > self.info.bytes {
            return Err(self.damaged(offset, "the file was cut short"));
        }
        let block = self
            .window
            .read(disk, self.info.bytes, offset, BLOCK)
            .map_err(|error| failed(&self.info, error))?;
        let header = match FrameHeader::decode(&self.identity, offset, self.info.bytes, block) {
            HeaderState::Valid(header) => *header,
            HeaderState::Blank => return Err(self.damaged(offset, "a frame is gone")),
            HeaderState::Bad { why, .. } => return Err(self.damaged(offset, why)),
        };
        if (header.sequence, header.previous) != (self.sequence + 1, self.digest) {
            return Err(self.damaged(offset, "a frame does not follow the one before"));
        }
        let bytes = self
            .window
            .read(disk, self.info.bytes, offset, u64::from(header.length))
            .map_err(|error| failed(&self.info, error))?;
        if !header.verify(&self.identity, bytes) {
            let block = match header.judge(&self.identity, bytes) {
                Judgement::Corrupt { blocks, .. } => blocks.first().copied().unwrap_or(0),
                Judgement::Torn => 0,
            };
            let at = offset + u64::from(block) * BLOCK;
            return Err(self.damaged(at, "a block is not as it was written"));
        }
        header.restore(bytes);
        self.frame = (offset, u64::from(header.length));
        self.offset += u64::from(header.length);
        (self.sequence, self.digest) = (header.sequence, header.digest);
        Ok(header)
    }

    fn frame_bytes(&mut self, disk: &mut dyn Disk) -> Result<&[u8], SnapshotError> {
        let (offset, length) = self.frame;
        match self.window.read(disk, self.info.bytes, offset, length) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(failed(&self.info, error)),
        }
    }

    fn damaged(&self, offset: u64, what: &str) -> SnapshotError {
        damaged(&self.info, offset, what)
    }
}

/// The end frame's payload.
pub(super) struct End {
    pub slices: u64,
    pub slice_bytes: u64,
    pub digest: u128,
}

impl End {
    fn read(frame: &[u8]) -> Option<Self> {
        Self::of(frame.get(crate::frame::HEADER_BYTES..)?)
    }

    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let payload = payload.get(..END_BYTES)?;
        Some(Self {
            slices: u64_at(payload, 0),
            slice_bytes: u64_at(payload, 8),
            digest: u128_at(payload, 16),
        })
    }
}

/// Reads a snapshot's head and its end, and nothing between: what it is called by, whose it is, what it
/// is of. Says nothing about the slices.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read_name(
    disk: &mut dyn Disk,
    info: &SnapshotInfo,
) -> Result<(SnapshotName, SnapshotOrigin, SnapshotHead), SnapshotError> {
    let mut reader = SnapshotReader::open(disk, info)?;
    // The end frame is one block, and the file's last.
    let length = BLOCK;
    let offset = info.bytes.saturating_sub(length);
    if !info.bytes.is_multiple_of(BLOCK) || offset < reader.offset {
        return Err(damaged(info, info.bytes, "the file was cut short"));
    }
    let identity = reader.identity;
    let bytes = reader
        .window
        .read(disk, info.bytes, offset, length)
        .map_err(|error| failed(info, error))?;
    let digest = match FrameHeader::decode(&identity, offset, info.bytes, bytes) {
        HeaderState::Valid(header)
            if header.kind == FrameKind::SnapshotEnd
                && u64::from(header.length) == length
                && header.verify(&identity, bytes) =>
        {
            header.restore(bytes);
            End::read(bytes).map(|end| end.digest)
        }
        _ => None,
    };
    let Some(digest) = digest else {
        return Err(damaged(info, offset, "the snapshot's end can't be read"));
    };
    let name = SnapshotName {
        index: reader.head.index,
        term: reader.head.term,
        digest,
    };
    Ok((name, reader.origin, reader.head))
}

fn damaged(info: &SnapshotInfo, offset: u64, what: &str) -> SnapshotError {
    SnapshotError::Damaged(damage(info, offset, what))
}

fn damage(info: &SnapshotInfo, offset: u64, what: &str) -> Damage {
    Damage {
        file: info.file.to_string(),
        offset,
        what: what.into(),
        groups: DamagedGroups::Listed(vec![info.group]),
    }
}

pub(crate) fn lift(error: SnapshotError) -> RecoverError {
    match error {
        SnapshotError::Io { file, error } => RecoverError::Io {
            doing: format!("reading {file}"),
            error,
        },
        SnapshotError::Version { file, version } => RecoverError::Version { file, version },
        SnapshotError::Damaged(damage) | SnapshotError::Misnamed(damage) => RecoverError::Io {
            doing: format!("reading {}", damage.file),
            error: io::Error::new(io::ErrorKind::InvalidData, damage.what),
        },
    }
}

fn failed(info: &SnapshotInfo, error: io::Error) -> SnapshotError {
    SnapshotError::Io {
        file: info.file.to_string(),
        error,
    }
}
