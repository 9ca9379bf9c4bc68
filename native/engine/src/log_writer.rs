//! Carrying out log writes: on the worker's own thread, on a thread of their own, or on
//! whichever suits each. One is under way at a time, and its outcome is polled.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use domp_log::{LogWrite, run_write};
use domp_protocol::limits;

use crate::disk::RealDisk;
use crate::options::LogMode;

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
pub(crate) struct LogWriter {
    disk: RealDisk,
    /// None: all are carried out here.
    thread: Option<LogThread>,
    /// Writes of so many bytes and more are carried out there, where there is a thread.
    thread_bytes_min: u64,
    /// The outcome of one that was carried out here.
    done: Option<Written>,
}

impl LogWriter {
    /// Starts the log's thread, if the mode wants one. `worker` is unparked after each write of its.
    pub fn start(mode: LogMode, disk: RealDisk, worker: Thread) -> io::Result<Self> {
        let (has_thread, thread_bytes_min) = match mode {
            LogMode::Inline => (false, u64::MAX),
            LogMode::Threaded => (true, 0),
            LogMode::Auto => (true, limits::LOG_THREAD_BYTES_MIN),
        };
        let thread = has_thread.then(|| LogThread::start(disk.clone(), worker));
        Ok(Self {
            disk,
            thread: thread.transpose()?,
            thread_bytes_min,
            done: None,
        })
    }

    /// Whether a write of that length would be handed over.
    pub fn hands_over(&self, bytes: u64) -> bool {
        self.thread.is_some() && bytes >= self.thread_bytes_min
    }

    /// Carries a write out, and returns when it is durable; or hands it over, and returns at once. The one
    /// before must have been polled.
    pub fn begin(&mut self, write: LogWrite) {
        let hands_over = self.hands_over(write.bytes());
        match &mut self.thread {
            Some(thread) if hands_over => thread.begin(write),
            _ => self.done = Some(carry_out(&mut self.disk, write)),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domp_log::{AlignedBuf, Disk as _, WritePart};

    use super::*;
    use crate::disk::FlushChoice;
    use crate::disk::tests::TestDirectory;

    const FILE: &str = "wal/1.log";
    const SHORT_BYTES: usize = 4096;
    const LONG_BYTES: usize = 128 << 10;

    fn write(ticket: u64, bytes: usize) -> LogWrite {
        LogWrite {
            ticket,
            first: WritePart {
                file: FILE.into(),
                offset: 0,
                bytes: AlignedBuf::zeroed(bytes),
            },
            rest: Vec::new(),
        }
    }

    #[test]
    fn each_mode_writes_where_it_says() {
        for (mode, short_waits, long_waits) in [
            (LogMode::Inline, true, true),
            (LogMode::Auto, true, false),
            (LogMode::Threaded, false, false),
        ] {
            let directory = TestDirectory::new();
            let choice =
                FlushChoice::measure(directory.path()).expect("a disk that can be written");
            let mut disk = RealDisk::new(directory.path(), None, choice);
            disk.create(FILE, LONG_BYTES as u64).expect("created");
            let mut log = LogWriter::start(mode, disk, thread::current()).expect("a thread");
            for (ticket, bytes, waits) in
                [(1, SHORT_BYTES, short_waits), (2, LONG_BYTES, long_waits)]
            {
                assert_eq!(log.hands_over(bytes as u64), !waits, "{}", mode.name());
                log.begin(write(ticket, bytes));
                // Carried out here it is over now; there, sometime.
                assert!(!waits || log.has_written());
                let written = (0..60_000).find_map(|_| {
                    thread::park_timeout(Duration::from_millis(u64::from(!log.has_written())));
                    log.poll()
                });
                let written = written.expect("it ends");
                assert_eq!(written.write.ticket, ticket);
                written.result.expect("no faults");
                assert!(!log.has_written() && log.poll().is_none());
            }
        }
    }
}
