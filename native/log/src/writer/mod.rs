//! The writing side: gathers records into frames, frames into group commits,
//! and says which segments to prepare and to remove. Does no IO itself.

mod part;
mod retired;
mod room;
mod status;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::AlignedBuf;
use crate::body::{Body, GroupsList, HardState, Position, SnapshotName};
use crate::config::LogConfig;
use crate::frame::{self, FrameHeader, FrameKind, NextSegment};
use crate::job::{Job, JobResult, JobTag, LogWrite, NewSegment, Spare, WritePart};
use crate::layout::{self, BLOCK};
use crate::ledger::{Ledger, Pin};
use crate::record::{self, NODE_GROUP, Record, RecordKind};
use crate::sector::FileIdentity;
use crate::walk::LiveSegment;
use part::{OpenFrame, OpenPart};
use retired::Retired;

pub(crate) use part::Segment;
pub use status::{AppendError, Space, Statistics};

/// Buffers kept for reuse.
const POOL_BUFFERS_MAX: usize = 3;
/// The largest buffer worth keeping.
const POOL_BUFFER_BYTES_MAX: usize = 4 << 20;

/// What follows the present segment.
#[derive(Debug)]
enum Next {
    /// Its job is still to be handed out.
    Wanted,
    /// Its job runs.
    Preparing(Arc<Segment>),
    /// It exists.
    Ready(Arc<Segment>),
    /// Its job failed for want of space.
    Full,
}

/// A group commit on its way to the disk.
#[derive(Debug)]
struct InFlight {
    ticket: u64,
    floor: u64,
    digest: u128,
    hard_states: Vec<HardStateOf>,
}

/// A hard state of a group's replica.
type HardStateOf = ((u64, u64), HardState);

/// Where a recovered log goes on.
pub(crate) struct Resume {
    pub segment: Arc<Segment>,
    /// Live segments, ascending, the present one last.
    pub segments: VecDeque<LiveSegment>,
    pub offset: u64,
    pub sequence: u64,
    pub digest: u128,
    pub oldest_segment: u64,
    /// The last frame vouches for all before it, or there is none.
    pub vouched: bool,
    pub next: Option<Arc<Segment>>,
    pub spares: Vec<Spare>,
    pub ledger: Ledger,
    pub failure: Option<String>,
}

/// The writing side of the log. See the head of the crate for the order of calls.
#[derive(Debug)]
pub struct Writer {
    config: LogConfig,
    salt_seed: u64,
    failure: Option<String>,
    ledger: Ledger,
    /// Ascending; the last is the one of `open`.
    segments: VecDeque<LiveSegment>,
    /// Parts of the commit being gathered for segments already full.
    full: Vec<OpenPart>,
    open: OpenPart,
    next: Next,
    retired: Retired,
    /// Of the last frame built.
    sequence: u64,
    digest: u128,
    durable: Position,
    /// Hard states of the commit being gathered.
    hard_states: Vec<HardStateOf>,
    /// Whether a frame was built after the last one that vouches for all before it.
    unvouched: bool,
    floor_decided: u64,
    floor_durable: u64,
    in_flight: Option<InFlight>,
    pool: Vec<AlignedBuf>,
    writes: u64,
    written_bytes: u64,
    records: u64,
    record_bytes: u64,
}

impl Writer {
    pub(crate) fn resume(config: LogConfig, salt_seed: u64, resume: Resume) -> Self {
        Self {
            config,
            salt_seed,
            failure: resume.failure,
            ledger: resume.ledger,
            segments: resume.segments,
            full: Vec::new(),
            open: OpenPart::new(resume.segment, resume.offset, AlignedBuf::new()),
            next: resume.next.map_or(Next::Wanted, Next::Ready),
            retired: Retired::new(resume.spares),
            sequence: resume.sequence,
            digest: resume.digest,
            durable: Position {
                sequence: resume.sequence,
                digest: resume.digest,
            },
            hard_states: Vec::new(),
            unvouched: !resume.vouched,
            floor_decided: resume.oldest_segment,
            floor_durable: resume.oldest_segment,
            in_flight: None,
            pool: Vec::new(),
            writes: 0,
            written_bytes: 0,
            records: 0,
            record_bytes: 0,
        }
    }

