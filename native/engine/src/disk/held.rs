//! One directory held by this process.
//!
//! The lock is the kernel's (`flock`), so it ends with the process however that ends. It is taken
//! twice: of the directory itself, which nobody can remove while it is held, and of the file `LOCK`
//! in it, which tells people the process and stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::directory::{LOCK_NAME, OpenDirectoryError, is_own_directory};

/// See the module. Given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    _directory: File,
    _lock: Option<File>,
}

impl Held {
    /// Takes a directory that is there for this process alone.
    pub fn take(what: &'static str, path: &Path) -> Result<Self, OpenDirectoryError> {
        let place = Place::open(what, path)?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        place.lock_directory(operation)?;
        refuse_links(&place.path).map_err(|error| place.lift(error))?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(place.path.join(LOCK_NAME));
        let mut lock =
            lock.map_err(|source| place.failed("can't open the lock file of", source))?;
        place.lock(&lock, operation)?;
        // The number only helps people; the lock holds without it.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(place.held(Some(lock)))
    }

    /// Keeps those off who would take it, and changes nothing in it.
    pub fn share(what: &'static str, path: &Path) -> Result<Self, OpenDirectoryError> {
        let place = Place::open(what, path)?;
        let operation = FlockOperation::NonBlockingLockShared;
        place.lock_directory(operation)?;
        refuse_links(&place.path).map_err(|error| place.lift(error))?;
        let lock = match File::open(place.path.join(LOCK_NAME)) {
            Ok(lock) => {
                place.lock(&lock, operation)?;
                Some(lock)
            }
            // Nobody ever held it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(place.failed("can't open the lock file of", source)),
        };
        Ok(place.held(lock))
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory that is open and not held yet.
struct Place {
    what: &'static str,
    path: PathBuf,
    directory: File,
}

impl Place {
    fn open(what: &'static str, path: &Path) -> Result<Self, OpenDirectoryError> {
        let opened = fs::canonicalize(path).and_then(|path| Ok((File::open(&path)?, path)));
        let (directory, path) = opened.map_err(|source| OpenDirectoryError::Io {
            doing: format!("can't open the {what} {}", path.display()),
            source,
        })?;
        Ok(Self {
            what,
            path,
            directory,
        })
    }

    fn held(self, lock: Option<File>) -> Held {
        Held {
            path: self.path,
            _directory: self.directory,
            _lock: lock,
        }
    }

    fn lock_directory(&self, operation: FlockOperation) -> Result<(), OpenDirectoryError> {
        match flock(&self.directory, operation) {
            // Network file systems lock only what is open for writing, which no directory can be: there
            // the lock file must do.
            Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Ok(()),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn lock(&self, lock: &File, operation: FlockOperation) -> Result<(), OpenDirectoryError> {
        flock(lock, operation).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: Errno) -> OpenDirectoryError {
        if error != Errno::WOULDBLOCK {
            return self.failed("can't lock", error.into());
        }
        let mut holder = String::new();
        // A holder that left no number is still a holder.
        let _ = File::open(self.path.join(LOCK_NAME))
            .and_then(|mut lock| lock.read_to_string(&mut holder));
        OpenDirectoryError::InUse {
            what: self.what,
            path: self.path.clone(),
            holder: holder.trim().parse().ok(),
        }
    }

    fn lift(&self, error: LinkError) -> OpenDirectoryError {
        match error {
            LinkError::Link(path) => OpenDirectoryError::Link { path },
            LinkError::Io(source) => self.failed("can't read", source),
        }
    }

    fn failed(&self, doing: &str, source: io::Error) -> OpenDirectoryError {
        OpenDirectoryError::Io {
            doing: format!("{doing} the {} {}", self.what, self.path.display()),
            source,
        }
    }
}

enum LinkError {
    Link(PathBuf),
    Io(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Looks for symbolic links in a directory, and in those in it. A lock does not reach through them.
fn refuse_links(directory: &Path) -> Result<(), LinkError> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            return Err(LinkError::Link(entry.path()));
        }
        if is_own_directory(&entry)? {
            refuse_links(&entry.path())?;
        }
    }
    Ok(())
}
