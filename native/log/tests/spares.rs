//! A segment nobody needs becomes a later one: nothing is filled with zeros twice, and what the file held
//! before is never mistaken for what it holds now.

mod support;

use domp_log::{
    Disk, Job, JobResult, LogConfig, MemoryDisk, recover, run_job, run_write, segment_name,
    spare_name,
};
use support::{Driver, gather, recycled, recycling};

/// Names of the log's files.
fn files(disk: &mut MemoryDisk) -> Vec<String> {
    let mut names: Vec<String> = disk
        .list()
        .expect("no faults")
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with("wal/"))
        .collect();
    names.sort();
    names
}

fn spares(disk: &mut MemoryDisk) -> Vec<String> {
    let mut names = files(disk);
    names.retain(|name| name.contains(".spare"));
    names
}

/// Fills a few segments and lets a snapshot make them needless.
fn lap(driver: &mut Driver) {
    fill(driver);
    reclaim(driver);
}

fn fill(driver: &mut Driver) {
    fill_with(driver, 2, 900);
}

/// Fills so many segments with entries of that length.
fn fill_with(driver: &mut Driver, segments: u64, bytes: usize) {
    let until = driver.writer.statistics().segment + segments;
    while driver.writer.statistics().segment < until {
        assert!(driver.entry(1, vec![5; bytes]));
        driver.commit();
        driver.run_jobs();
    }
}

fn reclaim(driver: &mut Driver) {
    driver.snapshot();
    driver.commit();
    // The decision rests on the hard state, and is durable with the next frame.
    driver.snapshot();
    driver.mark();
    driver.run_jobs();
}

/// A node with spares, and with room in its present segment.
fn with_spares() -> Driver {
    let mut driver = Driver::new(&recycling());
    driver.run_jobs();
    while driver.writer.statistics().spare_segments < 2 {
        lap(&mut driver);
    }
    driver
}

#[test]
fn after_the_first_lap_no_file_is_made() {
    let mut driver = with_spares();
    for _ in 0..10 {
        let (before, reused) = (driver.writer.statistics().segment, driver.reused);
        lap(&mut driver);
        let made = driver.writer.statistics().segment - before;
        assert_eq!(driver.reused - reused, made, "each is one that was");
        // Present, next, spares: no more than ever were needed at once.
        assert!(files(&mut driver.disk).len() <= 6);
    }
    driver.expect_recovered(&mut driver.disk.crash(1), &recycling(), "after ten laps");
}

#[test]
fn no_more_are_kept_than_the_configuration_says() {
    for most in 0..3 {
        let config = LogConfig {
            spare_segments_max: most,
            ..recycling()
        };
        let mut driver = Driver::new(&config);
        driver.run_jobs();
        for _ in 0..4 {
            fill_with(&mut driver, 5, 900);
            lap(&mut driver);
            assert_eq!(spares(&mut driver.disk).len(), most);
        }
        // A start with fewer gives the others back.
        let fewer = LogConfig {
            spare_segments_max: most.saturating_sub(1),
            ..recycling()
        };
        let mut driver = Driver::log_alone(driver.disk, &fewer);
        let kept = driver.writer.statistics().spare_segments;
        assert_eq!(spares(&mut driver.disk).len() as u64, kept);
        assert_eq!(kept, most.saturating_sub(1) as u64);
    }
}

#[test]
fn a_start_goes_on_with_the_spares_it_finds() {
    let driver = with_spares();
    let kept = driver.writer.statistics().spare_segments;
    let mut driver = Driver::log_alone(driver.disk.crash(3), &recycling());
    assert_eq!(driver.writer.statistics().spare_segments, kept);
    driver.run_jobs();
    let segment = driver.writer.statistics().segment;
    lap(&mut driver);
    assert!(driver.reused > 0 && driver.writer.statistics().segment > segment);
    driver.expect_recovered(&mut driver.disk.crash(4), &recycling(), "on old spares");
    // One of another length can't be used.
    let longer = LogConfig {
        segment_bytes: 128 << 10,
        ..recycling()
    };
    let mut driver = Driver::log_alone(driver.disk, &longer);
    assert_eq!(driver.writer.statistics().spare_segments, 0);
    assert_eq!(spares(&mut driver.disk), [""; 0]);
}

