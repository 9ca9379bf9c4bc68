//! Verifies a data directory without opening it: what is wrong, where, what it
//! means for which group, and what to do.

mod groups;
mod json;
mod segments;
mod text;

use std::collections::BTreeMap;

use crate::Disk;
use crate::recover::RecoverError;
use crate::report::{Damage, DamagedGroups};
use crate::snapshot::{self, SnapshotError, SnapshotHead, SnapshotInfo, SnapshotSink, Start};
use crate::walk::{Walk, walk};
use groups::Groups;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Acknowledged bytes are not as they were written, or missing.
    Damage,
    /// A write that a crash cut short, never acknowledged.
    Torn,
    /// Harmless.
    Note,
}

impl Severity {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Torn => "torn",
            Self::Note => "note",
        }
    }
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What follows from it.
    pub means: String,
    /// What to do.
    pub action: String,
    /// Groups that are not served because of it.
    pub groups: DamagedGroups,
}

/// A segment of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentCheck {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes in use: to the end of the last good frame.
    pub used_bytes: u64,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotCheck {
    /// Its file, group, index and length.
    pub info: SnapshotInfo,
    /// What its head says; None if it cannot be read.
    pub head: Option<SnapshotHead>,
    /// Slices, up to the end or the first bad place.
    pub slices: u64,
    /// Bytes of them.
    pub slice_bytes: u64,
    /// Whether all of it is good.
    pub good: bool,
}

/// What the directory holds of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupCheck {
    /// The group.
    pub group: u64,
    /// Whether a node would serve it from this directory.
    pub served: bool,
    /// Whether it was dropped, and nothing came after.
    pub dropped: bool,
    /// Index of the first entry in the log without a gap up to the last; 0 without one.
    pub first_index: u64,
    /// Index of the last entry in the log; 0 without one.
    pub last_index: u64,
    /// Entries in the log, repeated ones counted again.
    pub entries: u64,
    /// Whether there is a hard state.
    pub hard_state: bool,
    /// Index of the snapshot that it starts from.
    pub snapshot: Option<u64>,
}

/// What was found in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Segments that the log needs, in order.
    pub segments: Vec<SegmentCheck>,
    /// Snapshots.
    pub snapshots: Vec<SnapshotCheck>,
    /// Groups, ascending.
    pub groups: Vec<GroupCheck>,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Sequence of the last frame.
    pub last_sequence: u64,
}

impl CheckReport {
    /// Whether nothing acknowledged is damaged or missing.
    pub fn is_healthy(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Damage)
    }
}

