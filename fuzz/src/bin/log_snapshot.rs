//! Snapshot files, driven by the bytes: what was pushed comes back, or the file is said to be damaged.
#![no_main]

use domp_log::snapshot::{
    ConfState, SliceKind, SnapshotError, SnapshotHead, SnapshotInfo, SnapshotOrigin,
    SnapshotOutcome, SnapshotReader, SnapshotWriter,
};
use domp_log::{MemoryDisk, check, run_job};
use libfuzzer_sys::fuzz_target;

fn write(disk: &mut MemoryDisk, head: &SnapshotHead, slices: &[&[u8]], salt: u64) -> SnapshotInfo {
    let mut writer = SnapshotWriter::new(head, &SnapshotOrigin::default(), salt);
    for slice in slices {
        writer
            .push_slice(SliceKind::State, slice)
            .expect("the input is small");
    }
    writer.end();
    loop {
        match writer.outcome() {
            Some(SnapshotOutcome::Written { info, .. }) => return info.clone(),
            Some(SnapshotOutcome::Failed { message, .. }) => panic!("{message}"),
            None => {}
        }
        let job = writer.take_job().expect("it is not over");
        writer.on_job(&run_job(disk, &job));
    }
}

fn read(
    disk: &mut MemoryDisk,
    info: &SnapshotInfo,
) -> Result<(SnapshotHead, Vec<Vec<u8>>), SnapshotError> {
    let mut reader = SnapshotReader::open(disk, info)?;
    let mut slices = Vec::new();
    while let Some((_, slice)) = reader.next_slice(disk)? {
        slices.push(slice.to_vec());
    }
    Ok((reader.head().clone(), slices))
}

fuzz_target!(|bytes: &[u8]| {
    let [seed, rounds, bytes @ ..] = bytes else {
        return;
    };
    // The first half is the state, the second says what happens to the file.
    let (state, mut rot) = bytes.split_at(bytes.len() / 2);
    let slices: Vec<&[u8]> = state.split(|&byte| byte == b'\n').collect();
    let members = state.iter().take(9).map(|&byte| u64::from(byte)).collect();
    let index = u64::from(*seed);
    let head = SnapshotHead {
        group: 3,
        index,
        conf: ConfState {
            voters: members,
            ..ConfState::default()
        },
        ..SnapshotHead::default()
    };
    let mut disk = MemoryDisk::new();
    let info = write(&mut disk, &head, &slices, index);
    let (found, same) = read(&mut disk, &info).expect("nothing happened to it");
    assert!(found == head && same == slices);
    let before = disk.contents(&info.file).expect("it was written");
    for _ in 0..rounds % 8 {
        let [high, low, len, behind @ ..] = rot else {
            break;
        };
        let at = u64::from(*high) << 8 | u64::from(*low);
        let (patch, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rot = behind;
        let at = at % info.bytes;
        let room = usize::try_from(info.bytes - at).expect("small");
        disk.overwrite(&info.file, at, &patch[..patch.len().min(room)]);
    }
    let changed = disk.contents(&info.file).expect("it is there") != before;
    match read(&mut disk, &info) {
        // One copy of the file header may be changed without harm.
        Ok((found, same)) => assert!(found == head && same == slices),
        Err(SnapshotError::Damaged(_) | SnapshotError::Misnamed(_)) => assert!(changed),
        Err(error) => assert!(changed, "{error}"),
    }
    drop(check(&mut disk, &()).map(|report| report.to_string()));
});
