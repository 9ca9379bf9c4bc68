//! What is missing, older, renamed, swapped or of another node is found, by a start and by `check` alike.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;

use std::collections::BTreeMap;

use domp_log::snapshot::{SliceKind, SnapshotHead, SnapshotOrigin, SnapshotSink, Start, load};
use domp_log::{
    Disk, Drawn, HardState, Identity, MemoryDisk, PinReason, Position, Report, SnapshotName, Tear,
    check, open, recover, run_job, segment_name,
};
use support::{Driver, NODE, Owned, REPLICA, drawn, small, write_snapshot, write_snapshot_of};

/// What is done to a directory, and its name.
type Change<'a> = (&'a str, &'a dyn Fn(&mut MemoryDisk));

fn snapshot_file(group: u64, index: u64) -> String {
    format!("snap/{group:010}-{REPLICA:016x}-{index:020}.snap")
}

/// Adds entries to groups 1 to 3, commits them, and a snapshot of 1 and 2 at that index each.
fn advance(driver: &mut Driver, index: u64, older: &mut BTreeMap<u64, String>) {
    for group in [1, 2, 3] {
        while support::replay(&driver.appended)[&group]
            .entries
            .last_key_value()
            .is_none_or(|(&last, _)| last < index)
        {
            assert!(driver.entry(group, vec![1; 900]));
            driver.commit();
            driver.run_jobs();
        }
        driver.commit_index(group, index);
    }
    driver.commit();
    for group in [1, 2] {
        let (info, name) = write_snapshot(driver, group, index);
        driver.name_real(group, name, index);
        driver.commit();
        if let Some(older) = older.insert(group, info.file.to_string()) {
            driver.disk.remove(&older).expect("it is there");
        }
    }
    driver.disk.sync_directory().expect("no faults");
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
}

/// Groups 1 and 2 with a snapshot at 40, group 3 without; and the disk when the snapshots were at 20.
fn node_of(drawn: &Drawn) -> (Driver, MemoryDisk) {
    let mut driver = Driver::of(MemoryDisk::new(), &small(), drawn).expect("no faults");
    driver.run_jobs();
    for group in [1, 2, 3] {
        driver.found(group);
    }
    driver.commit();
    let mut files = BTreeMap::new();
    advance(&mut driver, 20, &mut files);
    let earlier = driver.disk.clone();
    advance(&mut driver, 40, &mut files);
    (driver, earlier)
}

fn node() -> (Driver, MemoryDisk) {
    node_of(&drawn(42))
}

#[derive(Default)]
struct Content(Vec<u8>);

impl SnapshotSink for Content {
    fn begin(&mut self, _head: &SnapshotHead) -> Result<(), String> {
        self.0.clear();
        Ok(())
    }

