//! A snapshot that is missing, older, newer, renamed, swapped or of another node is found, by a start
//! and by `check` alike.

#![allow(clippy::cast_possible_truncation, reason = "patterns of test data")]

mod support;
mod verdict_support;

use std::collections::BTreeMap;

use domp_log::snapshot::{SnapshotHead, SnapshotOrigin};
use domp_log::{Disk, Drawn, HardState, Position, open, recover, run_job};
use support::{NODE, Owned, REPLICA, drawn, small, write_snapshot, write_snapshot_of};
use verdict_support::{Change, copy, judged, node, node_of, put, snapshot_file};

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
fn a_received_snapshot_that_nothing_names_is_a_leftover() {
    let (mut driver, _) = node();
    let received = snapshot_file(1, 90).replace(".snap", ".recv");
    put(&mut driver.disk, &received, &[1; 100]);
    assert_eq!(judged(&driver.disk, "received").groups(), [1, 2, 3]);
    let mut disk = driver.disk.clone();
    let opened = open(&mut disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    assert_eq!(opened.report.removed, [received]);
}

/// The node ended between the record that names it and the name.
#[test]
fn a_received_snapshot_that_a_hard_state_names_gets_its_name() {
    let (mut driver, _) = node();
    let origin = SnapshotOrigin {
        node: NODE,
        replica: REPLICA,
        position: driver.writer.position(),
    };
    let written = write_snapshot_of(&mut driver.disk, 1, 90, &origin);
    let (info, name) = written.expect("no faults");
    let received: &str = &info.file.replace(".snap", ".recv");
    driver.disk.rename(&info.file, received).expect("renamed");
    driver.disk.sync_directory().expect("synced");
    // Nothing counts that stands before, whatever its index.
    driver.append(Owned::entry(1, 41, 1, b"void".to_vec()));
    driver.append(Owned::entry(1, 95, 1, b"void".to_vec()));
    let state = HardState {
        term: 1,
        commit: 90,
        snapshot: name,
        start_index: 90,
        start_term: 1,
        ..HardState::default()
    };
    driver.append(Owned::hard_state(1, &state));
    driver.commit();
    let found = judged(&driver.disk, "received and named");
    assert_eq!(found.groups(), [1, 2, 3], "{found:?}");
    let mut disk = driver.disk.clone();
    let opened = open(&mut disk, &small(), &drawn(7), &mut |_| {}).expect("no faults");
    assert_eq!(opened.report.damage, []);
    let group = &opened.verdict.groups[&1];
    assert_eq!(
        (group.snapshots[0].info.clone(), group.last_index),
        (info, 0)
    );
    assert_eq!(judged(&disk, "named by the start").groups(), [1, 2, 3]);
}
