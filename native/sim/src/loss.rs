//! Files that are lost, older than they should be, or another's: what happens to a directory
//! beside the node.

use domp_log::memory::MemoryDisk;
use domp_log::{Disk, FileInfo};

use crate::rng::Rng;
use crate::situations::Situation;

/// What becomes of one file: its new bytes, or nothing.
type Change = (String, Option<Vec<u8>>);

/// Something that somebody does to the files of a node at rest.
#[derive(Debug)]
pub struct Loss {
    /// For a person.
    pub what: String,
    /// What it is where it is noticed.
    pub situation: Situation,
    /// One disk alone can't tell: see the log's documentation.
    pub may_be_silent: bool,
    changes: Vec<Change>,
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    let mut files: Vec<FileInfo> = disk.clone().list().unwrap_or_default();
    files.sort();
    files.into_iter().map(|file| file.name).collect()
}

fn with(disk: &MemoryDisk, start: &str, end: &str) -> Vec<String> {
    let mut names = names(disk);
    names.retain(|name| name.starts_with(start) && name.ends_with(end));
    names
}

/// The snapshots, by name.
pub fn snapshots(disk: &MemoryDisk) -> Vec<String> {
    with(disk, "snap/", ".snap")
}

/// The log's segments, by name.
pub fn segments(disk: &MemoryDisk) -> Vec<String> {
    with(disk, "wal/", ".log")
}

/// The group of a snapshot's file.
pub fn group_of(file: &str) -> Option<u64> {
    let (group, _) = file.strip_prefix("snap/")?.split_once('-')?;
    group.parse().ok()
}

/// Whether the log holds the group, and not the end of it.
pub fn holds(disk: &MemoryDisk, group: u64) -> bool {
    let report = domp_log::check(&mut disk.clone(), &()).unwrap_or_default();
    let mut groups = report.groups.iter();
    groups.any(|held| held.group == group && !held.dropped)
}

/// The segments that hold frames, and how many each.
pub fn frames(disk: &MemoryDisk) -> Vec<(String, u64)> {
    let report = domp_log::check(&mut disk.clone(), &()).unwrap_or_default();
    let segments = report.segments.into_iter();
    let used = segments.filter(|segment| segment.frames > 0);
    used.map(|segment| (segment.file, segment.frames)).collect()
}

fn set(disk: &mut MemoryDisk, (name, bytes): &Change) {
    match bytes {
        None => {
            disk.delete_file(name);
        }
        Some(bytes) => {
            let _ = disk.write_small(name, bytes);
            let _ = disk.sync_directory();
        }
    }
}

impl Loss {
    fn new(what: String, situation: Situation, changes: Vec<Change>) -> Option<Self> {
        (!changes.is_empty()).then_some(Self {
            what,
            situation,
            may_be_silent: false,
            changes,
        })
    }

    /// Draws one. `earlier`: the directory as it was before the start that the identity tells of.
    pub fn draw(disk: &MemoryDisk, earlier: Option<&MemoryDisk>, rng: &mut Rng) -> Option<Self> {
        match (rng.below(12), earlier) {
            (0, _) => Self::removal(&snapshots(disk), Situation::SnapshotLost, rng),
            (1, _) => Self::rename(disk, rng),
            (2, _) => Self::swap(disk, rng),
            (3, _) => Self::removal(&["identity".to_owned()], Situation::IdentityLost, rng),
            (4, _) => Self::removal(&with(disk, "wal/", ""), Situation::SegmentLost, rng),
            (5, _) => {
                let changes = with(disk, "wal/", "").into_iter();
                let changes = changes.map(|name| (name, None)).collect();
                Self::new("all of wal".to_owned(), Situation::LogLost, changes)
            }
            (6, Some(earlier)) => Self::older_snapshot(disk, earlier, rng),
            (7, Some(earlier)) => {
                let bytes = earlier.contents("identity")?;
                let changes = vec![("identity".to_owned(), Some(bytes))];
                let what = "an older identity".to_owned();
                Self::new(what, Situation::IdentityOlder, changes)
            }
            (8 | 10 | 11, Some(earlier)) => Self::older_segment(disk, earlier, rng),
            (9, Some(earlier)) => Self::older_log(disk, earlier),
            _ => None,
        }
    }

    /// One file goes.
    fn removal(files: &[String], situation: Situation, rng: &mut Rng) -> Option<Self> {
        if files.is_empty() {
            return None;
        }
        let name = rng.pick(files).clone();
        Self::new(format!("{name} removed"), situation, vec![(name, None)])
    }

    /// The snapshot of one group.
    pub fn of_snapshot(name: &str) -> Self {
        Self {
            what: format!("{name} removed"),
            situation: Situation::SnapshotLost,
            may_be_silent: false,
            changes: vec![(name.to_owned(), None)],
        }
    }

