//! Reads a log from its first frame to its last and judges what it meets. It
//! changes nothing: recovery, `check` and `dump` all look through these eyes.

mod evidence;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use crate::body::{Body, GroupsList, Incarnation, Position};
use crate::frame::{FrameHeader, NextSegment};
use crate::layout::{BLOCK, FileName, parse_name, segment_name};
use crate::record::Record;
use crate::report::{Damage, DamagedGroups, Note, Torn};
use crate::sector::FileIdentity;
use crate::window::Window;
use crate::{Disk, FileInfo};

pub(crate) use segment::SegmentFile;

/// Reading could not go on; nothing is known about what was not read.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io { file: String, error: io::Error },
    Version { file: String, version: u32 },
}

/// Sees what the walk meets, in log order.
pub(crate) trait Visitor {
    fn segment(&mut self, _segment: &SegmentFile) {}
    /// A frame that is whole. Its records follow.
    fn frame(&mut self, _segment: u64, _header: &FrameHeader) {}
    fn record(&mut self, segment: u64, record: &Record<'_>, body: &Body);
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
    pub segment: FileIdentity,
    pub bytes: u64,
    pub offset: u64,
    /// Blocks from `offset` to here are not all blank.
    pub dirty_to: u64,
    pub sequence: u64,
    pub digest: u128,
    pub vouched: bool,
}

/// A segment that was made ready, but never written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub segment: FileIdentity,
    pub bytes: u64,
}

/// A segment that belongs to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveSegment {
    pub number: u64,
    pub bytes: u64,
    pub salt: u64,
    /// Where its seal ends, if it has one and all before it is right.
    pub used_bytes: Option<u64>,
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub segment: u64,
    pub offset: u64,
    pub length: u64,
    sequence: u64,
}

/// What the log says of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The log holds the frame, with that digest.
    Held,
    /// It lies below the oldest segment that is kept.
    Below,
    /// The log has another frame there, or none that can be read.
    NotHeld,
    /// The log ends before.
    Beyond,
}

struct FoundDamage {
    segment: u64,
    damage: Damage,
}

/// What the walk found.
#[derive(Default)]
pub(crate) struct Walk {
    /// Segments that belong to the log, ascending.
    pub segments: Vec<LiveSegment>,
    /// None: there is no log, or it cannot go on.
    pub end: Option<End>,
    pub prepared: Option<Prepared>,
    pub oldest_segment: u64,
    pub torn: Option<Torn>,
    pub damage: Vec<Damage>,
    pub notes: Vec<Note>,
    /// Numbers of segments that are kept for later ones.
    pub spares: Vec<u64>,
    /// Files to remove: what jobs left behind, and segments nobody needs.
    pub leftovers: Vec<String>,
    pub frames: u64,
    pub records: u64,
    pub record_bytes: u64,
    pub last_sequence: u64,
    /// The latest start of the node that the log tells of, and the node's id.
    pub incarnation: Option<(u64, Incarnation)>,
    /// What segments begin with, those where it can be read.
    pub lists: BTreeMap<u64, GroupsList>,
    /// Frames that no other says were synced, in log order.
    pub unvouched: Vec<FramePlace>,
    /// Digests of the frames asked for.
    digests: BTreeMap<u64, Option<u128>>,
    first_sequence: Option<u64>,
    synced_through: u64,
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
    /// Group and replica: the last segment that has a hard state of it, or its drop.
    accounted: BTreeMap<(u64, u64), u64>,
}

/// How a segment's frames ended.
enum Ended {
    /// With a seal that names the next segment.
    Sealed(NextSegment),
    /// Here the log goes on.
    Open(End),
    /// Damaged beyond going on.
    Lost,
}