#[test]
fn a_spare_that_is_missing_unreadable_cut_or_another_is_made_up_for() {
    let harms: [fn(&mut MemoryDisk, &str); 5] = [
        |disk, name| disk.fail_reads_of(name),
        |disk, name| assert!(disk.delete_file(name)),
        |disk, name| assert!(disk.set_file_len(name, 40 << 10)),
        |disk, name| assert!(disk.overwrite(name, 0, &[9; 4_096])),
        // Both copies hold another salt than the node remembers.
        |disk, name| {
            let mut block = disk.contents(name).expect("the spare")[..4_096].to_vec();
            for copy in [0, 2_048] {
                block[copy + 32] ^= 1;
                let crc = crc32c::crc32c(&block[copy..copy + 2_044]);
                block[copy + 2_044..copy + 2_048].copy_from_slice(&crc.to_le_bytes());
            }
            assert!(disk.overwrite(name, 0, &block));
        },
    ];
    for (place, harm) in harms.into_iter().enumerate() {
        let mut driver = with_spares();
        for name in spares(&mut driver.disk) {
            harm(&mut driver.disk, &name);
        }
        // A start makes nothing of it.
        let harmed = spares(&mut driver.disk);
        let mut started = Driver::log_alone(driver.disk.clone(), &recycling());
        let kept = started.writer.statistics().spare_segments;
        // But for the one of another salt: it is what its header says.
        assert!(kept == 0 || place == 4, "harm {place}: {kept} are kept");
        assert_eq!(spares(&mut started.disk).len() as u64, kept);

        let segment = driver.writer.statistics().segment;
        lap(&mut driver);
        lap(&mut driver);
        assert!(driver.error.is_none(), "harm {place}: {:?}", driver.error);
        assert!(driver.writer.statistics().segment > segment + 2);
        for name in harmed {
            assert!(
                driver.disk.file_len(&name).is_none(),
                "{name} stays for ever"
            );
        }
        let what = format!("harm {place}");
        driver.expect_recovered(&mut driver.disk.crash(5), &recycling(), &what);
    }
}

#[test]
fn where_the_disk_is_tight_nothing_is_kept() {
    let config = LogConfig {
        keep_free_bytes: 100 << 10,
        ..recycling()
    };
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    fill(&mut driver);
    let used = driver.disk.used_bytes();
    driver.disk.set_capacity(used + (90 << 10));
    reclaim(&mut driver);
    assert_eq!(spares(&mut driver.disk), [""; 0]);
    assert!(
        used - driver.disk.used_bytes() >= 128 << 10,
        "they were removed"
    );
    // What was kept when there was room is given up when it is asked for.
    let mut driver = with_spares();
    let before = driver.disk.used_bytes();
    let kept = driver.writer.statistics().spare_segments;
    driver.writer.remove_spares();
    driver.run_jobs();
    assert_eq!(spares(&mut driver.disk), [""; 0]);
    assert_eq!(before - driver.disk.used_bytes(), kept * (64 << 10));
}

#[test]
fn a_segment_that_can_not_be_kept_is_removed() {
    let mut driver = with_spares();
    driver.writer.remove_spares();
    driver.run_jobs();
    driver.snapshot();
    fill(&mut driver);
    driver.snapshot();
    driver.commit();
    driver.snapshot();
    assert!(driver.mark());
    let mut failed = 0;
    while let Some(job) = driver.writer.take_job() {
        let result = if let Job::RetireSegment { .. } = &job {
            failed += 1;
            JobResult::Failed {
                kind: std::io::ErrorKind::PermissionDenied,
                message: "no".into(),
            }
        } else {
            run_job(&mut driver.disk, &job)
        };
        driver.writer.on_job(job.tag(), &result);
    }
    assert!(failed > 0);
    assert!(driver.writer.failure().is_none());
    assert_eq!(spares(&mut driver.disk), [""; 0]);
    // Those that are left are live or prepared.
    let present = driver.writer.statistics().segment;
    let left = files(&mut driver.disk);
    assert!(
        left.contains(&segment_name(present)) && left.len() <= 4,
        "{left:?}"
    );
}

