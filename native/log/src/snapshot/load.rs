//! Loads the snapshot that a group starts from.

use super::{SliceKind, SnapshotError, SnapshotHead, SnapshotInfo, SnapshotReader};
use crate::Disk;
use crate::body::SnapshotName;
use crate::report::{Damage, DamagedGroups, Note};

/// A snapshot that a group may start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its file.
    pub info: SnapshotInfo,
    /// What its head and end say that it is called by.
    pub name: SnapshotName,
    /// What it is of.
    pub head: SnapshotHead,
}

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
    fn slice(&mut self, kind: SliceKind, bytes: &[u8]) -> Result<(), String>;

    /// That was the last slice, and the whole is as it was written.
    ///
    /// # Errors
    /// As [`SnapshotSink::begin`].
    fn end(&mut self) -> Result<(), String>;
}

/// From where a group starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// From this snapshot, all of which the sink has got.
    Snapshot(Box<Candidate>),
    /// From nothing: the log has all of it. If the sink got anything, that is to be thrown away.
    Empty,
    /// The group must not be served.
    Damaged,
}

/// What loading found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// From where the group starts.
    pub start: Start,
    /// Damaged snapshots. Their groups are listed only if `start` is [`Start::Damaged`]: otherwise
    /// nothing is lost by them.
    pub damage: Vec<Damage>,
    /// Harmless finds.
    pub notes: Vec<Note>,
}

/// Loads the first good snapshot among the candidates of a group (see
/// [`crate::GroupVerdict::snapshots`]); the log goes on from each of them. `starts_empty`: it goes on
/// from nothing, too.
///
/// # Errors
/// Of the disk, or an unknown version. Damage is no error.
pub fn load(
    disk: &mut dyn Disk,
    candidates: &[Candidate],
    starts_empty: bool,
    sink: &mut dyn SnapshotSink,
) -> Result<Loaded, SnapshotError> {
    let mut loaded = Loaded {
        start: Start::Damaged,
        damage: Vec::new(),
        notes: Vec::new(),
    };
    for candidate in candidates {
        match load_one(disk, candidate, sink, &mut loaded.notes) {
            Ok(()) => {
                loaded.start = Start::Snapshot(Box::new(candidate.clone()));
                return Ok(loaded.harmless());
            }
            Err(SnapshotError::Damaged(damage) | SnapshotError::Misnamed(damage)) => {
                loaded.damage.push(damage);
            }
            Err(error) => return Err(error),
        }
    }
    if starts_empty {
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
    candidate: &Candidate,
    sink: &mut dyn SnapshotSink,
    notes: &mut Vec<Note>,
) -> Result<(), SnapshotError> {
    let info = &candidate.info;
    let refused = |what| {
        SnapshotError::Damaged(Damage {
            file: info.file.to_string(),
            offset: 0,
            what,
            groups: DamagedGroups::Listed(vec![info.group]),
        })
    };
    let mut reader = SnapshotReader::open(disk, info)?;
    notes.extend(reader.note().cloned());
    sink.begin(reader.head()).map_err(refused)?;
    while let Some((kind, slice)) = reader.next_slice(disk)? {
        sink.slice(kind, slice).map_err(refused)?;
    }
    if reader.name() != Some(candidate.name) {
        return Err(refused("its end changed while it was read".into()));
    }
    sink.end().map_err(refused)
}
