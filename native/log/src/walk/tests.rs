//! Frames whose checksums are right, but that no writer of ours makes.

use super::{Standing, Visitor, Walk, walk};
use crate::body::{Body, Position};
use crate::frame::{self, FrameHeader, FrameKind, GroupList, NextSegment};
use crate::layout::{BLOCK, FileHeader, FileKind, segment_name};
use crate::record::Record;
use crate::report::{Damage, DamagedGroups};
use crate::sector::FileIdentity;
use crate::{AlignedBuf, Disk, MemoryDisk};

const SALT: u64 = 0x5a17;
const SEGMENT_BYTES: u64 = 64 << 10;

#[derive(Default)]
struct Count(u64);

impl Visitor for Count {
    fn record(&mut self, _segment: u64, _record: &Record<'_>, _body: &Body) {
        self.0 += 1;
    }
}

/// A disk with one segment, to which frames are added.
struct Made {
    segment: u64,
    disk: MemoryDisk,
    offset: u64,
    sequence: u64,
    digest: u128,
}

impl Made {
    fn new() -> Self {
        Self::of(1)
    }

    /// With the segment of that number, which is the oldest.
    fn of(segment: u64) -> Self {
        let mut disk = MemoryDisk::new();
        let name = segment_name(segment);
        disk.create(&name, SEGMENT_BYTES).expect("room");
        let header = FileHeader {
            kind: FileKind::Segment,
            number: segment,
            group: 0,
            salt: SALT,
            bytes: SEGMENT_BYTES,
            replica: 0,
            earlier_salt: 0,
        };
        let mut block = AlignedBuf::zeroed(4096);
        header.encode(block.as_mut_slice());
        disk.write(&name, 0, block.as_slice()).expect("no faults");
        Self {
            segment,
            disk,
            offset: BLOCK,
            sequence: 0,
            digest: 0,
        }
    }

