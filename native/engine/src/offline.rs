//! Requests about a data directory that no engine holds: `check` verifies it,
//! `log` prints its records; neither changes anything. `prepare` makes directories. Each runs on a thread
//! of its own.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use domp_log::{CheckReport, DumpFilter, dump};
use domp_node::check;
use domp_state::entry::{APPLY_VERSION, describe_entry};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use crate::cluster::prepare;
use crate::disk::{DataDirectory, RealDisk};
use crate::report::json;
use crate::shared::{Answer, answer_once};

/// Bytes of lines gathered before they are written out.
const PRINT_BYTES: usize = 64 * 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offline {
    /// Verifies everything. Answers `{healthy, text, report}`: `text` for a person, `report` the same
    /// for programs.
    Check {
        /// The data directory.
        directory: PathBuf,
        /// Where its log is, if not in it.
        log_directory: Option<PathBuf>,
    },
    /// Prints records to the standard output, a line each. Answers `{lines}`.
    Log {
        /// The data directory.
        directory: PathBuf,
        /// Where its log is, if not in it.
        log_directory: Option<PathBuf>,
        /// Only this shard's records.
        group: Option<u64>,
        /// Only entries from this index on.
        from_index: Option<u64>,
    },
    /// Makes the data directories from which a cluster's nodes are first started. Answers
    /// `{cluster, nodes: [{node, address, directory}]}`.
    Prepare {
        /// Where they are made.
        directory: PathBuf,
        /// Where the nodes listen for each other: host and port, one for each node.
        addresses: Vec<String>,
    },
}

/// Runs a request on a thread of its own.
pub fn run(request: Offline, answer: Answer) {
    let answer = Arc::new(Mutex::new(Some(answer)));
    let theirs = answer.clone();
    let thread = thread::Builder::new()
        .name("domp-offline".into())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| carry_out(&request)));
            let panicked = |_| Err("reading the directory panicked".to_owned());
            answer_once(&theirs, outcome.unwrap_or_else(panicked));
        });
    if let Err(error) = thread {
        answer_once(&answer, Err(format!("can't start a thread: {error}")));
    }
}

fn carry_out(request: &Offline) -> Result<String, String> {
    match request {
        Offline::Check {
            directory,
            log_directory,
        } => verify(directory, log_directory.as_deref()),
        Offline::Log {
            directory,
            log_directory,
            group,
            from_index,
        } => {
            let filter = DumpFilter {
                group: *group,
                from_index: *from_index,
            };
            print(directory, log_directory.as_deref(), filter)
        }
        Offline::Prepare {
            directory,
            addresses,
        } => prepare(directory, addresses),
    }
}

/// What a check found.
#[derive(Serialize)]
struct Verified<'a> {
    healthy: bool,
    text: String,
    report: &'a CheckReport,
}

/// How many lines were printed.
#[derive(Serialize)]
struct Printed {
    lines: u64,
}

fn verify(path: &Path, log: Option<&Path>) -> Result<String, String> {
    let directory = DataDirectory::share(path, log).map_err(|error| error.to_string())?;
    if directory.is_blank().map_err(|error| error.to_string())? {
        return Err(format!("{} is no data directory of DOMP", path.display()));
    }
    let mut disk = RealDisk::for_check(directory.path(), directory.log_path());
    let report = check(&mut disk, APPLY_VERSION).map_err(|error| error.to_string())?;
    Ok(json(&Verified {
        healthy: report.is_healthy(),
        text: report.to_string(),
        report: &report,
    }))
}

fn print(path: &Path, log: Option<&Path>, filter: DumpFilter) -> Result<String, String> {
    let directory = DataDirectory::share(path, log).map_err(|error| error.to_string())?;
    let mut disk = RealDisk::for_check(directory.path(), directory.log_path());
    let mut printer = Printer::standard_output().map_err(|error| error.to_string())?;
    let dumped = dump(&mut disk, filter, &mut describe_entry, &mut |line| {
        printer.line(line);
    });
    dumped.map_err(|error| error.to_string())?;
    let lines = printer.finish().map_err(|error| error.to_string())?;
    Ok(json(&Printed { lines }))
}

/// Lines on their way to a descriptor that may not block.
struct Printer {
    to: OwnedFd,
    gathered: Vec<u8>,
    lines: u64,
    /// Why nothing more is written.
    stopped: Option<io::Error>,
}

impl Printer {
    fn standard_output() -> io::Result<Self> {
        let to = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            to,
            gathered: Vec::with_capacity(PRINT_BYTES),
            lines: 0,
            stopped: None,
        })
    }

    fn line(&mut self, line: &str) {
        self.lines += 1;
        if self.stopped.is_some() {
            return;
        }
        self.gathered.extend_from_slice(line.as_bytes());
        self.gathered.push(b'\n');
        if self.gathered.len() >= PRINT_BYTES {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        self.stopped = self.write_all(&gathered).err();
        self.gathered = gathered;
        self.gathered.clear();
    }

    /// Node makes its standard output non-blocking where it is a pipe.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.to, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let mut waited = [PollFd::new(&self.to, PollFlags::OUT)];
                    match poll(&mut waited, None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        if self.stopped.is_none() {
            self.write_out();
        }
        match self.stopped {
            // Whoever reads has read enough (`domp log | head`).
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(self.lines),
            Some(error) => Err(error),
            None => Ok(self.lines),
        }
    }
}
