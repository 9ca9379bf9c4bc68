//! A node's founding and its snapshots' life, cut short after every operation of the disk.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::snapshot::{SliceKind, SnapshotHead, SnapshotSink, Start, load, removal};
use domp_log::{
    Fault, MemoryDisk, PinReason, SnapshotName, Tear, check, open, run_job, run_write, segment_name,
};
use support::{Driver, drawn, gather, small, write_snapshot, write_snapshot_of};

struct Nothing;

impl SnapshotSink for Nothing {
    fn begin(&mut self, _head: &SnapshotHead) -> Result<(), String> {
        Ok(())
    }

    fn slice(&mut self, _kind: SliceKind, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Takes a snapshot of the group as a node does: file, hard state, older file, log. False: the disk failed.
fn snapshot(driver: &mut Driver, group: u64, index: u64) -> bool {
    let before = domp_log::snapshot::list(&mut driver.disk).unwrap_or_default();
    let origin = domp_log::snapshot::SnapshotOrigin {
        node: support::NODE,
        replica: support::REPLICA,
        position: driver.writer.position(),
    };
    let Some((_, name)) = write_snapshot_of(&mut driver.disk, group, index, &origin) else {
        return false;
    };
    driver.name_real(group, name, index);
    driver.commit();
    if driver.error.is_some() {
        return false;
    }
    assert_eq!(driver.writer.named_snapshot(group, support::REPLICA), name);
    for older in before.iter().filter(|older| older.group == group) {
        run_job(&mut driver.disk, &removal(older));
    }
    driver.writer.reclaim();
    driver.mark();
    if driver.error.is_none() {
        driver.run_jobs();
    }
    driver.error.is_none()
}

/// Lives until its end or the first failure of the disk. None: it did not come into being.
fn live(crash_after: Option<u64>) -> Option<Driver> {
    let mut disk = MemoryDisk::new();
    if let Some(operation) = crash_after {
        disk.crash_after(operation);
    }
    let mut driver = Driver::on(disk, &small())?;
    driver.found(1);
    driver.found(2);
    driver.commit();
    if driver.error.is_some() {
        return Some(driver);
    }
    driver.run_jobs();
    for index in 2..80 {
        if driver.error.is_some() {
            return Some(driver);
        }
        for group in [1, 2] {
            driver.entry(group, vec![1; 1_300]);
            driver.commit();
            if driver.error.is_some() {
                return Some(driver);
            }
            driver.commit_index(group, index);
        }
        driver.commit();
        driver.run_jobs();
        if driver.error.is_some() || driver.disk.is_crashed() {
            return Some(driver);
        }
        let due = [(25, 1), (40, 2), (50, 1), (70, 2)];
        if let Some(&(_, group)) = due.iter().find(|(at, _)| *at == index)
            && !snapshot(&mut driver, group, index)
        {
            return Some(driver);
        }
        if index == 60 {
            // Started again, in the middle of it.
            let acked = driver.acked;
            let appended = driver.appended.clone();
            driver = Driver::on(driver.disk, &small())?;
            driver.appended = appended;
            driver.acked = acked;
            driver.run_jobs();
        }
    }
    Some(driver)
}

/// A start finds no damage, all that was acknowledged, and what `check` finds.
fn expect_whole(driver: &Driver, disk: &mut MemoryDisk, what: &str) {
    let told = check(disk, &()).expect("no faults");
    assert!(told.is_healthy(), "{what}: {told}");
    let mut found = Vec::new();
    let opened = open(disk, &small(), &drawn(9), &mut gather(&mut found)).expect("no faults");
    assert!(
        opened.report.damage.is_empty(),
        "{what}: {:?}",
        opened.report
    );
    assert!(opened.incarnation.is_some(), "{what}");
    driver.expect_records(&found, what);
    for (group, state) in &opened.verdict.groups {
        let loaded =
            load(disk, &state.snapshots, state.starts_empty(), &mut Nothing).expect("no faults");
        assert!(
            loaded.damage.is_empty() && loaded.start != Start::Damaged,
            "{what}"
        );
        let base = match &loaded.start {
            Start::Snapshot(candidate) => candidate.info.index,
            _ => 1,
        };
        let commit = state.hard_state.map_or(0, |state| state.commit);
        assert!(
            commit <= base.max(state.last_index),
            "{what}: group {group}"
        );
    }
}

#[test]
fn crash_after_every_operation_of_a_life() {
    let whole = live(None).expect("no faults");
    assert!(whole.error.is_none());
    assert!(
        whole.disk.file_len(&segment_name(1)).is_none(),
        "it was reclaimed"
    );
    let operations = whole.disk.operations();
    let mut unborn = 0;
    for operation in 0..=operations {
        let Some(driver) = live(Some(operation)) else {
            unborn += 1;
            continue;
        };
        for seed in 0..4 {
            let what = format!("crash after operation {operation}, seed {seed}");
            let image = driver.disk.crash(operation * 8 + seed);
            let mut disk = image.clone();
            expect_whole(&driver, &mut disk, &what);
            if operation % 7 != 0 || seed > 0 {
                continue;
            }
            // And after every operation of the start that follows.
            for at in 0..disk.operations() {
                let mut disk = image.clone();
                disk.crash_after(at);
                open(&mut disk, &small(), &drawn(8), &mut |_| {}).expect_err("it crashed");
                let what = format!("{what}, and at {at} of the start");
                expect_whole(&driver, &mut disk.crash(at), &what);
            }
        }
    }
    // Both starts: the founding, and the one in the middle.
    assert!(unborn > 15, "{unborn}");
}

#[test]
fn crash_after_every_operation_of_the_founding() {
    let operations = Driver::new(&small()).disk.operations();
    for operation in 0..operations {
        for seed in 0..60 {
            let mut disk = MemoryDisk::new();
            disk.crash_after(operation);
            open(&mut disk, &small(), &drawn(1), &mut |_| {}).expect_err("it crashed");
            let mut disk = disk.crash(seed);
            let what = format!("operation {operation}, seed {seed}");
            let told = check(&mut disk, &()).expect("no faults");
            assert!(told.is_healthy(), "{what}: {told}");
            let driver = Driver::on(disk, &small()).expect("no faults");
            assert!(driver.appended.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_flush_that_failed_is_made_up_for_before_anything_rests_on_it() {
    // The cache shows what the disk never got, and takes it for written.
    let mut driver = Driver::new(&small());
    driver.entry(1, vec![1; 100]);
    driver.commit();
    driver.entry(1, vec![2; 9_000]);
    driver.entry(2, vec![2; 20_000]);
    let write = driver.writer.seal().expect("entries");
    let flush = driver.disk.operations() + 2;
    driver
        .disk
        .inject(flush, Fault::Fail(std::io::ErrorKind::Other));
    run_write(&mut driver.disk, &write).expect_err("injected");
    let mut disk = driver.disk.kill();
    let mut found = Vec::new();
    open(&mut disk, &small(), &drawn(2), &mut gather(&mut found)).expect("no faults");
    assert_eq!(found.len(), 3, "what was read may be acted upon");
    let mut same = Vec::new();
    let mut lost = disk.crash_torn(1, Tear::All);
    let opened = open(&mut lost, &small(), &drawn(3), &mut gather(&mut same)).expect("no faults");
    assert!(opened.report.damage.is_empty(), "{:?}", opened.report);
    assert!(same == found);
}

#[test]
fn a_start_on_a_full_disk_serves_what_is_there() {
    let mut driver = Driver::new(&small());
    driver.entry(1, vec![1; 100]);
    driver.hard_state(1, 1);
    driver.commit();
    // No room for anything, and starts until the log's own reserve is used up.
    let mut disk = driver.disk.clone();
    let full = disk.used_bytes() + 300;
    disk.set_capacity(full);
    let mut quiet = 0;
    for start in 0..40 {
        let opened = open(&mut disk, &small(), &drawn(start), &mut |_| {}).expect("it starts");
        assert!(opened.report.damage.is_empty(), "{:?}", opened.report);
        assert!(opened.writer.failure().is_none());
        assert!(opened.verdict.groups.contains_key(&1));
        quiet += u32::from(opened.incarnation.is_none());
        assert!(check(&mut disk, &()).expect("no faults").is_healthy());
        disk = disk.crash(start);
        disk.set_capacity(full);
    }
    assert!(quiet > 10, "{quiet}");
    // Not even for the identity.
    let mut disk = driver.disk.clone();
    disk.set_capacity(disk.used_bytes());
    let opened = open(&mut disk, &small(), &drawn(1), &mut |_| {}).expect("it starts");
    assert!(opened.incarnation.is_none() && opened.report.damage.is_empty());
    // With room again, it goes on as if nothing had been.
    disk.set_capacity(u64::MAX);
    let opened = open(&mut disk, &small(), &drawn(1), &mut |_| {}).expect("it starts");
    assert_eq!(opened.incarnation.map(|start| start.number), Some(2));
}

#[test]
fn nothing_is_reclaimed_before_the_hard_state_that_names_it_is_durable() {
    let mut driver = Driver::new(&small());
    driver.found(1);
    driver.run_jobs();
    for _ in 0..150 {
        driver.entry(1, vec![1; 2_000]);
        driver.commit();
        driver.run_jobs();
    }
    assert!(driver.writer.statistics().segment > 2);
    let pins = driver.writer.pinned_by();
    assert_eq!((pins[0].group, pins[0].segment), (1, 1));
    assert_eq!(pins[0].reason, PinReason::Entries);
    let (_, name) = write_snapshot(&mut driver, 1, 150);
    driver.name_real(1, name, 150);
    driver.writer.reclaim();
    assert!(!driver.writer.wants_mark() || driver.writer.statistics().segments > 2);
    assert_eq!(
        driver.writer.named_snapshot(1, support::REPLICA),
        SnapshotName::default(),
        "it is not durable yet"
    );
    driver.commit();
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
    assert_eq!(driver.writer.named_snapshot(1, support::REPLICA), name);
    assert!(driver.disk.file_len(&segment_name(1)).is_none());
    let opened = open(&mut driver.disk, &small(), &drawn(2), &mut |_| {}).expect("no faults");
    assert!(opened.report.damage.is_empty(), "{:?}", opened.report);
}
