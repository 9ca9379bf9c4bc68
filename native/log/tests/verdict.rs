//! What is missing, older, put back or of another node is found, by a start and by `check` alike:
//! log and identity. Of snapshots see `verdict_snapshots.rs`.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;
mod verdict_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use domp_log::{
    Disk, Drawn, HardState, Identity, LogConfig, MemoryDisk, NODE_GROUP, PinReason, Position,
    SnapshotName, Tear, check, open, recover, segment_name,
};
use support::{Driver, NODE, Owned, drawn, small, write_snapshot};
use verdict_support::{Change, copy, judged, node, node_of, put, snapshot_file};

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
    let removing = LogConfig {
        spare_segments_max: 0,
        ..small()
    };
    // The log alone: the groups of the lost frame are damaged, and dropped here.
    let mut writer = recover(&mut disk, &removing, 1, &mut |_| {})
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
    let gone: Vec<Arc<str>> = std::iter::from_fn(|| writer.take_job())
        .filter_map(|job| match job {
            domp_log::Job::Remove { file } => Some(file),
            _ => None,
        })
        .collect();
    let before = segment_name(present - 2);
    assert_eq!(
        gone.last().map(|file| &**file),
        Some(&*before),
        "the one before stays"
    );
    let report = recover(&mut disk, &removing, 1, &mut |_| {})
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
    // The log as it was before the last start.
    let mut disk = once.clone();
    copy(&twice, "identity", &mut disk, "identity");
    assert!(judged(&disk, "a log of one start before").all_damaged);
    // One start apart is what a crash leaves between the two.
    let identity_of = |disk: &MemoryDisk| {
        let bytes = disk.contents("identity").expect("it exists");
        Identity::parse(&String::from_utf8(bytes).expect("text")).expect("whole")
    };
    let end = identity_of(&twice);
    assert_eq!(end.incarnation, 3);
    let between = Identity {
        position: identity_of(&once).position,
        ..end
    };
    put(&mut disk, "identity", between.text().as_bytes());
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
        "identity has format version 1; this program reads version 3"
    );
    assert!(check(&mut disk, &()).is_err());
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
        check(&mut MemoryDisk::new(), &()).expect("no faults"),
        domp_log::CheckReport::default()
    );
    // What is found is durable.
    let text = driver.disk.crash_torn(1, Tear::All).contents("identity");
    let text = String::from_utf8(text.expect("it is there")).expect("text");
    let identity = Identity::parse(&text).expect("whole");
    assert_eq!((identity.node, identity.incarnation), (NODE, 1));
}

#[test]
fn the_number_of_a_start_whose_record_is_damaged_is_taken() {
    let (driver, _) = node();
    let before = driver.disk.clone();
    let segment = segment_name(driver.writer.statistics().segment);
    let mut driver = Driver::on(driver.disk, &small()).expect("no faults");
    assert!(
        driver.mark(),
        "what was written last says that it was whole"
    );
    let (old, new) = (before.contents(&segment), driver.disk.contents(&segment));
    let (old, new) = (old.expect("it exists"), new.expect("it exists"));
    let at = old.iter().zip(&new).position(|(old, new)| old != new);
    // Behind the frame's header, where the record is.
    let frame = at.expect("the start was written") as u64 / 4096 * 4096;
    assert!(driver.disk.flip_bit(&segment, frame + 600, 1));
    let opened = open(&mut driver.disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    assert!(opened.report.is_damaged(NODE_GROUP) && !opened.report.is_damaged(1));
    assert_eq!(opened.incarnation.map(|start| start.number), Some(3));
}
