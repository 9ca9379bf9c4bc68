//! Gathers what the log holds.

use std::collections::BTreeMap;

use super::{Applier, SegmentCheck};
use crate::body::Body;
use crate::frame::FrameHeader;
use crate::record::Record;
use crate::verdict::Facts;
use crate::walk::{SegmentFile, Visitor};

/// Sees the log go by.
pub(super) struct Groups<'a> {
    pub facts: Facts,
    pub segments: BTreeMap<u64, SegmentCheck>,
    pub applier: &'a dyn Applier,
    /// Entries that can't be applied and that no snapshot covers, by replica and index, and why.
    refused: BTreeMap<(u64, u64), BTreeMap<u64, String>>,
}

impl<'a> Groups<'a> {
    pub fn new(applier: &'a dyn Applier) -> Self {
        Self {
            facts: Facts::default(),
            segments: BTreeMap::new(),
            applier,
            refused: BTreeMap::new(),
        }
    }

    /// The first entry of the replica behind index `from`, and not behind `to`, that can't be applied.
    pub fn first_refused(&self, replica: (u64, u64), from: u64, to: u64) -> Option<(u64, &str)> {
        let refused = self.refused.get(&replica)?;
        let (index, why) = refused.iter().find(|(index, _)| **index > from)?;
        (*index <= to).then_some((*index, why.as_str()))
    }

    /// Judges what an entry says; what stands at its index now replaces what stood there.
    fn judge(&mut self, record: &Record<'_>, body: &Body) {
        let key = (record.group, record.replica);
        match body {
            Body::Entry => match self.applier.takes_entry(record.group, record.body) {
                Ok(()) => {
                    if let Some(refused) = self.refused.get_mut(&key) {
                        refused.remove(&record.index);
                    }
                }
                Err(why) => {
                    let refused = self.refused.entry(key).or_default();
                    refused.insert(record.index, why);
                }
            },
            Body::HardState(hard_state) => {
                if let Some(refused) = self.refused.get_mut(&key) {
                    *refused = refused.split_off(&(hard_state.covered() + 1));
                }
            }
            Body::Drop => {
                self.refused.remove(&key);
            }
            Body::Founding(_) | Body::Incarnation(_) | Body::Groups(_) => {}
        }
    }
}

impl Visitor for Groups<'_> {
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
        self.judge(record, body);
    }
}
