//! From a directory to a worker: lock, the way to flush, recovery.

use std::io;
use std::path::Path;
use std::sync::Arc;

use domp_log::Drawn;
use domp_node::{BootStep, Config, Node};
use domp_protocol::limits;

use crate::background::Background;
use crate::clock::EngineClock;
use crate::cluster::{Link, Membership};
use crate::disk::{DataDirectory, FileSystem, FlushChoice, RealDisk, is_full};
use crate::log_writer::LogWriter;
use crate::options::{LogMode, Options};
use crate::randomness::{random_bytes, random_u64};
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
    let clock = EngineClock::new(options.clock_jump_max_ms);
    let directory = DataDirectory::take(&options.directory, options.log_directory.as_deref())
        .map_err(|error| error.to_string())?;
    let path = directory.path();
    let log_path = directory.log_path().unwrap_or(path);
    let doing = |what: &str, path: &Path| {
        let what = format!("{what} in {}", path.display());
        move |error: io::Error| format!("{what}: {error}")
    };
    let look = |path| FileSystem::of(path).map_err(doing("can't look at the file system", path));
    let (file_system, log_file_system) = (look(path)?, look(log_path)?);
    let flush = FlushChoice::measure(log_path).map_err(doing("can't write", log_path))?;
    let mut disk = RealDisk::new(path, directory.log_path(), flush);

    let membership = Membership::read(path)?;
    let mut config = configure(options).map_err(doing("the system gives no randomness", path))?;
    if let Some(membership) = &membership {
        let blank = directory.is_blank().map_err(doing("can't look", path))?;
        membership.judge_start(blank)?;
        membership.configure(&mut config);
    }
    let drawn = config.drawn;
    config
        .log
        .validate()
        .map_err(|error| format!("the log's sizes make no sense: {error}"))?;
    let prepared_us = clock.now_us();
    let (mut restored_us, mut replayed_us) = (prepared_us, prepared_us);
    let (node, boot) = Node::boot(config, &mut disk, clock.read(), &mut |step| match step {
        BootStep::SnapshotsRestored { .. } => restored_us = clock.now_us(),
        BootStep::LogReplayed { .. } => replayed_us = clock.now_us(),
    })
    .map_err(|error| {
        let hint = directory.log_hint();
        format!("can't recover {}: {error}{hint}", path.display())
    })?;
    if membership.is_none() && node.is_of_several() {
        return Err(format!(
            "{} holds the data of a node of a cluster, and its folder `cluster`, which says who the others are \
             and has this node's key, is gone: put it back",
            path.display()
        ));
    }
    match directory.claim_log(boot.identity.node) {
        // The next start with room does it.
        Err(error) if !is_full(&error) => return Err(doing("can't write", log_path)(error)),
        _ => {}
    }
    let worker_thread = std::thread::current();
    let background = Background::start(disk.clone(), worker_thread.clone())
        .map_err(|error| format!("can't start the background thread: {error}"))?;
    let log_mode = log_mode(options.log_mode, membership.is_some())?;
    let log = LogWriter::start(log_mode, disk, worker_thread.clone())
        .map_err(|error| format!("can't start the log's thread: {error}"))?;
    let link = membership
        .map(|membership| {
            let identity = membership.identify(&boot, drawn.nonce)?;
            let listen = options.cluster_listen.as_deref();
            Link::start(membership, listen, identity, drawn.nonce, worker_thread)
        })
        .transpose()?;
    let report = OpenReport {
        directory: path.to_owned(),
        log_directory: directory.log_path().map(ToOwned::to_owned),
        file_system,
        log_file_system,
        flush,
        log_mode,
        cluster: link.as_ref().map(Link::report),
        boot,
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
        link,
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

/// With others the worker must not wait for its own disk: entries would come late to theirs.
fn log_mode(wanted: LogMode, has_peers: bool) -> Result<LogMode, String> {
    match (wanted, has_peers) {
        (LogMode::Inline, true) => Err(
            "log.mode inline is for a node that is alone: in a cluster the log has a thread".into(),
        ),
        (_, true) => Ok(LogMode::Threaded),
        (wanted, false) => Ok(wanted),
    }
}

fn configure(options: &Options) -> io::Result<Config> {
    let drawn = Drawn {
        salt_seed: random_u64()?,
        node: random_u64()?.max(1),
        nonce: random_u64()?,
    };
    let mut config = Config::new(random_u64()?, drawn, random_bytes()?);
    if let Some(bytes) = options.segment_bytes {
        config.log.segment_bytes = bytes;
    }
    if let Some(bytes) = options.snapshot_after_bytes {
        config.snapshot_after_bytes = bytes;
    }
    // All that a snapshot makes needless at once, under full load, becomes the segments until the next one;
    // two more are written while it is taken.
    let between = config
        .snapshot_after_bytes
        .saturating_mul(limits::SNAPSHOT_AFTER_TIMES_MAX)
        .div_ceil(config.log.segment_bytes.max(1));
    let spares = between.saturating_add(2).min(limits::SPARE_SEGMENTS_MAX);
    config.log.spare_segments_max = usize::try_from(spares).unwrap_or(usize::MAX);
    if let Some(bytes) = options.frame_bytes_max {
        config.frame_bytes_max = bytes;
    }
    if let Some(bytes) = options.outstanding_bytes_max {
        config.outstanding_bytes_max = bytes;
    }
    config.limits = options.state_limits();
    Ok(config)
}
