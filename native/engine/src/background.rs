//! The thread for what may take long and must not hold the worker up: making
//! segments, writing snapshots, removing files.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use domp_log::{Job, JobResult, run_job};

use crate::disk::{RealDisk, STEP_PAUSE};

/// A job under the id the node gave it.
pub(crate) type NumberedJob = (u64, Job);

/// A job that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub id: u64,
    pub result: JobResult,
}

/// The background thread. Dropping it lets the job under way end and forgets the others:
/// all of them can be begun again at the next start.
#[derive(Debug)]
pub(crate) struct Background {
    /// The node bounds how many jobs it has under way. `None` while dropping.
    queue: Option<Sender<NumberedJob>>,
    disk: RealDisk,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: Mutex<VecDeque<Ended>>,
    any: AtomicBool,
    stopping: AtomicBool,
}

impl Background {
    /// Starts the thread. `worker` is unparked after each job.
    pub fn start(disk: RealDisk, worker: Thread) -> io::Result<Self> {
        let (queue, jobs) = channel();
        let shared = Arc::new(Shared::default());
        disk.work_beside_others();
        let (theirs, their_disk) = (shared.clone(), disk.clone());
        let thread = thread::Builder::new()
            .name("domp-background".into())
            .spawn(move || run(their_disk, &jobs, &theirs, &worker))?;
        Ok(Self {
            queue: Some(queue),
            disk,
            shared,
            thread: Some(thread),
        })
    }

    /// See [`RealDisk::log_bytes`].
    pub fn log_bytes(&self) -> u64 {
        self.disk.log_bytes()
    }

    /// Queues a job; jobs run in order.
    pub fn push(&self, job: NumberedJob) {
        let queue = self.queue.as_ref();
        assert!(
            queue.is_some_and(|queue| queue.send(job).is_ok()),
            "the background thread lives as long as its queue"
        );
    }

    /// The next job that ended.
    pub fn poll(&self) -> Option<Ended> {
        if !self.shared.any.load(Ordering::Acquire) {
            return None;
        }
        let mut ended = self.shared.lock();
        let next = ended.pop_front();
        self.shared.any.store(!ended.is_empty(), Ordering::Release);
        next
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(mut disk: RealDisk, jobs: &Receiver<NumberedJob>, shared: &Shared, worker: &Thread) {
    let mut owes_space = false;
    loop {
        let job = if owes_space {
            jobs.recv_timeout(STEP_PAUSE)
        } else {
            jobs.recv().map_err(Into::into)
        };
        let (id, job) = match job {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                owes_space = disk.give_back();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
        // A panic must not leave the node waiting for ever: it counts as a failed job.
        let result =
            catch_unwind(AssertUnwindSafe(|| run_job(&mut disk, &job))).unwrap_or_else(|_| {
                JobResult::Failed {
                    kind: io::ErrorKind::Other,
                    message: "a background job panicked".to_owned(),
                }
            });
        let mut ended = shared.lock();
        ended.push_back(Ended { id, result });
        shared.any.store(true, Ordering::Release);
        drop(ended);
        worker.unpark();
        owes_space = disk.give_back();
    }
    disk.give_back_all();
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.disk.stop_creating();
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there is already on standard error; nothing is left to be done about it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use domp_log::Disk as _;

    use super::*;
    use crate::disk::FlushChoice;
    use crate::disk::tests::TestDirectory;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn disk_with(directory: &TestDirectory, file: &str, mib: u64) -> RealDisk {
        let choice = FlushChoice::measure(directory.path()).expect("a disk that can be written");
        let mut disk = RealDisk::new(directory.path(), None, choice);
        disk.create(file, mib << 20).expect("created");
        disk
    }

    /// Runs a job to its end.
    fn run(background: &Background, job: Job) -> JobResult {
        background.push((7, job));
        let begun = Instant::now();
        loop {
            if let Some(ended) = background.poll() {
                assert_eq!(ended.id, 7);
                return ended.result;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn files(directory: &Path) -> usize {
        fs::read_dir(directory).expect("a directory").count()
    }

    #[test]
    fn a_large_file_is_gone_at_once_and_its_space_soon() {
        let directory = TestDirectory::new();
        let disk = disk_with(&directory, "wal/large", 9);
        let background = Background::start(disk, thread::current()).expect("a thread");
        let remove = || Job::Remove {
            file: "wal/large".into(),
        };
        assert_eq!(run(&background, remove()), JobResult::Done);
        assert!(!directory.path().join("wal/large").exists());
        let begun = Instant::now();
        while files(&directory.path().join("wal")) > 0 {
            assert!(begun.elapsed() < PATIENCE, "its space is never given back");
            thread::sleep(Duration::from_millis(1));
        }
        // That it is gone already is no failure.
        assert_eq!(run(&background, remove()), JobResult::Done);
    }

    #[test]
    fn the_end_leaves_nothing_behind() {
        let directory = TestDirectory::new();
        let disk = disk_with(&directory, "wal/large", 64);
        let background = Background::start(disk, thread::current()).expect("a thread");
        let job = Job::Remove {
            file: "wal/large".into(),
        };
        assert_eq!(run(&background, job), JobResult::Done);
        drop(background);
        assert_eq!(files(&directory.path().join("wal")), 0);
    }
}
