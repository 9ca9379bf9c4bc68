//! What `check` and `dump` tell a person.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::{
    CheckReport, Disk, DumpFilter, Founding, MemoryDisk, Severity, Timeline, check, dump,
    segment_name,
};
use support::{Driver, Owned, small, write_snapshot};

const SNAPSHOT_1: &str = "snap/0000000001-00000000000000ab-00000000000000000020.snap";
const SNAPSHOT_2: &str = "snap/0000000002-00000000000000ab-00000000000000000015.snap";

/// Two groups with snapshots, several segments, a mark.
fn healthy() -> Driver {
    let mut driver = Driver::new(&small());
    driver.run_jobs();
    for _ in 0..40 {
        for group in [1, 2] {
            driver.entry(group, vec![1; 1_500]);
            driver.hard_state(group, 1);
        }
        driver.commit();
        driver.run_jobs();
    }
    for (group, index) in [(1, 20), (2, 15)] {
        let (_, name) = write_snapshot(&mut driver, group, index);
        driver.name_real(group, name, 40);
    }
    driver.commit();
    driver.mark();
    driver
}

fn checked(disk: &MemoryDisk) -> CheckReport {
    let mut disk = disk.clone();
    let before = disk.operations();
    let report = check(&mut disk, &()).expect("no faults");
    assert_eq!(disk.operations(), before, "check changes nothing");
    report
}

fn json(report: &CheckReport) -> String {
    serde_json::to_string(report).expect("all names are text")
}

#[test]
fn a_healthy_directory() {
    let driver = healthy();
    let report = checked(&driver.disk);
    assert!(
        report.is_healthy() && report.findings.is_empty(),
        "{report}"
    );
    // Beside the groups' own: a start, and what each later segment begins with.
    let of_node = report.segments.len() as u64;
    assert_eq!(report.records, 162 + of_node);
    assert_eq!(report.groups.len(), 2);
    let group = &report.groups[0];
    assert!(group.served && group.hard_state && !group.dropped);
    assert_eq!(
        (
            group.group,
            group.first_index,
            group.last_index,
            group.entries
        ),
        (1, 1, 40, 40)
    );
    assert_eq!(
        (group.snapshot, report.groups[1].snapshot),
        (Some(20), Some(15))
    );
    assert_eq!(report.snapshots.len(), 2);
    assert!(
        report
            .snapshots
            .iter()
            .all(|snapshot| snapshot.good && snapshot.slices == 1)
    );
    assert_eq!(
        report
            .segments
            .iter()
            .map(|segment| segment.records)
            .sum::<u64>(),
        report.records
    );
    let text = report.to_string();
    assert!(
        text.contains("group 1: snapshot at 20, entries 1 to 40 in the log\n"),
        "{text}"
    );
    assert!(
        text.contains("healthy: all that was acknowledged is there"),
        "{text}"
    );
    let json = json(&report);
    assert!(json.starts_with("{\"healthy\":true,"), "{json}");
    let group = "\"group\":\"1\",\"replica\":\"00000000000000ab\",\"served\":true";
    assert!(json.contains(group), "{json}");
    let empty = checked(&MemoryDisk::new());
    assert!(empty.is_healthy() && empty.groups.is_empty());
}

#[test]
fn a_flipped_bit_is_told_with_place_meaning_and_what_to_do() {
    let driver = healthy();
    let mut disk = driver.disk.clone();
    assert!(disk.flip_bit(&segment_name(1), 8_192 + 600, 2));
    let report = checked(&disk);
    assert!(!report.is_healthy());
    assert_eq!(report.findings.len(), 1, "{report}");
    let finding = &report.findings[0];
    assert_eq!(
        (finding.severity, &finding.file[..]),
        (Severity::Damage, "wal/0000000001.log")
    );
    assert_eq!(finding.offset, 8_192, "the frame's start");
    assert_eq!(
        finding.what,
        "frame 2 was written whole, but of its 2 blocks these are wrong (counted from 0): 0"
    );
    assert!(
        finding.means.contains("groups 1, 2 may be lost"),
        "{}",
        finding.means
    );
    assert!(
        finding.action.contains("keep the file"),
        "{}",
        finding.action
    );
    assert!(report.groups.iter().all(|group| !group.served));
    let text = report.to_string();
    assert!(
        text.contains("NOT served") && text.ends_with("NOT healthy: one damaged place\n"),
        "{text}"
    );
    assert!(json(&report).contains("\"groups\":[\"1\",\"2\"]"));
    // In the header, it concerns all.
    let mut disk = driver.disk.clone();
    assert!(disk.flip_bit(&segment_name(1), 8_192 + 40, 2));
    let report = checked(&disk);
    assert!(json(&report).contains("\"groups\":\"all\""), "{report}");
}

