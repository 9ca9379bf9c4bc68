//! The report for a person.

use std::fmt;

use super::{CheckReport, GroupCheck, Severity};

impl CheckReport {
    /// The report for a person. `elsewhere` is what is wrong with the directory beside log and
    /// snapshots, each a finding of its own: the verdict is over all of it.
    pub fn text(&self, elsewhere: &[String]) -> String {
        Text(self, elsewhere).to_string()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self, &[]).fmt(f)
    }
}

struct Text<'a>(&'a CheckReport, &'a [String]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, elsewhere) = *self;
        write!(
            f,
            "log: {} frames with {} records in {} segments, ",
            report.frames,
            report.records,
            report.segments.len(),
        )?;
        match (report.last_sequence, report.frames) {
            (0, 0) => writeln!(f, "no frame yet")?,
            // Behind damage there is no frame whose place in the log is certain.
            (0, _) => writeln!(f, "the last frame can't be read")?,
            (last, _) => writeln!(f, "the last frame is {last}")?,
        }
        for segment in &report.segments {
            writeln!(
                f,
                "  {}: {} of {} bytes used, {} frames, {} records",
                segment.file, segment.used_bytes, segment.bytes, segment.frames, segment.records
            )?;
        }
        for snapshot in &report.snapshots {
            writeln!(
                f,
                "  {}: {} bytes, {} slices, {}",
                snapshot.info.file,
                snapshot.info.bytes,
                snapshot.slices,
                if snapshot.good { "good" } else { "damaged" }
            )?;
        }
        for group in &report.groups {
            group_line(f, group)?;
        }
        for finding in &report.findings {
            writeln!(
                f,
                "{}: {} at {}: {}",
                finding.severity.name(),
                finding.file,
                finding.offset,
                finding.what
            )?;
            writeln!(f, "  means: {}", finding.means)?;
            if finding.action != "none" {
                writeln!(f, "  do: {}", finding.action)?;
            }
        }
        for what in elsewhere {
            writeln!(f, "damage: {what}")?;
            writeln!(f, "  means: a node does not start on this directory")?;
        }
        let damage = report
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Damage);
        match damage.count() + elsewhere.len() {
            0 => writeln!(
                f,
                "healthy: all that was acknowledged is there and as it was written"
            ),
            1 => writeln!(f, "NOT healthy: one damaged place"),
            count => writeln!(f, "NOT healthy: {count} damaged places"),
        }
    }
}

fn group_line(f: &mut fmt::Formatter<'_>, group: &GroupCheck) -> fmt::Result {
    write!(f, "  group {}: ", group.group)?;
    if group.dropped {
        return writeln!(f, "dropped");
    }
    match group.snapshot {
        Some(index) => write!(f, "snapshot at {index}, ")?,
        None => write!(f, "no snapshot, ")?,
    }
    if group.last_index == 0 {
        write!(f, "no entries in the log")?;
    } else {
        write!(
            f,
            "entries {} to {} in the log",
            group.first_index, group.last_index
        )?;
    }
    writeln!(f, "{}", if group.served { "" } else { ", NOT served" })
}
