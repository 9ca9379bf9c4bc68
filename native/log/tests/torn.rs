//! A write cut short is cut away, wherever it was cut, and nothing acknowledged goes with it.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::{LogWrite, MemoryDisk, Report, recover, run_write};
use support::{Draw, Driver, Owned, gather, recycled, roomy};

/// A log with some acknowledged commits, and one more that is only built.
struct Case {
    driver: Driver,
    write: LogWrite,
    /// What a start finds without that commit, and with it.
    before: Vec<Owned>,
    after: Vec<Owned>,
}

/// In a segment that was made of zeros.
fn case(bodies: &[usize]) -> Case {
    let mut driver = Driver::new(&roomy());
    driver.run_jobs();
    case_of(driver, bodies)
}

/// In either kind of segment.
fn cases(bodies: &[usize]) -> [Case; 2] {
    [case(bodies), case_of(recycled(), bodies)]
}

fn case_of(mut driver: Driver, bodies: &[usize]) -> Case {
    for group in 0..3 {
        driver.entry(group, vec![group as u8; 700]);
        driver.commit();
    }
    let (_, before) = recovered(&mut driver.disk.clone());
    let appended = driver.appended.len();
    for &len in bodies {
        driver.entry(1, vec![0; len]);
    }
    let write = driver.writer.seal().expect("entries were appended");
    let after = [&before, &driver.appended[appended..]].concat();
    Case {
        driver,
        write,
        before,
        after,
    }
}

fn recovered(disk: &mut MemoryDisk) -> (Report, Vec<Owned>) {
    let mut found = Vec::new();
    let recovery = recover(disk, &roomy(), 1, &mut gather(&mut found)).expect("no faults");
    (recovery.report, found)
}

/// The disk with only those bytes of the commit's first part that `kept` says, and between them what was
/// there before.
fn partly(case: &Case, kept: impl Fn(usize) -> bool) -> MemoryDisk {
    let mut disk = case.driver.disk.clone();
    let part = &case.write.first;
    let mut bytes = part.bytes.as_slice().to_vec();
    let before = disk.contents(&part.file).expect("the segment");
    let before = &before[usize::try_from(part.offset).expect("small")..];
    for (at, (byte, before)) in bytes.iter_mut().zip(before).enumerate() {
        if !kept(at) {
            *byte = *before;
        }
    }
    assert!(disk.overwrite(&part.file, part.offset, &bytes));
    disk
}

#[test]
fn a_tail_torn_at_every_byte() {
    for bodies in [&[9_000][..], &[20], &[3_500], &[300, 300, 300]] {
        for case in cases(bodies) {
            torn_at_every_byte(&case);
        }
    }
}

fn torn_at_every_byte(case: &Case) {
    let len = case.write.first.bytes.len();
    assert!(case.write.rest.is_empty());
    for kept in 0..len {
        let mut disk = partly(case, |at| at < kept);
        let (report, found) = recovered(&mut disk);
        assert!(found == case.before, "{kept} of {len} bytes");
        // Disks write sectors whole. One that is cut off still ends as before, unless in the middle of
        // its tag: then it may be anything.
        let in_tag = kept % 512 > 504;
        assert!(
            report.damage.is_empty() || in_tag,
            "{kept} of {len} bytes: {report:?}"
        );
        if !in_tag {
            assert_eq!(
                report.torn.is_some(),
                kept >= 512,
                "{kept} of {len} bytes: {report:?}"
            );
        }
    }
    let (report, found) = recovered(&mut partly(case, |_| true));
    assert!(report.torn.is_none() && report.damage.is_empty());
    assert!(found == case.after);
}

#[test]
fn every_choice_of_blocks_and_many_of_sectors() {
    for case in cases(&[9_000, 4_000]) {
        choose(&case);
    }
}

