//! Reclaim: when a segment goes, and who keeps it.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::{
    Disk, Job, LogConfig, MemoryDisk, PinReason, Tear, recover, run_job, run_write, segment_name,
};
use support::{Driver, Owned, small};

fn segments(disk: &mut MemoryDisk) -> Vec<String> {
    let files = disk.list().expect("no faults");
    files
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with("wal/"))
        .collect()
}

/// As [`small`], but segments nobody needs are removed.
fn removing() -> LogConfig {
    LogConfig {
        spare_segments_max: 0,
        ..small()
    }
}

/// Fills segments with entries of `groups` until the present one is `segment`.
fn fill(driver: &mut Driver, groups: &[u64], segment: u64) {
    while driver.writer.statistics().segment < segment {
        for &group in groups {
            driver.entry(group, vec![1; 2_000]);
            driver.hard_state(group, 1);
        }
        driver.commit();
        driver.run_jobs();
    }
}

#[test]
fn segments_go_when_snapshots_cover_them_and_not_before_a_frame_says_so() {
    let config = removing();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    fill(&mut driver, &[1, 2], 4);
    driver.name_snapshot(1, 1 << 40);
    driver.commit();
    driver.writer.reclaim();
    assert!(
        !driver.mark() || driver.writer.take_job().is_none(),
        "group 2 needs them all"
    );
    driver.name_snapshot(2, 1 << 40);
    driver.writer.reclaim();
    assert!(
        !driver.writer.wants_mark(),
        "that hard state is not durable yet"
    );
    driver.commit();
    assert!(driver.mark(), "the commit can't vouch for itself");
    assert!(driver.writer.take_job().is_none(), "nothing is decided yet");
    driver.writer.reclaim();
    assert!(driver.writer.take_job().is_none(), "no frame says so yet");
    assert!(driver.writer.wants_mark() && driver.mark());
    let mut removed = Vec::new();
    while let Some(job) = driver.writer.take_job() {
        if let Job::Remove { file } = &job {
            removed.push(file.to_string());
        }
        driver
            .writer
            .on_job(job.tag(), &run_job(&mut driver.disk, &job));
    }
    assert_eq!(removed, [1, 2, 3].map(segment_name));
    assert!(!driver.mark(), "all is said");
    assert_eq!(
        segments(&mut driver.disk),
        [segment_name(4), segment_name(5)]
    );
    driver.expect_recovered(
        &mut driver.disk.crash_torn(1, Tear::All),
        &config,
        "reclaimed",
    );
    // A removal that a crash undid is done again.
    let mut disk = driver.disk.clone();
    disk.create(&segment_name(2), 64 << 10).expect("room");
    let (recovery, _) = driver.expect_recovered(&mut disk, &config, "an old segment is back");
    assert_eq!(recovery.report.removed, [segment_name(2)]);
}

#[test]
fn a_decision_made_while_a_commit_is_on_its_way_waits_for_the_next() {
    let config = removing();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    fill(&mut driver, &[1], 4);
    driver.name_snapshot(1, 1 << 40);
    driver.commit();
    driver.hard_state(1, 2);
    let write = driver.writer.seal().expect("a hard state");
    driver.writer.reclaim();
    run_write(&mut driver.disk, &write).expect("no faults");
    driver.writer.on_written(write.ticket);
    let removes = |driver: &mut Driver| {
        let jobs: Vec<Job> = std::iter::from_fn(|| driver.writer.take_job()).collect();
        jobs.iter().any(|job| matches!(job, Job::Remove { .. }))
    };
    assert!(!removes(&mut driver), "that commit was built before");
    assert!(driver.mark() && removes(&mut driver));
}

#[test]
fn an_idle_group_is_helped_off_old_segments() {
    let config = removing();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    for _ in 0..5 {
        driver.entry(9, vec![9; 300]);
    }
    driver.hard_state(9, 1);
    driver.commit();
    fill(&mut driver, &[1], 4);
    // Group 9 is idle; its snapshot is behind its log.
    driver.name_snapshot(1, 1 << 40);
    driver.name_snapshot(9, 3);
    driver.commit();
    let pins = driver.writer.pinned_by();
    assert_eq!(pins.len(), 1);
    assert_eq!(
        (pins[0].group, pins[0].segment, pins[0].reason),
        (9, 1, PinReason::Entries)
    );
    driver.unpin();
    assert_eq!(driver.writer.pinned_by(), []);
    driver.commit();
    assert!(driver.mark());
    driver.run_jobs();
    assert_eq!(segments(&mut driver.disk).first(), Some(&segment_name(4)));
    let mut found: Vec<Owned> = Vec::new();
    recover(
        &mut driver.disk.clone(),
        &config,
        1,
        &mut support::gather(&mut found),
    )
    .expect("no faults");
    let indexes: Vec<u64> = found
        .iter()
        .filter(|record| record.group == 9)
        .map(|record| record.index)
        .collect();
    assert_eq!(indexes, [0, 4, 5]);
}

#[test]
fn a_dropped_group_frees_its_segments() {
    let config = removing();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    driver.entry(9, vec![9; 300]);
    driver.commit();
    fill(&mut driver, &[1], 3);
    driver.drop_group(9);
    driver.commit();
    fill(&mut driver, &[1], 4);
    driver.name_snapshot(1, 1 << 40);
    driver.commit();
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
    assert_eq!(segments(&mut driver.disk)[0], segment_name(4));
}

#[test]
fn a_damaged_segment_is_kept_until_its_group_is_dropped() {
    let config = removing();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    driver.entry(9, vec![9; 300]);
    let write = driver.writer.seal().expect("an entry");
    run_write(&mut driver.disk, &write).expect("no faults");
    driver.writer.on_written(write.ticket);
    fill(&mut driver, &[1], 3);
    driver.name_snapshot(1, 1 << 40);
    driver.commit();
    driver.mark();
    driver
        .disk
        .flip_bit(&write.first.file, write.first.offset + 700, 0);
    let mut disk = driver.disk.clone();
    let recovery = recover(&mut disk, &config, 1, &mut |_| {}).expect("no faults");
    assert!(recovery.report.is_damaged(9) && !recovery.report.is_damaged(1));
    let mut writer = recovery.writer;
    writer.reclaim();
    assert!(!writer.wants_mark());
    let pins = writer.pinned_by();
    assert_eq!(
        (pins[0].group, pins[0].segment, pins[0].reason),
        (9, 1, PinReason::Damage)
    );
    writer.append(&Owned::drop(9).record()).expect("room");
    writer.reclaim();
    assert_eq!(writer.pinned_by(), []);
    let write = writer.seal().expect("the drop");
    run_write(&mut disk, &write).expect("no faults");
    writer.on_written(write.ticket);
    let jobs: Vec<Job> = std::iter::from_fn(|| writer.take_job()).collect();
    assert!(
        jobs.iter()
            .any(|job| matches!(job, Job::Remove { file } if **file == segment_name(2))),
        "{jobs:?}"
    );
    let report = recover(&mut disk, &config, 1, &mut |_| {})
        .expect("no faults")
        .report;
    assert!(report.damage.is_empty(), "{report:?}");
    assert_eq!(report.notes.len(), 1);
}
