//! Crashes after every operation of the disk, and crashes while recovering from them.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::{LogConfig, MemoryDisk, Tear, open, recover};
use support::{Draw, Driver, drawn, recycling, small};

/// Runs a scenario until its end or the first failure of the disk.
fn scenario(seed: u64, steps: u64, config: &LogConfig, crash_after: Option<u64>) -> Option<Driver> {
    let mut disk = MemoryDisk::new();
    if let Some(operation) = crash_after {
        disk.crash_after(operation);
    }
    let mut driver = Driver::on(disk, config)?;
    let mut draw = Draw(seed);
    for _ in 0..steps {
        driver.step(&mut draw, 4);
        if driver.error.is_some() || driver.disk.is_crashed() {
            break;
        }
    }
    Some(driver)
}

/// Crash, recover, go on, crash again.
fn check_crash(driver: &Driver, seed: u64, config: &LogConfig, what: &str) {
    let image = driver.disk.crash(seed);
    let mut first = image.clone();
    let (recovery, found) = driver.expect_recovered(&mut first, config, what);
    drop(recovery);
    // Recovering again, from the disk as the first time left it, finds the same and cuts nothing more.
    let mut again = first.crash_torn(seed, Tear::All);
    let (recovery, same) = driver.expect_recovered(&mut again, config, what);
    assert!(
        recovery.report.torn.is_none(),
        "{what}: cut twice: {:?}",
        recovery.report
    );
    // The first time may have removed segments that were no longer needed.
    assert!(found.ends_with(&same), "{what}: recovering twice differs");
    drop(recovery);
    // So does recovering after a crash in the middle of recovering.
    let operations = first.operations() - image.operations();
    for operation in 0..operations {
        let mut disk = image.clone();
        disk.crash_after(disk.operations() + operation);
        assert!(
            recover(&mut disk, config, 44, &mut |_| {}).is_err(),
            "{what}: it crashed"
        );
        let mut disk = disk.crash(seed.wrapping_add(operation));
        let (_, same) = driver.expect_recovered(&mut disk, config, what);
        let counts = (found.len(), same.len());
        assert!(
            found.ends_with(&same),
            "{what}, and at {operation} of recovery: {counts:?}"
        );
    }
    // And the log goes on from there.
    let mut more = Driver::log_alone(again, config);
    more.lives = driver.lives.clone();
    let mut draw = Draw(seed ^ 0xabc);
    for _ in 0..30 {
        more.step(&mut draw, 4);
    }
    more.commit();
    more.expect_recovered(
        &mut more.disk.crash(seed),
        config,
        &format!("{what}, then went on"),
    );
}

#[test]
fn crash_after_every_operation_of_long_scenarios() {
    let config = recycling();
    let (mut crashes, mut reused) = (0, 0);
    for seed in 0..4 {
        let whole = scenario(seed, 500, &config, None).expect("no faults");
        assert!(whole.error.is_none() && whole.writer.statistics().segment > 3);
        reused += whole.reused;
        let operations = whole.disk.operations();
        for operation in 0..operations {
            let what = format!("seed {seed}, crash after operation {operation}");
            let Some(driver) = scenario(seed, 500, &config, Some(operation)) else {
                // The log did not come into being; the next try makes it.
                continue;
            };
            assert!(
                driver.disk.is_crashed() || operation + 1 >= operations,
                "{what}"
            );
            for tear in 0..3 {
                check_crash(&driver, operation * 16 + tear, &config, &what);
                crashes += 1;
            }
        }
    }
    assert!(crashes > 1_000, "{crashes} crashes");
    assert!(reused > 4, "{reused} segments were made of others");
}

#[test]
fn what_recovery_found_after_a_kill_survives_the_power_loss_behind_it() {
    let config = small();
    let mut more_than_durable = 0;
    let whole = scenario(3, 300, &config, None).expect("no faults");
    for operation in 0..whole.disk.operations() {
        let what = format!("killed after operation {operation}");
        let Some(driver) = scenario(3, 300, &config, Some(operation)) else {
            continue;
        };
        let mut disk = driver.disk.kill();
        let (recovery, found) = driver.expect_recovered(&mut disk, &config, &what);
        drop(recovery);
        // What it found may be acted upon at once: it must not be in memory only.
        let (_, same) = driver.expect_recovered(&mut disk.crash_torn(1, Tear::All), &config, &what);
        let counts = (found.len(), same.len());
        assert!(found.ends_with(&same), "{what}: {counts:?}");
        let end = |records: &[support::Owned]| records.last().cloned();
        assert!(end(&found) == end(&same), "{what}: {counts:?}");
        let mut lost = driver.disk.crash_torn(1, Tear::All);
        let (_, durable) = driver.expect_recovered(&mut lost, &config, &what);
        more_than_durable += u32::from(end(&durable) != end(&found));
    }
    assert!(more_than_durable > 20, "{more_than_durable}");
}

#[test]
fn a_crash_while_the_log_comes_into_being_leaves_an_empty_log() {
    let config = small();
    let operations = Driver::new(&config).disk.operations();
    assert!(operations >= 5);
    for operation in 0..operations {
        for seed in 0..50 {
            let mut disk = MemoryDisk::new();
            disk.crash_after(operation);
            assert!(Driver::on(disk.clone(), &config).is_none());
            open(&mut disk, &config, &drawn(1), &mut |_| {}).expect_err("crashed");
            let mut driver = Driver::on(disk.crash(seed), &config).expect("no faults");
            assert!(driver.appended.is_empty());
            assert!(driver.entry(1, vec![1; 100]));
            driver.commit();
            driver.expect_recovered(&mut driver.disk.crash(seed), &config, "first entry");
        }
    }
}

#[test]
fn ten_thousand_small_scenarios() {
    let config = small();
    let mut torn = 0;
    for seed in 0..10_000 {
        let mut draw = Draw(seed);
        let steps = 20 + draw.below(120);
        let whole = 10 + draw.below(90);
        let driver = scenario(seed, steps, &config, Some(whole));
        let Some(driver) = driver else { continue };
        let what = format!("seed {seed}");
        let mut disk = driver.disk.crash(draw.next());
        let (recovery, _) = driver.expect_recovered(&mut disk, &config, &what);
        torn += u64::from(recovery.report.torn.is_some());
        let mut disk = disk.crash(draw.next());
        let (recovery, _) = driver.expect_recovered(&mut disk, &config, &what);
        assert!(recovery.report.torn.is_none(), "{what}");
    }
    assert!(torn > 300, "only {torn} torn ends were met");
}

#[test]
fn same_seed_same_bytes() {
    let config = small();
    let bytes = |seed| {
        let mut driver = scenario(seed, 400, &config, None).expect("no faults");
        let files = domp_log::Disk::list(&mut driver.disk).expect("no faults");
        files
            .into_iter()
            .map(|file| (driver.disk.contents(&file.name), file))
            .collect::<Vec<_>>()
    };
    assert!(bytes(5) == bytes(5));
    assert!(bytes(5) != bytes(6));
}
