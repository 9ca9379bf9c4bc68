//! One snapshot while its file is written: slices in, jobs out, and what each job's end came to.

use std::sync::Arc;

use domp_log::snapshot::{
    SliceKind, SliceTooLarge, SnapshotHead, SnapshotInfo, SnapshotOrigin, SnapshotOutcome,
    SnapshotWriter,
};
use domp_log::{Job, JobResult, SnapshotName};
use domp_state::snapshot_slice_is_secret;

/// Slices that may wait for the disk while writes push the walk on, bytes. Beyond it the disk is behind,
/// and no slice helps: writes have to wait.
const AHEAD_BYTES_MAX: usize = 16 << 20;

/// The job that is out.
#[derive(Clone, Debug)]
enum Step {
    Write,
    /// Gives the file its name.
    Finish(Arc<str>),
    /// Removes the file under its temporary name.
    Undo(Arc<str>),
}

/// What a job's end came to.
#[derive(Debug)]
pub enum Ended {
    /// The attempt goes on.
    Nothing,
    /// The file is durable under its name.
    Durable(SnapshotInfo, SnapshotName),
    /// It can't be finished; [`Attempt::take_job`] now removes what there is.
    Failed(String),
    /// It had failed, and is over. Files that may be left, to be removed by others.
    Undone(Vec<Arc<str>>),
}

/// See the module.
pub struct Attempt {
    /// Log bytes of the shard when it began.
    pub log_bytes: u64,
    writer: SnapshotWriter,
    /// Slices that no job has taken yet.
    ahead_bytes: usize,
    out: Option<Step>,
    given_up: bool,
    /// What may be left of it under its name after a job that failed.
    left: Option<Arc<str>>,
    /// Durable; whether a hard state that names it was handed to the log.
    pub info: Option<(SnapshotInfo, SnapshotName)>,
    pub is_naming: bool,
}

impl Attempt {
    /// `salt`: random.
    pub fn new(head: &SnapshotHead, origin: &SnapshotOrigin, log_bytes: u64, salt: u64) -> Self {
        Self {
            log_bytes,
            writer: SnapshotWriter::new(head, origin, salt),
            ahead_bytes: 0,
            out: None,
            given_up: false,
            left: None,
            info: None,
            is_naming: false,
        }
    }

    /// Whether the disk has use for slices.
    pub fn needs_slices(&self) -> bool {
        self.writer.needs_slices()
    }

    /// Whether so many slices wait for the disk that no more are taken.
    pub fn is_behind(&self) -> bool {
        self.ahead_bytes >= AHEAD_BYTES_MAX
    }

    /// Takes the next slice.
    pub fn push(&mut self, slice: &[u8]) -> Result<(), SliceTooLarge> {
        self.ahead_bytes += slice.len();
        let kind = if snapshot_slice_is_secret(slice) {
            SliceKind::Secret
        } else {
            SliceKind::State
        };
        self.writer.push_slice(kind, slice)
    }

    /// That was the last.
    pub fn end(&mut self) {
        self.writer.end();
    }

    /// Gives it up. One whose file is getting its name goes on to that end.
    pub fn give_up(&mut self, why: &str) {
        self.given_up = true;
        self.writer.abort(why);
    }

    /// The next job, if none is out and there is something to do.
    pub fn take_job(&mut self) -> Option<Job> {
        let job = self.writer.take_job()?;
        self.out = match &job {
            Job::SnapshotFinish { file, .. } => Some(Step::Finish(Arc::clone(file))),
            Job::Remove { file } => Some(Step::Undo(Arc::clone(file))),
            _ => {
                self.ahead_bytes = 0;
                Some(Step::Write)
            }
        };
        Some(job)
    }

    /// The job that was out ended.
    pub fn on_job(&mut self, result: &JobResult) -> Ended {
        let Some(step) = self.out.take() else {
            return Ended::Nothing;
        };
        self.writer.on_job(result);
        match (step, result) {
            (Step::Undo(temporary), _) => {
                let is_left = matches!(result, JobResult::Failed { .. });
                let files = is_left.then_some(temporary).into_iter();
                Ended::Undone(files.chain(self.left.take()).collect())
            }
            (Step::Finish(file), JobResult::Failed { message, .. }) => {
                // It may have its name already, and only the directory was not flushed.
                self.left = Some(file);
                Ended::Failed(message.clone())
            }
            (Step::Write, JobResult::Failed { message, .. }) if !self.given_up => {
                Ended::Failed(message.clone())
            }
            (Step::Finish(_), _) => match self.writer.outcome() {
                Some(SnapshotOutcome::Written { info, name }) => {
                    Ended::Durable(info.clone(), *name)
                }
                _ => Ended::Nothing,
            },
            (Step::Write, _) => Ended::Nothing,
        }
    }
}
