//! Room: seals, large commits, full disks, failed flushes.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use std::io;

use domp_log::{
    AppendError, Disk, Fault, LogConfig, MemoryDisk, Space, Tear, recover, run_job, run_write,
    segment_name,
};
use support::{Draw, Driver, Owned, roomy, small};

fn segments(disk: &mut MemoryDisk) -> Vec<String> {
    let files = disk.list().expect("no faults");
    files
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with("wal/"))
        .collect()
}

#[test]
fn every_way_a_frame_can_meet_the_end_of_a_segment() {
    let config = small();
    let mut sealed_in_commit = 0;
    // Fill to a certain distance from the end, then append frames of a certain size.
    for fill_blocks in 1..15 {
        for len in (1..24)
            .map(|step| step * 1_021)
            .chain([4_088 - 528 - 48, 4_088 - 528 - 47])
        {
            let mut driver = Driver::new(&config);
            driver.run_jobs();
            for _ in 0..fill_blocks {
                driver.entry(1, vec![1; 100]);
                driver.commit();
            }
            let before = driver.writer.statistics().segment;
            assert!(driver.entry(2, vec![2; len]));
            let write = driver.writer.seal().expect("an entry");
            sealed_in_commit += u32::from(!write.rest.is_empty());
            for part in write.parts() {
                let limit = driver.disk.file_len(&part.file).expect("it was prepared");
                assert!(part.offset + part.bytes.len() as u64 <= limit);
            }
            run_write(&mut driver.disk, &write).expect("no faults");
            driver.writer.on_written(write.ticket);
            driver.acked = driver.appended.len();
            assert!(driver.writer.statistics().segment - before <= 1);
            let what = format!("{fill_blocks} blocks, then {len} bytes");
            driver.expect_recovered(&mut driver.disk.crash_torn(1, Tear::All), &config, &what);
            driver.run_jobs();
            driver.entry(3, vec![3; len]);
            driver.commit();
            driver.expect_recovered(&mut driver.disk.crash_torn(1, Tear::All), &config, &what);
        }
    }
    assert!(sealed_in_commit > 50, "{sealed_in_commit}");
}

#[test]
fn a_commit_larger_than_a_segment_is_split() {
    let config = small();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    let mut draw = Draw(3);
    let mut bytes = 0;
    while bytes < 110_000 {
        let len = 5_000 + draw.usize_below(15_000);
        assert!(driver.entry(1, vec![7; len]));
        bytes += len;
    }
    let write = driver.writer.seal().expect("entries");
    assert!(write.first.bytes.len() > 50_000 && write.rest.len() == 1);
    run_write(&mut driver.disk, &write).expect("no faults");
    driver.writer.on_written(write.ticket);
    driver.acked = driver.appended.len();
    assert_eq!(driver.writer.statistics().segment, 2);
    let (recovery, found) =
        driver.expect_recovered(&mut driver.disk.crash_torn(1, Tear::All), &config, "split");
    assert_eq!(found.len(), driver.appended.len());
    assert!(recovery.report.frames > 6);
}

#[test]
fn a_record_larger_than_a_frame_is_refused_and_nothing_changes() {
    let config = small();
    let mut driver = Driver::new(&config);
    let most = usize::try_from(config.record_body_bytes_max()).expect("small");
    let large = Owned::entry(1, 1, 1, vec![1; most + 1]);
    assert_eq!(
        driver.writer.append(&large.record()),
        Err(AppendError::TooLarge)
    );
    assert!(!driver.writer.is_pending() && driver.writer.seal().is_none());
    assert!(driver.entry(1, vec![1; most]));
    driver.commit();
    driver.expect_recovered(&mut driver.disk.clone(), &config, "the largest record");
}

