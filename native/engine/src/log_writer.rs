//! Carrying out log writes: on the worker's own thread, on a thread of their own, or on
//! whichever suits each. One is under way at a time, and its outcome is polled.

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

/// Writes of at least so many bytes are worth a hand-over to the log's thread: the disk takes long enough
/// over them that the worker gets something done meanwhile.
const THREAD_BYTES_MIN: u64 = 128 << 10;

/// Where log writes are carried out.
#[derive(Debug)]
pub(crate) struct LogWriter {
    /// Here; `begin` then returns when the write is durable.
    inline: Option<RealDisk>,
    /// There; `begin` then returns at once, and the worker is unparked when the write is durable.
    thread: Option<LogThread>,
    done: Option<Written>,
}

impl LogWriter {
    pub fn inline(disk: RealDisk) -> Self {
        Self {
            inline: Some(disk),
            thread: None,
            done: None,
        }
    }

    /// Starts the thread. `worker` is unparked after each write.
    pub fn threaded(disk: RealDisk, worker: Thread) -> io::Result<Self> {
        Ok(Self {
            inline: None,
            thread: Some(LogThread::start(disk, worker)?),
            done: None,
        })
    }

    /// Either, by the length of each write.
    pub fn auto(disk: RealDisk, worker: Thread) -> io::Result<Self> {
        Ok(Self {
            inline: Some(disk.clone()),
            ..Self::threaded(disk, worker)?
        })
    }

    /// Whether a write of that length would be handed over.
    pub fn hands_over(&self, bytes: u64) -> bool {
        self.thread.is_some() && (self.inline.is_none() || bytes >= THREAD_BYTES_MIN)
    }

    /// Carries a write out, or hands it over. The one before must have been polled.
    pub fn begin(&mut self, write: LogWrite) {
        let hands_over = self.hands_over(write.bytes());
        match (&mut self.inline, &mut self.thread) {
            (Some(disk), _) if !hands_over => self.done = Some(carry_out(disk, write)),
            (_, Some(thread)) => thread.begin(write),
            (_, None) => unreachable!("a writer has a disk or a thread"),
        }
    }

    /// Whether `poll` would return something.
    pub fn has_written(&self) -> bool {
        self.done.is_some() || self.thread.as_ref().is_some_and(LogThread::has_written)
    }

    /// The write begun last, once it has ended.
    pub fn poll(&mut self) -> Option<Written> {
        let done = self.done.take();
        done.or_else(|| self.thread.as_mut().and_then(LogThread::poll))
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