fn choose(case: &Case) {
    let len = case.write.first.bytes.len();
    let blocks = len / 4096;
    assert!(blocks >= 4);
    for choice in 0..1_u32 << blocks {
        check_choice(
            case,
            |at| choice >> (at / 4096) & 1 == 1,
            choice + 1 == 1 << blocks,
        );
    }
    let mut draw = Draw(7);
    for round in 0..4_000 {
        let sectors = len / 512;
        let rare = 1 + draw.below(8);
        let missing: Vec<bool> = (0..sectors).map(|_| draw.below(rare * 4) == 0).collect();
        let whole = !missing.contains(&true);
        check_choice(case, |at| !missing[at / 512], whole);
        // Each single sector, too.
        let single = round % sectors;
        check_choice(case, |at| at / 512 != single, false);
    }
}

fn check_choice(case: &Case, kept: impl Fn(usize) -> bool, whole: bool) {
    let len = case.write.first.bytes.len();
    let nothing = (0..len).all(|at| !kept(at));
    let mut disk = partly(case, kept);
    let (report, found) = recovered(&mut disk);
    assert!(report.damage.is_empty(), "{report:?}");
    assert_eq!(report.torn.is_some(), !whole && !nothing, "{report:?}");
    assert!(
        found
            == if whole {
                &case.after[..]
            } else {
                &case.before[..]
            }
    );
}

#[test]
fn a_torn_frame_before_a_whole_one_of_the_same_commit_takes_it_along() {
    // Two frames in one write: the first torn, the second whole.
    let case = case(&[20_000, 20_000]);
    let len = case.write.first.bytes.len();
    assert!(len > 40_000);
    let mut disk = partly(&case, |at| at / 4096 != 2);
    let (report, found) = recovered(&mut disk);
    let torn = report.torn.expect("the first frame lacks a block");
    assert_eq!((torn.sequence, torn.bytes), (5, len as u64));
    assert!(found == case.before);
    // Its bytes are gone from the disk, so that they cannot come back behind a shorter frame.
    let bytes = disk.contents(&case.write.first.file).expect("the segment");
    let at = usize::try_from(case.write.first.offset).expect("small");
    assert!(bytes[at..].iter().all(|&byte| byte == 0));
    // With the header missing, too.
    let mut disk = partly(&case, |at| at >= 512);
    let (report, found) = recovered(&mut disk);
    assert!(report.torn.is_some() && report.damage.is_empty());
    assert!(found == case.before);
}

#[test]
fn the_log_goes_on_where_it_was_cut() {
    for case in cases(&[9_000]) {
        for kept in [1, 512, 600, 4_096, 5_000, 8_192] {
            let disk = partly(&case, |at| at < kept);
            let mut driver = Driver::log_alone(disk, &roomy());
            assert!(driver.appended == case.before);
            driver.entry(1, vec![3; 10]);
            driver.commit();
            driver.mark();
            driver.expect_recovered(&mut driver.disk.crash(kept as u64), &roomy(), "after a cut");
        }
    }
}

#[test]
fn a_commit_over_a_seal_torn_in_either_part() {
    let config = roomy();
    let mut driver = Driver::new(&config);
    driver.run_jobs();
    for _ in 0..6 {
        driver.entry(1, vec![1; 10_000]);
        driver.commit();
    }
    let before = driver.appended.len();
    for _ in 0..4 {
        assert!(driver.entry(2, vec![2; 20_000]));
    }
    let write = driver.writer.seal().expect("entries were appended");
    assert_eq!(write.rest.len(), 1);
    let first_end = driver.appended.len();
    for seed in 0..400 {
        // The crash comes while the first part is on its way, or the second.
        let mut disk = driver.disk.clone();
        let operations = disk.operations();
        let in_first = seed % 2 == 0;
        disk.crash_after(operations + if in_first { 1 } else { 3 });
        run_write(&mut disk, &write).expect_err("crashed");
        let (report, found) = recovered(&mut disk.crash(seed));
        assert!(report.damage.is_empty(), "seed {seed}: {report:?}");
        assert!(
            found.len() >= before && driver.appended[..first_end].starts_with(&found),
            "seed {seed}"
        );
        if !in_first {
            assert!(
                found.len() > before,
                "seed {seed}: the first part was durable"
            );
        }
    }
    run_write(&mut driver.disk, &write).expect("no faults");
    let (report, found) = recovered(&mut driver.disk.clone());
    assert!(report.torn.is_none() && found == driver.appended);
}