#[test]
fn a_full_disk_holds_entries_back_but_never_hard_states() {
    let config = roomy();
    let mut disk = MemoryDisk::new();
    disk.set_capacity(200 << 10);
    let mut driver = Driver::on(disk, &config).expect("room for the first segment");
    assert_eq!(driver.writer.space(), Space::Ample);
    driver.run_jobs();
    // The next segment would not fit, but that does not matter yet.
    assert_eq!(
        (driver.writer.space(), driver.writer.low_space()),
        (Space::Ample, false)
    );
    assert_eq!(
        segments(&mut driver.disk),
        [segment_name(1)],
        "nothing half-made is left"
    );
    while driver.writer.space() == Space::Ample {
        assert!(driver.entry(1, vec![1; 3_000]));
        driver.commit();
    }
    assert_eq!(
        (driver.writer.space(), driver.writer.low_space()),
        (Space::Full, true)
    );
    assert!(driver.writer.room() < config.low_space_bytes);
    // What was proposed before still finds room, and then no entry does.
    while driver.entry(1, vec![1; 3_000]) {
        driver.commit();
    }
    assert!(!driver.entry(1, vec![1; 3_000]));
    assert!(driver.error.is_none() && driver.writer.failure().is_none());
    // Hard states, drops and empty entries do, and so does the mark.
    assert!(driver.hard_state(1, 7) && driver.drop_group(9) && driver.entry(1, Vec::new()));
    driver.commit();
    assert!(driver.mark());
    driver.expect_recovered(&mut driver.disk.crash_torn(1, Tear::All), &config, "full");
    // With room again, it goes on.
    driver.disk.set_capacity(1 << 20);
    driver.run_jobs();
    assert_eq!(driver.writer.space(), Space::Full, "not tried again yet");
    driver.writer.retry_prepare();
    assert_eq!(driver.writer.space(), Space::Waiting);
    driver.run_jobs();
    assert_eq!(driver.writer.space(), Space::Ample);
    assert!(driver.entry(1, vec![1; 20_000]));
    driver.commit();
    assert_eq!(driver.writer.statistics().segment, 2);
    driver.expect_recovered(
        &mut driver.disk.crash_torn(1, Tear::All),
        &config,
        "room again",
    );
}

/// Fills what `Writer::room` promises with entries of random lengths.
fn check_promise(config: &LogConfig, seed: u64) -> u64 {
    let largest = usize::try_from(config.record_body_bytes_max()).expect("small");
    let mut draw = Draw(seed);
    let mut driver = Driver::new(config);
    for _ in 0..draw.below(4) {
        driver.run_jobs();
        for _ in 0..draw.below(12) {
            let len = draw.usize_below(largest / 4);
            driver.entry(1, vec![0; len]);
            if draw.below(2) == 0 {
                driver.commit();
            }
        }
    }
    let segment = driver.writer.statistics().segment;
    let mut left = driver.writer.room();
    let most = 1 + draw.usize_below(largest);
    loop {
        let record = Owned::entry(2, 1, 1, vec![0; 1 + draw.usize_below(most)]);
        let stored = record.record().stored_bytes() as u64;
        if stored > left {
            return driver.writer.statistics().segment - segment;
        }
        left -= stored;
        let taken = driver.writer.append(&record.record());
        assert_eq!(taken, Ok(()), "seed {seed}, {left} left");
    }
}

#[test]
fn room_is_a_promise() {
    let large_frames = LogConfig {
        founding_segment_bytes: 1 << 20,
        first_segment_bytes: 1 << 20,
        segment_bytes: 2 << 20,
        frame_bytes_max: 900 << 10,
        ..small()
    };
    let crossed: u64 = (0..2_000).map(|seed| check_promise(&small(), seed)).sum();
    let crossed_large: u64 = (0..500)
        .map(|seed| check_promise(&large_frames, seed))
        .sum();
    assert!(
        crossed > 200 && crossed_large > 50,
        "{crossed} and {crossed_large} seals"
    );
}

#[test]
fn room_is_a_promise_to_many_groups_too() {
    let config = roomy();
    let mut least = u64::MAX;
    for seed in 0..300 {
        let mut draw = Draw(seed);
        let mut driver = Driver::new(&config);
        let groups = 40 + draw.below(40);
        for group in 0..groups {
            driver.hard_state(group, 1);
        }
        driver.commit();
        driver.run_jobs();
        let before = driver.writer.statistics().segment_used_bytes;
        let mut left = driver.writer.room();
        least = least.min(left);
        // From a record of each group in turn, to frames that are full anyway.
        let most = [1, 40, 90, 700][draw.usize_below(4)];
        for round in 0.. {
            let body = vec![0; 1 + draw.usize_below(most)];
            let record = Owned::entry(round % groups, 1 + round / groups, 1, body);
            let stored = record.record().stored_bytes() as u64;
            if stored > left {
                break;
            }
            left -= stored;
            let taken = driver.writer.append(&record.record());
            assert_eq!(taken, Ok(()), "seed {seed}, {left} left");
        }
        assert!(driver.writer.statistics().segment_used_bytes != before);
    }
    assert!(least > 0);
}

#[test]
fn a_next_segment_leaves_room_for_snapshots() {
    let config = LogConfig {
        keep_free_bytes: 100 << 10,
        ..small()
    };
    let mut disk = MemoryDisk::new();
    disk.set_capacity((64 + 128 + 99) << 10);
    let mut driver = Driver::on(disk, &config).expect("room for the first segment");
    let job = driver.writer.take_job().expect("the next segment");
    let result = run_job(&mut driver.disk, &job);
    assert!(result.is_full());
    // And the identity, which is no KiB long.
    driver.disk.set_capacity((64 + 128 + 101) << 10);
    assert!(!run_job(&mut driver.disk, &job).is_full());
}