    fn slice(&mut self, _kind: SliceKind, bytes: &[u8]) -> Result<(), String> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// What a start makes of a directory.
#[derive(Debug)]
struct Judged {
    /// Groups that are served, and the index of the snapshot each starts from.
    served: BTreeMap<u64, u64>,
    all_damaged: bool,
    leftovers: Vec<String>,
    report: Report,
}

impl Judged {
    fn groups(&self) -> Vec<u64> {
        self.served.keys().copied().collect()
    }
}

/// Opens a copy as a node does, and compares with what `check` says.
fn judged(disk: &MemoryDisk, what: &str) -> Judged {
    let told = check(&mut disk.clone()).expect("no faults");
    let mut disk = disk.clone();
    let before: Vec<_> = disk.list().expect("no faults");
    let opened = open(&mut disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    let mut report = opened.report;
    let mut served = BTreeMap::new();
    for (&group, state) in &opened.verdict.groups {
        let mut content = Content::default();
        let loaded = load(
            &mut disk,
            &state.snapshots,
            state.starts_empty(),
            &mut content,
        )
        .expect("no faults");
        report.damage.extend(loaded.damage);
        if report.is_damaged(group) {
            continue;
        }
        let index = match loaded.start {
            Start::Snapshot(candidate) => candidate.info.index,
            Start::Empty => 0,
            Start::Damaged => panic!("{what}: damage that is not told"),
        };
        if index > 0 {
            assert!(content.0.ends_with(&group.to_le_bytes()), "{what}");
        }
        served.insert(group, index);
    }
    let all_damaged = report.is_all_damaged();
    assert_eq!(
        told.is_healthy(),
        report.damage.is_empty(),
        "{what}: {told}"
    );
    let told_served: BTreeMap<u64, u64> = told
        .groups
        .iter()
        .filter(|group| group.served)
        .map(|group| (group.group, group.snapshot.unwrap_or(0)))
        .collect();
    assert_eq!(told_served, served, "{what}: {told}\n{report:?}");
    if all_damaged {
        assert!(served.is_empty() && opened.incarnation.is_none());
        assert!(opened.writer.failure().is_some());
        assert_eq!(disk.list().expect("no faults"), before, "{what}: changed");
    } else {
        assert!(opened.incarnation.is_some());
    }
    Judged {
        served,
        all_damaged,
        leftovers: opened
            .verdict
            .leftovers
            .iter()
            .map(|info| info.file.to_string())
            .collect(),
        report,
    }
}

fn put(disk: &mut MemoryDisk, name: &str, bytes: &[u8]) {
    disk.create(name, 0).expect("room");
    disk.sync_directory().expect("no faults");
    disk.overwrite(name, 0, bytes);
    disk.set_file_len(name, bytes.len() as u64);
}

fn copy(from: &MemoryDisk, name: &str, disk: &mut MemoryDisk, to: &str) {
    let bytes = from.contents(name).expect("it exists");
    put(disk, to, &bytes);
}

#[test]
fn a_whole_directory_is_served() {
    let (driver, earlier) = node();
    let found = judged(&driver.disk, "whole");
    assert_eq!(found.served, BTreeMap::from([(1, 40), (2, 40), (3, 0)]));
    assert!(found.leftovers.is_empty());
    assert!(driver.disk.file_len(&segment_name(2)).is_some());
    // A whole directory put back as it was is what one disk can't tell.
    assert_eq!(judged(&earlier, "earlier").served[&1], 20);
}

#[test]
fn a_snapshot_that_is_missing_or_another_damages_its_group_alone() {
    let (driver, earlier) = node();
    let (named, other) = (snapshot_file(1, 40), snapshot_file(2, 40));
    let stranger = node_of(&Drawn {
        node: 0xbad,
        ..drawn(42)
    });
    let changes: [Change<'_>; 9] = [
        ("of another group, under a newer name", &|disk| {
            copy(&driver.disk, &other, disk, &snapshot_file(1, 41));
        }),
        ("missing", &|disk| {
            disk.delete_file(&named);
        }),
        ("older, under its name", &|disk| {
            disk.delete_file(&named);
            copy(&earlier, &snapshot_file(1, 20), disk, &snapshot_file(1, 20));
        }),
        ("older, under the name", &|disk| {
            copy(&earlier, &snapshot_file(1, 20), disk, &named);
        }),
        ("renamed", &|disk| {
            copy(&driver.disk, &named, disk, &snapshot_file(1, 41));
            disk.delete_file(&named);
        }),
        ("of another group", &|disk| {
            copy(&driver.disk, &other, disk, &named);
        }),
        ("of another node", &|disk| {
            copy(&stranger.0.disk, &named, disk, &named);
        }),
        ("newer, of another node", &|disk| {
            let origin = SnapshotOrigin {
                node: 0xbad,
                replica: REPLICA,
                position: driver.writer.position(),
            };
            write_snapshot_of(disk, 1, 40 - 5, &origin).expect("no faults");
        }),
        ("other content at the same place", &|disk| {
            disk.flip_bit(&named, 9_000, 3);
        }),
    ];
    for (what, change) in changes {
        let mut disk = driver.disk.clone();
        change(&mut disk);
        let found = judged(&disk, what);
        assert_eq!(found.groups(), [2, 3], "{what}: {found:?}");
        assert!(found.leftovers.is_empty(), "{what}: nothing of it goes");
    }
    // Swapped: both.
    let mut disk = driver.disk.clone();
    copy(&driver.disk, &named, &mut disk, &other);
    copy(&driver.disk, &other, &mut disk, &named);
    assert_eq!(judged(&disk, "swapped").groups(), [3]);
}

#[test]
fn a_snapshot_of_the_same_index_with_another_content_is_not_the_one_named() {
    let (driver, _) = node();
    let mut disk = driver.disk.clone();
    // A state that was another: its file is whole, and says so.
    let origin = SnapshotOrigin {
        node: NODE,
        replica: REPLICA,
        position: driver.writer.position(),
    };
    let head = SnapshotHead {
        group: 1,
        index: 40,
        term: 1,
        ..SnapshotHead::default()
    };
    let mut writer = domp_log::snapshot::SnapshotWriter::new(&head, &origin, 5);
    writer.end();
    while let Some(job) = writer.take_job() {
        writer.on_job(&run_job(&mut disk, &job));
    }
    let found = judged(&disk, "another content");
    assert_eq!(found.groups(), [2, 3], "{found:?}");
    assert!(
        found.report.damage[0].what.contains("it is another than"),
        "{found:?}"
    );
}

#[test]
fn what_a_damaged_group_still_has_is_kept() {
    let (mut driver, _) = node();
    driver.disk.delete_file(&snapshot_file(1, 40));
    let mut disk = driver.disk.clone();
    let opened = open(&mut disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    let mut writer = opened.writer;
    assert!(opened.report.is_damaged(1));
    // The others could do without the old segments.
    for group in [2, 3] {
        let hard_state = HardState {
            snapshot: SnapshotName {
                index: 1 << 40,
                ..SnapshotName::default()
            },
            ..HardState::default()
        };
        let record = Owned::hard_state(group, &hard_state);
        writer.append(&record.record()).expect("room");
    }
    let write = writer.seal().expect("hard states");
    domp_log::run_write(&mut disk, &write).expect("no faults");
    writer.on_written(write.ticket);
    writer.reclaim();
    let pins = writer.pinned_by();
    assert!(
        pins.iter()
            .all(|pin| (pin.group, pin.segment, pin.reason) == (1, 1, PinReason::Damage)),
        "{pins:?}"
    );
    assert_eq!(pins.len(), 1);
}

/// All groups with a snapshot, and the old segments gone.
fn reclaimed() -> Driver {
    let (mut driver, _) = node();
    let (_, name) = write_snapshot(&mut driver, 3, 40);
    driver.name_real(3, name, 40);
    for group in [1, 2] {
        driver.hard_state(group, 2);
    }
    driver.commit();
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
    assert!(driver.disk.file_len(&segment_name(2)).is_none());
    driver
}

#[test]
fn what_the_oldest_segment_lists_must_be_there() {
    let mut driver = reclaimed();
    let found = judged(&driver.disk, "reclaimed");
    assert_eq!(found.served, BTreeMap::from([(1, 40), (2, 40), (3, 40)]));
    // Places of the log that are reclaimed are no longer asked for.
    driver = Driver::on(driver.disk, &small()).expect("no faults");
    assert_eq!(judged(&driver.disk, "and started").groups(), [1, 2, 3]);
    // Its list lost: it can't be told which groups must be there.
    let oldest = driver.writer.statistics().segment;
    let name = segment_name(oldest);
    assert!(driver.disk.file_len(&segment_name(oldest - 1)).is_none());
    let mut disk = driver.disk.clone();
    disk.flip_bit(&name, 4_096 + 600, 1);
    let found = judged(&disk, "the list is lost");
    assert!(found.all_damaged, "{found:?}");
}

#[test]
fn a_segment_whose_list_is_lost_does_not_become_the_oldest() {
    let (mut driver, _) = node();
    let present = driver.writer.statistics().segment;
    driver.disk.flip_bit(&segment_name(present), 4_096 + 600, 1);
    let mut disk = driver.disk.clone();
    // The log alone: the groups of the lost frame are damaged, and dropped here.
    let mut writer = recover(&mut disk, &small(), 1, &mut |_| {})
        .expect("no faults")
        .writer;
    for group in [1, 2, 3] {
        writer.append(&Owned::drop(group).record()).expect("room");
    }
    let write = writer.seal().expect("drops");
    domp_log::run_write(&mut disk, &write).expect("no faults");
    writer.on_written(write.ticket);
    assert_eq!(writer.statistics().segment, present, "no new one is needed");
    writer.reclaim();
    let mark = writer.idle_mark().expect("something to say");
    domp_log::run_write(&mut disk, &mark).expect("no faults");
    writer.on_written(mark.ticket);
    let gone: Vec<u64> = std::iter::from_fn(|| writer.take_job())
        .filter_map(|job| match job {
            domp_log::Job::RemoveSegment { segment } => Some(segment),
            _ => None,
        })
        .collect();
    assert_eq!(gone.last(), Some(&(present - 2)), "the one before stays");
    let report = recover(&mut disk, &small(), 1, &mut |_| {})
        .expect("no faults")
        .report;
    assert!(!report.is_all_damaged(), "{report:?}");
}

#[test]
fn nothing_is_removed_while_something_is_damaged() {
    let mut driver = reclaimed();
    let old = segment_name(1);
    put(&mut driver.disk, &old, &[0; 4_096]);
    let (_, earlier) = node();
    copy(&earlier, &old, &mut driver.disk, &old);
    let removed = |disk: &mut MemoryDisk| {
        let opened = open(disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
        (opened.report.damage.len(), opened.report.removed)
    };
    let mut disk = driver.disk.clone();
    disk.delete_file(&snapshot_file(2, 40));
    assert_eq!(removed(&mut disk), (1, vec![]));
    assert_eq!(removed(&mut driver.disk), (0, vec![old]));
}

#[test]
fn a_newer_snapshot_is_adopted_only_if_the_log_holds_its_place() {
    let (mut driver, _) = node();
    for _ in 0..5 {
        for group in [1, 2, 3] {
            driver.entry(group, vec![2; 300]);
        }
        driver.commit();
    }
    let at = |position| SnapshotOrigin {
        node: NODE,
        replica: REPLICA,
        position,
    };
    let held = driver.writer.position();
    let mut disk = driver.disk.clone();
    write_snapshot_of(&mut disk, 1, 43, &at(held)).expect("no faults");
    write_snapshot_of(&mut disk, 1, 44, &at(held)).expect("no faults");
    let found = judged(&disk, "adopted");
    assert_eq!(found.served, BTreeMap::from([(1, 44), (2, 40), (3, 0)]));
    assert_eq!(
        found.leftovers,
        [snapshot_file(1, 43)],
        "never the one named"
    );
    // Damaged, it does no harm: what is named is still there.
    let mut rotten = disk.clone();
    rotten.flip_bit(&snapshot_file(1, 44), 9_000, 1);
    assert_eq!(judged(&rotten, "a rotten newer one").served[&1], 40);
    let mut rotten = disk.clone();
    rotten.flip_bit(&snapshot_file(1, 44), 4_096 + 20, 1);
    assert_eq!(judged(&rotten, "a newer one without a head").served[&1], 43);
    let elsewhere = Position {
        digest: held.digest ^ 1,
        ..held
    };
    let mut disk = driver.disk.clone();
    write_snapshot_of(&mut disk, 1, 44, &at(elsewhere)).expect("no faults");
    let found = judged(&disk, "another log's");
    assert_eq!(found.groups(), [2, 3]);
    // Of an index that the log does not have.
    let mut disk = driver.disk.clone();
    write_snapshot_of(&mut disk, 1, 46, &at(held)).expect("no faults");
    assert_eq!(judged(&disk, "ahead of the entries").groups(), [2, 3]);
    let later = Position {
        sequence: held.sequence + 1,
        digest: 7,
    };
    let mut disk = driver.disk.clone();
    write_snapshot_of(&mut disk, 1, 44, &at(later)).expect("no faults");
    let found = judged(&disk, "the log was put back");
    assert!(found.all_damaged, "{found:?}");
}

#[test]
fn an_older_snapshot_is_a_leftover_and_so_is_one_of_a_dropped_replica() {
    let (mut driver, earlier) = node();
    let old = snapshot_file(1, 20);
    copy(&earlier, &old, &mut driver.disk, &old);
    let found = judged(&driver.disk, "an older one");
    assert_eq!(
        (found.groups(), found.leftovers),
        (vec![1, 2, 3], vec![old.clone()])
    );
    driver.drop_group(1);
    driver.commit();
    let found = judged(&driver.disk, "dropped");
    assert_eq!(found.groups(), [2, 3]);
    assert_eq!(found.leftovers, [snapshot_file(1, 40), old]);
    // Long after, when the drop itself is forgotten.
    let mut files = BTreeMap::from([(1, snapshot_file(1, 40)), (2, snapshot_file(2, 40))]);
    files.remove(&1);
    for index in 41..140 {
        for group in [2, 3] {
            driver.entry(group, vec![3; 900]);
            driver.commit_index(group, index);
        }
        driver.commit();
        driver.run_jobs();
    }
    for group in [2, 3] {
        let (_, name) = write_snapshot(&mut driver, group, 139);
        driver.name_real(group, name, 139);
    }
    driver.commit();
    driver.writer.reclaim();
    driver.mark();
    driver.run_jobs();
    let mut drops = 0;
    recover(&mut driver.disk.clone(), &small(), 1, &mut |record| {
        drops += u32::from(record.kind == domp_log::RecordKind::Drop);
    })
    .expect("no faults");
    assert_eq!(drops, 0, "it was reclaimed");
    let found = judged(&driver.disk, "dropped and forgotten");
    assert_eq!(found.groups(), [2, 3]);
    assert!(found.leftovers.contains(&snapshot_file(1, 40)), "{found:?}");
}

#[test]
fn entries_that_are_committed_and_missing_damage_their_group() {
    let (mut driver, _) = node();
    driver.commit_index(2, 41);
    driver.commit();
    let found = judged(&driver.disk, "committed beyond the snapshot");
    assert_eq!(found.groups(), [1, 3], "{found:?}");
    assert!(found.report.damage[0].what.contains("they are committed"));
    driver.entry(2, vec![1; 10]);
    driver.commit();
    assert_eq!(judged(&driver.disk, "and there").groups(), [1, 2, 3]);
    // A gap behind the snapshot.
    assert!(driver.append(Owned::entry(1, 43, 1, vec![1])));
    driver.commit();
    let found = judged(&driver.disk, "a gap");
    assert_eq!(found.groups(), [2, 3], "{found:?}");
}

#[test]
fn a_group_without_snapshot_needs_what_founded_it() {
    let mut driver = Driver::new(&small());
    driver.found(5);
    driver.append(driver.appended[1].clone());
    // Group 6: the same hard state, and no founding.
    let hard_state = Owned {
        group: 6,
        ..driver.appended[1].clone()
    };
    driver.append(hard_state);
    driver.commit();
    let found = judged(&driver.disk, "no founding");
    assert_eq!(found.groups(), [5], "{found:?}");
}

#[test]
fn a_log_put_back_beside_what_stayed_damages_all() {
    let (driver, earlier) = node();
    // The log as it was, the snapshots as they are.
    let mut disk = driver.disk.clone();
    for file in disk.list().expect("no faults") {
        if file.name.starts_with("wal/") {
            disk.delete_file(&file.name);
        }
    }
    for file in earlier.clone().list().expect("no faults") {
        if file.name.starts_with("wal/") {
            copy(&earlier, &file.name, &mut disk, &file.name);
        }
    }
    let found = judged(&disk, "the log put back");
    assert!(found.all_damaged, "{found:?}");
    assert!(
        found.report.damage[0].what.contains("the log is older"),
        "{found:?}"
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a list of what may be done to the two, each judged alike"
)]
fn identity_and_log_stand_or_fall_together() {
    let (mut driver, earlier) = node();
    let again = |disk: &MemoryDisk, salt| {
        Driver::of(disk.clone(), &small(), &drawn(salt))
            .expect("no faults")
            .disk
    };
    // Two more starts.
    let once = again(&driver.disk, 1);
    let twice = again(&once, 2);
    assert_eq!(judged(&twice, "started again").groups(), [1, 2, 3]);
    let empty_log = |disk: &mut MemoryDisk| {
        for file in disk.list().expect("no faults") {
            if file.name.starts_with("wal/") {
                disk.delete_file(&file.name);
            }
        }
    };
    let stranger = node_of(&Drawn {
        node: 0xbad,
        ..drawn(42)
    });
    let changes: [Change<'_>; 8] = [
        ("no identity", &|disk| {
            disk.delete_file("identity");
        }),
        ("a damaged identity", &|disk| {
            disk.flip_bit("identity", 30, 0);
        }),
        ("a cut identity", &|disk| {
            disk.set_file_len("identity", 30);
        }),
        ("another node's identity", &|disk| {
            copy(&stranger.0.disk, "identity", disk, "identity");
        }),
        ("an older identity", &|disk| {
            copy(&driver.disk, "identity", disk, "identity");
        }),
        ("an older log", &|disk| {
            empty_log(disk);
            for file in driver.disk.clone().list().expect("no faults") {
                if file.name.starts_with("wal/") {
                    copy(&driver.disk, &file.name, disk, &file.name);
                }
            }
        }),
        ("an emptied log", &|disk| empty_log(disk)),
        ("an identity alone", &|disk| {
            for file in disk.list().expect("no faults") {
                if file.name != "identity" {
                    disk.delete_file(&file.name);
                }
            }
        }),
    ];
    for (what, change) in changes {
        let mut disk = twice.clone();
        change(&mut disk);
        let found = judged(&disk, what);
        assert!(found.all_damaged, "{what}: {found:?}");
    }
    // One start apart is what a crash between the two leaves.
    let mut disk = once.clone();
    copy(&twice, "identity", &mut disk, "identity");
    let end = Identity::parse(
        &String::from_utf8(disk.contents("identity").expect("it exists")).expect("text"),
    );
    assert_eq!(end.expect("whole").incarnation, 3);
    assert_eq!(
        judged(&disk, "a start that did not get into the log").groups(),
        [1, 2, 3]
    );
    // A second name beside the first is what a crash leaves, too.
    put(&mut disk, "identity.new", b"half");
    assert_eq!(judged(&disk, "identity.new is left").groups(), [1, 2, 3]);
    // The identity of an earlier day, before any later start: it stands on a frame that is held.
    copy(&earlier, "identity", &mut driver.disk, "identity");
    assert_eq!(
        judged(&driver.disk, "the same identity").groups(),
        [1, 2, 3]
    );
    // Its place in the log has another frame.
    let mut disk = twice.clone();
    let identity = Identity::parse(
        &String::from_utf8(disk.contents("identity").expect("it exists")).expect("text"),
    )
    .expect("whole");
    let others = [
        Identity {
            position: Position {
                digest: identity.position.digest ^ 1,
                ..identity.position
            },
            ..identity
        },
        Identity {
            node: 0xbad,
            ..identity
        },
        Identity {
            incarnation: identity.incarnation + 2,
            ..identity
        },
        Identity {
            incarnation: identity.incarnation - 1,
            ..identity
        },
    ];
    for other in others {
        put(&mut disk, "identity", other.text().as_bytes());
        assert!(judged(&disk, "another log").all_damaged, "{other:?}");
    }
}

#[test]
fn an_identity_of_another_version_is_refused_by_name() {
    let (driver, _) = node();
    let mut disk = driver.disk.clone();
    put(
        &mut disk,
        "identity",
        b"domp identity 1\nnode 1\ncheck 00000000\n",
    );
    let error = open(&mut disk, &small(), &drawn(1), &mut |_| {}).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "identity has format version 1; this program reads version 2"
    );
    assert!(check(&mut disk).is_err());
}

#[test]
fn a_new_node_beside_an_unfinished_one() {
    // A crash before the first frame: the founding goes on.
    let mut disk = MemoryDisk::new();
    put(&mut disk, "identity.new", b"domp identity 2\nno");
    let driver = Driver::on(disk, &small()).expect("no faults");
    assert!(driver.disk.file_len("identity.new").is_none());
    assert!(judged(&driver.disk, "founded").groups().is_empty());
    assert_eq!(
        check(&mut MemoryDisk::new()).expect("no faults"),
        domp_log::CheckReport::default()
    );
    // What is found is durable.
    let text = driver.disk.crash_torn(1, Tear::All).contents("identity");
    let text = String::from_utf8(text.expect("it is there")).expect("text");
    let identity = Identity::parse(&text).expect("whole");
    assert_eq!((identity.node, identity.incarnation), (NODE, 1));
}

#[test]
fn a_received_snapshot_that_nothing_names_is_a_leftover() {
    let (mut driver, _) = node();
    let received = snapshot_file(1, 90).replace(".snap", ".recv");
    put(&mut driver.disk, &received, &[1; 100]);
    assert_eq!(judged(&driver.disk, "received").groups(), [1, 2, 3]);
    let mut disk = driver.disk.clone();
    let opened = open(&mut disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    assert_eq!(opened.report.removed, [received]);
}