    /// Adds a record to the commit being gathered. It is copied.
    ///
    /// A hard state that names a snapshot may be appended only when that snapshot is durable.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let is_of_node = record.group == NODE_GROUP;
        let body = Body::of(record).map_err(|_| AppendError::Malformed)?;
        if record.kind == RecordKind::Groups || record.kind.is_of_node() != is_of_node {
            return Err(AppendError::Malformed);
        }
        let stored = record.stored_bytes();
        self.make_room(record.group, stored, record.is_control())?;
        self.push(record, &body);
        if let Body::HardState(hard_state) = body {
            let key = (record.group, record.replica);
            self.hard_states.push((key, hard_state));
        }
        Ok(())
    }

    fn push(&mut self, record: &Record<'_>, body: &Body) {
        self.open.push(record);
        self.records += 1;
        self.record_bytes += record.stored_bytes() as u64;
        let segment = self.open.segment.file.number;
        self.ledger.record(segment, record, body);
    }

    /// Makes the last open frame one that has room for `stored` bytes of the group.
    fn make_room(&mut self, group: u64, stored: usize, control: bool) -> Result<(), AppendError> {
        if self.failure.is_some() {
            return Err(AppendError::Failed);
        }
        if stored as u64 > frame::payload_max(self.config.frame_bytes_max) {
            return Err(AppendError::TooLarge);
        }
        loop {
            self.begin_segment();
            let limit = self.limit(control);
            if let Some(frame) = self.open.frames.last()
                && self.open.taking
                && frame.groups.takes(group)
            {
                let length = frame::length_of(frame.payload_bytes + stored) as u64;
                let begin = self.open.offset + frame.start as u64;
                if length <= self.config.frame_bytes_max && begin + length <= limit {
                    return Ok(());
                }
            }
            if self.open.end() + frame::length_of(stored) as u64 <= limit {
                self.open.begin(FrameKind::Records, NextSegment::default());
                return Ok(());
            }
            if !self.switch_segment() {
                return Err(AppendError::NoRoom);
            }
        }
    }

    /// Every segment but the first begins with what the log holds when it does. That survives whatever
    /// was reclaimed before, so a replica of which nothing is left is missed.
    fn begin_segment(&mut self) {
        let number = self.open.segment.file.number;
        if number <= 1 || self.open.end() > BLOCK {
            return;
        }
        let (node, incarnation) = self.ledger.incarnation();
        let list = GroupsList {
            incarnation,
            replicas: self.ledger.with_hard_state().collect(),
        };
        let encoded = list.encode();
        let record = Record {
            group: NODE_GROUP,
            replica: node,
            kind: RecordKind::Groups,
            index: 0,
            term: 0,
            body: &encoded,
        };
        self.open.begin(FrameKind::Records, NextSegment::default());
        self.push(&record, &Body::Groups(list));
    }

    /// Bytes the list of groups takes at most, should a segment begin now.
    fn list_bytes(&self) -> usize {
        record::stored_bytes(GroupsList::bytes(self.ledger.len()))
    }

    /// Offset in the present segment at which frames must end.
    fn limit(&self, control: bool) -> u64 {
        let reserve = if control || matches!(self.next, Next::Ready(_)) {
            0
        } else {
            self.config.reserve_bytes
        };
        self.open.segment.bytes.saturating_sub(BLOCK + reserve)
    }

    /// Seals the present segment and goes on in the next, if that is ready.
    fn switch_segment(&mut self) -> bool {
        let list = self.list_bytes() as u64;
        let next = match std::mem::replace(&mut self.next, Next::Wanted) {
            // A list that no frame or segment can hold: there is no going on.
            Next::Ready(next)
                if list <= frame::payload_max(self.config.frame_bytes_max.min(next.bytes / 2)) =>
            {
                next
            }
            unready => {
                self.next = unready;
                return false;
            }
        };
        let FileIdentity {
            number,
            salt,
            earlier_salt,
        } = next.file;
        let named = NextSegment {
            number,
            salt,
            earlier_salt,
        };
        self.open.begin(FrameKind::Seal, named);
        self.open.finish();
        if let Some(sealed) = self.segments.back_mut() {
            sealed.used_bytes = Some(self.open.end());
        }
        self.segments.push_back(LiveSegment {
            number,
            bytes: next.bytes,
            salt,
            used_bytes: None,
        });
        let bytes = self.pool.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.open, OpenPart::new(next, BLOCK, bytes));
        self.full.push(full);
        true
    }

    /// Whether records wait for the next commit.
    pub fn is_pending(&self) -> bool {
        !self.open.frames.is_empty() || !self.full.is_empty()
    }

    /// Bytes the next commit would write by now.
    pub fn pending_bytes(&self) -> u64 {
        let full: usize = self.full.iter().map(|part| part.bytes.len()).sum();
        full as u64 + self.open.end() - self.open.offset
    }

    /// Whether a commit is on its way.
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Makes one group commit of all that was appended. None if there is nothing, if a commit is on its
    /// way (only one is at a time), or if the log failed.
    pub fn seal(&mut self) -> Option<LogWrite> {
        if self.failure.is_some() || self.in_flight.is_some() || !self.is_pending() {
            return None;
        }
        self.open.finish();
        let next = OpenPart::new(
            Arc::clone(&self.open.segment),
            self.open.end(),
            self.pool.pop().unwrap_or_default(),
        );
        let open = std::mem::replace(&mut self.open, next);
        let open = (!open.frames.is_empty()).then_some(open);
        let full = std::mem::take(&mut self.full);
        let last = full.len() + usize::from(open.is_some()) - 1;
        // What is durable when a part is written: all before this commit, and the parts before, since
        // the executor makes them durable one after the other.
        let mut synced_through = self.durable.sequence;
        let mut floor = self.floor_durable;
        let mut first = None;
        let mut rest = Vec::new();
        for (place, mut part) in full.into_iter().chain(open).enumerate() {
            let mut frames = std::mem::take(&mut part.frames);
            for (at, frame) in frames.iter().enumerate() {
                if place == last && at + 1 == frames.len() {
                    // Only the last frame may tell the new floor: it survives a crash only if all before
                    // it does, on which the decision rests. A segment without a frame is never the
                    // oldest: it could not say where the chain begins.
                    floor = self.floor_decided.min(part.segment.file.number);
                }
                self.seal_frame(&mut part, frame, synced_through, floor);
            }
            frames.clear();
            self.open.frames = frames;
            synced_through = self.sequence;
            self.written_bytes += part.bytes.len() as u64;
            let (file, offset) = (Arc::clone(&part.segment.name), part.offset);
            let part = WritePart {
                file,
                offset,
                bytes: part.bytes,
            };
            match first {
                None => first = Some(part),
                Some(_) => rest.push(part),
            }
        }
        self.writes += 1;
        let ticket = self.sequence;
        self.in_flight = Some(InFlight {
            ticket,
            floor,
            digest: self.digest,
            hard_states: std::mem::take(&mut self.hard_states),
        });
        Some(LogWrite {
            ticket,
            first: first?,
            rest,
        })
    }

    fn seal_frame(
        &mut self,
        part: &mut OpenPart,
        open: &OpenFrame,
        synced_through: u64,
        floor: u64,
    ) {
        let length = frame::length_of(open.payload_bytes);
        self.sequence += 1;
        let mut header = FrameHeader {
            offset: part.offset + open.start as u64,
            sequence: self.sequence,
            synced_through,
            oldest_segment: floor,
            next: open.next,
            length: u32::try_from(length).expect("frames are at most LENGTH_MAX long"),
            payload_bytes: u32::try_from(open.payload_bytes).expect("shorter than the frame"),
            records: open.records,
            kind: open.kind,
            groups: open.groups,
            previous: self.digest,
            table_digest: 0,
            digest: 0,
        };
        let frame = &mut part.bytes.as_mut_slice()[open.start..open.start + length];
        header.seal(&part.segment.file, frame);
        self.digest = header.digest;
        // A mark or a seal vouches for what was durable before its own commit, no more.
        self.unvouched = !header.vouches_for_all();
    }

    /// The commit of that ticket is durable.
    pub fn on_written(&mut self, ticket: u64) {
        match self.in_flight.take() {
            Some(in_flight) if in_flight.ticket == ticket => {
                self.durable = Position {
                    sequence: ticket,
                    digest: in_flight.digest,
                };
                for (key, hard_state) in in_flight.hard_states {
                    self.ledger.durable(key, &hard_state);
                }
                self.floor_durable = in_flight.floor;
                while let Some(&segment) = self.segments.front()
                    && segment.number < self.floor_durable
                {
                    self.segments.pop_front();
                    self.retired.take(segment, &self.config);
                }
            }
            _ => self.fail(format!(
                "commit {ticket} was reported durable, but is not on its way"
            )),
        }
    }

    /// The commit on its way failed: the log takes nothing any more, whatever the disk says later.
    pub fn on_write_failed(&mut self, reason: &str) {
        self.in_flight = None;
        self.fail(format!("writing the log failed: {reason}"));
    }

    fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    /// Why the log takes nothing any more.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// To be called after a few milliseconds without work, and at the stop: the small commit that says
    /// all before it was synced, so that rot in the last frames is told from a torn write. None if that
    /// is said already, or if there is work or no room.
    pub fn idle_mark(&mut self) -> Option<LogWrite> {
        if self.failure.is_some()
            || self.in_flight.is_some()
            || self.is_pending()
            || !self.wants_mark()
        {
            return None;
        }
        self.begin_segment();
        if self.open.end() + BLOCK <= self.limit(true) {
            self.open.begin(FrameKind::Mark, NextSegment::default());
        } else if self.switch_segment() {
            self.begin_segment();
        } else {
            return None;
        }
        self.seal()
    }

    /// Whether [`Writer::idle_mark`] has something to say.
    pub fn wants_mark(&self) -> bool {
        let current = self.open.segment.file.number;
        self.unvouched || (self.floor_decided > self.floor_durable && current > self.floor_durable)
    }

    /// A job for the background, if there is one.
    pub fn take_job(&mut self) -> Option<Job> {
        if self.failure.is_some() {
            return None;
        }
        if matches!(self.next, Next::Wanted) {
            let segment = self.open.segment.file.number + 1;
            let bytes = self.config.next_segment_bytes(self.open.segment.bytes);
            let new = NewSegment {
                segment,
                bytes,
                salt: layout::segment_salt(self.salt_seed, segment),
                spare: self.retired.spare(bytes, &self.config),
                keep_free_bytes: self.config.keep_free_bytes,
            };
            self.next = Next::Preparing(Segment::new(new.header().identity(), bytes));
            return Some(Job::PrepareSegment(new));
        }
        self.retired.take_job()
    }

    /// A job of [`Writer::take_job`] ended.
    pub fn on_job(&mut self, tag: JobTag, result: &JobResult) {
        let segment = match tag {
            JobTag::PrepareSegment(segment) => segment,
            JobTag::RetireSegment(segment) => return self.retired.on_job(segment, result),
            JobTag::Snapshot | JobTag::Remove | JobTag::FreeSpace => return,
        };
        let prepared = match &self.next {
            Next::Preparing(next) if next.file.number == segment => Arc::clone(next),
            _ => {
                return self.fail(format!(
                    "segment {segment} was reported prepared, but is not wanted"
                ));
            }
        };
        match result {
            JobResult::Failed { message, .. } if !result.is_full() => {
                self.fail(format!(
                    "preparing segment {segment} of the log failed: {message}"
                ));
            }
            JobResult::Failed { .. } => self.next = Next::Full,
            JobResult::Done | JobResult::FreeBytes(_) | JobResult::Piece(_) => {
                self.next = Next::Ready(prepared);
            }
        }
    }

    /// Gives up the space of the segments kept for later ones: something else has need of it.
    pub fn remove_spares(&mut self) {
        self.retired.remove_spares();
    }

    /// After a full disk: tries again to prepare the next segment.
    pub fn retry_prepare(&mut self) {
        if matches!(self.next, Next::Full) {
            self.next = Next::Wanted;
        }
    }

    /// The last durable frame.
    pub fn position(&self) -> Position {
        self.durable
    }

    /// The snapshot that the latest durable hard state of the group's replica names.
    pub fn named_snapshot(&self, group: u64, replica: u64) -> SnapshotName {
        self.ledger.snapshot((group, replica))
    }

    /// Decides anew which segments nothing needs, by the snapshots that durable hard states name.
    /// Segments go once a frame that says so is durable.
    pub fn reclaim(&mut self) {
        let oldest = self.ledger.oldest_needed(self.open.segment.file.number);
        if oldest > self.floor_decided {
            self.floor_decided = oldest;
            self.ledger.forget_below(oldest);
        }
    }

    /// The replicas that keep the oldest segment, if it is not the present one. An idle one among them
    /// should be helped as its [`crate::PinReason`] says.
    pub fn pinned_by(&self) -> Vec<Pin> {
        let current = self.open.segment.file.number;
        let oldest = self.ledger.pins().map(|pin| pin.segment).min();
        self.ledger
            .pins()
            .filter(|pin| pin.segment < current && Some(pin.segment) == oldest)
            .collect()
    }

    /// Bytes of the group's records in the log since it was opened, those found by recovery included.
    pub fn group_bytes(&self, group: u64) -> u64 {
        self.ledger.bytes(group)
    }

    /// Takes back the buffers of a commit that is done, to be used again.
    pub fn recycle(&mut self, write: LogWrite) {
        for part in std::iter::once(write.first).chain(write.rest) {
            self.recycle_buffer(part.bytes);
        }
    }

    /// Takes back one buffer.
    pub fn recycle_buffer(&mut self, mut bytes: AlignedBuf) {
        if self.pool.len() < POOL_BUFFERS_MAX && bytes.capacity() <= POOL_BUFFER_BYTES_MAX {
            bytes.clear();
            self.pool.push(bytes);
        }
    }

    /// Counters and sizes.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            segment: self.open.segment.file.number,
            segment_bytes: self.open.segment.bytes,
            segment_used_bytes: self.open.end(),
            segments: self.segments.len() as u64,
            segments_bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            spare_segments: self.retired.spares(),
            durable_sequence: self.durable.sequence,
            writes: self.writes,
            written_bytes: self.written_bytes,
            records: self.records,
            record_bytes: self.record_bytes,
        }
    }
}