#[test]
fn segments_grow_from_the_first_size_to_the_last() {
    let config = LogConfig {
        segment_bytes: 512 << 10,
        ..small()
    };
    let mut driver = Driver::new(&config);
    let mut sizes = vec![driver.writer.statistics().segment_bytes];
    while sizes.len() < 6 {
        driver.run_jobs();
        driver.entry(1, vec![1; 20_000]);
        driver.commit();
        let statistics = driver.writer.statistics();
        if statistics.segment as usize > sizes.len() {
            sizes.push(statistics.segment_bytes);
        }
    }
    let kib: Vec<u64> = sizes.iter().map(|bytes| bytes >> 10).collect();
    assert_eq!(kib, [64, 128, 256, 512, 512, 512]);
}

#[test]
fn a_flush_that_fails_once_ends_the_log() {
    let config = small();
    for fault in 0..2 {
        let mut driver = Driver::new(&config);
        driver.run_jobs();
        driver.entry(1, vec![1; 100]);
        driver.commit();
        // The write, or the flush behind it.
        let operation = driver.disk.operations() + 1 + fault;
        driver
            .disk
            .inject(operation, Fault::Fail(io::ErrorKind::Other));
        driver.entry(1, vec![2; 100]);
        driver.commit();
        assert!(driver.error.is_some());
        let failure = driver.writer.failure().expect("it is over").to_owned();
        assert!(failure.contains("writing the log failed"), "{failure}");
        // Nothing is retried, though the disk would work again.
        let record = Owned::entry(1, 3, 1, vec![3; 100]);
        assert_eq!(
            driver.writer.append(&record.record()),
            Err(AppendError::Failed)
        );
        assert!(driver.writer.seal().is_none() && driver.writer.idle_mark().is_none());
        assert!(driver.writer.take_job().is_none());
        assert_eq!(driver.acked, 1);
        for seed in 0..20 {
            driver.expect_recovered(
                &mut driver.disk.crash(seed),
                &config,
                "after a failed flush",
            );
        }
    }
}

#[test]
fn a_commit_is_reported_once_and_in_order() {
    let mut driver = Driver::new(&small());
    driver.entry(1, vec![1; 100]);
    let write = driver.writer.seal().expect("an entry");
    driver.entry(1, vec![2; 100]);
    assert!(driver.writer.seal().is_none(), "one is on its way");
    assert!(driver.writer.idle_mark().is_none() && driver.writer.is_writing());
    driver.writer.on_written(write.ticket);
    assert!(driver.writer.seal().is_some());
    driver.writer.on_written(write.ticket);
    assert!(
        driver
            .writer
            .failure()
            .expect("a bug")
            .contains("is not on its way")
    );
}

#[test]
fn what_the_first_segment_can_not_hold_waits_for_the_second() {
    let config = LogConfig {
        founding_segment_bytes: 80 << 10,
        first_segment_bytes: 128 << 10,
        frame_bytes_max: 100 << 10,
        ..small()
    };
    let mut driver = Driver::new(&config);
    assert_eq!(driver.writer.statistics().segment_bytes, 80 << 10);
    assert!(
        driver.entry(1, vec![1; 300]),
        "small ones are taken at once"
    );
    assert!(driver.writer.room() < 90_000);
    assert!(!driver.entry(1, vec![1; 90_000]));
    driver.commit();
    driver.run_jobs();
    assert!(driver.writer.room() > 60_000);
    assert!(driver.entry(1, vec![1; 90_000]));
    driver.commit();
    let statistics = driver.writer.statistics();
    assert_eq!(
        (statistics.segment, statistics.segment_bytes),
        (2, 128 << 10)
    );
    driver.expect_recovered(&mut driver.disk.crash(1), &config, "in the second segment");
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let refused = |config: LogConfig| {
        recover(&mut MemoryDisk::new(), &config, 1, &mut |_| {})
            .expect_err("refused")
            .to_string()
    };
    LogConfig::default().validate().expect("the default");
    assert!(
        refused(LogConfig {
            first_segment_bytes: 5_000,
            ..small()
        })
        .contains("multiples")
    );
    assert!(
        refused(LogConfig {
            founding_segment_bytes: 16 << 10,
            ..small()
        })
        .contains("held back")
    );
    assert!(
        refused(LogConfig {
            frame_bytes_max: 0,
            ..small()
        })
        .contains("largest frame")
    );
    assert!(
        refused(LogConfig {
            frame_bytes_max: 60 << 10,
            ..small()
        })
        .contains("must hold")
    );
    assert!(
        refused(LogConfig {
            segment_bytes: 32 << 10,
            ..small()
        })
        .contains("not be shorter")
    );
}
