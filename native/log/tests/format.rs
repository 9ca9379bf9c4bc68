//! The bytes on disk: what the schema says, and the same for ever.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use domp_log::snapshot::{ConfState, SliceKind, SnapshotHead, SnapshotOrigin, SnapshotWriter};
use domp_log::{
    AlignedBuf, Disk, Founding, GroupsList, HardState, Incarnation, MemoryDisk, Position,
    RecordKind, SnapshotName, Timeline, recover, run_job, run_write, segment_name,
};
use domp_protocol::generated::log as schema;
use support::{Driver, Owned, small};

#[test]
fn kinds_are_those_of_the_schema() {
    let pairs = [
        (RecordKind::Entry, schema::RecordKind::entry),
        (RecordKind::HardState, schema::RecordKind::hard_state),
        (RecordKind::Drop, schema::RecordKind::drop),
        (RecordKind::Founding, schema::RecordKind::founding),
        (RecordKind::Groups, schema::RecordKind::groups),
        (RecordKind::Incarnation, schema::RecordKind::incarnation),
    ];
    let reserved = [
        schema::RecordKind::none,
        schema::RecordKind::conf_change,
        schema::RecordKind::heard,
        schema::RecordKind::refused,
    ];
    let all = pairs.len() + reserved.len();
    assert_eq!(all, schema::RecordKind::ENUM_VALUES.len());
    for kind in reserved {
        assert_eq!(RecordKind::from_number(kind.0), None);
    }
    for (ours, theirs) in pairs {
        assert_eq!(ours as u8, theirs.0);
        assert_eq!(Some(ours.name()), theirs.variant_name());
        assert_eq!(RecordKind::from_number(theirs.0), Some(ours));
    }
}

/// The payload of a segment's second frame, behind that of the node's start: put together by what the head of
/// the crate says, not by its code.
fn second_payload(records: &[Owned]) -> Vec<u8> {
    let mut driver = Driver::new(&small());
    for record in records {
        driver.append(record.clone());
    }
    driver.commit();
    let file = driver.disk.contents(&segment_name(1)).expect("it exists");
    let frame = &file[8_192..];
    let field = |at: usize| {
        let bytes = frame[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let (length, bytes) = (field(80), field(84));
    let (blocks, sectors) = (length / 4_096, bytes.div_ceil(512));
    let mut payload = frame[512..][..sectors * 512].to_vec();
    for sector in 0..sectors {
        // The table's words: of the blocks first, then of the sectors; 63 in each sector of its own.
        let word = blocks + sector;
        let at = (1 + sectors + word / 63) * 512 + word % 63 * 8;
        payload[sector * 512 + 504..][..8].copy_from_slice(&frame[at..at + 8]);
    }
    payload.truncate(bytes);
    payload
}

#[test]
fn a_record_is_laid_out_as_the_schema_says() {
    const HEADER_BYTES: usize = size_of::<schema::RecordHeader>();
    assert_eq!(HEADER_BYTES, 48);
    // Behind a record of 480 bytes: it lies across the end of a sector.
    let first = Owned::entry(0, 0, 0, vec![0; 432]);
    let record = Owned::entry(0x0102_0304_0506_0708, 77, 9, b"hello".to_vec());
    let payload = second_payload(&[first, record]);
    let at = 480;
    let header: [u8; HEADER_BYTES] = payload[at..at + HEADER_BYTES]
        .try_into()
        .expect("as many bytes were taken");
    let fields = schema::RecordHeader(header);
    assert_eq!(
        (fields.group(), fields.replica()),
        (0x0102_0304_0506_0708, support::REPLICA)
    );
    assert_eq!((fields.index(), fields.term()), (77, 9));
    assert_eq!(
        (fields.length(), fields.kind()),
        (5, schema::RecordKind::entry.0)
    );
    assert_eq!(
        (fields.reserved0(), fields.reserved1(), fields.reserved2()),
        (0, 0, 0)
    );
    assert_eq!(&payload[at + 48..at + 56], b"hello\0\0\0");
    let mut plain = header;
    plain[36..40].fill(0);
    assert_eq!(
        fields.crc32c(),
        crc32c::crc32c_append(crc32c::crc32c(&plain), b"hello")
    );
}

#[test]
fn bodies_are_laid_out_as_the_schema_says() {
    let digest = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    let (high, low) = (0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff);
    let hard_state = HardState {
        term: 1,
        vote: 2,
        commit: 3,
        snapshot: SnapshotName {
            index: 4,
            term: 5,
            digest,
        },
        start_index: 6,
        start_term: 7,
    };
    let want = schema::HardState::new(1, 2, 3, 4, 5, low, high, 6, 7);
    assert_eq!(hard_state.encode(), want.0);
    assert_eq!(HardState::decode(&want.0), Some(hard_state));
    assert_eq!(HardState::decode(&want.0[1..]), None);
    let founding = Founding {
        timeline: Timeline {
            counter: 1,
            random: digest,
        },
        index: 2,
        term: 3,
        voters: vec![4, 5],
    };
    let timeline = schema::Timeline::new(1, low, high);
    let mut want = schema::Founding::new(&timeline, 2, 3, 2, 0).0.to_vec();
    want.extend_from_slice(&4_u64.to_le_bytes());
    want.extend_from_slice(&5_u64.to_le_bytes());
    assert_eq!(founding.encode(), want);
    assert_eq!(Founding::decode(&want), Some(founding));
    for len in 0..want.len() {
        assert_eq!(Founding::decode(&want[..len]), None);
    }
    let incarnation = Incarnation {
        number: 1,
        nonce: 2,
        recovered: Position {
            sequence: 3,
            digest,
        },
    };
    let of_schema = schema::Incarnation::new(1, 2, 3, low, high);
    assert_eq!(incarnation.encode(), of_schema.0);
    assert_eq!(Incarnation::decode(&of_schema.0), Some(incarnation));
    let mut want = schema::Groups::new(&of_schema, 2, 0).0.to_vec();
    for (group, replica) in [(8, 9), (8, 10)] {
        want.extend_from_slice(&schema::GroupReplica::new(group, replica).0);
    }
    let list = GroupsList {
        incarnation,
        replicas: vec![(8, 9), (8, 10)],
    };
    assert_eq!(GroupsList::decode(&want), Some(list));
    for len in 0..want.len() {
        assert_eq!(GroupsList::decode(&want[..len]), None);
    }
    want.swap(56, 72);
    assert_eq!(GroupsList::decode(&want), None, "they ascend");
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
        apply_version: 1,
        conf: ConfState {
            voters: vec![1],
            learners: vec![2, 3],
            ..ConfState::default()
        },
        ..SnapshotHead::default()
    };
    let origin = SnapshotOrigin {
        node: support::NODE,
        replica: support::REPLICA,
        position: driver.writer.position(),
    };
    let mut writer = SnapshotWriter::new(&head, &origin, 7);
    writer
        .push_slice(SliceKind::State, b"a slice")
        .expect("small");
    writer
        .push_slice(SliceKind::Secret, &[5; 9_000])
        .expect("small");
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
        ("identity", 1_221_422_883_721_632_532),
        (
            "snap/0000000002-00000000000000ab-00000000000000000004.snap",
            10_241_290_458_371_923_995,
        ),
        ("wal/0000000001.log", 6_504_436_862_657_190_628),
        ("wal/0000000002.log", 17_665_793_116_056_590_718),
    ];
    let found = golden_files();
    let found: Vec<(&str, u64)> = found
        .iter()
        .map(|(name, digest)| (&name[..], *digest))
        .collect();
    assert_eq!(found, want);
}

