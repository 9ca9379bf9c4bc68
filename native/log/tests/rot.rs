//! Rot is found: never served, never cut away as if it were torn.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use std::collections::BTreeSet;

use domp_log::{
    DamagedGroups, Disk, Fault, MemoryDisk, NODE_GROUP, Report, Tear, recover, run_job, run_write,
    segment_name,
};
use support::{Draw, Driver, Owned, gather, recycled, replay, roomy};

fn recovered(disk: &mut MemoryDisk) -> (Report, Vec<Owned>) {
    let mut found = Vec::new();
    let recovery = recover(disk, &roomy(), 1, &mut gather(&mut found)).expect("no faults");
    assert_eq!(
        recovery.writer.failure().is_some(),
        recovery.report.is_all_damaged()
    );
    (recovery.report, found)
}

/// A written frame, one commit each.
struct Written {
    offset: u64,
    len: u64,
    group: u64,
}

/// One segment with commits of different sizes, each of another group; the last is data or a mark.
fn log(mark: bool) -> (Driver, Vec<Written>) {
    // The node's start.
    let start = Written {
        offset: 4_096,
        len: 4_096,
        group: NODE_GROUP,
    };
    let (driver, mut written) = written_to(Driver::new(&roomy()), mark);
    written.insert(0, start);
    (driver, written)
}

/// The same behind what the log holds.
fn written_to(mut driver: Driver, mark: bool) -> (Driver, Vec<Written>) {
    let mut written = Vec::new();
    for (group, len) in [
        (1, 50),
        (2, 4_500),
        (3, 0),
        (4, 13_000),
        (5, 3_900),
        (6, 900),
    ] {
        driver.entry(group, vec![group as u8; len]);
        driver.hard_state(group, group);
        let write = driver.writer.seal().expect("two records");
        run_write(&mut driver.disk, &write).expect("no faults");
        driver.writer.on_written(write.ticket);
        written.push(Written {
            offset: write.first.offset,
            len: write.bytes(),
            group,
        });
        driver.acked = driver.appended.len();
    }
    if mark {
        assert!(driver.mark());
        assert!(!driver.mark(), "it is said already");
    }
    (driver, written)
}

#[test]
fn a_bit_flipped_in_any_byte() {
    for mark in [true, false] {
        let (driver, written) = log(mark);
        flipped_in_any_byte(&driver, &written, 0, mark, 4);
    }
}

#[test]
fn a_bit_flipped_in_any_byte_of_a_segment_that_was_another() {
    for mark in [true, false] {
        let (driver, written) = written_to(recycled(), mark);
        let from = written[0].offset;
        flipped_in_any_byte(&driver, &written, from, mark, 3);
    }
}

/// Flips a bit in each byte from `from` on; `regions`: how many kinds of places that meets.
fn flipped_in_any_byte(
    driver: &Driver,
    written: &[Written],
    from: u64,
    mark: bool,
    regions_met: usize,
) {
    let present = driver.writer.statistics();
    let file = segment_name(present.segment);
    let used = present.segment_used_bytes;
    let (_, whole) = recovered(&mut driver.disk.clone());
    let mut regions = BTreeSet::new();
    for offset in from..(used + 9_000).min(present.segment_bytes) {
        let mut disk = driver.disk.clone();
        assert!(disk.flip_bit(&file, offset, (offset % 8) as u32));
        let (report, found) = recovered(&mut disk);
        let what = format!("byte {offset} of {used}, mark {mark}: {report:?}");
        let hit = written
            .iter()
            .find(|frame| (frame.offset..frame.offset + frame.len).contains(&offset));
        let expected = match hit {
            // The file header has a second copy.
            None if offset < 4_096 => {
                assert_eq!(report.notes.len(), 1, "{what}");
                regions.insert("file header");
                None
            }
            None if offset >= used => {
                // Of a sector that was not written only the tag counts.
                assert_eq!(report.torn.is_some(), offset % 512 >= 504, "{what}");
                regions.insert("unused");
                None
            }
            // The mark: the rest of it than the header concerns no group.
            None if offset % 4_096 >= 512 => Some(DamagedGroups::Listed(Vec::new())),
            None => Some(DamagedGroups::All),
            Some(frame) if offset < frame.offset + 512 => {
                regions.insert("frame header");
                Some(DamagedGroups::All)
            }
            Some(frame) => {
                regions.insert("frame body");
                Some(DamagedGroups::Listed(vec![frame.group]))
            }
        };
        let Some(groups) = expected else {
            assert!(report.damage.is_empty() && found == whole, "{what}");
            continue;
        };
        assert!(report.torn.is_none(), "{what}");
        assert_eq!(report.damage.len(), 1, "{what}");
        assert_eq!(report.damage[0].groups, groups, "{what}");
        let at = hit.map_or(used - 4_096, |frame| frame.offset);
        assert_eq!(
            (&report.damage[0].file, report.damage[0].offset),
            (&file, at),
            "{what}"
        );
        let survivors = whole
            .iter()
            .filter(|record| Some(record.group) != hit.map(|frame| frame.group));
        assert!(found.iter().eq(survivors), "{what}");
    }
    assert_eq!(regions.len(), regions_met);
}

