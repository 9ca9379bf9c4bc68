//! The other half: what comes is written to a file, the file is read back as a start would, and a state is made
//! of it, a slice a turn. Knows no shards and no node.

use std::sync::Arc;

use domp_log::snapshot::{
    ContentDigest, PieceKind, ReadPlace, SliceStream, SnapshotHead, SnapshotInfo, SnapshotOrigin,
    SnapshotOutcome, SnapshotPiece, SnapshotTotals, SnapshotWriter,
};
use domp_log::{Job, JobResult};
use domp_protocol::generated::peer::SnapshotFailure;
use domp_state::{Restore, State, StateConfig};

use super::sending::{STALL_US, WINDOW_BYTES};
use super::wire::Saying;

/// Why an attempt fails, for whoever sends, and for a person.
pub type Failure = (SnapshotFailure, String);

/// Where it is.
enum Phase {
    /// The file is written.
    Writing,
    /// The file is durable, and is read back.
    Reading(Box<Reading>),
    /// All of it is there.
    Ready(Box<State>),
    /// The state was handed over; the record that makes it true is on its way.
    Installing,
}

/// A file that is read back.
struct Reading {
    info: SnapshotInfo,
    place: ReadPlace,
    content: ContentDigest,
    slices: u64,
    slice_bytes: u64,
    restore: Restore,
    stream: SliceStream,
    end: Option<SnapshotTotals>,
}

/// See the module.
pub struct Receiving {
    /// Of the offer: who sends what.
    pub base: Saying,
    pub head: SnapshotHead,
    config: StateConfig,
    phase: Phase,
    writer: SnapshotWriter,
    /// The file, once it is durable.
    pub info: Option<SnapshotInfo>,
    stream: SliceStream,
    received: u64,
    taken: u64,
    restored: u64,
    is_ended: bool,
    is_job_out: bool,
    heard_at_us: u64,
    /// Whether the other end is to hear how far it is.
    pub is_news: bool,
}

impl Receiving {
    /// `salt`: random.
    pub fn new(
        base: Saying,
        head: SnapshotHead,
        origin: &SnapshotOrigin,
        config: StateConfig,
        salt: u64,
        now_us: u64,
    ) -> Self {
        let writer = SnapshotWriter::received(&head, origin, salt);
        Self {
            base,
            head,
            config,
            phase: Phase::Writing,
            writer,
            info: None,
            stream: SliceStream::default(),
            received: 0,
            taken: 0,
            restored: 0,
            is_ended: false,
            is_job_out: false,
            heard_at_us: now_us,
            is_news: true,
        }
    }

    /// The names that something of it may have on the disk.
    pub fn names(&self) -> [Arc<str>; 2] {
        self.writer.names()
    }

    /// How far it is: bytes that there is no need to say again, bytes that were restored.
    pub fn progress(&self) -> (u64, u64) {
        (self.taken, self.restored)
    }

    /// Bytes of slices came that stand at that offset. Others than those that are due are said again, if they
    /// are of any use.
    pub fn on_piece(&mut self, offset: u64, bytes: &[u8], now_us: u64) -> Result<(), Failure> {
        self.heard_at_us = now_us;
        let end = self.received + bytes.len() as u64;
        let is_due = offset == self.received
            && !self.is_ended
            && matches!(self.phase, Phase::Writing)
            && end - self.taken <= 2 * WINDOW_BYTES;
        if !is_due {
            self.is_news = true;
            return Ok(());
        }
        self.received = end;
        self.stream.push(bytes);
        let spoilt = |_| (SnapshotFailure::spoilt, "what came is no slice".to_owned());
        while let Some((kind, slice)) = self.stream.next_slice().map_err(spoilt)? {
            let pushed = self.writer.push_slice(kind, slice);
            pushed.map_err(|error| (SnapshotFailure::spoilt, error.to_string()))?;
        }
        Ok(())
    }

    /// That was all, of so many bytes.
    pub fn on_end(&mut self, offset: u64, now_us: u64) -> Result<(), Failure> {
        self.heard_at_us = now_us;
        self.is_news = true;
        if self.is_ended || offset != self.received {
            return Ok(());
        }
        self.is_ended = true;
        self.writer.end();
        if self.stream.is_empty() && self.writer.name() == self.base.name {
            return Ok(());
        }
        let why = "what came is not what was offered".to_owned();
        Err((SnapshotFailure::spoilt, why))
    }

