//! Which snapshots there are.

use std::io;
use std::sync::Arc;

use crate::layout::{FileName, parse_name, snapshot_name};
use crate::{Disk, Job};

/// A finished snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The Raft group.
    pub group: u64,
    /// Its replica.
    pub replica: u64,
    /// Raft index of the last entry that the state contains.
    pub index: u64,
    /// Name of the file.
    pub file: Arc<str>,
    /// Its length.
    pub bytes: u64,
}

/// The finished snapshots, by group and replica, the newest first. Says nothing about their health.
///
/// # Errors
/// Of the disk.
pub fn list(disk: &mut dyn Disk) -> io::Result<Vec<SnapshotInfo>> {
    list_where(disk, |name| match name {
        FileName::Snapshot {
            group,
            replica,
            index,
        } => Some((group, replica, index)),
        _ => None,
    })
}

/// Those that came from elsewhere and were not given their names yet, in the same order.
pub(crate) fn list_received(disk: &mut dyn Disk) -> io::Result<Vec<SnapshotInfo>> {
    list_where(disk, |name| match name {
        FileName::Received {
            group,
            replica,
            index,
        } => Some((group, replica, index)),
        _ => None,
    })
}

fn list_where(
    disk: &mut dyn Disk,
    is_it: impl Fn(FileName) -> Option<(u64, u64, u64)>,
) -> io::Result<Vec<SnapshotInfo>> {
    let files = disk.list()?;
    let mut snapshots: Vec<SnapshotInfo> = files
        .into_iter()
        .filter_map(|file| {
            let (group, replica, index) = is_it(parse_name(&file.name))?;
            Some(SnapshotInfo {
                group,
                replica,
                index,
                file: file.name.into(),
                bytes: file.len,
            })
        })
        .collect();
    snapshots.sort_by_key(|snapshot| {
        let newest_first = std::cmp::Reverse(snapshot.index);
        (snapshot.group, snapshot.replica, newest_first)
    });
    Ok(snapshots)
}

impl SnapshotInfo {
    /// The same under the name that snapshots have, if this is one that was received.
    #[must_use]
    pub fn named(&self) -> Self {
        Self {
            file: snapshot_name(self.group, self.replica, self.index).into(),
            ..self.clone()
        }
    }
}

/// The job that removes a snapshot: one that a newer replaced, or of a dropped group.
pub fn removal(snapshot: &SnapshotInfo) -> Job {
    Job::Remove {
        file: Arc::clone(&snapshot.file),
    }
}
