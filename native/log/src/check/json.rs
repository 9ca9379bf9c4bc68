//! The report as JSON, for whoever has a writer. 64-bit values are decimal strings, replicas strings of
//! 16 hexadecimal digits, sizes and offsets numbers:
//!
//! `{healthy, frames, records, last_sequence, segments: [{file, bytes, used_bytes, frames, records}],
//! spares: [file], snapshots: [{file, group, replica, index, bytes, slices, good, revision?}], groups: [{group, replica, served, dropped,
//! first_index, last_index, entries, hard_state, snapshot}], findings: [{severity, file, offset, what,
//! means, action, groups}]}`. `groups` of a finding is an array of ids, or `"all"`.

use serde::{Serialize, Serializer};

use super::{CheckReport, Finding, GroupCheck, SegmentCheck, SnapshotCheck};
use crate::report::DamagedGroups;

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    frames: u64,
    records: u64,
    last_sequence: String,
    segments: Vec<Segment<'a>>,
    spares: &'a [String],
    snapshots: Vec<Snapshot<'a>>,
    groups: Vec<Part>,
    findings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Segment<'a> {
    file: &'a str,
    bytes: u64,
    used_bytes: u64,
    frames: u64,
    records: u64,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    file: &'a str,
    group: String,
    replica: String,
    index: String,
    bytes: u64,
    slices: u64,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
}

#[derive(Serialize)]
struct Part {
    group: String,
    replica: String,
    served: bool,
    dropped: bool,
    first_index: String,
    last_index: String,
    entries: u64,
    hard_state: bool,
    snapshot: Option<String>,
}

#[derive(Serialize)]
struct Found<'a> {
    severity: &'static str,
    file: &'a str,
    offset: u64,
    what: &'a str,
    means: &'a str,
    action: &'a str,
    groups: Groups,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Groups {
    All(&'static str),
    Listed(Vec<String>),
}

impl Serialize for CheckReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = Report {
            healthy: self.is_healthy(),
            frames: self.frames,
            records: self.records,
            last_sequence: self.last_sequence.to_string(),
            segments: self.segments.iter().map(Segment::from).collect(),
            spares: &self.spares,
            snapshots: self.snapshots.iter().map(Snapshot::from).collect(),
            groups: self.groups.iter().map(Part::from).collect(),
            findings: self.findings.iter().map(Found::from).collect(),
        };
        report.serialize(serializer)
    }
}

impl<'a> From<&'a SegmentCheck> for Segment<'a> {
    fn from(segment: &'a SegmentCheck) -> Self {
        Self {
            file: &segment.file,
            bytes: segment.bytes,
            used_bytes: segment.used_bytes,
            frames: segment.frames,
            records: segment.records,
        }
    }
}

impl<'a> From<&'a SnapshotCheck> for Snapshot<'a> {
    fn from(snapshot: &'a SnapshotCheck) -> Self {
        let head = snapshot.head.as_ref();
        Self {
            file: &snapshot.info.file,
            group: snapshot.info.group.to_string(),
            replica: format!("{:016x}", snapshot.info.replica),
            index: snapshot.info.index.to_string(),
            bytes: snapshot.info.bytes,
            slices: snapshot.slices,
            good: snapshot.good,
            revision: head.map(|head| head.revision.to_string()),
        }
    }
}

impl From<&GroupCheck> for Part {
    fn from(group: &GroupCheck) -> Self {
        Self {
            group: group.group.to_string(),
            replica: format!("{:016x}", group.replica),
            served: group.served,
            dropped: group.dropped,
            first_index: group.first_index.to_string(),
            last_index: group.last_index.to_string(),
            entries: group.entries,
            hard_state: group.hard_state,
            snapshot: group.snapshot.map(|index| index.to_string()),
        }
    }
}

impl<'a> From<&'a Finding> for Found<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            severity: finding.severity.name(),
            file: &finding.file,
            offset: finding.offset,
            what: &finding.what,
            means: &finding.means,
            action: &finding.action,
            groups: match &finding.groups {
                DamagedGroups::All => Groups::All("all"),
                DamagedGroups::Listed(groups) => {
                    Groups::Listed(groups.iter().map(u64::to_string).collect())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_report_is_an_object() {
        assert_eq!(
            serde_json::to_string(&CheckReport::default()).expect("all names are text"),
            "{\"healthy\":true,\"frames\":0,\"records\":0,\"last_sequence\":\"0\",\"segments\":[],\
             \"spares\":[],\"snapshots\":[],\"groups\":[],\"findings\":[]}"
        );
    }
}
