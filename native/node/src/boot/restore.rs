//! Snapshots found at boot.

use std::collections::BTreeMap;
use std::sync::Arc;

use domp_log::snapshot::{SnapshotHead, SnapshotInfo, SnapshotSink, Start, list, load};
use domp_log::{Disk, Job};
use domp_state::{Restore, State};

use crate::config::Config;
use crate::spaces::state_config;

/// A shard restored from its snapshot.
pub struct Restored {
    pub state: State,
    /// Raft term of the entry the snapshot stands for.
    pub term: u64,
}

/// What was found.
#[derive(Default)]
pub struct Snapshotted {
    pub restored: BTreeMap<u64, Restored>,
    /// The snapshot of each group: file and index.
    pub files: BTreeMap<u64, (Arc<str>, u64)>,
    /// Groups whose only snapshot is damaged, and how.
    pub damaged: BTreeMap<u64, String>,
    /// Older snapshots that a crash left behind.
    pub removals: Vec<Job>,
}

/// Feeds slices into a state.
struct Feeder<'a> {
    config: &'a Config,
    restore: Option<Restore>,
}

impl SnapshotSink for Feeder<'_> {
    fn begin(&mut self, head: &SnapshotHead) -> Result<(), String> {
        self.restore = Some(Restore::new(state_config(self.config, head.group)));
        Ok(())
    }

    fn slice(&mut self, bytes: &[u8]) -> Result<(), String> {
        let restore = self
            .restore
            .as_mut()
            .ok_or("a slice came before the head")?;
        restore.feed(bytes).map_err(|error| error.to_string())
    }
}

/// Restores the newest snapshot of every group.
pub fn restore_snapshots(config: &Config, disk: &mut dyn Disk) -> Result<Snapshotted, String> {
    let mut found = Snapshotted::default();
    let infos = list(disk).map_err(|error| format!("listing snapshots: {error}"))?;
    for infos in infos.chunk_by(|one, other| one.group == other.group) {
        restore_group(config, disk, infos, &mut found)?;
    }
    Ok(found)
}

fn restore_group(
    config: &Config,
    disk: &mut dyn Disk,
    infos: &[SnapshotInfo],
    found: &mut Snapshotted,
) -> Result<(), String> {
    let group = infos[0].group;
    let mut feeder = Feeder {
        config,
        restore: None,
    };
    // Older snapshots are removed, and the log behind them reclaimed, as soon as
    // a newer one is durable: there is nothing to fall back to.
    let newest = &infos[..1];
    let loaded = load(disk, newest, None, &mut feeder).map_err(|error| error.to_string())?;
    let (Start::Snapshot(info, head), Some(restore)) = (loaded.start, feeder.restore) else {
        let why = loaded
            .damage
            .first()
            .map_or_else(|| "damaged".to_owned(), ToString::to_string);
        found.damaged.insert(group, why);
        return Ok(());
    };
    match restore.finish() {
        Ok(state) if state.applied_index() == head.index => {
            found.restored.insert(
                group,
                Restored {
                    state,
                    term: head.term,
                },
            );
            found.files.insert(group, (info.file, info.index));
            found
                .removals
                .extend(infos[1..].iter().map(|older| Job::SnapshotRemove {
                    file: Arc::clone(&older.file),
                }));
        }
        Ok(state) => {
            let (got, wanted) = (state.applied_index(), head.index);
            let why = format!("{}: holds index {got} instead of {wanted}", info.file);
            found.damaged.insert(group, why);
        }
        Err(error) => {
            found
                .damaged
                .insert(group, format!("{}: {error}", info.file));
        }
    }
    Ok(())
}