#[test]
fn the_file_is_left_as_it_is_and_healthy_groups_go_on() {
    let (driver, written) = log(true);
    let mut disk = driver.disk.clone();
    disk.flip_bit(&segment_name(1), written[2].offset + 2_000, 3);
    let bytes = disk.contents(&segment_name(1));
    let (report, _) = recovered(&mut disk);
    assert!(report.is_damaged(2) && !report.is_damaged(1) && !report.is_all_damaged());
    assert_eq!(disk.contents(&segment_name(1)), bytes);
    // Damage to all keeps every file, even those a healthy log would remove.
    let mut disk = driver.disk.clone();
    disk.flip_bit(&segment_name(1), written[2].offset, 3);
    disk.create("wal/0000000002.tmp", 4096).expect("no faults");
    let files = disk.list().expect("no faults");
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged());
    assert_eq!(disk.list().expect("no faults"), files);
    // A healthy group is written, and read back beside the damage.
    let mut disk = driver.disk.clone();
    disk.flip_bit(&segment_name(1), written[2].offset + 2_000, 3);
    let mut writer = recover(&mut disk, &roomy(), 1, &mut |_| {})
        .expect("no faults")
        .writer;
    let fresh = Owned::entry(1, 2, 1, vec![8; 100]);
    writer.append(&fresh.record()).expect("room");
    let write = writer.seal().expect("a record");
    run_write(&mut disk, &write).expect("no faults");
    writer.on_written(write.ticket);
    let (report, found) = recovered(&mut disk);
    assert!(report.is_damaged(2) && !report.is_damaged(1));
    assert_eq!(found.last(), Some(&fresh));
    // Dropping the damaged group ends its damage.
    let drop = Owned::drop(2);
    writer.append(&drop.record()).expect("room");
    let write = writer.seal().expect("a record");
    run_write(&mut disk, &write).expect("no faults");
    let (report, _) = recovered(&mut disk);
    assert!(!report.is_damaged(2), "{report:?}");
}

#[test]
fn a_lost_write_is_found_once_something_follows_it() {
    let (mut driver, _) = log(true);
    driver.disk.inject_next(Fault::Lose);
    driver.entry(1, vec![1; 5_000]);
    driver.commit();
    // On one disk alone, the loss of the very last write cannot be told from a write that never was.
    let (report, found) = recovered(&mut driver.disk.crash_torn(1, Tear::All));
    assert!(report.damage.is_empty() && found.len() + 1 == driver.appended.len());
    // A mark is enough to tell.
    let mut marked = driver.disk.clone();
    let mark = driver.writer.idle_mark().expect("something to say");
    run_write(&mut marked, &mark).expect("no faults");
    let (report, _) = recovered(&mut marked.crash_torn(1, Tear::All));
    assert!(
        report.is_all_damaged() && report.torn.is_none(),
        "{report:?}"
    );
}

#[test]
fn a_lie_about_a_flush_is_found_once_something_follows_it() {
    let (mut driver, _) = log(true);
    driver.disk.inject(driver.disk.operations() + 2, Fault::Lie);
    driver.entry(1, vec![1; 5_000]);
    driver.commit();
    let lied = driver.disk.crash_torn(1, Tear::All);
    let mark = driver.writer.idle_mark().expect("something to say");
    // Only the mark's block gets to the disk.
    let mut disk = lied;
    disk.write_durable(&mark.first.file, mark.first.offset, &mark.first.bytes)
        .expect("no faults");
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged(), "{report:?}");
}

