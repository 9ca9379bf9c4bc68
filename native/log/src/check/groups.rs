//! Gathers what the log holds.

use std::collections::BTreeMap;

use super::SegmentCheck;
use crate::body::Body;
use crate::frame::FrameHeader;
use crate::record::Record;
use crate::verdict::Facts;
use crate::walk::{SegmentFile, Visitor};

/// Sees the log go by.
#[derive(Default)]
pub(super) struct Groups {
    pub facts: Facts,
    pub segments: BTreeMap<u64, SegmentCheck>,
}

impl Visitor for Groups {
    fn segment(&mut self, segment: &SegmentFile) {
        let number = segment.identity.number;
        let (file, bytes) = (segment.name.clone(), segment.bytes);
        let check = SegmentCheck {
            number,
            file,
            bytes,
            ..SegmentCheck::default()
        };
        self.segments.insert(number, check);
    }

    fn frame(&mut self, segment: u64, header: &FrameHeader) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.frames += 1;
            segment.records += u64::from(header.records);
            segment.used_bytes = header.offset + u64::from(header.length);
        }
    }

    fn record(&mut self, _segment: u64, record: &Record<'_>, body: &Body) {
        self.facts.record(record, body);
    }
}
