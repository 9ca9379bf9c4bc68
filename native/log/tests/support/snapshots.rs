//! Snapshot files of tests.

use domp_log::snapshot::{
    SliceKind, SnapshotHead, SnapshotInfo, SnapshotOrigin, SnapshotOutcome, SnapshotWriter,
};
use domp_log::{MemoryDisk, SnapshotName, run_job};

use super::{Driver, NODE, REPLICA};

/// Writes a snapshot of a state that is one slice, as the node does, and gives its file and its name.
pub fn write_snapshot(driver: &mut Driver, group: u64, index: u64) -> (SnapshotInfo, SnapshotName) {
    let origin = SnapshotOrigin {
        node: NODE,
        replica: REPLICA,
        position: driver.writer.position(),
    };
    write_snapshot_of(&mut driver.disk, group, index, &origin).expect("no faults")
}

/// The same, of that origin. None: the disk failed.
pub fn write_snapshot_of(
    disk: &mut MemoryDisk,
    group: u64,
    index: u64,
    origin: &SnapshotOrigin,
) -> Option<(SnapshotInfo, SnapshotName)> {
    let head = SnapshotHead {
        group,
        index,
        term: 1,
        revision: 5,
        ..SnapshotHead::default()
    };
    let mut writer = SnapshotWriter::new(&head, origin, 77);
    let content = [vec![3; 5_000], group.to_le_bytes().to_vec()].concat();
    writer
        .push_slice(SliceKind::State, &content)
        .expect("small");
    writer.end();
    while writer.outcome().is_none() {
        let job = writer.take_job().expect("not over yet");
        writer.on_job(&run_job(disk, &job));
    }
    match writer.outcome() {
        Some(SnapshotOutcome::Written { info, name }) => Some((info.clone(), *name)),
        _ => None,
    }
}
