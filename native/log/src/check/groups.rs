//! Gathers what the log holds of each group.

use std::collections::{BTreeMap, VecDeque};

use super::{GroupCheck, SegmentCheck};
use crate::RecordKind;
use crate::frame::FrameHeader;
use crate::record::Record;
use crate::walk::{SegmentFile, Visitor};

#[derive(Default)]
struct Group {
    check: GroupCheck,
    /// Terms of the entries from `first_index` to `last_index`.
    terms: VecDeque<u64>,
}

impl Group {
    fn entry(&mut self, index: u64, term: u64) {
        self.check.entries += 1;
        self.check.dropped = false;
        let check = &mut self.check;
        if self.terms.is_empty()
            || index < check.first_index
            || index > check.last_index.saturating_add(1)
        {
            // Behind a gap, what was before counts no more: only a snapshot can bridge it.
            self.terms.clear();
            check.first_index = index;
        } else if index <= check.last_index {
            let place = usize::try_from(index - check.first_index).expect("within the terms kept");
            if self.terms[place] == term {
                return;
            }
            self.terms.truncate(place);
        }
        self.terms.push_back(term);
        check.last_index = index;
    }
}

/// Sees the log go by.
#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<u64, Group>,
    pub segments: BTreeMap<u64, SegmentCheck>,
}

impl Groups {
    /// The first and the last index without a gap between, if the log has entries.
    pub fn range(&self, group: u64) -> Option<(u64, u64)> {
        let group = self.groups.get(&group)?;
        (!group.terms.is_empty()).then_some((group.check.first_index, group.check.last_index))
    }

    pub fn is_dropped(&self, group: u64) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|group| group.check.dropped)
    }

    pub fn into_checks(self) -> BTreeMap<u64, GroupCheck> {
        self.groups
            .into_iter()
            .map(|(id, group)| (id, group.check))
            .collect()
    }
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

    fn record(&mut self, _segment: u64, record: &Record<'_>) {
        let group = self.groups.entry(record.group).or_default();
        group.check.group = record.group;
        match record.kind {
            RecordKind::Entry | RecordKind::ConfChange => group.entry(record.index, record.term),
            RecordKind::HardState => group.check.hard_state = true,
            RecordKind::Drop => {
                *group = Group::default();
                group.check.group = record.group;
                group.check.dropped = true;
            }
        }
    }
}
