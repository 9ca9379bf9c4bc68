//! A program that goes back to an older version: what the newer one wrote stops a shard, until the newer
//! one is there again.

use domp_log::memory::commit_entry;
use domp_oracle::empty;

use super::World;
use crate::loss;
use crate::situations::Situation;

/// A shard that is stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    group: u64,
    /// The segment that its last entry was written to, by name.
    segment: String,
}

impl World {
    /// A newer program writes something and is replaced by the old one; or the newer one comes back.
    pub(super) fn live_stopped(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            let oldest = loss::segments(&self.disk).into_iter().next();
            if oldest.is_some_and(|oldest| oldest > stopped.segment) {
                self.history.situations.note(Situation::StoppedMoved);
            }
            // Of a space that was dropped since nobody knows anything, once the log says so.
            let is_there = loss::holds(&self.disk, stopped.group);
            if is_there && !self.settling && self.rng.percent(70) {
                self.stopped = Some(stopped);
                return;
            }
            self.history.damaged.clear();
            if is_there {
                self.config.apply_version_known += 1;
                self.history.situations.note(Situation::StoppedGoesOn);
            }
            return;
        }
        if self.settling || self.lost.is_some() || !self.rng.percent(8) {
            return;
        }
        let spaces = self.history.spaces();
        if spaces.is_empty() {
            return;
        }
        let group = *self.rng.pick(&spaces);
        let entry = empty(self.config.apply_version_known + 1);
        let (log, drawn) = (&self.config.log, &self.config.drawn);
        let mut disk = self.disk.clone();
        let committed = commit_entry(&mut disk, log, drawn, group, &entry);
        self.draw_start();
        if committed.is_none() {
            return;
        }
        self.disk = disk;
        self.history.damaged.insert(group);
        self.history.situations.note(Situation::Stopped);
        let written = loss::frames(&self.disk);
        self.stopped = written
            .into_iter()
            .last()
            .map(|(segment, _)| Stopped { group, segment });
    }
}
