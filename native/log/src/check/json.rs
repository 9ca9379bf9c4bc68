//! The report as JSON. 64-bit values are decimal strings, sizes and offsets numbers.

use std::fmt::{Display, Write};

use super::CheckReport;
use crate::report::DamagedGroups;

impl CheckReport {
    /// The report as one JSON object:
    /// `{healthy, frames, records, last_sequence, segments: [{file, bytes, used_bytes, frames, records}],
    /// snapshots: [{file, group, replica, index, bytes, slices, good, revision?}], groups: [{group, replica, served, dropped,
    /// first_index, last_index, entries, hard_state, snapshot}], findings: [{severity, file, offset, what,
    /// means, action, groups}]}`. `groups` of a finding is an array of ids, or `"all"`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let object = &mut Object::new(&mut out);
        object.plain("healthy", self.is_healthy());
        object.plain("frames", self.frames);
        object.plain("records", self.records);
        object.text("last_sequence", self.last_sequence);
        object.array("segments", &self.segments, |object, segment| {
            object.text("file", &segment.file);
            object.plain("bytes", segment.bytes);
            object.plain("used_bytes", segment.used_bytes);
            object.plain("frames", segment.frames);
            object.plain("records", segment.records);
        });
        object.array("snapshots", &self.snapshots, |object, snapshot| {
            object.text("file", &snapshot.info.file);
            object.text("group", snapshot.info.group);
            object.text("replica", format_args!("{:016x}", snapshot.info.replica));
            object.text("index", snapshot.info.index);
            object.plain("bytes", snapshot.info.bytes);
            object.plain("slices", snapshot.slices);
            object.plain("good", snapshot.good);
            if let Some(head) = &snapshot.head {
                object.text("revision", head.revision);
            }
        });
        object.array("groups", &self.groups, |object, group| {
            object.text("group", group.group);
            object.text("replica", format_args!("{:016x}", group.replica));
            object.plain("served", group.served);
            object.plain("dropped", group.dropped);
            object.text("first_index", group.first_index);
            object.text("last_index", group.last_index);
            object.plain("entries", group.entries);
            object.plain("hard_state", group.hard_state);
            match group.snapshot {
                Some(index) => object.text("snapshot", index),
                None => object.plain("snapshot", "null"),
            }
        });
        object.array("findings", &self.findings, |object, finding| {
            object.text("severity", finding.severity.name());
            object.text("file", &finding.file);
            object.plain("offset", finding.offset);
            object.text("what", &finding.what);
            object.text("means", &finding.means);
            object.text("action", &finding.action);
            match &finding.groups {
                DamagedGroups::All => object.text("groups", "all"),
                DamagedGroups::Listed(groups) => {
                    let ids: Vec<String> =
                        groups.iter().map(|group| format!("\"{group}\"")).collect();
                    object.plain("groups", format!("[{}]", ids.join(",")));
                }
            }
        });
        object.end();
        out
    }
}

/// An object being written.
struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        quote(self.out, name);
        self.out.push(':');
    }

    /// A value that is JSON as it prints.
    fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name);
        write!(self.out, "{value}").expect("a String takes all");
    }

    fn text(&mut self, name: &str, value: impl Display) {
        self.name(name);
        quote(self.out, &value.to_string());
    }

    fn array<T>(&mut self, name: &str, items: &[T], each: impl Fn(&mut Object<'_>, &T)) {
        self.name(name);
        self.out.push('[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            let mut object = Object::new(self.out);
            each(&mut object, item);
            object.end();
        }
        self.out.push(']');
    }

    fn end(&mut self) {
        self.out.push('}');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a String takes all");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\n\u{1}ü");
        assert_eq!(out, "\"a\\\"b\\\\c\\u000a\\u0001ü\"");
    }

    #[test]
    fn an_empty_report_is_an_object() {
        assert_eq!(
            CheckReport::default().to_json(),
            "{\"healthy\":true,\"frames\":0,\"records\":0,\"last_sequence\":\"0\",\"segments\":[],\
             \"snapshots\":[],\"groups\":[],\"findings\":[]}"
        );
    }
}