/// Verifies the log and the snapshots of a data directory. Changes nothing.
///
/// # Errors
/// Of the disk, or a format version this program does not know. Damage is no error.
pub fn check(disk: &mut dyn Disk) -> Result<CheckReport, RecoverError> {
    let mut groups = Groups::default();
    let walk = walk(disk, &mut groups)?;
    let mut report = CheckReport {
        frames: walk.frames,
        records: walk.records,
        last_sequence: walk.last_sequence,
        ..CheckReport::default()
    };
    report.take_log(&walk, &groups);
    segments::check_unused(disk, &mut report, &walk)?;
    report.take_snapshots(disk, &groups)?;
    report.judge_groups(groups);
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

impl CheckReport {
    fn take_log(&mut self, walk: &Walk, groups: &Groups) {
        let needed = |segment: &&SegmentCheck| segment.number >= walk.oldest_segment;
        self.segments = groups.segments.values().filter(needed).cloned().collect();
        for damage in &walk.damage {
            self.damage(damage);
        }
        if let Some(torn) = &walk.torn {
            self.findings.push(Finding {
                severity: Severity::Torn,
                file: torn.file.clone(),
                offset: torn.offset,
                what: format!(
                    "a write was cut short by a crash: {} bytes, from frame {} on",
                    torn.bytes, torn.sequence
                ),
                means: "it was never acknowledged; nothing is lost".into(),
                action: "none: the next start cuts it away".into(),
                groups: DamagedGroups::Listed(Vec::new()),
            });
        }
        for note in &walk.notes {
            self.note(&note.file, note.offset, note.what.clone());
        }
        for file in &walk.leftovers {
            self.note(
                file,
                0,
                "no longer needed; the next start removes it".into(),
            );
        }
    }

    fn damage(&mut self, damage: &Damage) {
        let (means, action) = match &damage.groups {
            DamagedGroups::All => (
                "it cannot be told which groups lost records; a node serves nothing from this directory".to_owned(),
                "keep the directory; bring the node back from a backup or from its replicas",
            ),
            DamagedGroups::Listed(groups) if groups.is_empty() => {
                // None was ever in it, or those that were have been dropped since or are made up for.
                (
                    "no space that exists lacks a record because of it; nothing is lost".to_owned(),
                    "none",
                )
            }
            groups @ DamagedGroups::Listed(_) => (
                format!("acknowledged records of {groups} may be lost; a node does not serve them from this directory"),
                "keep the file; bring the groups back from a backup or from replicas; the others are whole",
            ),
        };
        self.findings.push(Finding {
            severity: Severity::Damage,
            file: damage.file.clone(),
            offset: damage.offset,
            what: damage.what.clone(),
            means,
            action: action.into(),
            groups: damage.groups.clone(),
        });
    }

    fn note(&mut self, file: &str, offset: u64, what: String) {
        self.findings.push(Finding {
            severity: Severity::Note,
            file: file.into(),
            offset,
            what,
            means: "nothing is lost".into(),
            action: "none".into(),
            groups: DamagedGroups::Listed(Vec::new()),
        });
    }

    /// Reads every snapshot whole, the older ones too.
    fn take_snapshots(&mut self, disk: &mut dyn Disk, groups: &Groups) -> Result<(), RecoverError> {
        let listed = snapshot::list(disk).map_err(|error| RecoverError::Io {
            doing: "listing snapshots".into(),
            error,
        })?;
        let mut of_group: BTreeMap<u64, Vec<SnapshotInfo>> = BTreeMap::new();
        for info in listed {
            of_group.entry(info.group).or_default().push(info);
        }
        for (group, infos) in of_group {
            for info in &infos {
                let checked = check_snapshot(disk, info)?;
                self.snapshots.push(checked);
            }
            if groups.is_dropped(group) {
                for info in &infos {
                    self.note(&info.file, 0, "a snapshot of a dropped group".into());
                }
                continue;
            }
            self.judge_snapshots(disk, &infos, groups.range(group))?;
        }
        Ok(())
    }

    fn judge_snapshots(
        &mut self,
        disk: &mut dyn Disk,
        infos: &[SnapshotInfo],
        log: Option<(u64, u64)>,
    ) -> Result<(), RecoverError> {
        let loaded = snapshot::load(disk, infos, log, &mut Ignore).map_err(lift)?;
        for damage in &loaded.damage {
            if loaded.start == Start::Damaged {
                self.damage(damage);
            } else {
                let what = format!(
                    "{}; an older snapshot and the log make up for it",
                    damage.what
                );
                let groups = DamagedGroups::Listed(Vec::new());
                self.damage(&Damage {
                    what,
                    groups,
                    ..damage.clone()
                });
            }
        }
        for note in &loaded.notes {
            self.note(&note.file, note.offset, note.what.clone());
        }
        let Start::Snapshot(start, _) = &loaded.start else {
            return Ok(());
        };
        // Those behind the chosen one were not looked at.
        let older = infos.iter().filter(|info| info.index < start.index);
        for info in older.cloned().collect::<Vec<_>>() {
            let bad = self
                .snapshots
                .iter()
                .any(|snapshot| snapshot.info == info && !snapshot.good);
            if bad {
                self.note(
                    &info.file,
                    0,
                    "an older snapshot is damaged; a newer one is good".into(),
                );
            }
        }
        Ok(())
    }

    fn judge_groups(&mut self, groups: Groups) {
        let mut known: BTreeMap<u64, GroupCheck> = groups.into_checks();
        for snapshot in &self.snapshots {
            let group = known
                .entry(snapshot.info.group)
                .or_insert_with(|| GroupCheck {
                    group: snapshot.info.group,
                    ..GroupCheck::default()
                });
            // The newest comes first.
            if snapshot.good && group.snapshot.is_none() && !group.dropped {
                group.snapshot = Some(snapshot.info.index);
            }
        }
        for group in known.values_mut() {
            let covered = group.snapshot.unwrap_or(0);
            if group.last_index > covered && group.first_index > covered + 1 {
                self.damage(&Damage {
                    file: "wal".into(),
                    offset: 0,
                    what: format!(
                        "entries {} to {} of group {} are missing",
                        covered + 1,
                        group.first_index - 1,
                        group.group
                    ),
                    groups: DamagedGroups::Listed(vec![group.group]),
                });
            }
            if !group.dropped && !group.hard_state {
                self.note("wal", 0, format!("group {} has no hard state", group.group));
            }
        }
        for group in known.values_mut() {
            let damaged = self.findings.iter().any(|finding| {
                finding.severity == Severity::Damage && finding.groups.contains(group.group)
            });
            group.served = !damaged && !group.dropped;
        }
        self.groups = known.into_values().collect();
    }
}

struct Ignore;

impl SnapshotSink for Ignore {
    fn begin(&mut self, _head: &SnapshotHead) -> Result<(), String> {
        Ok(())
    }

    fn slice(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn check_snapshot(disk: &mut dyn Disk, info: &SnapshotInfo) -> Result<SnapshotCheck, RecoverError> {
    let mut check = SnapshotCheck {
        info: info.clone(),
        head: None,
        slices: 0,
        slice_bytes: 0,
        good: false,
    };
    let mut reader = match snapshot::SnapshotReader::open(disk, info) {
        Ok(reader) => reader,
        Err(SnapshotError::Damaged(_)) => return Ok(check),
        Err(error) => return Err(lift(error)),
    };
    check.head = Some(reader.head().clone());
    loop {
        match reader.next_slice(disk) {
            Ok(Some(_)) => {}
            Ok(None) => {
                check.good = true;
                break;
            }
            Err(SnapshotError::Damaged(_)) => break,
            Err(error) => return Err(lift(error)),
        }
    }
    (check.slices, check.slice_bytes) = reader.progress();
    Ok(check)
}

fn lift(error: SnapshotError) -> RecoverError {
    match error {
        SnapshotError::Io { file, error } => RecoverError::Io {
            doing: format!("reading {file}"),
            error,
        },
        SnapshotError::Version { file, version } => RecoverError::Version { file, version },
        SnapshotError::Damaged(damage) => RecoverError::Io {
            doing: format!("reading {}", damage.file),
            error: std::io::Error::new(std::io::ErrorKind::InvalidData, damage.what),
        },
    }
}
