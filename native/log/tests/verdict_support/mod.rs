//! Whole data directories, and what a start and `check` make of them: both must say the same.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use domp_log::snapshot::{SliceKind, SnapshotHead, SnapshotSink, Start, load};
use domp_log::{Disk, Drawn, MemoryDisk, Report, check, open};

use crate::support::{self, Driver, REPLICA, drawn, small, write_snapshot};

/// What is done to a directory, and its name.
pub type Change<'a> = (&'a str, &'a dyn Fn(&mut MemoryDisk));

pub fn snapshot_file(group: u64, index: u64) -> String {
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
pub fn node_of(drawn: &Drawn) -> (Driver, MemoryDisk) {
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

pub fn node() -> (Driver, MemoryDisk) {
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
pub struct Judged {
    /// Groups that are served, and the index of the snapshot each starts from.
    pub served: BTreeMap<u64, u64>,
    pub all_damaged: bool,
    pub leftovers: Vec<String>,
    pub report: Report,
}

impl Judged {
    pub fn groups(&self) -> Vec<u64> {
        self.served.keys().copied().collect()
    }
}

/// Opens a copy as a node does, and compares with what `check` says.
pub fn judged(disk: &MemoryDisk, what: &str) -> Judged {
    let told = check(&mut disk.clone(), &()).expect("no faults");
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

pub fn put(disk: &mut MemoryDisk, name: &str, bytes: &[u8]) {
    disk.create(name, 0).expect("room");
    disk.sync_directory().expect("no faults");
    disk.overwrite(name, 0, bytes);
    disk.set_file_len(name, bytes.len() as u64);
}

pub fn copy(from: &MemoryDisk, name: &str, disk: &mut MemoryDisk, to: &str) {
    let bytes = from.contents(name).expect("it exists");
    put(disk, to, &bytes);
}
