//! Frames being gathered for one segment.

use std::fmt;
use std::sync::Arc;

use crate::AlignedBuf;
use crate::frame::{self, FrameKind, GroupList, NextSegment};
use crate::layout::segment_name;
use crate::record::Record;
use crate::sector::FileIdentity;

/// A segment to write to.
pub(crate) struct Segment {
    pub file: FileIdentity,
    pub name: Arc<str>,
    pub bytes: u64,
}

impl Segment {
    pub fn new(file: FileIdentity, bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            file,
            name: segment_name(file.number).into(),
            bytes,
        })
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes)
    }
}

/// A frame that still lacks its header and checksums.
#[derive(Debug)]
pub(super) struct OpenFrame {
    /// Where in the part's bytes.
    pub start: usize,
    pub kind: FrameKind,
    pub payload_bytes: usize,
    pub records: u32,
    pub groups: GroupList,
    /// The segment a seal names.
    pub next: NextSegment,
}

/// Frames for one segment.
#[derive(Debug)]
pub(super) struct OpenPart {
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub bytes: AlignedBuf,
    pub frames: Vec<OpenFrame>,
    /// Whether the last frame still takes records.
    pub taking: bool,
}

impl OpenPart {
    pub fn new(segment: Arc<Segment>, offset: u64, bytes: AlignedBuf) -> Self {
        Self {
            segment,
            offset,
            bytes,
            frames: Vec::new(),
            taking: false,
        }
    }

    pub fn begin(&mut self, kind: FrameKind, next: NextSegment) {
        self.finish();
        let start = self.bytes.len();
        // The header is written when the commit is sealed.
        self.bytes.resize_stale(start + frame::HEADER_BYTES);
        let groups = GroupList::EMPTY;
        self.frames.push(OpenFrame {
            start,
            kind,
            payload_bytes: 0,
            records: 0,
            groups,
            next,
        });
        self.taking = true;
    }

    /// Adds a record to the last frame, which must have room.
    pub fn push(&mut self, record: &Record<'_>) {
        let start = self.bytes.len();
        let stored = record.stored_bytes();
        self.bytes.resize_stale(start + stored);
        record.encode(&mut self.bytes.as_mut_slice()[start..]);
        let frame = self.frames.last_mut().expect("room was made in a frame");
        frame.payload_bytes += stored;
        frame.records += 1;
        frame.groups.insert(record.group);
    }

    /// Brings the last frame to its full length.
    pub fn finish(&mut self) {
        if self.taking {
            let frame = self
                .frames
                .last()
                .expect("a frame that takes records exists");
            self.bytes
                .resize(frame.start + frame::length_of(frame.payload_bytes));
            self.taking = false;
        }
    }

    /// Offset behind the last frame, were it finished now.
    pub fn end(&self) -> u64 {
        let bytes = match self.frames.last() {
            Some(frame) if self.taking => frame.start + frame::length_of(frame.payload_bytes),
            _ => self.bytes.len(),
        };
        self.offset + bytes as u64
    }
}
