//! The report for a person.

use std::fmt;

use super::{CheckReport, GroupCheck, Severity};

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "log: {} frames with {} records in {} segments, ",
            self.frames,
            self.records,
            self.segments.len(),
        )?;
        match (self.last_sequence, self.frames) {
            (0, 0) => writeln!(f, "no frame yet")?,
            // Behind damage there is no frame whose place in the log is certain.
            (0, _) => writeln!(f, "the last frame can't be read")?,
            (last, _) => writeln!(f, "the last frame is {last}")?,
        }
        for segment in &self.segments {
            writeln!(
                f,
                "  {}: {} of {} bytes used, {} frames, {} records",
                segment.file, segment.used_bytes, segment.bytes, segment.frames, segment.records
            )?;
        }
        for spare in &self.spares {
            writeln!(f, "  {spare}: needless, kept for a later segment")?;
        }
        for snapshot in &self.snapshots {
            writeln!(
                f,
                "  {}: {} bytes, {} slices, {}",
                snapshot.info.file,
                snapshot.info.bytes,
                snapshot.slices,
                if snapshot.good { "good" } else { "damaged" }
            )?;
        }
        for group in &self.groups {
            group_line(f, group)?;
        }
        for finding in &self.findings {
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
        let damage = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Damage);
        match damage.count() {
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
