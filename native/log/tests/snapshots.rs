//! Snapshot files: whole or not there, whatever crashes; rot is found, and an older one taken only where
//! the log makes up for it.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::snapshot::{
    Candidate, ConfState, SliceKind, SnapshotError, SnapshotHead, SnapshotInfo, SnapshotOrigin,
    SnapshotOutcome, SnapshotReader, SnapshotSink, SnapshotWriter, Start, list, load, read_name,
    removal,
};
use domp_log::{Disk, Fault, JobResult, MemoryDisk, SnapshotName, Tear, recover, run_job};
use support::{Draw, small};

fn head(group: u64, index: u64) -> SnapshotHead {
    SnapshotHead {
        group,
        index,
        term: 3,
        revision: 77 << 16,
        lease_ms: 123_456,
        conf: ConfState {
            voters: vec![5, 9],
            learners: vec![11],
            ..ConfState::default()
        },
        ..SnapshotHead::default()
    }
}

fn origin() -> SnapshotOrigin {
    SnapshotOrigin {
        node: support::NODE,
        replica: support::REPLICA,
        ..SnapshotOrigin::default()
    }
}

fn slices(seed: u64, count: u64, len_max: u64) -> Vec<Vec<u8>> {
    let mut draw = Draw(seed);
    let mut slice = || {
        let mut bytes = vec![0; draw.usize_below(usize::try_from(len_max).expect("small"))];
        if draw.below(3) > 0 {
            bytes.fill_with(|| draw.next() as u8);
        }
        bytes
    };
    (0..count).map(|_| slice()).collect()
}

/// Writes a snapshot as a node does. None: the disk crashed.
fn write(disk: &mut MemoryDisk, head: &SnapshotHead, slices: &[Vec<u8>]) -> SnapshotOutcome {
    let mut writer = SnapshotWriter::new(head, &origin(), 99);
    let mut slices = slices.iter();
    loop {
        while writer.needs_slices() {
            match slices.next() {
                Some(slice) => writer.push_slice(SliceKind::State, slice).expect("small"),
                None => writer.end(),
            }
        }
        if let Some(job) = writer.take_job() {
            let result = run_job(disk, &job);
            if let domp_log::Job::SnapshotWrite { bytes, .. } = job {
                writer.recycle(bytes);
            }
            writer.on_job(&result);
        }
        if let Some(outcome) = writer.outcome() {
            return outcome.clone();
        }
    }
}

fn written(disk: &mut MemoryDisk, head: &SnapshotHead, slices: &[Vec<u8>]) -> SnapshotInfo {
    match write(disk, head, slices) {
        SnapshotOutcome::Written { info, name } => {
            let (named, whose, found) = read_name(disk, &info).expect("whole");
            assert!(named == name && whose == origin() && found == *head);
            info
        }
        SnapshotOutcome::Failed { message, .. } => panic!("{message}"),
    }
}

fn read(
    disk: &mut MemoryDisk,
    info: &SnapshotInfo,
) -> Result<(SnapshotHead, Vec<Vec<u8>>), SnapshotError> {
    let mut reader = SnapshotReader::open(disk, info)?;
    let mut slices = Vec::new();
    while let Some((_, slice)) = reader.next_slice(disk)? {
        assert_eq!(slice.as_ptr().addr() % 8, 0);
        slices.push(slice.to_vec());
    }
    assert!(reader.next_slice(disk)?.is_none());
    Ok((reader.head().clone(), slices))
}

#[derive(Default)]
struct Gather {
    head: Option<SnapshotHead>,
    slices: Vec<Vec<u8>>,
    refuse: bool,
}

impl SnapshotSink for Gather {
    fn begin(&mut self, head: &SnapshotHead) -> Result<(), String> {
        self.head = Some(head.clone());
        self.slices.clear();
        Ok(())
    }

