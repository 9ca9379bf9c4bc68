//! Carrying out log writes: on the worker's own thread, or on a thread of
//! their own. Either way one is under way at a time and its outcome is polled.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use domp_log::{LogWrite, run_write};

use crate::disk::RealDisk;

/// A write that came to an end.
#[derive(Debug)]
pub(crate) struct Written {
    /// What was written; its buffers go back to the log.
    pub write: LogWrite,
    /// Anything but success ends the node: what is on the disk is unknown.
    pub result: io::Result<()>,
    /// How long it took.
    pub took_ns: u64,
}

/// Where log writes are carried out.
#[derive(Debug)]
pub(crate) enum LogWriter {
    /// `begin` returns when the write is durable.
    Inline {
        disk: RealDisk,
        done: Option<Written>,
    },
    /// `begin` returns at once; the worker is unparked when the write is durable.
    Threaded(LogThread),
}

impl LogWriter {
    pub fn inline(disk: RealDisk) -> Self {
        Self::Inline { disk, done: None }
    }

    /// Starts the thread. `worker` is unparked after each write.
    pub fn threaded(disk: RealDisk, worker: Thread) -> io::Result<Self> {
        Ok(Self::Threaded(LogThread::start(disk, worker)?))
    }

    /// Carries a write out, or hands it over. The one before must have been polled.
    pub fn begin(&mut self, write: LogWrite) {
        match self {
            Self::Inline { disk, done } => *done = Some(carry_out(disk, write)),
            Self::Threaded(log) => log.begin(write),
        }
    }

    /// Whether `poll` would return something.
    pub fn has_written(&self) -> bool {
        match self {
            Self::Inline { done, .. } => done.is_some(),
            Self::Threaded(log) => log.has_written(),
        }
    }

    /// The write begun last, once it has ended.
    pub fn poll(&mut self) -> Option<Written> {
        match self {
            Self::Inline { done, .. } => done.take(),
            Self::Threaded(log) => log.poll(),
        }
    }
}

fn carry_out(disk: &mut RealDisk, write: LogWrite) -> Written {
    let begun = Instant::now();
    // A panic must not leave the worker waiting for ever: it counts as a failed write.
    let result = catch_unwind(AssertUnwindSafe(|| run_write(disk, &write)))
        .unwrap_or_else(|_| Err(io::Error::other("writing the log panicked")));
    let took_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Written {
        write,
        result,
        took_ns,
    }
}

/// The log's thread; it ends when the value is dropped, after the write under way.
#[derive(Debug)]
pub(crate) struct LogThread {
    /// A channel of one: there is only one write at a time. `None` while dropping.
    hand_over: Option<SyncSender<LogWrite>>,
    done: Arc<Mutex<Option<Written>>>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    fn start(disk: RealDisk, worker: Thread) -> io::Result<Self> {
        let (hand_over, writes) = sync_channel(1);
        let done = Arc::new(Mutex::new(None));
        let results = done.clone();
        let thread = thread::Builder::new()
            .name("domp-log".into())
            .spawn(move || run(disk, &writes, &results, &worker))?;
        Ok(Self {
            hand_over: Some(hand_over),
            done,
            under_way: false,
            thread: Some(thread),
        })
    }

    fn begin(&mut self, write: LogWrite) {
        self.under_way = true;
        let handed = self.hand_over.as_ref().map(|channel| channel.send(write));
        assert!(
            matches!(handed, Some(Ok(()))),
            "the log's thread lives as long as its channel"
        );
    }

    fn has_written(&self) -> bool {
        self.under_way && self.lock().is_some()
    }

    fn poll(&mut self) -> Option<Written> {
        if !self.under_way {
            return None;
        }
        let written = self.lock().take()?;
        self.under_way = false;
        Some(written)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Written>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(
    mut disk: RealDisk,
    writes: &Receiver<LogWrite>,
    done: &Mutex<Option<Written>>,
    worker: &Thread,
) {
    while let Ok(write) = writes.recv() {
        let written = carry_out(&mut disk, write);
        *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        worker.unpark();
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.hand_over = None;
        if let Some(thread) = self.thread.take() {
            // A panic there is already on standard error; nothing is left to be done about it.
            let _ = thread.join();
        }
    }
}
