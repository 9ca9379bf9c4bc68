//! Lists a log's records for a person.

use std::fmt::Write;

use crate::Disk;
use crate::body::Body;
use crate::frame::{FrameHeader, FrameKind};
use crate::record::{Record, RecordKind};
use crate::recover::RecoverError;
use crate::report::DamagedGroups;
use crate::walk::{SegmentFile, Visitor, walk};

/// What to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// Only this group's records.
    pub group: Option<u64>,
    /// Only entries from this index on.
    pub from_index: Option<u64>,
}

impl DumpFilter {
    fn takes(self, record: &Record<'_>) -> bool {
        self.group.is_none_or(|group| group == record.group)
            && self
                .from_index
                .is_none_or(|from| record.kind.is_entry() && record.index >= from)
    }
}

/// Gets an entry's body, and what takes a line about it.
pub type Describe<'a> = dyn FnMut(&[u8], &mut dyn FnMut(&str)) + 'a;

/// Lists the log of a data directory, a line a call, without opening it: segments, frames, records, and
/// what is wrong. `describe` adds lines about an entry's body: the log does not know what one says.
///
/// # Errors
/// Of the disk, or a format version this program does not know. Damage is no error.
pub fn dump(
    disk: &mut dyn Disk,
    filter: DumpFilter,
    describe: &mut Describe<'_>,
    out: &mut dyn FnMut(&str),
) -> Result<(), RecoverError> {
    let mut dumper = Dumper {
        filter,
        describe,
        out,
        line: String::new(),
    };
    let walk = walk(disk, &mut dumper, &[])?;
    for damage in &walk.damage {
        out(&format!("damage: {damage}"));
    }
    if let Some(torn) = &walk.torn {
        out(&format!("torn: {torn}"));
    }
    for note in &walk.notes {
        out(&format!("note: {note}"));
    }
    if let Some(end) = &walk.end {
        out(&format!(
            "end of the log at {} of segment {}",
            end.offset, end.segment.number
        ));
    }
    Ok(())
}

struct Dumper<'a> {
    filter: DumpFilter,
    describe: &'a mut Describe<'a>,
    out: &'a mut dyn FnMut(&str),
    line: String,
}

impl Dumper<'_> {
    fn line(&mut self, parts: std::fmt::Arguments<'_>) {
        self.line.clear();
        self.line.write_fmt(parts).expect("a String takes all");
        (self.out)(&self.line);
    }
}

impl Visitor for Dumper<'_> {
    fn segment(&mut self, segment: &SegmentFile) {
        self.line(format_args!("{} ({} bytes)", segment.name, segment.bytes));
    }

    fn frame(&mut self, _segment: u64, header: &FrameHeader) {
        let next = match header.kind {
            FrameKind::Seal => format!(", next is segment {}", header.next.number),
            _ => String::new(),
        };
        self.line(format_args!(
            "  frame {} at {}: {}, {} bytes, {} records, synced through {}{next}",
            header.sequence,
            header.offset,
            header.kind.name(),
            header.length,
            header.records,
            header.synced_through,
        ));
    }

    fn record(&mut self, _segment: u64, record: &Record<'_>, body: &Body) {
        if !self.filter.takes(record) {
            return;
        }
        let (group, replica) = (record.group, record.replica);
        let (kind, len) = (record.kind.name(), record.body.len());
        match body {
            Body::Entry => self.line(format_args!(
                "    group {group}/{replica:x} {kind} {} of term {}, {len} bytes",
                record.index, record.term
            )),
            Body::HardState(hard_state) => {
                let crate::HardState {
                    term,
                    vote,
                    commit,
                    snapshot,
                    start_index,
                    ..
                } = hard_state;
                self.line(format_args!(
                    "    group {group}/{replica:x} {kind} term {term}, vote {vote:x}, commit {commit}, \
                     snapshot {}, start {start_index}",
                    snapshot.index
                ));
            }
            Body::Drop => self.line(format_args!("    group {group}/{replica:x} {kind}")),
            Body::Founding(founding) => self.line(format_args!(
                "    group {group}/{replica:x} {kind} at {}, timeline {}/{:032x}, {} voters",
                founding.index,
                founding.timeline.counter,
                founding.timeline.random,
                founding.voters.len()
            )),
            Body::Incarnation(incarnation) => self.line(format_args!(
                "    node {replica:016x} {kind} {}, behind frame {}",
                incarnation.number, incarnation.recovered.sequence
            )),
            Body::Groups(list) => {
                self.line(format_args!(
                    "    node {replica:016x} {kind}: {} with a hard state, incarnation {}",
                    list.replicas.len(),
                    list.incarnation.number
                ));
            }
        }
        if record.kind == RecordKind::Entry && !record.body.is_empty() {
            let out = &mut *self.out;
            (self.describe)(record.body, &mut |line| out(&format!("      {line}")));
        }
    }

    fn damage(&mut self, segment: u64, groups: &DamagedGroups) {
        self.line(format_args!(
            "  damage in segment {segment}: concerns {groups}"
        ));
    }
}
