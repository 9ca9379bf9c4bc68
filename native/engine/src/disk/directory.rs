//! A data directory taken for this process alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

/// Names in the directory that belong to the engine; the log never sees them.
pub(super) const LOCK_NAME: &str = "LOCK";
pub(super) const IDENTITY_NAME: &str = "identity";
pub(super) const IDENTITY_NEW_NAME: &str = "identity.new";
pub(super) const LIMITS_NAME: &str = "limits";
pub(super) const LIMITS_NEW_NAME: &str = "limits.new";
pub(super) const PROBE_NAME: &str = "probe";

/// The kind of file system under a directory, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Memory: a flush does nothing and a power cut loses all.
    Memory,
    /// A container's layered file system: its files go with the container.
    Overlay,
    /// A network file system: what a flush means is up to the server.
    Network,
    /// Anything else.
    Disk,
}

impl FileSystem {
    /// Looks at a path.
    ///
    /// # Errors
    /// What the system says to `statfs`.
    pub fn of(path: &Path) -> io::Result<Self> {
        // Values from the kernel's `magic.h`; the field's type differs by platform.
        Ok(match i128::from(statfs(path)?.f_type) & 0xffff_ffff {
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x794c_7630 => Self::Overlay,
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 => Self::Network,
            _ => Self::Disk,
        })
    }

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Overlay => "overlay",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }

    /// What an operator must know about it, if anything.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some(
                "the data directory is in memory (tmpfs): flushing does nothing, and a power \
                 cut or reboot loses everything that was acknowledged",
            ),
            Self::Overlay => Some(
                "the data directory is on a container's overlay file system: it goes with the \
                 container; mount a volume for it",
            ),
            Self::Network => Some(
                "the data directory is on a network file system: whether a flush is durable \
                 depends on the server",
            ),
            Self::Disk => None,
        }
    }
}

/// Why a data directory can't be used.
#[derive(Debug)]
pub enum OpenDirectoryError {
    /// Another process holds it.
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, as far as it left one.
        holder: Option<u32>,
    },
    /// The system refused.
    Io {
        /// What was being done to which path.
        doing: String,
        /// The cause.
        source: io::Error,
    },
}

impl fmt::Display for OpenDirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, holder } => {
                write!(f, "the data directory {} is in use by ", path.display())?;
                match holder {
                    Some(holder) => write!(f, "process {holder}"),
                    None => f.write_str("another process"),
                }
            }
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for OpenDirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// A data directory held by this process until the value is dropped.
///
/// The lock is the kernel's (`flock`), so it ends with the process however
/// that ends; the file itself stays.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: Option<File>,
}

impl DataDirectory {
    /// Creates the directory where it is missing (mode 0700) and takes it.
    ///
    /// # Errors
    /// `InUse` when another process, or another engine of this one, holds it.
    pub fn take(path: &Path) -> Result<Self, OpenDirectoryError> {
        let failed = |doing: &str| {
            let doing = format!("{doing} {}", path.display());
            move |source| OpenDirectoryError::Io { doing, source }
        };
        create_durably(path).map_err(failed("can't create the data directory"))?;
        let path = fs::canonicalize(path).map_err(failed("can't open the data directory"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_NAME))
            .map_err(failed("can't open the lock file of"))?;
        take_lock(&mut lock, &path, FlockOperation::NonBlockingLockExclusive)?;
        // The number only helps people; the lock holds without it.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self {
            path,
            _lock: Some(lock),
        })
    }

    /// Keeps engines off a directory while it is read; changes nothing in it. A
    /// directory that no engine ever held has no lock and needs none.
    ///
    /// # Errors
    /// As for [`DataDirectory::take`]; also when there is no such directory.
    pub fn share(path: &Path) -> Result<Self, OpenDirectoryError> {
        let failed = |doing: &str| {
            let doing = format!("{doing} {}", path.display());
            move |source| OpenDirectoryError::Io { doing, source }
        };
        let path = fs::canonicalize(path).map_err(failed("can't open the data directory"))?;
        let lock = match File::open(path.join(LOCK_NAME)) {
            Ok(mut lock) => {
                take_lock(&mut lock, &path, FlockOperation::NonBlockingLockShared)?;
                Some(lock)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("can't open the lock file of")(error)),
        };
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn take_lock(
    lock: &mut File,
    path: &Path,
    operation: FlockOperation,
) -> Result<(), OpenDirectoryError> {
    match flock(&*lock, operation) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // A holder that left no number is still a holder.
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim().parse().ok();
            Err(OpenDirectoryError::InUse {
                path: path.to_owned(),
                holder,
            })
        }
        Err(error) => Err(OpenDirectoryError::Io {
            doing: format!("can't lock {}", path.display()),
            source: error.into(),
        }),
    }
}

/// Creates a directory and its missing parents, each entry on stable storage.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    create_durably(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

/// Puts a small file into a directory, in place of the one of that name: all of it is on stable
/// storage under `new_name` before it gets its name.
pub(super) fn replace_durably(
    directory: &Path,
    new_name: &str,
    name: &str,
    contents: &[u8],
) -> io::Result<()> {
    let new = directory.join(new_name);
    // What a start that was cut short left behind was never used.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}

/// Flushes a directory's entries.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
