//! From a directory to a worker: lock, identity, the way to flush, recovery.

use std::sync::Arc;

use domp_node::{BootStep, Config, Node};

use crate::background::Background;
use crate::clock::EngineClock;
use crate::disk::{DataDirectory, FileSystem, FlushChoice, Identity, RealDisk, random_u64};
use crate::limits;
use crate::log_writer::LogWriter;
use crate::options::{LogMode, Options};
use crate::report::OpenReport;
use crate::shared::Shared;
use crate::worker::{Parts, Worker};

/// What starting gives.
pub(crate) struct Started {
    pub worker: Worker,
    /// Held while the worker lives.
    pub directory: DataDirectory,
    pub report: OpenReport,
}

/// Starts on the worker's own thread. An error is for the operator.
pub(crate) fn start(shared: &Arc<Shared>, options: &Options) -> Result<Started, String> {
    let clock = EngineClock::new();
    let directory = DataDirectory::take(&options.directory).map_err(|error| error.to_string())?;
    let path = directory.path();
    let doing = |what: &str| {
        let what = format!("{what} in {}", path.display());
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let file_system = FileSystem::of(path).map_err(doing("can't look at the file system"))?;
    let identity = Identity::load_or_create(path).map_err(|error| error.to_string())?;
    let flush = FlushChoice::measure(path).map_err(doing("can't write"))?;
    let mut disk = RealDisk::new(path, flush);

    let seed = random_u64().map_err(doing("the system gives no randomness"))?;
    let config = configure(options, &identity, seed);
    config
        .log
        .validate()
        .map_err(|error| format!("the log's sizes make no sense: {error}"))?;
    let limits_changed = limits::enforce(&config, path, &mut disk, clock.read())?;
    let prepared_us = clock.now_us();
    let (mut restored_us, mut replayed_us) = (prepared_us, prepared_us);
    let (node, boot) = Node::boot(config, &mut disk, clock.read(), &mut |step| match step {
        BootStep::SnapshotsRestored { .. } => restored_us = clock.now_us(),
        BootStep::LogReplayed { .. } => replayed_us = clock.now_us(),
    })
    .map_err(|error| format!("can't recover {}: {error}", path.display()))?;
    let worker_thread = std::thread::current();
    let background = Background::start(disk.clone(), worker_thread.clone())
        .map_err(doing("can't start the background thread"))?;
    let log = match options.log_mode {
        LogMode::Inline => LogWriter::inline(disk),
        LogMode::Threaded => LogWriter::threaded(disk, worker_thread)
            .map_err(doing("can't start the log's thread"))?,
    };
    let report = OpenReport {
        directory: path.to_owned(),
        node: identity.node,
        file_system,
        flush,
        log_mode: options.log_mode,
        boot,
        limits_changed,
        prepared_us,
        restored_us,
        replayed_us,
    };
    let worker = Worker::new(Parts {
        node,
        clock,
        shared: shared.clone(),
        log,
        background,
        busy_poll: options.busy_poll,
        drain_timeout_ms: options.drain_timeout_ms,
        engine_report: report.constants(),
    });
    Ok(Started {
        worker,
        directory,
        report,
    })
}

fn configure(options: &Options, identity: &Identity, seed: u64) -> Config {
    let mut config = Config::new(identity.node, seed, identity.session_key);
    if let Some(bytes) = options.segment_bytes {
        config.log.segment_bytes = bytes;
    }
    if let Some(bytes) = options.snapshot_after_bytes {
        config.snapshot_after_bytes = bytes;
    }
    config.limits = limits::configured(options);
    config
}