    /// The next job, if one is needed and none is out.
    pub fn take_job(&mut self) -> Option<Job> {
        if self.is_job_out {
            return None;
        }
        let job = match &self.phase {
            Phase::Writing => self.writer.take_job(),
            Phase::Reading(reading) if reading.stream.is_empty() && reading.end.is_none() => {
                Some(Job::SnapshotRead {
                    info: reading.info.clone(),
                    place: reading.place,
                })
            }
            _ => None,
        };
        self.is_job_out = job.is_some();
        if job.is_none() && matches!(self.phase, Phase::Writing) && self.taken < self.received {
            // Nothing waits for the disk but what is too little for it.
            self.taken = self.received;
            self.is_news = true;
        }
        job
    }

    /// The job that was out ended.
    pub fn on_job(&mut self, result: JobResult) -> Result<(), Failure> {
        self.is_job_out = false;
        self.is_news = true;
        if let JobResult::Failed { message, .. } = &result {
            return Err((SnapshotFailure::disk, message.clone()));
        }
        match (&mut self.phase, result) {
            (Phase::Reading(reading), JobResult::Piece(piece)) => {
                self.restored += piece.bytes.len() as u64;
                reading.take(&piece, &self.head)
            }
            (Phase::Writing, result) => {
                self.writer.on_job(&result);
                self.taken = self.received;
                if let Some(SnapshotOutcome::Written { info, .. }) = self.writer.outcome() {
                    self.info = Some(info.clone());
                    self.phase = Phase::Reading(Box::new(Reading {
                        info: info.clone(),
                        place: ReadPlace::default(),
                        content: ContentDigest::new(self.head.encode()),
                        slices: 0,
                        slice_bytes: 0,
                        restore: Restore::new(self.config),
                        stream: SliceStream::default(),
                        end: None,
                    }));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Restores a slice of what was read back. True: there is more to do at once.
    pub fn restore_slice(&mut self) -> Result<bool, Failure> {
        let Phase::Reading(reading) = &mut self.phase else {
            return Ok(false);
        };
        if reading.restore_slice()? {
            return Ok(true);
        }
        if reading.end.is_none() {
            return Ok(false);
        }
        let Phase::Reading(reading) = std::mem::replace(&mut self.phase, Phase::Installing) else {
            return Ok(false);
        };
        let state = reading.finish(&self.base, &self.head)?;
        self.phase = Phase::Ready(Box::new(state));
        Ok(true)
    }

    /// Whether a state is there to be installed.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Whether the state was handed over.
    pub fn is_installing(&self) -> bool {
        matches!(self.phase, Phase::Installing)
    }

    /// Hands the state over.
    pub fn take_state(&mut self) -> Option<State> {
        match std::mem::replace(&mut self.phase, Phase::Installing) {
            Phase::Ready(state) => Some(*state),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// When it is given up, if nothing comes.
    pub fn ends_us(&self) -> u64 {
        match self.phase {
            Phase::Writing if !self.is_job_out => self.heard_at_us.saturating_add(STALL_US),
            _ => u64::MAX,
        }
    }
}

impl Reading {
    fn take(&mut self, piece: &SnapshotPiece, head: &SnapshotHead) -> Result<(), Failure> {
        self.place = piece.next;
        let is_right = match piece.kind {
            PieceKind::Head => piece.bytes == head.encode(),
            PieceKind::Slices => {
                self.stream.push(&piece.bytes);
                true
            }
            PieceKind::End => {
                self.end = SnapshotTotals::read(&piece.bytes);
                self.end.is_some()
            }
        };
        if is_right { Ok(()) } else { Err(otherwise()) }
    }

    fn restore_slice(&mut self) -> Result<bool, Failure> {
        let Some((kind, slice)) = self.stream.next_slice().map_err(|_| otherwise())? else {
            return Ok(false);
        };
        self.slices += 1;
        self.slice_bytes += slice.len() as u64;
        self.content.add(kind, slice);
        let restored = self.restore.feed(slice);
        restored.map_err(|error| (SnapshotFailure::unfit, error.to_string()))?;
        Ok(true)
    }

    fn finish(self, base: &Saying, head: &SnapshotHead) -> Result<State, Failure> {
        let digest = self.content.digest();
        let told = SnapshotTotals {
            slices: self.slices,
            slice_bytes: self.slice_bytes,
            digest,
        };
        if self.end != Some(told) || base.name.digest != digest || !self.stream.is_empty() {
            return Err(otherwise());
        }
        let unfit = |why: String| (SnapshotFailure::unfit, why);
        let state = self
            .restore
            .finish()
            .map_err(|error| unfit(error.to_string()))?;
        if state.applied_index() == head.index {
            Ok(state)
        } else {
            Err(unfit("it does not hold what its head says".to_owned()))
        }
    }
}

fn otherwise() -> Failure {
    let why = "what is read back is not what was written".to_owned();
    (SnapshotFailure::disk, why)
}
