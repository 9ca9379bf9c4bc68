//! A data directory verified without starting a node from it: the log's own check, and whether the
//! states could take what the log holds.

use domp_log::snapshot::SnapshotHead;
use domp_log::{Applier, CheckReport, Disk, RecoverError};
use domp_state::entry::{EntryError, verify_entry};

use crate::spaces::state_config;

/// A program that knows so many apply versions.
struct States {
    apply_version_known: u16,
}

impl Applier for States {
    fn takes_entry(&self, group: u64, body: &[u8]) -> Result<(), String> {
        let config = state_config(group, self.apply_version_known);
        verify_entry(body, &config).map_err(|error| error.to_string())
    }

    fn takes_snapshot(&self, head: &SnapshotHead) -> Result<(), String> {
        if head.apply_version > self.apply_version_known {
            return Err(EntryError::ApplyVersion(head.apply_version).to_string());
        }
        Ok(())
    }
}

/// Says of a data directory what [`Node::boot`](crate::Node::boot) would make of it. Changes nothing.
/// `apply_version_known`: as in [`Config`](crate::Config).
///
/// # Errors
/// As [`domp_log::check()`].
pub fn check(disk: &mut dyn Disk, apply_version_known: u16) -> Result<CheckReport, RecoverError> {
    domp_log::check(
        disk,
        &States {
            apply_version_known,
        },
    )
}
