//! Files that are removed, and whose space is given back little by little.
//!
//! Freeing the space of a large file at once holds up every other write to the file
//! system, the log's too: on ext4 that discards what it frees, a millisecond for each
//! MiB. So such a file only loses its name at first, and is then cut shorter from its
//! end, a step at a time. A crash leaves a file with an ending that the next start
//! removes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is cut off at once, in bytes: some two milliseconds.
const STEP_BYTES: u64 = 2 << 20;
/// Between two steps, so that others have their turn.
pub(crate) const STEP_PAUSE: Duration = Duration::from_millis(2);

/// The ending of a file that waits: one that starts take for left behind.
const ENDING: &str = ".removed.tmp";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    files: Mutex<VecDeque<Shrinking>>,
}

#[derive(Debug)]
struct Shrinking {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Doomed {
    fn files(&self) -> MutexGuard<'_, VecDeque<Shrinking>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the file, or its name at least: the rest is for [`Self::step`].
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let bytes = fs::symlink_metadata(path)?.len();
        if bytes <= STEP_BYTES {
            return fs::remove_file(path);
        }
        let Ok(file) = OpenOptions::new().write(true).open(path) else {
            // As without descriptors to spare: removing takes none.
            return fs::remove_file(path);
        };
        let mut name = OsString::from(path);
        name.push(ENDING);
        let away = PathBuf::from(name);
        fs::rename(path, &away)?;
        self.files().push_back(Shrinking {
            path: away,
            file,
            bytes,
        });
        Ok(())
    }

    /// Gives some space back; whether there is more.
    pub fn step(&self) -> bool {
        let Some(mut doomed) = self.files().pop_front() else {
            return false;
        };
        doomed.bytes = doomed.bytes.saturating_sub(STEP_BYTES);
        if doomed.bytes > 0 && doomed.file.set_len(doomed.bytes).is_ok() {
            self.files().push_front(doomed);
        } else {
            // Nobody can do anything about an error: the next start tries again.
            drop(fs::remove_file(&doomed.path));
        }
        !self.files().is_empty()
    }

    /// Removes what is left, at once.
    pub fn finish(&self) {
        for doomed in self.files().drain(..) {
            drop(fs::remove_file(&doomed.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::TestDirectory;
    use super::*;

    fn names(directory: &Path) -> Vec<(String, u64)> {
        let mut names: Vec<(String, u64)> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let bytes = entry.metadata().expect("of a file").len();
                (entry.file_name().to_string_lossy().into_owned(), bytes)
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_large_file_loses_its_name_at_once_and_its_space_in_steps() {
        let directory = TestDirectory::new();
        let doomed = Doomed::default();
        let (large, small) = (
            directory.path().join("large"),
            directory.path().join("small"),
        );
        fs::write(&large, vec![1; 5 << 20]).expect("written");
        fs::write(&small, [1; 100]).expect("written");
        doomed.remove(&small).expect("removed");
        doomed.remove(&large).expect("removed");
        let left = |mib: u64| vec![("large.removed.tmp".to_owned(), mib << 20)];
        assert_eq!(names(directory.path()), left(5));
        assert!(doomed.step());
        assert_eq!(names(directory.path()), left(3));
        // Its name is free for another.
        fs::write(&large, [2; 10]).expect("written");
        assert!(doomed.step());
        assert!(!doomed.step());
        assert!(!doomed.step());
        assert_eq!(names(directory.path()), [("large".to_owned(), 10)]);
        let gone = doomed.remove(&small).expect_err("it is gone");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_left_at_the_end_goes_at_once() {
        let directory = TestDirectory::new();
        let doomed = Doomed::default();
        let path = directory.path().join("file");
        fs::write(&path, vec![1; 9 << 20]).expect("written");
        doomed.remove(&path).expect("removed");
        assert!(doomed.step());
        doomed.finish();
        assert_eq!(names(directory.path()), []);
    }
}
