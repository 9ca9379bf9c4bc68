//! Reads a log from its first frame to its last and judges what it meets. It
//! changes nothing: recovery, `check` and `dump` all look through these eyes.

mod evidence;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::frame::FrameHeader;
use crate::layout::{FileName, parse_name, segment_name};
use crate::record::Record;
use crate::report::{Damage, DamagedGroups, Note, Torn};
use crate::window::Window;
use crate::{Disk, FileInfo, RecordKind};

pub(crate) use segment::SegmentFile;

/// Reading could not go on; nothing is known about what was not read.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io { file: String, error: io::Error },
    Version { file: String, version: u32 },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { file, error } => write!(f, "{file}: {error}"),
            Self::Version { file, version } => {
                write!(
                    f,
                    "{file} has format version {version}, which this program does not know"
                )
            }
        }
    }
}

/// Sees what the walk meets, in log order.
pub(crate) trait Visitor {
    fn segment(&mut self, _segment: &SegmentFile) {}
    /// A frame that is whole. Its records follow.
    fn frame(&mut self, _segment: u64, _header: &FrameHeader) {}
    fn record(&mut self, segment: u64, record: &Record<'_>);
    /// Damage that concerns these groups of that segment.
    fn damage(&mut self, _segment: u64, _groups: &DamagedGroups) {}
}

/// The last frame of the chain so far, good or with a good header at least.
#[derive(Clone, Copy, Debug)]
struct Link {
    sequence: u64,
    digest: u128,
    oldest_segment: u64,
    vouches: bool,
}

/// Where the log ends and can go on.
#[derive(Debug)]
pub(crate) struct End {
    pub segment: u64,
    pub salt: u64,
    pub bytes: u64,
    pub offset: u64,
    /// Bytes from `offset` to here are not all zero.
    pub dirty_to: u64,
    pub sequence: u64,
    pub digest: u128,
    pub vouched: bool,
}

/// A segment that was made ready, but never written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub segment: u64,
    pub salt: u64,
    pub bytes: u64,
}

struct FoundDamage {
    segment: u64,
    damage: Damage,
}

/// What the walk found.
#[derive(Default)]
pub(crate) struct Walk {
    /// Segments that belong to the log, numbers and lengths, ascending.
    pub segments: Vec<(u64, u64)>,
    /// None: there is no log, or it cannot go on.
    pub end: Option<End>,
    pub prepared: Option<Prepared>,
    pub oldest_segment: u64,
    pub torn: Option<Torn>,
    pub damage: Vec<Damage>,
    pub notes: Vec<Note>,
    /// Files to remove: what jobs left behind, and segments nobody needs.
    pub leftovers: Vec<String>,
    pub frames: u64,
    pub records: u64,
    pub record_bytes: u64,
    pub last_sequence: u64,
    /// Whether there is anything of a log at all.
    pub exists: bool,
}

struct Walker<'a> {
    disk: &'a mut dyn Disk,
    visitor: &'a mut dyn Visitor,
    window: Window,
    files: BTreeMap<u64, u64>,
    /// Where the chain stands; none before the first frame seen.
    link: Option<Link>,
    walk: Walk,
    found: Vec<FoundDamage>,
    /// What is wrong with the records of the frame at hand, if anything.
    malformed: Option<&'static str>,
}

/// How a segment's frames ended.
enum Ended {
    /// With a seal that names the next segment and its salt.
    Sealed(u64, u64),
    /// Here the log goes on.
    Open(End),
    /// Damaged beyond going on.
    Lost,
}

/// Walks the log.
pub(crate) fn walk(disk: &mut dyn Disk, visitor: &mut dyn Visitor) -> Result<Walk, WalkError> {
    let files = disk.list().map_err(|error| WalkError::Io {
        file: "data directory".into(),
        error,
    })?;
    let mut walker = Walker {
        disk,
        visitor,
        window: Window::default(),
        files: BTreeMap::new(),
        link: None,
        walk: Walk::default(),
        found: Vec::new(),
        malformed: None,
    };
    let snapshots = walker.sort_files(files);
    walker.run(snapshots)?;
    Ok(walker.finish())
}