    fn slice(&mut self, _kind: SliceKind, bytes: &[u8]) -> Result<(), String> {
        if self.refuse && self.head.as_ref().is_some_and(|head| head.index == 20) {
            return Err("not a state".into());
        }
        self.slices.push(bytes.to_vec());
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// The snapshots there are, as candidates, the newest first.
fn candidates(disk: &mut MemoryDisk) -> Vec<Candidate> {
    let infos = list(disk).expect("no faults");
    let candidate = |info: SnapshotInfo| {
        let (name, _, head) = read_name(disk, &info).expect("readable");
        Candidate { info, name, head }
    };
    infos.into_iter().map(candidate).collect()
}

#[test]
fn slices_come_back_as_they_went_in() {
    for (count, len_max) in [(0, 1), (1, 2), (7, 10), (300, 20_000), (3, 3_000_000)] {
        let mut disk = MemoryDisk::new();
        let slices = slices(count, count, len_max);
        let info = written(&mut disk, &head(4, 20), &slices);
        assert_eq!(
            list(&mut disk).expect("no faults"),
            std::slice::from_ref(&info)
        );
        assert_eq!(disk.file_len(&info.file), Some(info.bytes));
        let (found, same) = read(&mut disk.crash_torn(1, Tear::All), &info).expect("whole");
        assert_eq!(found, head(4, 20));
        assert!(same == slices);
    }
}

#[test]
fn a_slice_larger_than_a_frame_is_refused() {
    let mut writer = SnapshotWriter::new(&head(4, 20), &origin(), 99);
    writer
        .push_slice(SliceKind::State, &vec![0; 64 << 20])
        .expect_err("too large");
    writer
        .push_slice(SliceKind::State, &vec![0; 8 << 20])
        .expect("it fits");
}

#[test]
fn crash_after_every_operation_leaves_all_of_it_or_nothing() {
    let old = slices(1, 10, 3_000);
    let new = slices(2, 900, 20_000);
    let mut base = MemoryDisk::new();
    let old_info = written(&mut base, &head(4, 10), &old);
    let mut whole = base.clone();
    written(&mut whole, &head(4, 20), &new);
    let operations = whole.operations() - base.operations();
    assert!(operations > 12, "{operations}");
    let mut finished = 0;
    for operation in 0..=operations {
        let mut disk = base.clone();
        disk.crash_after(base.operations() + operation);
        let outcome = write(&mut disk, &head(4, 20), &new);
        assert_eq!(
            matches!(outcome, SnapshotOutcome::Written { .. }),
            operation == operations
        );
        for seed in 0..60 {
            let mut disk = disk.crash(seed);
            let snapshots = candidates(&mut disk);
            let mut gather = Gather::default();
            let loaded = load(&mut disk, &snapshots, false, &mut gather).expect("no faults");
            assert!(loaded.damage.is_empty(), "{loaded:?}");
            let Start::Snapshot(found) = loaded.start else {
                panic!("{loaded:?}")
            };
            let Candidate { info, head, .. } = *found;
            assert_eq!(head.index, info.index);
            if info.index == 20 {
                finished += 1;
                assert!(gather.slices == new);
            } else {
                assert!(operation < operations && info == old_info && gather.slices == old);
            }
        }
    }
    assert!(
        finished > 60,
        "a rename may survive without the directory's sync"
    );
}

#[test]
fn a_snapshot_found_after_a_kill_survives_the_power_loss_behind_it() {
    let mut disk = MemoryDisk::new();
    recover(&mut disk, &small(), 1, &mut |_| {}).expect("no faults");
    let before = disk.operations();
    written(&mut disk.clone(), &head(4, 20), &[vec![1]]);
    // Create, write, sync, rename; not the directory's sync.
    disk.crash_after(before + 4);
    let outcome = write(&mut disk, &head(4, 20), &[vec![1]]);
    assert!(matches!(outcome, SnapshotOutcome::Failed { .. }));
    let mut disk = disk.kill();
    assert_eq!(list(&mut disk).expect("no faults").len(), 1);
    assert_eq!(
        list(&mut disk.crash_torn(1, Tear::All))
            .expect("no faults")
            .len(),
        0
    );
    recover(&mut disk, &small(), 1, &mut |_| {}).expect("no faults");
    assert_eq!(
        list(&mut disk.crash_torn(1, Tear::All))
            .expect("no faults")
            .len(),
        1
    );
}

#[test]
fn what_a_crash_left_behind_is_removed_at_the_next_start() {
    let mut disk = MemoryDisk::new();
    recover(&mut disk, &small(), 1, &mut |_| {}).expect("no faults");
    let mut writer = SnapshotWriter::new(&head(4, 20), &origin(), 99);
    writer
        .push_slice(SliceKind::State, &vec![1; 2 << 20])
        .expect("it fits");
    let job = writer.take_job().expect("enough to write");
    assert_eq!(run_job(&mut disk, &job), JobResult::Done);
    assert_eq!(list(&mut disk).expect("no faults"), []);
    let report = recover(&mut disk, &small(), 1, &mut |_| {})
        .expect("no faults")
        .report;
    assert_eq!(
        report.removed,
        ["snap/0000000004-00000000000000ab-00000000000000000020.tmp"]
    );
}

#[test]
fn a_bit_flipped_in_any_byte_is_found_or_harmless() {
    let mut disk = MemoryDisk::new();
    let slices = slices(5, 20, 2_000);
    let info = written(&mut disk, &head(4, 20), &slices);
    for offset in 0..info.bytes {
        let mut disk = disk.clone();
        assert!(disk.flip_bit(&info.file, offset, (offset % 8) as u32));
        match read(&mut disk, &info) {
            // One copy of the file header, which `check` tells of.
            Ok((found, same)) => {
                assert!(
                    offset < 4_096 && found == head(4, 20) && same == slices,
                    "byte {offset}"
                );
                let reader = SnapshotReader::open(&mut disk, &info).expect("readable");
                assert!(reader.note().is_some());
            }
            Err(SnapshotError::Damaged(damage)) => {
                assert!(
                    offset >= 4_096 && damage.file == *info.file,
                    "byte {offset}: {damage}"
                );
                assert!(damage.offset <= offset, "byte {offset}: {damage}");
            }
            Err(error) => panic!("byte {offset}: {error}"),
        }
    }
    for len in (0..info.bytes).step_by(512) {
        let mut disk = disk.clone();
        disk.set_file_len(&info.file, len);
        let short = SnapshotInfo {
            bytes: len,
            ..info.clone()
        };
        assert!(
            matches!(read(&mut disk, &short), Err(SnapshotError::Damaged(_))),
            "{len} bytes"
        );
    }
    let mut longer = disk.clone();
    longer.set_file_len(&info.file, info.bytes + 4_096);
    let long = SnapshotInfo {
        bytes: info.bytes + 4_096,
        ..info.clone()
    };
    assert!(matches!(
        read(&mut longer, &long),
        Err(SnapshotError::Damaged(_))
    ));
}

#[test]
fn a_candidate_that_is_damaged_is_made_up_for_by_the_next() {
    let mut disk = MemoryDisk::new();
    let (old, new) = (slices(1, 10, 3_000), slices(2, 20, 9_000));
    written(&mut disk, &head(4, 10), &old);
    let newest = written(&mut disk, &head(4, 20), &new);
    let candidates = candidates(&mut disk);
    assert_eq!(candidates[0].info, newest);
    let mut rotten = disk.clone();
    rotten.flip_bit(&newest.file, newest.bytes - 9_000, 1);
    let start = |disk: &mut MemoryDisk, candidates: &[Candidate], starts_empty| {
        let mut gather = Gather::default();
        let loaded = load(disk, candidates, starts_empty, &mut gather).expect("no faults");
        let damaged = loaded.damage.iter().any(|damage| damage.groups.contains(4));
        assert_eq!(damaged, loaded.start == Start::Damaged);
        match loaded.start {
            Start::Snapshot(found) => {
                let index = found.info.index;
                assert!(gather.slices == if index == 20 { &new[..] } else { &old[..] });
                Some(index)
            }
            Start::Empty => Some(0),
            Start::Damaged => None,
        }
    };
    assert_eq!(start(&mut disk, &candidates, false), Some(20));
    assert_eq!(start(&mut disk, &[], true), Some(0));
    assert_eq!(start(&mut rotten, &candidates, false), Some(10));
    assert_eq!(start(&mut rotten, &candidates[..1], false), None);
    assert_eq!(start(&mut rotten, &candidates[..1], true), Some(0));
    rotten.flip_bit(&candidates[1].info.file, 9_000, 1);
    assert_eq!(start(&mut rotten, &candidates, false), None);
    // A state that cannot be read counts as damage, though the bytes are as they were written.
    let mut gather = Gather {
        refuse: true,
        ..Gather::default()
    };
    let loaded = load(&mut disk, &candidates, false, &mut gather).expect("no faults");
    assert!(matches!(loaded.start, Start::Snapshot(found) if found.info.index == 10));
    assert_eq!(loaded.damage[0].what, "not a state");
    assert!(gather.slices == old);
}

/// What a snapshot of these slices is called.
fn name_of(
    head: &SnapshotHead,
    origin: &SnapshotOrigin,
    salt: u64,
    slices: &[(SliceKind, &[u8])],
) -> SnapshotName {
    let mut disk = MemoryDisk::new();
    let mut writer = SnapshotWriter::new(head, origin, salt);
    for (kind, slice) in slices {
        writer.push_slice(*kind, slice).expect("small");
    }
    writer.end();
    while writer.outcome().is_none() {
        let job = writer.take_job().expect("not over yet");
        writer.on_job(&run_job(&mut disk, &job));
    }
    match writer.outcome() {
        Some(SnapshotOutcome::Written { name, .. }) => *name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_digest_is_of_the_content_alone() {
    use SliceKind::{Secret, State};
    let name = |salt, slices: &[(SliceKind, &[u8])]| name_of(&head(4, 20), &origin(), salt, slices);
    let want = name(1, &[(State, b"all of it"), (Secret, b"key")]);
    // However it is cut, whoever writes it.
    assert_eq!(
        name(2, &[(State, b"all"), (Secret, b"key"), (State, b" of it")]),
        want
    );
    let elsewhere = SnapshotOrigin {
        node: 5,
        replica: 6,
        ..SnapshotOrigin::default()
    };
    let content: [(SliceKind, &[u8]); 2] = [(State, b"all of it"), (Secret, b"key")];
    assert_eq!(name_of(&head(4, 20), &elsewhere, 9, &content), want);
    // Anything else changes it.
    for other in [
        name(1, &[(State, b"all of i"), (Secret, b"tkey")]),
        name(1, &[(State, b"all of itkey")]),
        name(1, &[(Secret, b"all of it"), (State, b"key")]),
        name(1, &[(State, b"all of it")]),
    ] {
        assert_ne!(other.digest, want.digest);
    }
    let mut changed = head(4, 20);
    changed.apply_version = 2;
    assert_ne!(
        name_of(&changed, &origin(), 1, &content).digest,
        want.digest
    );
}

#[test]
fn a_full_or_failing_disk_leaves_nothing_behind() {
    let new = slices(2, 900, 20_000);
    let mut disk = MemoryDisk::new();
    disk.set_capacity(3 << 20);
    let outcome = write(&mut disk, &head(4, 20), &new);
    assert!(
        matches!(outcome, SnapshotOutcome::Failed { full: true, .. }),
        "{outcome:?}"
    );
    assert_eq!(disk.used_bytes(), 0);
    for operation in 1..8 {
        let mut disk = MemoryDisk::new();
        disk.inject(operation, Fault::Fail(std::io::ErrorKind::Other));
        let outcome = write(&mut disk, &head(4, 20), &new);
        assert!(
            matches!(outcome, SnapshotOutcome::Failed { full: false, .. }),
            "{outcome:?}"
        );
        assert_eq!(disk.used_bytes(), 0, "operation {operation}");
    }
}

#[test]
fn an_aborted_snapshot_is_removed_and_so_is_one_replaced() {
    let mut disk = MemoryDisk::new();
    let mut writer = SnapshotWriter::new(&head(4, 20), &origin(), 99);
    writer
        .push_slice(SliceKind::State, &vec![1; 2 << 20])
        .expect("it fits");
    let job = writer.take_job().expect("enough to write");
    assert!(writer.take_job().is_none(), "one at a time");
    writer.abort("the node stops");
    writer.on_job(&run_job(&mut disk, &job));
    assert_eq!(disk.list().expect("no faults").len(), 1);
    let job = writer.take_job().expect("the removal");
    writer.on_job(&run_job(&mut disk, &job));
    let aborted = SnapshotOutcome::Failed {
        full: false,
        message: "the node stops".into(),
    };
    assert_eq!(writer.outcome(), Some(&aborted));
    assert_eq!(disk.list().expect("no faults"), []);
    let info = written(&mut disk, &head(4, 20), &[vec![1]]);
    assert_eq!(run_job(&mut disk, &removal(&info)), JobResult::Done);
    assert_eq!(
        run_job(&mut disk, &removal(&info)),
        JobResult::Done,
        "it is gone already"
    );
    assert_eq!(disk.list().expect("no faults"), []);
}

#[test]
fn rot_of_any_kind_is_never_silent() {
    let mut disk = MemoryDisk::new();
    let slices = slices(5, 60, 9_000);
    let info = written(&mut disk, &head(4, 20), &slices);
    let other = written(&mut disk, &head(5, 20), &slices);
    let other = disk.contents(&other.file).expect("it exists");
    let own = disk.contents(&info.file).expect("it exists");
    for seed in 0..2_000 {
        let mut draw = Draw(seed);
        let mut disk = disk.clone();
        let at = draw.below(info.bytes / 4096) * 4096;
        let from = draw.usize_below(own.len() / 4096) * 4096;
        let bytes = match draw.below(4) {
            0 => vec![0; 4096],
            1 => own[from..from + 4096].to_vec(),
            2 => other[usize::try_from(at).expect("small")..][..4096].to_vec(),
            _ => vec![draw.next() as u8; 4096],
        };
        disk.overwrite(&info.file, at, &bytes);
        let changed = disk.contents(&info.file).expect("it exists") != own;
        match read(&mut disk, &info) {
            Ok((found, same)) => assert!(
                !changed && found == head(4, 20) && same == slices,
                "seed {seed}"
            ),
            Err(SnapshotError::Damaged(_) | SnapshotError::Misnamed(_)) => {
                assert!(changed, "seed {seed}");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