    /// A snapshot under the name of another group, replica or index.
    fn rename(disk: &MemoryDisk, rng: &mut Rng) -> Option<Self> {
        let files = snapshots(disk);
        if files.is_empty() {
            return None;
        }
        let name = rng.pick(&files).clone();
        let (stem, _) = name.strip_suffix(".snap")?.rsplit_once('-')?;
        let (group, replica) = stem.strip_prefix("snap/")?.split_once('-')?;
        let index: u64 = name
            .strip_suffix(".snap")?
            .rsplit_once('-')?
            .1
            .parse()
            .ok()?;
        let group: u64 = group.parse().ok()?;
        let renamed = match rng.below(3) {
            0 => format!("snap/{:010}-{replica}-{index:020}.snap", group + 1),
            1 => format!("snap/{group:010}-{:016x}-{index:020}.snap", rng.next()),
            _ => format!("snap/{group:010}-{replica}-{:020}.snap", index + 1),
        };
        let changes = vec![
            (renamed.clone(), disk.contents(&name)),
            (name.clone(), None),
        ];
        let what = format!("{name} renamed to {renamed}");
        Self::new(what, Situation::SnapshotRenamed, changes)
    }

    /// Two snapshots change their names.
    fn swap(disk: &MemoryDisk, rng: &mut Rng) -> Option<Self> {
        let files = snapshots(disk);
        if files.len() < 2 {
            return None;
        }
        let at = rng.index(files.len() - 1);
        let (one, other) = (files[at].clone(), files[at + 1].clone());
        let what = format!("{one} and {other} swapped");
        let changes = vec![
            (one.clone(), disk.contents(&other)),
            (other, disk.contents(&one)),
        ];
        Self::new(what, Situation::SnapshotsSwapped, changes)
    }

    /// A snapshot of before stands where the present one was, under its own name or the present's.
    fn older_snapshot(disk: &MemoryDisk, earlier: &MemoryDisk, rng: &mut Rng) -> Option<Self> {
        let present = snapshots(disk);
        let mut older = snapshots(earlier);
        older.retain(|name| !present.contains(name));
        if older.is_empty() {
            return None;
        }
        let name = rng.pick(&older).clone();
        let group = group_of(&name);
        let of_group = present.into_iter().filter(|file| group_of(file) == group);
        let of_group: Vec<String> = of_group.collect();
        let newest = of_group.last()?.clone();
        let bytes = earlier.contents(&name);
        let what = format!("{name} put back in place of {newest}");
        let changes = if rng.percent(50) {
            vec![(newest, bytes)]
        } else {
            let gone = of_group.into_iter().map(|file| (file, None));
            gone.chain([(name, bytes)]).collect()
        };
        Self::new(what, Situation::SnapshotOlder, changes)
    }

    /// A segment as it was.
    fn older_segment(disk: &MemoryDisk, earlier: &MemoryDisk, rng: &mut Rng) -> Option<Self> {
        let mut files = with(disk, "wal/", "");
        files.retain(|name| {
            let before = earlier.contents(name);
            before.is_some() && before != disk.contents(name)
        });
        if files.is_empty() {
            return None;
        }
        let name = rng.pick(&files).clone();
        let what = format!("an older {name} put back");
        let bytes = earlier.contents(&name)?;
        let mut loss = Self::new(
            what,
            Situation::SegmentOlder,
            vec![(name.clone(), Some(bytes))],
        )?;
        // The last segment as it was prepared, before the latest run wrote to it.
        let (now, then) = (frames(disk), {
            let mut struck = disk.clone();
            loss.strike(&mut struck);
            frames(&struck)
        });
        let is_last = now.last().is_some_and(|(file, _)| *file == name);
        let was_blank = then.iter().all(|(file, _)| *file != name);
        loss.may_be_silent = is_last && was_blank;
        Some(loss)
    }

    /// The whole log as it was.
    fn older_log(disk: &MemoryDisk, earlier: &MemoryDisk) -> Option<Self> {
        let gone = with(disk, "wal/", "").into_iter().map(|name| (name, None));
        let back = with(earlier, "wal/", "").into_iter().map(|name| {
            let bytes = earlier.contents(&name);
            (name, bytes)
        });
        let changes = gone.chain(back).collect();
        let what = "an older log put back".to_owned();
        Self::new(what, Situation::LogOlder, changes)
    }

    /// It happens.
    pub fn strike(&self, disk: &mut MemoryDisk) {
        for change in &self.changes {
            set(disk, change);
        }
    }

    /// The files are again as they were on a disk that was sound. What is written since then to other
    /// files stays.
    pub fn mend(&self, sound: &MemoryDisk, disk: &mut MemoryDisk) {
        for (name, _) in &self.changes {
            set(disk, &(name.clone(), sound.contents(name)));
        }
    }
}