    fn frame(&mut self, payload: &[u8], change: impl FnOnce(&mut FrameHeader)) {
        let length = frame::length_of(payload.len());
        let mut groups = GroupList::EMPTY;
        groups.insert(7);
        self.sequence += 1;
        let mut header = FrameHeader {
            offset: self.offset,
            sequence: self.sequence,
            synced_through: self.sequence - 1,
            oldest_segment: self.segment,
            next: NextSegment::default(),
            length: u32::try_from(length).expect("small"),
            payload_bytes: u32::try_from(payload.len()).expect("small"),
            records: 1,
            kind: FrameKind::Records,
            groups,
            previous: self.digest,
            table_digest: 0,
            digest: 0,
        };
        let mut bytes = AlignedBuf::zeroed(length);
        bytes.as_mut_slice()[frame::HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        let file = FileIdentity {
            number: self.segment,
            salt: SALT,
            earlier_salt: 0,
        };
        header.seal(&file, bytes.as_mut_slice());
        // The frame stays as it is; only its header says something else.
        change(&mut header);
        header.encode(&file, &mut bytes.as_mut_slice()[..frame::HEADER_BYTES]);
        self.disk
            .write(&segment_name(self.segment), self.offset, bytes.as_slice())
            .expect("no faults");
        self.offset += length as u64;
        self.digest = header.digest;
    }

    fn walk(&mut self) -> (Walk, u64) {
        let mut count = Count::default();
        let walk = walk(&mut self.disk, &mut count, &[]).expect("no faults");
        (walk, count.0)
    }
}

fn record() -> Vec<u8> {
    let record = Record {
        group: 7,
        replica: 3,
        kind: crate::RecordKind::Entry,
        index: 1,
        term: 1,
        body: b"body",
    };
    let mut bytes = vec![0; record.stored_bytes()];
    record.encode(&mut bytes);
    bytes
}

#[test]
fn a_good_frame_is_good() {
    let mut made = Made::new();
    made.frame(&record(), |_| {});
    let (walk, records) = made.walk();
    assert!(walk.damage.is_empty() && walk.end.is_some());
    assert_eq!((walk.frames, records), (1, 1));
}

#[test]
fn records_that_cannot_be_read_damage_their_groups() {
    let mut cut_off = record();
    cut_off.truncate(32);
    let mut too_long = record();
    too_long[32] = 200;
    let mut wrong_crc = record();
    wrong_crc[49] ^= 1;
    let mut dirty_padding = record();
    *dirty_padding.last_mut().expect("it has bytes") = 1;
    let rehash = |mut bytes: Vec<u8>| {
        bytes[36..40].fill(0);
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    let mut unknown_kind = record();
    unknown_kind[40] = 77;
    let mut reserved = record();
    reserved[47] = 1;
    let of_kind = |kind| {
        let mut bytes = record();
        bytes[40] = kind;
        bytes
    };
    let cases = [
        (cut_off, "cut off"),
        (too_long, "longer than its frame"),
        (wrong_crc, "checksum"),
        (dirty_padding, "reserved"),
        (rehash(unknown_kind), "unknown kind"),
        (rehash(reserved), "reserved"),
        (rehash(of_kind(4)), "conf_change"),
        (rehash(of_kind(8)), "heard"),
        (rehash(of_kind(9)), "refused"),
        (rehash(of_kind(2)), "hard state"),
        (rehash(of_kind(3)), "drop"),
        (rehash(of_kind(5)), "founding"),
        (rehash(of_kind(7)), "its group can't have"),
        ([record(), record()].concat(), "number of records"),
    ];
    for (payload, what) in cases {
        let mut made = Made::new();
        made.frame(&payload, |_| {});
        // Reading goes on behind it.
        made.frame(&record(), |_| {});
        let (walk, _) = made.walk();
        assert_eq!(walk.damage.len(), 1, "{what}");
        assert!(walk.damage[0].what.contains(what), "{}", walk.damage[0]);
        assert!(walk.damage[0].groups.contains(7) && !walk.damage[0].groups.contains(8));
        assert!(walk.end.is_some());
    }
}

#[test]
fn headers_that_contradict_themselves_damage_all() {
    let changes: [fn(&mut FrameHeader); 5] = [
        |header| header.synced_through = header.sequence,
        |header| header.payload_bytes += 8192,
        |header| header.payload_bytes -= 1,
        |header| header.oldest_segment = 2,
        |header| header.sequence = u64::MAX,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut made = Made::new();
        made.frame(&record(), change);
        let (walk, records) = made.walk();
        assert!(walk.damage[0].groups.contains(8), "change {place}");
        assert!(records == 0 && walk.end.is_none(), "change {place}");
    }
}

#[test]
fn a_frame_out_of_the_chain_damages_all() {
    let changes: [fn(&mut FrameHeader); 2] =
        [|header| header.previous ^= 1, |header| header.sequence += 1];
    for change in changes {
        let mut made = Made::new();
        made.frame(&record(), |_| {});
        made.frame(&record(), change);
        let (walk, _) = made.walk();
        assert!(
            walk.damage[0].what.contains("does not follow"),
            "{}",
            walk.damage[0]
        );
        assert!(walk.damage[0].groups.contains(8));
    }
}

#[test]
fn a_seal_must_name_the_segment_behind_it() {
    let mut made = Made::new();
    made.frame(&[], |header| {
        header.kind = FrameKind::Seal;
        (header.records, header.next.number) = (0, 9);
    });
    let (walk, _) = made.walk();
    assert!(
        walk.damage[0].what.contains("is missing"),
        "{}",
        walk.damage[0]
    );
    assert!(walk.end.is_none());
}

fn encoded(group: u64, kind: crate::RecordKind, body: &[u8]) -> Vec<u8> {
    let record = Record {
        group,
        replica: 3,
        kind,
        index: 0,
        term: 0,
        body,
    };
    let mut bytes = vec![0; record.stored_bytes()];
    record.encode(&mut bytes);
    bytes
}

fn list(replicas: &[(u64, u64)]) -> Vec<u8> {
    let list = crate::GroupsList {
        replicas: replicas.to_vec(),
        ..crate::GroupsList::default()
    };
    encoded(crate::NODE_GROUP, crate::RecordKind::Groups, &list.encode())
}

#[test]
fn a_listed_replica_of_which_nothing_is_left_damages_its_group() {
    use crate::RecordKind::{Drop, HardState};
    let hard_state = encoded(7, HardState, &crate::HardState::default().encode());
    let cases = [
        (None, true),
        (Some(record()), true),
        (Some(hard_state), false),
        (Some(encoded(7, Drop, &[])), false),
        (Some(encoded(8, Drop, &[])), true),
    ];
    for (place, (more, lost)) in cases.into_iter().enumerate() {
        let mut made = Made::of(2);
        made.frame(&list(&[(7, 3)]), |_| {});
        if let Some(more) = more {
            made.frame(&more, |_| {});
        }
        let (walk, _) = made.walk();
        let told: Vec<_> = walk.damage.iter().map(|damage| &damage.groups).collect();
        let want = DamagedGroups::Listed(vec![7]);
        let want = if lost { vec![&want] } else { Vec::new() };
        assert_eq!(told, want, "case {place}");
        assert!(walk.end.is_some());
    }
}

#[test]
fn a_list_of_groups_stands_at_the_beginning_and_nowhere_else() {
    // Missing in the oldest segment: it can't be told what must be there.
    let mut made = Made::of(2);
    made.frame(&record(), |_| {});
    let (walk, _) = made.walk();
    let all = |damage: &Damage| damage.groups == DamagedGroups::All;
    assert!(walk.damage.iter().any(all));
    // In the first segment, or in the middle, there is none.
    let mut made = Made::new();
    made.frame(&list(&[]), |_| {});
    let (walk, _) = made.walk();
    assert!(walk.damage[0].what.contains("stands elsewhere"));
    let mut made = Made::of(2);
    made.frame(&list(&[]), |_| {});
    made.frame(&list(&[]), |_| {});
    let (walk, _) = made.walk();
    assert!(walk.damage[0].what.contains("stands elsewhere"));
    assert!(!walk.damage.iter().any(all));
}

#[test]
fn positions_are_held_reclaimed_other_or_beyond() {
    use Standing::{Below, Beyond, Held, NotHeld};

    let mut made = Made::of(2);
    made.sequence = 4;
    made.frame(&list(&[]), |_| {});
    let held = Position {
        sequence: 5,
        digest: made.digest,
    };
    made.frame(&record(), |_| {});
    let at = |sequence, digest| Position { sequence, digest };
    let asked = [
        held,
        at(5, 1),
        at(4, 1),
        at(6, made.digest),
        at(7, 1),
        at(0, 0),
        at(0, 1),
    ];
    let mut count = Count::default();
    let walk = walk(&mut made.disk, &mut count, &asked).expect("no faults");
    let standings = asked.map(|position| walk.standing(position));
    assert_eq!(
        standings,
        [Held, NotHeld, Below, Held, Beyond, Below, NotHeld]
    );
}
