//! The bytes on disk: what the schema says, and the same for ever.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::snapshot::{SnapshotHead, SnapshotWriter};
use domp_log::{
    AlignedBuf, Disk, MemoryDisk, RecordKind, recover, run_job, run_write, segment_name,
};
use domp_protocol::generated::log as schema;
use support::{Driver, Owned, small};

#[test]
fn kinds_are_those_of_the_schema() {
    let pairs = [
        (RecordKind::Entry, schema::RecordKind::entry),
        (RecordKind::HardState, schema::RecordKind::hard_state),
        (RecordKind::Drop, schema::RecordKind::drop),
        (RecordKind::ConfChange, schema::RecordKind::conf_change),
    ];
    assert_eq!(pairs.len() + 1, schema::RecordKind::ENUM_VALUES.len());
    for (ours, theirs) in pairs {
        assert_eq!(ours as u8, theirs.0);
        assert_eq!(Some(ours.name()), theirs.variant_name());
        assert_eq!(RecordKind::from_number(theirs.0), Some(ours));
    }
    assert_eq!(RecordKind::from_number(0), None);
}

/// The payload of a segment's first frame: found by trying, since it is whitened with a pattern that only
/// the log knows; a frame of zeros shows the pattern.
fn first_payload(records: &[Owned]) -> Vec<u8> {
    let raw = |records: &[Owned]| {
        let mut driver = Driver::new(&small());
        for record in records {
            driver.append(record.clone());
        }
        driver.commit();
        driver.disk.contents(&segment_name(1)).expect("it exists")[4_096 + 512..][..2_048].to_vec()
    };
    let zeros = raw(&[Owned::entry(0, 0, 0, vec![0; 2_400])]);
    let bytes = raw(records);
    // The first record's header is not zero, but the body behind it is.
    bytes
        .iter()
        .zip(&zeros)
        .map(|(one, other)| one ^ other)
        .collect()
}

#[test]
fn a_record_is_laid_out_as_the_schema_says() {
    // Behind a record of 104 bytes, in bytes that were zero in the frame of zeros.
    let first = Owned::entry(0, 0, 0, vec![0; 64]);
    let record = Owned::entry(0x0102_0304_0506_0708, 77, 9, b"hello".to_vec());
    let payload = first_payload(&[first, record]);
    let at = 104;
    let header: [u8; 40] = payload[at..at + 40]
        .try_into()
        .expect("forty bytes were taken");
    let fields = schema::RecordHeader(header);
    assert_eq!(
        (fields.group(), fields.index(), fields.term()),
        (0x0102_0304_0506_0708, 77, 9)
    );
    assert_eq!(
        (fields.length(), fields.kind()),
        (5, schema::RecordKind::entry.0)
    );
    assert_eq!(
        (fields.reserved0(), fields.reserved1(), fields.reserved2()),
        (0, 0, 0)
    );
    assert_eq!(&payload[at + 40..at + 48], b"hello\0\0\0");
    let mut plain = header;
    plain[28..32].fill(0);
    assert_eq!(
        fields.crc32c(),
        crc32c::crc32c_append(crc32c::crc32c(&plain), b"hello")
    );
}

/// What a fixed run leaves on the disk, as one number a file.
fn golden_files() -> Vec<(String, u64)> {
    let mut driver = Driver::new(&small());
    driver.run_jobs();
    for round in 0..12_u64 {
        driver.entry(
            round % 3,
            vec![round as u8; usize::try_from(round * 901).expect("small")],
        );
        driver.hard_state(round % 3, round);
        driver.commit();
        if round % 4 == 3 {
            driver.mark();
        }
    }
    driver.drop_group(1);
    driver.commit();
    let head = SnapshotHead {
        group: 2,
        index: 4,
        term: 1,
        revision: 99,
        lease_ms: 1_000,
        voters: vec![1],
        learners: vec![2, 3],
    };
    let mut writer = SnapshotWriter::new(&head, 7);
    writer.push_slice(b"a slice").expect("small");
    writer.push_slice(&[5; 9_000]).expect("small");
    writer.end();
    while writer.outcome().is_none() {
        let job = writer.take_job().expect("not over yet");
        writer.on_job(&run_job(&mut driver.disk, &job));
    }
    let files = driver.disk.list().expect("no faults");
    let digest = |name: &str| {
        let bytes = driver.disk.contents(name).expect("it exists");
        xxhash_rust::xxh3::xxh3_64(&bytes)
    };
    files
        .iter()
        .map(|file| (file.name.clone(), digest(&file.name)))
        .collect()
}

#[test]
fn the_bytes_are_the_same_for_ever() {
    // Files written by one release are read by all later ones. A change here is a new format version.
    let want = [
        (
            "snap/0000000002-00000000000000000004.snap",
            17_991_163_318_305_606_858,
        ),
        ("wal/0000000001.log", 13_819_106_210_403_531_237),
        ("wal/0000000002.log", 11_327_081_678_358_222_464),
    ];
    let found = golden_files();
    let found: Vec<(&str, u64)> = found
        .iter()
        .map(|(name, digest)| (&name[..], *digest))
        .collect();
    assert_eq!(found, want);
}

#[test]
fn an_unknown_version_is_refused_not_repaired() {
    let mut driver = Driver::new(&small());
    driver.entry(1, vec![1; 10]);
    driver.commit();
    let mut block = driver.disk.contents(&segment_name(1)).expect("it exists")[..4_096].to_vec();
    for copy in [0, 2_048] {
        block[copy + 8] = 2;
        let crc = crc32c::crc32c(&block[copy..copy + 2_044]);
        block[copy + 2_044..copy + 2_048].copy_from_slice(&crc.to_le_bytes());
    }
    driver.disk.overwrite(&segment_name(1), 0, &block);
    let before = driver.disk.contents(&segment_name(1));
    let error = recover(&mut driver.disk, &small(), 1, &mut |_| {}).expect_err("refused");
    assert!(error.to_string().contains("format version 2"), "{error}");
    assert_eq!(driver.disk.contents(&segment_name(1)), before);
}

#[test]
fn a_group_commit_is_one_aligned_write() {
    let mut driver = Driver::new(&small());
    for group in 0..60 {
        driver.entry(group, vec![1; 20]);
    }
    let write = driver.writer.seal().expect("entries");
    assert!(write.rest.is_empty());
    let bytes: &AlignedBuf = &write.first.bytes;
    assert_eq!((write.first.offset, bytes.len() % 4_096), (4_096, 0));
    // 60 records of 64 bytes, header and checksums: two blocks, and more groups than a header lists.
    assert_eq!(bytes.len(), 8_192);
    run_write(&mut driver.disk, &write).expect("no faults");
    let mut disk: MemoryDisk = driver.disk.clone();
    disk.flip_bit(&write.first.file, 4_096 + 700, 0);
    let report = recover(&mut disk, &small(), 1, &mut |_| {})
        .expect("no faults")
        .report;
    assert!(
        report.is_all_damaged(),
        "who was in the frame cannot be told: {report:?}"
    );
    driver.writer.on_written(write.ticket);
    driver.writer.recycle(write);
    for group in 0..45 {
        driver.entry(group, vec![1; 20]);
    }
    let write = driver.writer.seal().expect("entries");
    run_write(&mut driver.disk, &write).expect("no faults");
    driver
        .disk
        .flip_bit(&write.first.file, write.first.offset + 700, 0);
    let report = recover(&mut driver.disk, &small(), 1, &mut |_| {})
        .expect("no faults")
        .report;
    assert!(
        !report.is_all_damaged() && report.is_damaged(0) && !report.is_damaged(45),
        "{report:?}"
    );
}