impl Walker<'_> {
    /// Takes the segments, names the rest; returns whether there are snapshots.
    fn sort_files(&mut self, files: Vec<FileInfo>) -> bool {
        let mut snapshots = false;
        for file in files {
            match parse_name(&file.name) {
                FileName::Segment(number) => {
                    self.files.insert(number, file.len);
                }
                FileName::Snapshot { .. } => snapshots = true,
                FileName::Temporary => self.walk.leftovers.push(file.name),
                FileName::Unknown => {
                    self.note(
                        &file.name,
                        0,
                        "a file the log knows nothing of; left alone".into(),
                    );
                }
                FileName::Other => {}
            }
        }
        self.walk.leftovers.sort();
        snapshots
    }

    fn run(&mut self, snapshots: bool) -> Result<(), WalkError> {
        self.walk.exists = snapshots || !self.files.is_empty();
        let Some((&last, _)) = self.files.last_key_value() else {
            if snapshots {
                self.damage_all(
                    0,
                    &segment_name(1),
                    0,
                    "there are snapshots, but no log".into(),
                );
            }
            return Ok(());
        };
        let mut number = last;
        while number > 1 && self.files.contains_key(&(number - 1)) {
            number -= 1;
        }
        let first = number;
        if first == 1 {
            let start = Link {
                sequence: 0,
                digest: 0,
                oldest_segment: 1,
                vouches: true,
            };
            self.link = Some(start);
        }
        let mut named_salt = None;
        let end = loop {
            match self.segment(number, named_salt)? {
                Ended::Sealed(next, salt)
                    if next == number + 1 && self.files.contains_key(&next) =>
                {
                    number = next;
                    named_salt = Some(salt);
                }
                Ended::Sealed(next, _) => {
                    let what = format!(
                        "the segment is missing, though segment {number} names it as the next"
                    );
                    self.damage_all(next, &segment_name(next), 0, what);
                    break None;
                }
                Ended::Open(end) => break Some(end),
                // What follows may be all that is needed; if not, the damage is on record.
                Ended::Lost if self.files.contains_key(&(number + 1)) => {
                    number += 1;
                    named_salt = None;
                    self.link = None;
                }
                Ended::Lost => break None,
            }
        };
        self.judge_oldest(first);
        if let Some(end) = &end {
            self.walk.vouch(end);
            let after = end.segment;
            self.take_prepared(after)?;
        }
        self.walk.end = end;
        Ok(())
    }

    /// Compares the oldest segment there is with the oldest that the log says is needed.
    fn judge_oldest(&mut self, first: u64) {
        let oldest = self.link.map_or(1, |link| link.oldest_segment);
        self.walk.oldest_segment = oldest;
        if oldest < first && !self.all_damaged() {
            let missing = (oldest..first).find(|number| !self.files.contains_key(number));
            let missing = missing.unwrap_or(oldest);
            let what = format!("the segment is missing, though all from {oldest} on are needed");
            self.damage_all(missing, &segment_name(missing), 0, what);
        }
        let unneeded = self
            .files
            .keys()
            .copied()
            .take_while(|&number| number < oldest);
        self.walk.leftovers.extend(unneeded.map(segment_name));
        self.walk.segments.retain(|&(number, _)| number >= oldest);
    }

    /// Looks at the segments behind the last one in use.
    fn take_prepared(&mut self, after: u64) -> Result<(), WalkError> {
        let behind: Vec<u64> = self
            .files
            .range(after + 1..)
            .map(|(&number, _)| number)
            .collect();
        for number in behind {
            let prepared = if number == after + 1 {
                self.prepared(number)?
            } else {
                None
            };
            if prepared.is_some() {
                self.walk.prepared = prepared;
            } else {
                self.walk.leftovers.push(segment_name(number));
            }
        }
        Ok(())
    }

    fn all_damaged(&self) -> bool {
        self.found
            .iter()
            .any(|found| found.damage.groups == DamagedGroups::All)
    }

    fn damage_all(&mut self, segment: u64, file: &str, offset: u64, what: String) {
        self.damage(segment, file, offset, what, DamagedGroups::All);
    }

    fn damage(
        &mut self,
        segment: u64,
        file: &str,
        offset: u64,
        what: String,
        groups: DamagedGroups,
    ) {
        self.visitor.damage(segment, &groups);
        let damage = Damage {
            file: file.into(),
            offset,
            what,
            groups,
        };
        self.found.push(FoundDamage { segment, damage });
    }

    fn note(&mut self, file: &str, offset: u64, what: String) {
        self.walk.notes.push(Note {
            file: file.into(),
            offset,
            what,
        });
    }

    /// A good record: counts, tells, and lets a drop end its group's damage.
    fn record(&mut self, segment: u64, record: &Record<'_>) {
        self.walk.records += 1;
        self.walk.record_bytes += record.stored_bytes() as u64;
        if record.kind == RecordKind::Drop {
            for found in &mut self.found {
                if let DamagedGroups::Listed(groups) = &mut found.damage.groups {
                    groups.retain(|&group| group != record.group);
                }
            }
        }
        self.visitor.record(segment, record);
    }

    fn finish(mut self) -> Walk {
        self.walk.last_sequence = self.link.map_or(0, |link| link.sequence);
        for FoundDamage { segment, damage } in self.found {
            // Segment 0 stands for the log as a whole.
            if segment == 0 || segment >= self.walk.oldest_segment {
                self.walk.damage.push(damage);
            } else {
                let what = format!(
                    "{}; harmless, since the segment is no longer needed",
                    damage.what
                );
                self.walk.notes.push(Note {
                    file: damage.file,
                    offset: damage.offset,
                    what,
                });
            }
        }
        self.walk
    }
}

impl Walk {
    fn vouch(&mut self, end: &End) {
        if end.dirty_to > end.offset {
            self.torn = Some(Torn {
                file: segment_name(end.segment),
                offset: end.offset,
                bytes: end.dirty_to - end.offset,
                sequence: end.sequence + 1,
            });
        }
    }
}
