//! Files that nobody needs any more: removed in the background, again and again until it works.
//! Snapshots are wanted here; of the log's segments comes what could not be removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::life::{RETRY_MAX_US, RETRY_US};

#[derive(Debug)]
struct Removal {
    /// Whose it was, if known.
    group: Option<u64>,
    /// Its job is out.
    is_out: bool,
    at_us: u64,
    failures: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Removals {
    files: BTreeMap<Arc<str>, Removal>,
}

impl Removals {
    /// The file may go.
    pub fn want(&mut self, group: Option<u64>, file: Arc<str>) {
        self.files.entry(file).or_insert(Removal {
            group,
            is_out: false,
            at_us: 0,
            failures: 0,
        });
    }

    /// The file is about to be written anew. Jobs run in order, so one that is out does no harm.
    pub fn forget(&mut self, file: &str) {
        self.files.remove(file);
    }

    /// Whose file it is, if that is known.
    pub fn group(&self, file: &str) -> Option<u64> {
        self.files.get(file)?.group
    }

    /// Whether files of the group are left.
    pub fn holds(&self, group: u64) -> bool {
        self.files
            .values()
            .any(|removal| removal.group == Some(group))
    }

    /// The files to remove now.
    pub fn take_due(&mut self, now_us: u64) -> Vec<Arc<str>> {
        let due = self
            .files
            .iter_mut()
            .filter(|(_, removal)| !removal.is_out && removal.at_us <= now_us);
        due.map(|(file, removal)| {
            removal.is_out = true;
            Arc::clone(file)
        })
        .collect()
    }

    /// A removal ended. Returns when it is tried again, if it failed.
    pub fn on_ended(&mut self, file: &Arc<str>, failed: bool, now_us: u64) -> Option<u64> {
        if !failed {
            self.files.remove(file);
            return None;
        }
        self.want(None, Arc::clone(file));
        let removal = self.files.get_mut(file)?;
        let wait_us = 1_u64
            .checked_shl(removal.failures)
            .map_or(RETRY_MAX_US, |times| RETRY_US.saturating_mul(times))
            .min(RETRY_MAX_US);
        removal.failures = removal.failures.saturating_add(1);
        removal.is_out = false;
        removal.at_us = now_us.saturating_add(wait_us);
        Some(removal.at_us)
    }

    /// When the next is tried.
    pub fn next_us(&self) -> Option<u64> {
        self.files
            .values()
            .filter(|removal| !removal.is_out)
            .map(|removal| removal.at_us)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_failed_is_tried_again_until_it_works() {
        let mut removals = Removals::default();
        let file: Arc<str> = "snap/a".into();
        removals.want(Some(3), Arc::clone(&file));
        assert_eq!(removals.take_due(10), [Arc::clone(&file)]);
        assert!(removals.take_due(10).is_empty(), "its job is out");
        assert_eq!(removals.on_ended(&file, true, 10), Some(10 + RETRY_US));
        assert!(removals.holds(3) && removals.take_due(11).is_empty());
        assert_eq!(removals.next_us(), Some(10 + RETRY_US));
        assert_eq!(removals.take_due(10 + RETRY_US).len(), 1);
        assert_eq!(
            removals.on_ended(&file, true, 0),
            Some(2 * RETRY_US),
            "twice the wait"
        );
        assert_eq!(removals.take_due(2 * RETRY_US).len(), 1);
        assert_eq!(removals.on_ended(&file, false, 0), None);
        assert!(!removals.holds(3) && removals.next_us().is_none());
    }

    #[test]
    fn what_another_tried_to_remove_is_tried_again_too() {
        let mut removals = Removals::default();
        let file: Arc<str> = "wal/0000000003.log".into();
        assert_eq!(removals.on_ended(&file, false, 10), None);
        assert_eq!(removals.on_ended(&file, true, 10), Some(10 + RETRY_US));
        assert_eq!(removals.take_due(10 + RETRY_US), [file]);
    }

    #[test]
    fn a_file_that_is_written_anew_is_not_removed() {
        let mut removals = Removals::default();
        let file: Arc<str> = "snap/a.tmp".into();
        removals.want(Some(3), Arc::clone(&file));
        removals.forget(&file);
        assert!(removals.take_due(u64::MAX).is_empty());
    }
}
