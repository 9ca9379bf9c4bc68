//! The files of snapshots that came from elsewhere or go there: how they get their names, and how long they stay.

use std::sync::Arc;

use domp_log::snapshot::SnapshotInfo;
use domp_log::{Job, JobResult};

use super::life::{RETRY_MAX_US, RETRY_US};
use crate::commands::earliest;
use crate::node::Node;
use crate::storage::SnapshotJob;

/// A received file that is to get its name. A start gives it as well, so it only has to be soon.
pub(super) struct Naming {
    info: SnapshotInfo,
    is_out: bool,
    failures: u32,
    at_us: u64,
}

impl Node {
    /// A durable hard state names a file that was received: it is the group's now, and the one before may go.
    pub(crate) fn file_installed(&mut self, group: u64, info: &SnapshotInfo, digest: u128) {
        let naming = Naming {
            info: info.clone(),
            is_out: false,
            failures: 0,
            at_us: 0,
        };
        self.snapshots.naming.insert(group, naming);
        if let Some(older) = self.snapshots.files.insert(group, info.clone()) {
            self.let_go_of_file(group, older.file);
        }
        self.snapshots.waiters.taken(group, info.index, digest);
        self.reclaim();
    }

    /// Hands out the jobs that give received files their names.
    pub(super) fn give_names(&mut self) {
        let now_us = self.clock.monotonic_us;
        let files = &self.snapshots.files;
        let is_current = |info: &SnapshotInfo| {
            let current = files.get(&info.group);
            current.is_some_and(|current| current.file == info.file)
        };
        // One that was replaced before it had its name goes as it is.
        self.snapshots
            .naming
            .retain(|_, naming| naming.is_out || is_current(&naming.info));
        for (group, naming) in &mut self.snapshots.naming {
            if naming.is_out || naming.at_us > now_us {
                continue;
            }
            naming.is_out = true;
            let job = Job::SnapshotFinish {
                temporary: Arc::clone(&naming.info.file),
                file: naming.info.named().file,
            };
            self.storage
                .want_snapshot_job(SnapshotJob::Name(*group), job);
        }
    }

    /// A received file got its name, or did not.
    pub(super) fn name_given(&mut self, group: u64, result: &JobResult) {
        let now_us = self.clock.monotonic_us;
        let Some(naming) = self.snapshots.naming.get_mut(&group) else {
            return;
        };
        if let JobResult::Failed { .. } = result {
            let wait_us = RETRY_US.saturating_mul(1 << naming.failures.min(10));
            naming.failures += 1;
            naming.is_out = false;
            naming.at_us = now_us.saturating_add(wait_us.min(RETRY_MAX_US));
            return;
        }
        let Some(naming) = self.snapshots.naming.remove(&group) else {
            return;
        };
        let named = naming.info.named();
        match self.snapshots.files.get_mut(&group) {
            Some(current) if current.file == naming.info.file => *current = named,
            // Another replaced it meanwhile.
            _ => self.snapshots.removals.want(Some(group), named.file),
        }
    }

    /// When a name is given next.
    pub(super) fn note_naming(&self, wake_at_us: &mut Option<u64>) {
        for naming in self.snapshots.naming.values().filter(|one| !one.is_out) {
            earliest(wake_at_us, naming.at_us.max(self.clock.monotonic_us));
        }
    }

    /// A file that another replaced may go, once it is not read any more.
    pub(super) fn let_go_of_file(&mut self, group: u64, file: Arc<str>) {
        if self.transfers.reads(&file) {
            self.snapshots.lingering.insert(file, group);
        } else {
            self.snapshots.removals.want(Some(group), file);
        }
    }

    /// Files that were read for others, and are needed no more, may go.
    pub(crate) fn let_go_of_files(&mut self) {
        let transfers = &self.transfers;
        let removals = &mut self.snapshots.removals;
        self.snapshots.lingering.retain(|file, group| {
            let stays = transfers.reads(file);
            if !stays {
                removals.want(Some(*group), Arc::clone(file));
            }
            stays
        });
    }

    /// Something of a file that was being received may be left: it may go.
    pub(crate) fn remove_received(&mut self, group: u64, files: [Arc<str>; 2]) {
        for file in files {
            self.snapshots.removals.want(Some(group), file);
        }
    }

    /// A file is about to be written anew.
    pub(crate) fn file_is_written_anew(&mut self, file: &str) {
        self.snapshots.removals.forget(file);
    }
}