#[test]
fn another_version_is_refused_by_name_not_repaired() {
    for version in [1, 2, 4] {
        let mut driver = Driver::new(&small());
        driver.entry(1, vec![1; 10]);
        driver.commit();
        let mut block =
            driver.disk.contents(&segment_name(1)).expect("it exists")[..4_096].to_vec();
        for copy in [0, 2_048] {
            block[copy + 8] = version;
            let crc = crc32c::crc32c(&block[copy..copy + 2_044]);
            block[copy + 2_044..copy + 2_048].copy_from_slice(&crc.to_le_bytes());
        }
        driver.disk.overwrite(&segment_name(1), 0, &block);
        let before = driver.disk.contents(&segment_name(1));
        let error = recover(&mut driver.disk, &small(), 1, &mut |_| {}).expect_err("refused");
        let want = format!(
            "wal/0000000001.log has format version {version}; this program reads version 3"
        );
        assert_eq!(error.to_string(), want);
        assert_eq!(driver.disk.contents(&segment_name(1)), before);
    }
}

#[test]
fn a_full_list_of_groups_begins_another_frame() {
    let mut driver = Driver::new(&small());
    for group in 0..60 {
        driver.entry(group, vec![1; 20]);
    }
    let write = driver.writer.seal().expect("entries");
    assert!(write.rest.is_empty());
    // 45 records of 72 bytes, then 15.
    assert_eq!(
        (write.first.offset, write.first.bytes.len()),
        (8_192, 12_288)
    );
    run_write(&mut driver.disk, &write).expect("no faults");
    driver.writer.on_written(write.ticket);
    for (at, hit, spared) in [(8_192, 44, 45), (16_384, 45, 44)] {
        let mut disk: MemoryDisk = driver.disk.clone();
        disk.flip_bit(&write.first.file, at + 700, 0);
        let report = recover(&mut disk, &small(), 1, &mut |_| {})
            .expect("no faults")
            .report;
        assert!(!report.is_all_damaged(), "{report:?}");
        assert!(
            report.is_damaged(hit) && !report.is_damaged(spared),
            "{report:?}"
        );
    }
}

#[test]
fn a_group_commit_is_one_aligned_write() {
    let mut driver = Driver::new(&small());
    for group in 0..45 {
        driver.entry(group, vec![1; 40]);
    }
    let write = driver.writer.seal().expect("entries");
    assert!(write.rest.is_empty());
    let bytes: &AlignedBuf = &write.first.bytes;
    assert_eq!((write.first.offset, bytes.len() % 4_096), (8_192, 0));
    // 45 records of 88 bytes, header and checksums: two blocks, one frame.
    assert_eq!(bytes.len(), 8_192);
}
