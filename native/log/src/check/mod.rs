//! Verifies a data directory without opening it: what is wrong, where, what it
//! means for which group, and what to do.

mod groups;
mod json;
mod segments;
mod text;

use std::collections::BTreeMap;

use crate::Disk;
use crate::layout::spare_name;
use crate::recover::RecoverError;
use crate::report::{Damage, DamagedGroups};
use crate::snapshot::{self, SnapshotError, SnapshotHead, SnapshotInfo, lift};
use crate::verdict::{Facts, GroupVerdict, Inventory, ListedSnapshot, Verdict, judge};
use crate::walk::{Walk, walk};
use groups::Groups;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Acknowledged bytes are not as they were written, or missing, or mean nothing to this program.
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
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotCheck {
    /// Its file, group, index and length.
    pub info: SnapshotInfo,
    /// What its head says; None if it cannot be read.
    pub head: Option<SnapshotHead>,
    /// Slices, up to the end or the first bad place.
    pub slices: u64,
    /// Whether all of it is good.
    pub good: bool,
}

/// What the directory holds of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupCheck {
    /// The group.
    pub group: u64,
    /// Its replica here.
    pub replica: u64,
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckReport {
    /// Segments that the log needs, in order.
    pub segments: Vec<SegmentCheck>,
    /// Files of segments nobody needs that are kept for later ones.
    pub spares: Vec<String>,
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

/// Knows what the log does not look into: whether a state could take it. An error says why not, and
/// that the group would be stopped.
pub trait Applier {
    /// An entry of the group.
    ///
    /// # Errors
    /// Why it can't be applied.
    fn takes_entry(&self, group: u64, body: &[u8]) -> Result<(), String>;

    /// A snapshot.
    ///
    /// # Errors
    /// Why it can't be restored.
    fn takes_snapshot(&self, head: &SnapshotHead) -> Result<(), String>;
}

/// Takes everything, unseen.
impl Applier for () {
    fn takes_entry(&self, _group: u64, _body: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn takes_snapshot(&self, _head: &SnapshotHead) -> Result<(), String> {
        Ok(())
    }
}

/// Verifies the log, the snapshots and the identity of a data directory, and judges them as
/// [`crate::open`] does; `applier` judges what is in entries and snapshots. Changes nothing.
///
/// # Errors
/// Of the disk, or a format version this program does not know. Damage is no error.
pub fn check(disk: &mut dyn Disk, applier: &dyn Applier) -> Result<CheckReport, RecoverError> {
    let inventory = Inventory::take(disk)?;
    let mut groups = Groups::new(applier);
    let mut walk = walk(disk, &mut groups, &inventory.positions())?;
    let (mut damage, mut notes) = (
        std::mem::take(&mut walk.damage),
        std::mem::take(&mut walk.notes),
    );
    let verdict = judge(&inventory, &walk, &groups.facts, &mut damage, &mut notes);
    (walk.damage, walk.notes) = (damage, notes);
    let mut report = CheckReport {
        frames: walk.frames,
        records: walk.records,
        last_sequence: walk.last_sequence,
        ..CheckReport::default()
    };
    let received: Vec<_> = inventory
        .received
        .iter()
        .filter(|listed| verdict.starts_from(&listed.info))
        .collect();
    walk.leftovers
        .retain(|file| !received.iter().any(|listed| *listed.info.file == **file));
    report.take_log(&walk, &groups);
    segments::check_unused(disk, &mut report, &walk)?;
    report.take_snapshots(disk, inventory.snapshots.iter().chain(received), &verdict)?;
    report.take_stopped(&groups, &verdict);
    report.judge_groups(&groups.facts, &verdict);
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

impl CheckReport {
    fn take_log(&mut self, walk: &Walk, groups: &Groups<'_>) {
        let needed = |segment: &&SegmentCheck| segment.number >= walk.oldest_segment;
        self.segments = groups.segments.values().filter(needed).cloned().collect();
        self.spares = walk
            .spares
            .iter()
            .map(|&number| spare_name(number))
            .collect();
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

    /// Reads every snapshot whole, those that are not needed too.
    fn take_snapshots<'a>(
        &mut self,
        disk: &mut dyn Disk,
        listed: impl Iterator<Item = &'a ListedSnapshot>,
        verdict: &Verdict,
    ) -> Result<(), RecoverError> {
        for ListedSnapshot { info, read } in listed {
            let (checked, wrong) = check_snapshot(disk, info)?;
            self.snapshots.push(checked);
            let state = verdict.groups.get(&info.group);
            let candidates = state.map_or(&[][..], |state| &state.snapshots);
            let place = candidates
                .iter()
                .position(|candidate| candidate.info == *info);
            if verdict.leftovers.contains(info) {
                let what = "a snapshot that nothing needs; the next start removes it";
                self.note(&info.file, 0, what.into());
            }
            // What its head and end tell was judged with all else.
            let (Some(damage), true) = (wrong, read.is_ok()) else {
                continue;
            };
            match (place, state) {
                // A start reads the best first, and no more once one is good.
                (Some(place), Some(state))
                    if place + 1 < candidates.len()
                        || state.starts_empty()
                        || candidates[..place]
                            .iter()
                            .any(|one| self.is_good(&one.info)) =>
                {
                    let what = format!(
                        "{}; what is named by a hard state and the log make up for it",
                        damage.what
                    );
                    let groups = DamagedGroups::Listed(Vec::new());
                    self.damage(&Damage {
                        what,
                        groups,
                        ..damage
                    });
                }
                (Some(_), _) => self.damage(&damage),
                (None, _) => {
                    let what = format!("{}; harmless, since it is not needed", damage.what);
                    self.note(&damage.file, damage.offset, what);
                }
            }
        }
        Ok(())
    }

    /// Groups that nothing is missing of, and that can't be served all the same.
    fn take_stopped(&mut self, groups: &Groups<'_>, verdict: &Verdict) {
        for (&group, state) in &verdict.groups {
            let is_damaged = self.findings.iter().any(|finding| {
                finding.severity == Severity::Damage && finding.groups.contains(group)
            });
            if is_damaged {
                continue;
            }
            let start = state.snapshots.iter().find(|one| self.is_good(&one.info));
            let covered = state.hard_state.map_or(0, |state| state.covered());
            let from = start.map_or(covered, |one| one.info.index.max(covered));
            let to = state.hard_state.map_or(0, |state| state.commit);
            let snapshot = start.and_then(|one| {
                let why = groups.applier.takes_snapshot(&one.head).err()?;
                Some((one.info.file.to_string(), why))
            });
            let entry = || {
                let (index, why) = groups.first_refused((group, state.replica), from, to)?;
                Some((
                    "wal".into(),
                    format!("entry {index} can't be applied: {why}"),
                ))
            };
            let Some((file, what)) = snapshot.or_else(entry) else {
                continue;
            };
            self.findings.push(Finding {
                severity: Severity::Damage,
                file,
                offset: 0,
                what,
                means: format!(
                    "this program can't go on with group {group}, and a node does not serve it; nothing of it is lost"
                ),
                action: "start the version of the program that wrote it, or drop the space".into(),
                groups: DamagedGroups::Listed(vec![group]),
            });
        }
    }

    fn judge_groups(&mut self, facts: &Facts, verdict: &Verdict) {
        let mut known: BTreeMap<u64, GroupCheck> = BTreeMap::new();
        for (&(group, replica), facts) in &facts.replicas {
            let check = known.entry(group).or_default();
            // One that was dropped is told only if no other lives.
            if facts.dropped && verdict.groups.contains_key(&group) {
                continue;
            }
            *check = GroupCheck {
                group,
                replica,
                served: false,
                dropped: facts.dropped,
                first_index: facts.first_index,
                last_index: facts.last_index,
                entries: facts.entries,
                hard_state: facts.hard_state.is_some(),
                snapshot: None,
            };
        }
        for (group, check) in &mut known {
            let state = verdict.groups.get(group);
            check.snapshot = state.and_then(|state| self.start(state));
            let damaged = self.findings.iter().any(|finding| {
                finding.severity == Severity::Damage && finding.groups.contains(*group)
            });
            check.served = !damaged && !check.dropped;
        }
        self.groups = known.into_values().collect();
    }

    /// Index of the snapshot that the group would start from.
    fn start(&self, state: &GroupVerdict) -> Option<u64> {
        let mut candidates = state.snapshots.iter();
        candidates
            .find(|candidate| self.is_good(&candidate.info))
            .map(|candidate| candidate.info.index)
    }

    /// Whether a snapshot was read whole, and is as it was written.
    fn is_good(&self, info: &SnapshotInfo) -> bool {
        let mut snapshots = self.snapshots.iter();
        snapshots.any(|snapshot| snapshot.good && snapshot.info == *info)
    }
}

/// Reads a snapshot whole; says what is wrong with it, if anything.
fn check_snapshot(
    disk: &mut dyn Disk,
    info: &SnapshotInfo,
) -> Result<(SnapshotCheck, Option<Damage>), RecoverError> {
    let mut check = SnapshotCheck {
        info: info.clone(),
        head: None,
        slices: 0,
        good: false,
    };
    let mut reader = match snapshot::SnapshotReader::open(disk, info) {
        Ok(reader) => reader,
        Err(SnapshotError::Damaged(damage) | SnapshotError::Misnamed(damage)) => {
            return Ok((check, Some(damage)));
        }
        Err(error) => return Err(lift(error)),
    };
    check.head = Some(reader.head().clone());
    let mut wrong = None;
    loop {
        match reader.next_slice(disk) {
            Ok(Some(_)) => {}
            Ok(None) => {
                check.good = true;
                break;
            }
            Err(SnapshotError::Damaged(damage)) => {
                wrong = Some(damage);
                break;
            }
            Err(error) => return Err(lift(error)),
        }
    }
    check.slices = reader.slices();
    Ok((check, wrong))
}
