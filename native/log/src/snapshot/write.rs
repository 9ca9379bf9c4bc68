//! Writes a snapshot: slices in, jobs out.

use std::fmt;
use std::sync::Arc;

use super::{
    ContentDigest, END_BYTES, SLICE_HEAD_BYTES, SliceKind, SnapshotHead, SnapshotInfo,
    SnapshotOrigin,
};
use crate::aligned::BLOCK_BYTES;
use crate::body::SnapshotName;
use crate::bytes::put;
use crate::frame::{self, FrameHeader, FrameKind, GroupList, NextSegment};
use crate::layout::{
    FileHeader, FileKind, snapshot_name, snapshot_received_name, snapshot_temporary_name,
};
use crate::sector::FileIdentity;
use crate::{AlignedBuf, Job, JobResult};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 512 << 10;
/// Bytes written between two flushes.
const SYNC_BYTES: u64 = 8 << 20;

/// A slice that no frame can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceTooLarge;

impl fmt::Display for SliceTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the slice of a snapshot is larger than a frame")
    }
}

impl std::error::Error for SliceTooLarge {}

/// How writing a snapshot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// It is durable under its name.
    Written {
        /// The file.
        info: SnapshotInfo,
        /// What the replica's hard state is to call it, before the older one goes.
        name: SnapshotName,
    },
    /// It failed; what there was of it is removed.
    Failed {
        /// Whether the disk was full.
        full: bool,
        /// For a person.
        message: String,
    },
}

#[derive(Debug)]
enum Phase {
    /// Takes slices.
    Gathering,
    /// All slices are in.
    Ended,
    /// The job that gives the file its name is out.
    Finishing,
    /// A job failed; the file is to be removed.
    Failed,
    /// The job that removes it is out.
    Removing,
    Over,
}

/// Turns slices into jobs. One job is out at a time; slices are taken meanwhile, up to a bound.
///
/// In a loop: while [`SnapshotWriter::needs_slices`], push slices, and [`SnapshotWriter::end`] after the
/// last; hand out what [`SnapshotWriter::take_job`] gives and report its result to
/// [`SnapshotWriter::on_job`], until there is an [`SnapshotWriter::outcome`].
#[derive(Debug)]
pub struct SnapshotWriter {
    group: u64,
    replica: u64,
    name: SnapshotName,
    content: ContentDigest,
    temporary: Arc<str>,
    file: Arc<str>,
    identity: FileIdentity,
    phase: Phase,
    /// Frames, the last one perhaps still taking slices.
    bytes: AlignedBuf,
    /// Offset of `bytes` in the file.
    offset: u64,
    /// Where in `bytes` the open frame begins.
    open: Option<usize>,
    open_slices: u32,
    sequence: u64,
    digest: u128,
    slices: u64,
    slice_bytes: u64,
    unsynced: u64,
    job_out: bool,
    failure: Option<(bool, String)>,
    outcome: Option<SnapshotOutcome>,
    spare: AlignedBuf,
}

impl SnapshotWriter {
    /// Begins a snapshot. `salt` must be random and never leave the node.
    ///
    /// # Panics
    /// If there are more than 1,024 members and ancestors, which no group has.
    pub fn new(head: &SnapshotHead, origin: &SnapshotOrigin, salt: u64) -> Self {
        assert!(head.is_possible(), "a group of impossible size");
        let mut bytes = AlignedBuf::zeroed(BLOCK_BYTES);
        let header = FileHeader {
            kind: FileKind::Snapshot,
            number: head.index,
            group: head.group,
            salt,
            bytes: 0,
            replica: origin.replica,
            earlier_salt: 0,
        };
        header.encode(bytes.as_mut_slice());
        let portable = head.encode();
        let mut writer = Self {
            group: head.group,
            replica: origin.replica,
            name: SnapshotName {
                index: head.index,
                term: head.term,
                digest: 0,
            },
            content: ContentDigest::new(portable.clone()),
            temporary: snapshot_temporary_name(head.group, origin.replica, head.index).into(),
            file: snapshot_name(head.group, origin.replica, head.index).into(),
            identity: header.identity(),
            phase: Phase::Gathering,
            bytes,
            offset: 0,
            open: None,
            open_slices: 0,
            sequence: 0,
            digest: 0,
            slices: 0,
            slice_bytes: 0,
            unsynced: 0,
            job_out: false,
            failure: None,
            outcome: None,
            spare: AlignedBuf::new(),
        };
        writer.begin_frame();
        writer.bytes.extend_from_slice(&origin.encode());
        writer.bytes.extend_from_slice(&portable);
        writer.end_frame(FrameKind::SnapshotHead);
        writer
    }

