//! Loads a group's newest good snapshot.

use super::{SnapshotError, SnapshotHead, SnapshotInfo, SnapshotReader};
use crate::Disk;
use crate::report::{Damage, DamagedGroups, Note};

/// Takes a snapshot in.
pub trait SnapshotSink {
    /// A snapshot begins. Whatever came from an earlier one is to be thrown away: it was damaged.
    ///
    /// # Errors
    /// For a person: why it cannot be taken. The snapshot counts as damaged.
    fn begin(&mut self, head: &SnapshotHead) -> Result<(), String>;

    /// Its next slice, as it was pushed.
    ///
    /// # Errors
    /// As [`SnapshotSink::begin`].
    fn slice(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// From where a group starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// From this snapshot, all of which the sink has got.
    Snapshot(SnapshotInfo, SnapshotHead),
    /// From nothing: the log has all of it. If the sink got anything, that is to be thrown away.
    Empty,
    /// The group must not be served: its newest snapshot is damaged, and the log does not reach back to
    /// an older one.
    Damaged,
}

/// What loading found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// From where the group starts.
    pub start: Start,
    /// Damaged snapshots. Their groups are listed only if `start` is [`Start::Damaged`]: otherwise
    /// nothing is lost by them.
    pub damage: Vec<Damage>,
    /// Harmless finds.
    pub notes: Vec<Note>,
}

/// Loads the newest good snapshot among `snapshots`, those of one group, the newest first. `log`: the
/// indexes of the first and last entry of the group that the log has, which must be without a gap.
///
/// An older snapshot than the newest is taken only if the log goes on from it and reaches the newest.
///
/// # Errors
/// Of the disk, or an unknown version. Damage is no error.
pub fn load(
    disk: &mut dyn Disk,
    snapshots: &[SnapshotInfo],
    log: Option<(u64, u64)>,
    sink: &mut dyn SnapshotSink,
) -> Result<Loaded, SnapshotError> {
    let mut loaded = Loaded {
        start: Start::Damaged,
        damage: Vec::new(),
        notes: Vec::new(),
    };
    let reaches = |index: u64, newest: u64| {
        log.is_some_and(|(first, last)| first <= index + 1 && last >= newest)
    };
    let newest = snapshots.first().map_or(0, |snapshot| snapshot.index);
    for snapshot in snapshots {
        if !loaded.damage.is_empty() && !reaches(snapshot.index, newest) {
            return Ok(loaded);
        }
        match load_one(disk, snapshot, sink, &mut loaded.notes) {
            Ok(head) => {
                loaded.start = Start::Snapshot(snapshot.clone(), head);
                return Ok(loaded.harmless());
            }
            Err(SnapshotError::Damaged(damage)) => loaded.damage.push(damage),
            Err(error) => return Err(error),
        }
    }
    if loaded.damage.is_empty() || reaches(0, newest) {
        loaded.start = Start::Empty;
        return Ok(loaded.harmless());
    }
    Ok(loaded)
}

impl Loaded {
    fn harmless(mut self) -> Self {
        for damage in &mut self.damage {
            damage.groups = DamagedGroups::Listed(Vec::new());
        }
        self
    }
}

fn load_one(
    disk: &mut dyn Disk,
    snapshot: &SnapshotInfo,
    sink: &mut dyn SnapshotSink,
    notes: &mut Vec<Note>,
) -> Result<SnapshotHead, SnapshotError> {
    let refused = |what| {
        SnapshotError::Damaged(Damage {
            file: snapshot.file.to_string(),
            offset: 0,
            what,
            groups: DamagedGroups::Listed(vec![snapshot.group]),
        })
    };
    let mut reader = SnapshotReader::open(disk, snapshot)?;
    notes.extend(reader.note().cloned());
    sink.begin(reader.head()).map_err(refused)?;
    while let Some(slice) = reader.next_slice(disk)? {
        sink.slice(slice).map_err(refused)?;
    }
    Ok(reader.head().clone())
}