/// Walks the log. [`Walk::standing`] will tell of the positions `asked`, and of no other.
pub(crate) fn walk(
    disk: &mut dyn Disk,
    visitor: &mut dyn Visitor,
    asked: &[Position],
) -> Result<Walk, WalkError> {
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
        walk: Walk {
            digests: asked
                .iter()
                .map(|position| (position.sequence, None))
                .collect(),
            ..Walk::default()
        },
        found: Vec::new(),
        malformed: None,
        accounted: BTreeMap::new(),
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
                FileName::Spare(number) => self.walk.spares.push(number),
                FileName::Snapshot { .. } => snapshots = true,
                FileName::Temporary | FileName::Received { .. } => {
                    self.walk.leftovers.push(file.name);
                }
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
        self.walk.spares.sort_unstable();
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
        let mut named = None;
        let end = loop {
            match self.segment(number, named)? {
                Ended::Sealed(next)
                    if next.number == number + 1 && self.files.contains_key(&next.number) =>
                {
                    number = next.number;
                    named = Some(next);
                }
                Ended::Sealed(NextSegment { number: next, .. }) => {
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
                    named = None;
                    self.link = None;
                }
                Ended::Lost => break None,
            }
        };
        self.judge_oldest(first);
        if end.is_some() {
            self.judge_list();
        }
        if let Some(end) = &end {
            self.walk.vouch(end);
            let after = end.segment.number;
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
        self.walk
            .segments
            .retain(|segment| segment.number >= oldest);
    }

    /// Whether of all replicas that the oldest segment's list names a hard state is left, or the drop.
    fn judge_list(&mut self) {
        let oldest = self.walk.oldest_segment;
        if oldest <= 1 || self.all_damaged() {
            return;
        }
        let name = segment_name(oldest);
        let Some(list) = self.walk.lists.get(&oldest) else {
            let what = "what the oldest segment begins with can't be read: it can't be told which groups must be there";
            return self.damage_all(0, &name, BLOCK, what.into());
        };
        let missing: Vec<(u64, u64)> = list
            .replicas
            .iter()
            .copied()
            .filter(|key| self.accounted.get(key).is_none_or(|&last| last < oldest))
            .collect();
        for (group, replica) in missing {
            let what = format!(
                "the log held replica {replica:016x} of group {group} when this segment began, and has no hard state of it"
            );
            self.damage(0, &name, BLOCK, what, DamagedGroups::Listed(vec![group]));
        }
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
    fn record(&mut self, segment: u64, record: &Record<'_>, body: &Body) {
        self.walk.records += 1;
        self.walk.record_bytes += record.stored_bytes() as u64;
        match body {
            Body::Drop => {
                self.accounted
                    .insert((record.group, record.replica), segment);
                for found in &mut self.found {
                    if let DamagedGroups::Listed(groups) = &mut found.damage.groups {
                        groups.retain(|&group| group != record.group);
                    }
                }
            }
            Body::HardState(_) => {
                self.accounted
                    .insert((record.group, record.replica), segment);
            }
            Body::Incarnation(incarnation) => {
                self.walk.incarnation = Some((record.replica, *incarnation));
            }
            Body::Groups(list) => {
                // It repeats what stood in a segment before, which may be gone.
                if list.incarnation.number > 0 {
                    self.walk.incarnation = Some((record.replica, list.incarnation));
                }
                self.walk.lists.insert(segment, list.clone());
            }
            Body::Entry | Body::Founding(_) => {}
        }
        self.visitor.record(segment, record, body);
    }

    /// A frame with a good header: what it vouches for, and whether it is asked for.
    fn note_frame(&mut self, segment: u64, header: &FrameHeader) {
        let walk = &mut self.walk;
        walk.first_sequence.get_or_insert(header.sequence);
        if let Some(digest) = walk.digests.get_mut(&header.sequence) {
            *digest = Some(header.digest);
        }
        walk.synced_through = walk.synced_through.max(header.synced_through);
        let synced_through = walk.synced_through;
        walk.unvouched
            .retain(|frame| frame.sequence > synced_through);
        walk.unvouched.push(FramePlace {
            segment,
            offset: header.offset,
            length: u64::from(header.length),
            sequence: header.sequence,
        });
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
    /// What the log says of a position that was asked for.
    pub fn standing(&self, position: Position) -> Standing {
        let found = self.digests.get(&position.sequence).copied().flatten();
        match (found, self.first_sequence) {
            _ if position.sequence > self.last_sequence => Standing::Beyond,
            _ if position.sequence == 0 && position.digest != 0 => Standing::NotHeld,
            (Some(digest), _) if digest == position.digest => Standing::Held,
            // Before the first frame.
            (None, None | Some(1)) if position == Position::default() => Standing::Held,
            (None, Some(first)) if position.sequence < first => Standing::Below,
            _ => Standing::NotHeld,
        }
    }

    /// The last frame.
    pub fn position(&self) -> Position {
        self.end
            .as_ref()
            .map_or_else(Position::default, |end| Position {
                sequence: end.sequence,
                digest: end.digest,
            })
    }

    fn vouch(&mut self, end: &End) {
        if end.dirty_to > end.offset {
            self.torn = Some(Torn {
                file: segment_name(end.segment.number),
                offset: end.offset,
                bytes: end.dirty_to - end.offset,
                sequence: end.sequence + 1,
            });
        }
    }
}
