//! What stands beside the log.

use crate::Disk;
use crate::body::{Position, SnapshotName};
use crate::identity::{self, IdentityRead};
use crate::recover::RecoverError;
use crate::report::Damage;
use crate::snapshot::{
    self, SnapshotError, SnapshotHead, SnapshotInfo, SnapshotOrigin, list, list_received, read_name,
};

/// A snapshot's file, and what its head and end say.
pub(crate) struct ListedSnapshot {
    pub info: SnapshotInfo,
    pub read: Result<(SnapshotName, SnapshotOrigin, SnapshotHead), Unread>,
}

/// Why a snapshot's head and end say nothing.
pub(crate) enum Unread {
    /// They can't be read.
    Damaged(Damage),
    /// It is another file under this name.
    Misnamed(Damage),
}

/// The files beside the log.
pub(crate) struct Inventory {
    pub identity: IdentityRead,
    /// The newest of a replica first.
    pub snapshots: Vec<ListedSnapshot>,
    /// Those that came from elsewhere and have not got their names yet.
    pub received: Vec<ListedSnapshot>,
}

impl Inventory {
    /// Reads what there is. Changes nothing.
    pub fn take(disk: &mut dyn Disk) -> Result<Self, RecoverError> {
        let identity = identity::read(disk)?;
        let infos = list(disk).map_err(|error| RecoverError::Io {
            doing: "listing snapshots".into(),
            error,
        })?;
        let received = list_received(disk).map_err(|error| RecoverError::Io {
            doing: "listing snapshots".into(),
            error,
        })?;
        Ok(Self {
            identity,
            snapshots: read_all(disk, infos)?,
            received: read_all(disk, received)?,
        })
    }

    /// The positions that the log is to be asked about.
    pub fn positions(&self) -> Vec<Position> {
        let mut positions = Vec::new();
        if let IdentityRead::Whole(identity) = &self.identity {
            positions.push(identity.position);
        }
        let read = self
            .snapshots
            .iter()
            .chain(&self.received)
            .filter_map(|listed| listed.read.as_ref().ok());
        positions.extend(read.map(|(_, origin, _)| origin.position));
        positions
    }
}

fn read_all(
    disk: &mut dyn Disk,
    infos: Vec<SnapshotInfo>,
) -> Result<Vec<ListedSnapshot>, RecoverError> {
    let mut snapshots = Vec::with_capacity(infos.len());
    for info in infos {
        let read = match read_name(disk, &info) {
            Ok(read) => Ok(read),
            Err(SnapshotError::Damaged(damage)) => Err(Unread::Damaged(damage)),
            Err(SnapshotError::Misnamed(damage)) => Err(Unread::Misnamed(damage)),
            Err(error) => return Err(snapshot::lift(error)),
        };
        snapshots.push(ListedSnapshot { info, read });
    }
    Ok(snapshots)
}
