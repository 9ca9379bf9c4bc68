//! Reads a snapshot, slice by slice; every byte is verified before it is handed
//! out, and the whole is known to be right only after the last.

use std::fmt;
use std::io;

use super::{END_BYTES, SLICE_HEAD_BYTES, SnapshotHead, SnapshotInfo};
use crate::Disk;
use crate::bytes::{u32_at, u64_at};
use crate::frame::{FrameHeader, FrameKind, HeaderState, Judgement};
use crate::layout::{BLOCK, FILE_HEADER_BYTES, FileHeader, FileIdentity, FileKind, HeaderRead};
use crate::report::{Damage, DamagedGroups, Note};
use crate::window::Window;

/// A snapshot that could not be read.
#[derive(Debug)]
pub enum SnapshotError {
    /// It is damaged.
    Damaged(Damage),
    /// The disk failed.
    Io {
        /// The file.
        file: String,
        /// How.
        error: io::Error,
    },
    /// It is of a newer format.
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
            Self::Damaged(damage) => damage.fmt(f),
            Self::Io { file, error } => write!(f, "reading {file}: {error}"),
            Self::Version { file, version } => {
                write!(
                    f,
                    "{file} has format version {version}, which this program does not know"
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
        let mut window = Window::default();
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
        if (header.group, header.number) != (info.group, info.index) {
            return Err(damaged(
                info,
                0,
                "the file is another snapshot under this name",
            ));
        }
        let mut reader = Self {
            info: info.clone(),
            identity: FileIdentity::new(header.number, header.salt),
            head: SnapshotHead::default(),
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

    /// What the snapshot is of.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// A harmless find, if there was one.
    pub fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Slices handed out so far, and their bytes.
    pub fn progress(&self) -> (u64, u64) {
        (self.slices, self.slice_bytes)
    }

    /// The next slice, as it was pushed; None behind the last, when the whole snapshot is known to be
    /// right. Its address is a multiple of 8.
    ///
    /// # Errors
    /// See [`SnapshotError`]. What was handed out before must then be thrown away.
    pub fn next_slice(&mut self, disk: &mut dyn Disk) -> Result<Option<&[u8]>, SnapshotError> {
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
        let malformed = damaged(&self.info, offset, "a slice is longer than its frame");
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
        if next > end {
            return Err(malformed);
        }
        self.rest.0 = next;
        self.slices += 1;
        self.slice_bytes += len as u64;
        Ok(Some(&bytes[start..start + len]))
    }

    fn read_head(&mut self, disk: &mut dyn Disk) -> Result<(), SnapshotError> {
        let header = self.next_frame(disk)?;
        let payload = header.payload(self.frame_bytes(disk)?);
        let head = SnapshotHead::decode(payload).filter(|_| header.kind == FrameKind::SnapshotHead);
        match head {
            Some(head) if (head.group, head.index) == (self.info.group, self.info.index) => {
                self.head = head;
                Ok(())
            }
            _ => Err(self.damaged(header.offset, "the snapshot's head contradicts itself")),
        }
    }

    fn check_end(&mut self, disk: &mut dyn Disk) -> Result<(), SnapshotError> {
        let (offset, _) = self.frame;
        let want = (self.slices, self.slice_bytes);
        let start = crate::frame::HEADER_BYTES;
        let totals = &self.frame_bytes(disk)?[start..start + END_BYTES];
        if (u64_at(totals, 0), u64_at(totals, 8)) != want {
            return Err(self.damaged(offset, "slices are missing"));
        }
        if self.offset != self.info.bytes {
            return Err(self.damaged(self.offset, "there are bytes behind the end"));
        }
        self.ended = true;
        Ok(())
    }

    /// Verifies the next frame and leaves it in the window, without whitening.
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
        FrameHeader::unwhiten(&self.identity, bytes);
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

fn damaged(info: &SnapshotInfo, offset: u64, what: &str) -> SnapshotError {
    SnapshotError::Damaged(Damage {
        file: info.file.to_string(),
        offset,
        what: what.into(),
        groups: DamagedGroups::Listed(vec![info.group]),
    })
}

fn failed(info: &SnapshotInfo, error: io::Error) -> SnapshotError {
    SnapshotError::Io {
        file: info.file.to_string(),
        error,
    }
}
