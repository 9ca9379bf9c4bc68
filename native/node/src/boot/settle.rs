//! Bringing everything that was committed into snapshots, so that limits may change.
//!
//! [`StateLimits`](crate::StateLimits) decide what an entry does when it is
//! applied: under others the same entries would make another state, and a session
//! could take effect again that was refused, or be forgotten that was answered.
//! So a log is only ever replayed under the limits it was first applied under.
//! They change where nothing is left to replay: behind snapshots of all shards,
//! before the first request is let in.
//!
//! That holds for a node that is the only voter of its groups. With several the
//! change has to go through their logs.

use std::collections::VecDeque;
use std::fmt;

use domp_log::{Disk, Job, run_job, run_write};

use super::BootError;
use crate::commands::{Applied, Turn};
use crate::config::{Clock, Config};
use crate::control::ControlRequest;
use crate::node::Node;

/// Turns without anything to do after which it is given up.
const IDLE_TURNS_MAX: u32 = 1_000;
/// Nobody waits for this node's turns.
const SLICE_BYTES: usize = 4 << 20;

/// Why not everything could be brought into snapshots. What the disk holds is as
/// good as before.
#[derive(Debug)]
pub enum SettleError {
    /// The node can't start.
    Boot(BootError),
    /// These shards are damaged: what they hold can't be told.
    Damaged(Vec<u64>),
    /// A snapshot could not be written.
    Snapshot,
    /// The disk refused, or the node failed.
    Failed(String),
}

impl fmt::Display for SettleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => write!(f, "{error}"),
            Self::Damaged(shards) => {
                let list: Vec<String> = shards.iter().map(u64::to_string).collect();
                write!(
                    f,
                    "damaged, to be repaired first: shard {}",
                    list.join(", ")
                )
            }
            Self::Snapshot => f.write_str("a snapshot can't be written; is the disk full?"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SettleError {}

impl Node {
    /// Runs a node on the disk, without clients, until snapshots hold all that was
    /// committed. Afterwards the directory may be booted with other
    /// [`Config::limits`]; `config` has those it was written under. Blocks.
    ///
    /// `applied` gets what was applied, where [`Config::report_applied`] asks for it.
    ///
    /// # Errors
    /// [`SettleError`]; the limits must then stay as they are.
    pub fn settle(
        mut config: Config,
        disk: &mut dyn Disk,
        mut clock: Clock,
        applied: &mut Vec<Applied>,
    ) -> Result<(), SettleError> {
        config.snapshot_slice_bytes = SLICE_BYTES;
        let mut turn = Turn {
            applied: config.report_applied.then(Vec::new),
            ..Turn::default()
        };
        let (mut node, report) =
            Self::boot(config, disk, clock, &mut |_| {}).map_err(SettleError::Boot)?;
        if !report.damaged.is_empty() {
            let shards = report.damaged.into_keys().collect();
            return Err(SettleError::Damaged(shards));
        }
        applied.extend(report.applied);
        let mut jobs: VecDeque<(u64, Job)> = VecDeque::new();
        let mut idle_turns = 0;
        loop {
            // Time stands still but for this: lease time must not run ahead of the clock.
            clock.monotonic_us += 1;
            let write = turn.write.take();
            turn.clear();
            node.begin_turn(clock);
            idle_turns += 1;
            if let Some(write) = write {
                run_write(disk, &write)
                    .map_err(|error| SettleError::Failed(format!("writing the log: {error}")))?;
                node.on_written(write);
                idle_turns = 0;
            }
            if let Some((id, job)) = jobs.pop_front() {
                let result = run_job(disk, &job);
                node.on_job(id, result, &mut turn);
                idle_turns = 0;
            }
            if node.is_ready() && !node.is_snapshotting() && !node.is_covered() {
                node.on_control(0, ControlRequest::Snapshot, &mut turn);
            }
            node.end_turn(&mut turn);
            if let Some(why) = turn.fatal.take() {
                return Err(SettleError::Failed(why));
            }
            applied.extend(
                turn.applied
                    .iter_mut()
                    .flat_map(|applied| applied.drain(..)),
            );
            jobs.extend(turn.jobs.drain(..));
            if node.snapshots.failed() > 0 || idle_turns > IDLE_TURNS_MAX {
                return Err(SettleError::Snapshot);
            }
            if turn.write.is_none() && jobs.is_empty() && node.is_covered() {
                return Ok(());
            }
        }
    }
}