#[test]
fn a_frame_that_a_lost_cut_left_behind_is_not_taken_for_the_next() {
    // Two frames in one commit, the first torn: both are cut, but the zeros never reach the disk.
    let (mut driver, _) = log(true);
    driver.run_jobs();
    driver.entry(7, vec![1; 20_000]);
    driver.entry(7, vec![2; 20_000]);
    let write = driver.writer.seal().expect("two entries");
    let mut disk = driver.disk.clone();
    let mut bytes = write.first.bytes.as_slice().to_vec();
    bytes[8_192..12_288].fill(0);
    disk.overwrite(&write.first.file, write.first.offset, &bytes);
    // Operations of recovery: the directory's sync, then the zeros.
    disk.inject(disk.operations() + 2, Fault::Lose);
    let mut writer = recover(&mut disk, &roomy(), 1, &mut |_| {})
        .expect("no faults")
        .writer;
    assert_eq!(disk.fault_counts().lost, 1);
    // A new frame of the first one's length stands right before the old second one.
    let fresh = Owned::entry(8, 1, 1, vec![3; 20_000]);
    writer.append(&fresh.record()).expect("room");
    let write = writer.seal().expect("an entry");
    run_write(&mut disk, &write).expect("no faults");
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged(), "{report:?}");
    assert!(
        report.damage[0].what.contains("does not follow"),
        "{report:?}"
    );
}

#[test]
fn a_misdirected_write_is_found() {
    for blocks in [-13, -12, -9, -3, -2, -1, 1, 2, 5] {
        let (mut driver, _) = log(true);
        driver.disk.inject_next(Fault::Misdirect { blocks });
        driver.entry(7, vec![1; 5_000]);
        driver.commit();
        driver.entry(8, vec![1; 100]);
        driver.commit();
        assert_eq!(driver.disk.fault_counts().misdirected, 1);
        let (report, _) = recovered(&mut driver.disk.clone());
        assert!(
            report.is_all_damaged() && report.torn.is_none(),
            "{blocks}: {report:?}"
        );
    }
}

/// A marked log over several segments.
fn long_log(seed: u64) -> Driver {
    let mut driver = Driver::new(&roomy());
    let mut draw = Draw(seed);
    driver.run_jobs();
    while driver.writer.statistics().segment < 3 {
        for _ in 0..draw.below(4) {
            let group = 1 + draw.below(6);
            let body = support::body(&mut draw);
            driver.entry(group, body);
        }
        driver.commit();
        driver.run_jobs();
    }
    driver.mark();
    driver
}

/// Each group either is said to be damaged, or has all its records.
fn expect_honest(driver: &Driver, disk: &mut MemoryDisk, what: &str) -> Report {
    let (report, found) = recovered(disk);
    let want = replay(&driver.appended);
    let got = replay(&found);
    for (group, state) in &want {
        assert!(
            report.is_damaged(*group) || got.get(group) == Some(state),
            "{what}: group {group} lost something in silence: {report:?}"
        );
    }
    report
}

