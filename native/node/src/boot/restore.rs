//! Snapshots that groups start from.

use domp_log::snapshot::{Candidate, SliceKind, SnapshotHead, SnapshotSink, Start, load};
use domp_log::{Disk, GroupVerdict};
use domp_state::{Restore, State, StateConfig};

/// A state restored from its snapshot.
pub struct Restored {
    pub state: State,
    /// The snapshot.
    pub from: Candidate,
}

/// Feeds slices into a state.
struct Feeder {
    config: StateConfig,
    restore: Option<Restore>,
    restored: Option<State>,
}

impl SnapshotSink for Feeder {
    fn begin(&mut self, _head: &SnapshotHead) -> Result<(), String> {
        self.restore = Some(Restore::new(self.config));
        Ok(())
    }

    fn slice(&mut self, _kind: SliceKind, bytes: &[u8]) -> Result<(), String> {
        let restore = self
            .restore
            .as_mut()
            .ok_or("a slice came before the head")?;
        restore.feed(bytes).map_err(|error| error.to_string())
    }

    fn end(&mut self) -> Result<(), String> {
        let restore = self.restore.take().ok_or("its head is missing")?;
        let state = restore.finish().map_err(|error| error.to_string())?;
        self.restored = Some(state);
        Ok(())
    }
}

/// Restores the snapshot that a group starts from; `None` if it starts without one. The error says why
/// the group can't be served.
pub fn restore(
    disk: &mut dyn Disk,
    config: StateConfig,
    verdict: &GroupVerdict,
) -> Result<Option<Restored>, String> {
    let mut feeder = Feeder {
        config,
        restore: None,
        restored: None,
    };
    let starts_empty = verdict.starts_empty();
    let loaded = load(disk, &verdict.snapshots, starts_empty, &mut feeder)
        .map_err(|error| error.to_string())?;
    match (loaded.start, feeder.restored) {
        (Start::Empty, _) => Ok(None),
        (Start::Snapshot(from), Some(state)) if state.applied_index() == from.head.index => {
            Ok(Some(Restored { state, from: *from }))
        }
        (Start::Snapshot(from), _) => Err(format!(
            "{}: it does not hold what its head says",
            from.info.file
        )),
        (Start::Damaged, _) => Err(loaded
            .damage
            .first()
            .map_or_else(|| "its snapshot is damaged".to_owned(), ToString::to_string)),
    }
}