#[test]
fn harmless_finds_are_notes() {
    let driver = healthy();
    let mut disk = driver.disk.clone();
    let prepared = segment_name(driver.writer.statistics().segment + 1);
    let len = disk.file_len(&prepared).expect("it was prepared");
    disk.flip_bit(&prepared, len - 1, 0);
    disk.flip_bit(&segment_name(2), 100, 0);
    disk.create("wal/0000000099.tmp", 4_096).expect("room");
    disk.create("snap/notes.txt", 4_096).expect("room");
    let report = checked(&disk);
    assert!(report.is_healthy(), "{report}");
    let whats: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| &finding.what[..])
        .collect();
    for expected in [
        "not in use",
        "copy of the file header",
        "no longer needed",
        "knows nothing of",
    ] {
        assert!(
            whats.iter().any(|what| what.contains(expected)),
            "{expected}: {whats:?}"
        );
    }
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Note)
    );
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let mut driver = healthy();
    driver.entry(1, vec![1; 9_000]);
    let write = driver.writer.seal().expect("an entry");
    let parts: Vec<_> = write.parts().collect();
    let (last, before) = parts.split_last().expect("at least one");
    for part in before {
        driver
            .disk
            .write_durable(&part.file, part.offset, &part.bytes)
            .expect("no faults");
    }
    let bytes = &last.bytes.as_slice()[..4_096];
    driver.disk.overwrite(&last.file, last.offset, bytes);
    let report = checked(&driver.disk);
    assert!(report.is_healthy());
    assert_eq!(report.findings[0].severity, Severity::Torn);
    assert!(
        report
            .to_string()
            .contains("it was never acknowledged; nothing is lost"),
        "{report}"
    );
}

#[test]
fn damaged_snapshots() {
    let mut driver = healthy();
    // The one named.
    let mut disk = driver.disk.clone();
    disk.flip_bit(SNAPSHOT_1, 9_000, 1);
    let report = checked(&disk);
    assert!(!report.is_healthy());
    assert!(
        !report.groups[0].served && report.groups[1].served,
        "{report}"
    );
    // A newer one that no hard state names yet: what is named makes up for it.
    let (newer, _) = write_snapshot(&mut driver, 1, 30);
    let report = checked(&driver.disk);
    assert!(
        report.is_healthy() && report.groups[0].snapshot == Some(30),
        "{report}"
    );
    let mut disk = driver.disk.clone();
    disk.flip_bit(&newer.file, 9_000, 1);
    let report = checked(&disk);
    assert!(!report.is_healthy());
    assert!(
        report.groups[0].served && report.groups[0].snapshot == Some(20),
        "{report}"
    );
    assert!(
        report.findings[0].what.contains("make up for it"),
        "{report}"
    );
    // One that is not needed: a note.
    let (older, _) = write_snapshot(&mut driver, 2, 10);
    driver.disk.flip_bit(&older.file, 9_000, 1);
    let report = checked(&driver.disk);
    assert!(report.is_healthy(), "{report}");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.what.contains("it is not needed")),
        "{report}"
    );
}