#[test]
fn rot_of_any_kind_anywhere_is_never_silent() {
    let mut damaged = 0;
    for seed in 0..3_000_u64 {
        let driver = long_log(seed % 7);
        let mut draw = Draw(seed);
        let mut disk = driver.disk.clone();
        let segment = 1 + draw.below(3);
        let file = segment_name(segment);
        let len = disk.file_len(&file).expect("it exists");
        let used = if segment == 3 {
            driver.writer.statistics().segment_used_bytes
        } else {
            len
        };
        let block = draw.below(used / 4096) * 4096;
        // The last frame is the mark: with it alone gone, nothing is.
        let what = match draw.below(7) {
            0 => {
                disk.overwrite(&file, block, &[0; 4096]);
                "a block of zeros"
            }
            1 => {
                disk.overwrite(&file, block, &[0xff; 4096]);
                "a block of ones"
            }
            2 => {
                let from = draw.below(used / 4096) * 4096;
                let source = segment_name(1 + draw.below(3));
                let bytes = disk.contents(&source).expect("it exists");
                let from = usize::try_from(from)
                    .expect("small")
                    .min(bytes.len() - 4096);
                disk.overwrite(&file, block, &bytes[from..from + 4096]);
                "a block of another place"
            }
            3 => {
                for _ in 0..3 {
                    disk.flip_bit(&file, block + draw.below(4096), draw.below(8) as u32);
                }
                "flipped bits"
            }
            4 => {
                disk.set_file_len(&file, block);
                "a file cut short"
            }
            5 => {
                disk.delete_file(&file);
                "a file removed"
            }
            _ => {
                let other = segment_name(segment % 3 + 1);
                let bytes = disk.contents(&other).expect("it exists");
                disk.delete_file(&file);
                disk.create(&file, 0).expect("room");
                disk.sync_directory().expect("no faults");
                disk.overwrite(&file, 0, &bytes);
                "a file replaced by another"
            }
        };
        let what = format!("seed {seed}, {what} in {file} at {block}");
        let report = expect_honest(&driver, &mut disk, &what);
        damaged += u32::from(!report.damage.is_empty());
    }
    assert!(damaged > 1_500, "{damaged}");
}

#[test]
fn a_missing_log_beside_snapshots_is_damage_not_a_fresh_start() {
    let mut disk = MemoryDisk::new();
    disk.create(
        "snap/0000000001-00000000000000ab-00000000000000000009.snap",
        4096,
    )
    .expect("room");
    disk.sync_directory().expect("no faults");
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged());
    let (report, _) = recovered(&mut MemoryDisk::new());
    assert_eq!(report, Report::default());
}

#[test]
fn the_oldest_segment_missing_is_found_though_nothing_names_it() {
    let driver = long_log(1);
    let mut disk = driver.disk.clone();
    disk.delete_file(&segment_name(1));
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged());
    assert_eq!(report.damage[0].file, segment_name(1));
    let mut disk = driver.disk.clone();
    disk.delete_file(&segment_name(2));
    let (report, _) = recovered(&mut disk);
    assert!(report.is_all_damaged());
    assert_eq!(report.damage[0].file, segment_name(2), "{report:?}");
}

#[test]
fn values_that_look_like_frames_forge_nothing() {
    // A client stores what it read off a disk of the same make: whole segments, header and all.
    let source = long_log(2);
    let mut driver = Driver::new(&roomy());
    driver.run_jobs();
    let mut rest = &source.disk.contents(&segment_name(1)).expect("it exists")[..];
    while let Some((piece, behind)) = rest.split_at_checked(8_192) {
        driver.entry(1, piece.to_vec());
        driver.commit();
        driver.run_jobs();
        rest = behind;
    }
    // Its own segment, too, as if the salt were known.
    let own = driver.disk.contents(&segment_name(1)).expect("it exists");
    driver.entry(1, own[..16_384].to_vec());
    driver.commit();
    for seed in 0..200 {
        let mut disk = driver.disk.crash(seed);
        driver.expect_recovered(&mut disk, &roomy(), "forged frames");
    }
    // Torn in the middle of it, the bytes behind are no evidence of anything.
    driver.entry(1, own[..16_384].to_vec());
    let write = driver.writer.seal().expect("an entry");
    for seed in 0..200 {
        let mut disk = driver.disk.clone();
        disk.crash_after(disk.operations() + 1);
        run_write(&mut disk, &write).expect_err("crashed");
        driver.expect_recovered(&mut disk.crash(seed), &roomy(), "forged frames, torn");
    }
}

#[test]
fn jobs_report_what_went_wrong() {
    let mut driver = Driver::new(&roomy());
    let job = driver.writer.take_job().expect("the next segment");
    driver
        .disk
        .inject_next(Fault::Fail(std::io::ErrorKind::PermissionDenied));
    let result = run_job(&mut driver.disk, &job);
    assert!(!result.is_full());
    driver.writer.on_job(job.tag(), &result);
    assert!(
        driver
            .writer
            .failure()
            .expect("it failed")
            .contains("preparing segment 2")
    );
}