#[test]
fn the_tail_of_a_spare_is_zero_and_the_rest_is_of_one_pass() {
    let mut driver = with_spares();
    for round in 0..6 {
        // Long entries leave more behind the seal than short ones, in which old frames are.
        fill_with(&mut driver, 3, if round % 2 == 0 { 900 } else { 22_000 });
        reclaim(&mut driver);
    }
    for name in spares(&mut driver.disk) {
        let bytes = driver.disk.contents(&name).expect("a spare");
        let salt = &bytes[32..40];
        // The frames of its pass, one behind the other, then zeros.
        let mut at = 4_096;
        while at + 4_096 <= bytes.len() && bytes[at..].starts_with(b"DOMPFRM\n") {
            assert_eq!(&bytes[at + 8..at + 16], salt, "{name} at {at}");
            let length = bytes[at + 80..at + 84].try_into().expect("four bytes");
            at += usize::try_from(u32::from_le_bytes(length)).expect("small");
        }
        assert!(at > 32 << 10, "{name} was filled");
        assert!(
            bytes[at..].iter().all(|&byte| byte == 0),
            "{name} behind {at}"
        );
    }
}

#[test]
fn an_old_frame_is_blank_at_its_own_place_and_damage_anywhere_else() {
    let mut driver = recycled();
    driver.entry(1, vec![1; 10]);
    driver.commit();
    let present = driver.writer.statistics();
    let name = segment_name(present.segment);
    let end = usize::try_from(present.segment_used_bytes).expect("small");
    let bytes = driver.disk.contents(&name).expect("the segment");
    let old = (end..bytes.len())
        .step_by(4_096)
        .filter(|&at| bytes[at..].starts_with(b"DOMPFRM\n"));
    let old: Vec<usize> = old.collect();
    assert!(old.len() > 2);
    let (recovery, found) =
        driver.expect_recovered(&mut driver.disk.clone(), &recycling(), "old frames");
    assert!(recovery.report.torn.is_none() && recovery.report.notes.is_empty());
    assert!(!found.is_empty());
    // A write that went astray leaves such a block where the next frame should begin.
    for from in old.into_iter().filter(|&at| at != end) {
        let mut disk = driver.disk.clone();
        let astray = bytes[from..from + 4_096].to_vec();
        assert!(disk.overwrite(&name, present.segment_used_bytes, &astray));
        let report = recover(&mut disk, &recycling(), 1, &mut |_| {})
            .expect("no faults")
            .report;
        assert!(report.is_all_damaged(), "from {from}: {report:?}");
    }
}

#[test]
fn a_segment_is_kept_only_when_it_is_known_to_be_needless() {
    let mut driver = Driver::new(&recycling());
    driver.run_jobs();
    fill_with(&mut driver, 3, 900);
    driver.snapshot();
    driver.commit();
    driver.snapshot();
    // The frame that says so is on its way, not durable.
    let write = driver.writer.idle_mark().expect("something to say");
    assert!(driver.writer.take_job().is_none());
    run_write(&mut driver.disk, &write).expect("no faults");
    assert!(driver.writer.take_job().is_none());
    driver.writer.on_written(write.ticket);
    let job = driver.writer.take_job().expect("now it is");
    assert!(
        matches!(job, Job::RetireSegment { segment: 1, .. }),
        "{job:?}"
    );
    // A crash before, in the middle and behind loses nothing.
    let operations = {
        let mut disk = driver.disk.clone();
        let before = disk.operations();
        assert_eq!(run_job(&mut disk, &job), JobResult::Done);
        disk.operations() - before
    };
    for operation in 0..=operations {
        for seed in 0..20 {
            let mut disk = driver.disk.clone();
            disk.crash_after(disk.operations() + operation);
            run_job(&mut disk, &job);
            let mut found = Vec::new();
            let mut after = disk.crash(seed);
            let recovery = recover(&mut after, &recycling(), 9, &mut gather(&mut found));
            let report = recovery.expect("no faults").report;
            assert!(report.damage.is_empty(), "{operation}: {report:?}");
            driver.expect_records(&found, "a crash while a segment was kept");
        }
    }
    assert!(driver.disk.file_len(&spare_name(1)).is_none());
}