    /// Begins one that comes from another replica: its file gets the name of one that was received.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn received(head: &SnapshotHead, origin: &SnapshotOrigin, salt: u64) -> Self {
        let file = snapshot_received_name(head.group, origin.replica, head.index);
        Self {
            file: file.into(),
            ..Self::new(head, origin, salt)
        }
    }

    /// The names that its file may have while it is written: the temporary one, and the one it gets.
    pub fn names(&self) -> [Arc<str>; 2] {
        [Arc::clone(&self.temporary), self.file()]
    }

    /// What it is called by, behind [`Self::end`].
    pub fn name(&self) -> SnapshotName {
        self.name
    }

    /// The group of the snapshot.
    pub fn group(&self) -> u64 {
        self.group
    }

    /// The replica of the snapshot.
    pub fn replica(&self) -> u64 {
        self.replica
    }

    /// The index of the snapshot.
    pub fn index(&self) -> u64 {
        self.name.index
    }

    /// Whether slices are wanted now.
    pub fn needs_slices(&self) -> bool {
        matches!(self.phase, Phase::Gathering) && self.bytes.len() < WRITE_BYTES
    }

    /// Takes the next slice, of any length. Without effect after a failure.
    ///
    /// # Errors
    /// Larger than 63 MiB: nothing is taken.
    pub fn push_slice(&mut self, kind: SliceKind, slice: &[u8]) -> Result<(), SliceTooLarge> {
        let length = u32::try_from(slice.len()).map_err(|_| SliceTooLarge)?;
        let stored = SLICE_HEAD_BYTES + slice.len().next_multiple_of(8);
        if stored as u64 > frame::payload_max(frame::LENGTH_MAX) {
            return Err(SliceTooLarge);
        }
        if !matches!(self.phase, Phase::Gathering) {
            return Ok(());
        }
        if let Some(start) = self.open
            && frame::length_of(self.bytes.len() - start - frame::HEADER_BYTES + stored) as u64
                > frame::LENGTH_MAX
        {
            self.end_frame(FrameKind::SnapshotSlices);
        }
        if self.open.is_none() {
            self.begin_frame();
        }
        let mut head = [0; SLICE_HEAD_BYTES];
        put(&mut head, 0, &length.to_le_bytes());
        put(&mut head, 4, &(kind as u32).to_le_bytes());
        self.content.add(kind, slice);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(slice);
        self.bytes.resize(self.bytes.len().next_multiple_of(8));
        self.open_slices += 1;
        self.slices += 1;
        self.slice_bytes += slice.len() as u64;
        if self.bytes.len() >= WRITE_BYTES {
            self.end_frame(FrameKind::SnapshotSlices);
        }
        Ok(())
    }

    /// That was the last slice.
    pub fn end(&mut self) {
        if !matches!(self.phase, Phase::Gathering) {
            return;
        }
        if self.open.is_some() {
            self.end_frame(FrameKind::SnapshotSlices);
        }
        self.begin_frame();
        let mut totals = [0; END_BYTES];
        put(&mut totals, 0, &self.slices.to_le_bytes());
        put(&mut totals, 8, &self.slice_bytes.to_le_bytes());
        self.name.digest = self.content.digest();
        put(&mut totals, 16, &self.name.digest.to_le_bytes());
        self.bytes.extend_from_slice(&totals);
        self.end_frame(FrameKind::SnapshotEnd);
        self.phase = Phase::Ended;
    }

    /// Gives the snapshot up; what there is of it will be removed.
    pub fn abort(&mut self, reason: &str) {
        if matches!(self.phase, Phase::Gathering | Phase::Ended) {
            self.fail(false, reason.to_owned());
        }
    }

    /// The next job, if none is out and there is something to do.
    pub fn take_job(&mut self) -> Option<Job> {
        if self.job_out {
            return None;
        }
        let job = match self.phase {
            Phase::Gathering if self.bytes.len() >= WRITE_BYTES && self.open.is_none() => {
                self.write_job()
            }
            Phase::Ended if !self.bytes.is_empty() => self.write_job(),
            Phase::Ended => {
                self.phase = Phase::Finishing;
                let file = self.file();
                Job::SnapshotFinish {
                    temporary: Arc::clone(&self.temporary),
                    file,
                }
            }
            Phase::Failed => {
                self.phase = Phase::Removing;
                Job::Remove {
                    file: Arc::clone(&self.temporary),
                }
            }
            Phase::Gathering | Phase::Finishing | Phase::Removing | Phase::Over => return None,
        };
        self.job_out = true;
        Some(job)
    }

    fn write_job(&mut self) -> Job {
        let mut next = std::mem::take(&mut self.spare);
        if next.capacity() == 0 {
            // Grown step by step, it would be copied as often.
            next.reserve(self.bytes.len());
        }
        let bytes = std::mem::replace(&mut self.bytes, next);
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        let sync = self.unsynced >= SYNC_BYTES;
        if sync {
            self.unsynced = 0;
        }
        Job::SnapshotWrite {
            file: Arc::clone(&self.temporary),
            offset,
            bytes,
            sync,
        }
    }

    /// The job that was out ended.
    pub fn on_job(&mut self, result: &JobResult) {
        self.job_out = false;
        match (&self.phase, result) {
            (Phase::Removing, _) => {
                // A file that could not be removed is removed at the next start.
                let (full, message) = self.failure.take().unwrap_or_default();
                self.outcome = Some(SnapshotOutcome::Failed { full, message });
                self.phase = Phase::Over;
            }
            (_, JobResult::Failed { message, .. }) => self.fail(result.is_full(), message.clone()),
            (Phase::Finishing, _) => {
                let info = SnapshotInfo {
                    group: self.group,
                    replica: self.replica,
                    index: self.name.index,
                    file: self.file(),
                    bytes: self.offset,
                };
                let name = self.name;
                self.outcome = Some(SnapshotOutcome::Written { info, name });
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// Takes back the buffer of a write that is done.
    pub fn recycle(&mut self, mut bytes: AlignedBuf) {
        bytes.clear();
        self.spare = bytes;
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&SnapshotOutcome> {
        self.outcome.as_ref()
    }

    fn fail(&mut self, full: bool, message: String) {
        self.failure.get_or_insert((full, message));
        self.phase = Phase::Failed;
        self.bytes.clear();
        self.open = None;
    }

    fn file(&self) -> Arc<str> {
        Arc::clone(&self.file)
    }

    fn begin_frame(&mut self) {
        let start = self.bytes.len();
        self.bytes.resize_stale(start + frame::HEADER_BYTES);
        self.open = Some(start);
        self.open_slices = 0;
    }

    fn end_frame(&mut self, kind: FrameKind) {
        let start = self.open.take().expect("a frame was begun");
        let payload = self.bytes.len() - start - frame::HEADER_BYTES;
        let length = frame::length_of(payload);
        self.bytes.resize(start + length);
        let mut groups = GroupList::EMPTY;
        groups.insert(self.group);
        self.sequence += 1;
        let mut header = FrameHeader {
            offset: self.offset + start as u64,
            sequence: self.sequence,
            synced_through: 0,
            oldest_segment: 0,
            next: NextSegment::default(),
            length: u32::try_from(length).expect("at most LENGTH_MAX"),
            payload_bytes: u32::try_from(payload).expect("shorter than the frame"),
            records: self.open_slices,
            kind,
            groups,
            previous: self.digest,
            table_digest: 0,
            digest: 0,
        };
        header.seal(&self.identity, &mut self.bytes.as_mut_slice()[start..]);
        self.digest = header.digest;
    }
}