#[test]
fn a_missing_snapshot_is_damage_of_its_group() {
    let mut driver = healthy();
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
    let report = checked(&driver.disk);
    assert!(report.is_healthy(), "{report}");
    assert!(report.groups[0].first_index > 1);
    driver.disk.delete_file(SNAPSHOT_2);
    let report = checked(&driver.disk);
    assert_eq!(
        report.findings[0].what,
        "the snapshot of group 2 at 15 is missing, though its hard state names it"
    );
    assert!(report.groups[0].served && !report.groups[1].served);
}

fn dumped(driver: &Driver, filter: DumpFilter) -> Vec<String> {
    let mut lines = Vec::new();
    dump(
        &mut driver.disk.clone(),
        filter,
        &mut |body, out| {
            out(&String::from_utf8_lossy(body));
            out("as told");
        },
        &mut |line| {
            lines.push(line.to_owned());
        },
    )
    .expect("no faults");
    lines
}

#[test]
fn records_are_listed_with_what_is_said_of_their_bodies() {
    let mut driver = Driver::new(&small());
    let founding = Founding {
        timeline: Timeline {
            counter: 1,
            random: 7,
        },
        index: 1,
        term: 1,
        voters: vec![support::REPLICA],
    };
    let founding = Owned {
        kind: domp_log::RecordKind::Founding,
        ..Owned::entry(4, 0, 0, founding.encode())
    };
    driver.writer.append(&founding.record()).expect("room");
    driver.append(Owned::entry(4, 1, 2, Vec::new()));
    driver.append(Owned::entry(4, 2, 2, b"a body".to_vec()));
    driver.hard_state(4, 2);
    driver.entry(5, b"another".to_vec());
    driver.drop_group(6);
    driver.commit();
    driver.mark();
    let lines = dumped(&driver, DumpFilter::default());
    let want = [
        "wal/0000000001.log (65536 bytes)",
        "  frame 1 at 4096: records, 4096 bytes, 1 records, synced through 0",
        "    node 00000000000000d0 incarnation 1, behind frame 0",
        "  frame 2 at 8192: records, 4096 bytes, 6 records, synced through 1",
        "    group 4/ab founding at 1, timeline 1/00000000000000000000000000000007, 1 voters",
        "    group 4/ab entry 1 of term 2, 0 bytes",
        "    group 4/ab entry 2 of term 2, 6 bytes",
        "      a body",
        "      as told",
        "    group 4/ab hard_state term 2, vote 0, commit 0, snapshot 0, start 0",
        "    group 5/ab entry 1 of term 1, 7 bytes",
        "      another",
        "      as told",
        "    group 6/ab drop",
        "  frame 3 at 12288: mark, 4096 bytes, 0 records, synced through 2",
        "end of the log at 16384 of segment 1",
    ];
    assert_eq!(lines, want);
    let some = dumped(
        &driver,
        DumpFilter {
            group: Some(4),
            from_index: Some(2),
        },
    );
    assert_eq!(
        some.iter()
            .filter(|line| line.starts_with("    group"))
            .count(),
        1
    );
    driver.disk.flip_bit(&segment_name(1), 12_288, 0);
    let lines = dumped(&driver, DumpFilter::default());
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("damage: wal/0000000001.log at 12288")),
        "{lines:?}"
    );
}

#[test]
fn a_last_frame_without_its_header_has_no_number() {
    const BLOCK_BYTES: u64 = 4096;
    let driver = healthy();
    let report = checked(&driver.disk);
    let last = report.segments.last().expect("a segment");
    // Frames begin at blocks, and with their header.
    let damaged = (0..last.used_bytes / BLOCK_BYTES).map(|block| block * BLOCK_BYTES);
    let reports = damaged.map(|offset| {
        let mut disk = driver.disk.clone();
        assert!(disk.flip_bit(&last.file, offset, 0));
        checked(&disk)
    });
    let numberless = reports.filter(|report| report.last_sequence == 0);
    let texts: Vec<String> = numberless.map(|report| report.to_string()).collect();
    assert!(!texts.is_empty());
    for text in texts {
        assert!(!text.contains("the last frame is 0"), "{text}");
        assert!(text.contains("the last frame can't be read"), "{text}");
    }
}
