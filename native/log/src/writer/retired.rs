//! What becomes of segments nobody needs any more: some wait to become later
//! ones, so that those need not be filled with zeros; the others are removed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::job::{Job, JobResult, Spare};
use crate::layout;
use crate::walk::LiveSegment;

/// See the module.
#[derive(Debug)]
pub(super) struct Retired {
    /// To be kept: their jobs are still to be handed out.
    keeping: VecDeque<(LiveSegment, Job)>,
    /// Their jobs run.
    under_way: Vec<LiveSegment>,
    /// Kept.
    spares: VecDeque<Spare>,
    removals: VecDeque<Arc<str>>,
}

impl Retired {
    pub fn new(spares: Vec<Spare>) -> Self {
        Self {
            keeping: VecDeque::new(),
            under_way: Vec::new(),
            spares: spares.into(),
            removals: VecDeque::new(),
        }
    }

    /// Nobody needs the segment, durably.
    pub fn take(&mut self, segment: LiveSegment, config: &LogConfig) {
        let kept = self.keeping.len() + self.under_way.len() + self.spares.len();
        match segment.used_bytes {
            // Of another length, or not known to be right to its end, it can't become another.
            Some(used_bytes)
                if segment.bytes == config.segment_bytes && kept < config.spare_segments_max =>
            {
                let job = Job::RetireSegment {
                    segment: segment.number,
                    bytes: segment.bytes,
                    used_bytes,
                    keep_free_bytes: config.keep_free_bytes.saturating_add(segment.bytes),
                };
                self.keeping.push_back((segment, job));
            }
            _ => self.remove(&segment),
        }
    }

    fn remove(&mut self, segment: &LiveSegment) {
        let name = layout::segment_name(segment.number);
        self.removals.push_back(name.into());
    }

    /// A spare for a segment of that length.
    pub fn spare(&mut self, bytes: u64, config: &LogConfig) -> Option<Spare> {
        if bytes != config.segment_bytes {
            return None;
        }
        self.spares.pop_front()
    }

    pub fn take_job(&mut self) -> Option<Job> {
        if let Some((segment, job)) = self.keeping.pop_front() {
            self.under_way.push(segment);
            return Some(job);
        }
        let file = self.removals.pop_front()?;
        Some(Job::Remove { file })
    }

    /// The job that keeps that segment ended.
    pub fn on_job(&mut self, number: u64, result: &JobResult) {
        let found = self
            .under_way
            .iter()
            .position(|segment| segment.number == number);
        let Some(segment) = found.map(|at| self.under_way.swap_remove(at)) else {
            return;
        };
        if let JobResult::Failed { .. } = result {
            // It is needless, kept or not.
            self.remove(&segment);
        } else {
            self.spares.push_back(Spare {
                segment: segment.number,
                salt: segment.salt,
            });
        }
    }

    pub fn remove_spares(&mut self) {
        let names = self
            .spares
            .drain(..)
            .map(|spare| layout::spare_name(spare.segment).into());
        self.removals.extend(names);
        while let Some((segment, _)) = self.keeping.pop_front() {
            self.remove(&segment);
        }
    }

    pub fn spares(&self) -> u64 {
        self.spares.len() as u64
    }
}
