//! A data directory, and the directory of its log where that is kept elsewhere, taken for this
//! process alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domp_log::identity::IDENTITY_NAME;

use super::held::Held;
use super::log_owner;

/// Names in the directory that belong to the engine; the log never sees them.
pub(super) const LOCK_NAME: &str = "LOCK";
pub(super) const PROBE_NAME: &str = "probe";
/// Where the log is, unless it has a directory of its own.
pub(super) const WAL_NAME: &str = "wal";
const SNAP_NAME: &str = "snap";
/// Stands in the root of some file systems, and only their owner may read it: nothing of ours.
const LOST_AND_FOUND_NAME: &str = "lost+found";

/// Why a data directory can't be used.
#[derive(Debug)]
pub enum OpenDirectoryError {
    /// Another process holds it.
    InUse {
        /// What it is: the data directory or the log's.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// Its process id, as far as it left one.
        holder: Option<u32>,
    },
    /// A symbolic link is in it.
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The log's directory does not go with the data directory; the words say why.
    Apart(String),
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
            Self::InUse { what, path, holder } => {
                write!(f, "the {what} {} is in use by ", path.display())?;
                match holder {
                    Some(holder) => write!(f, "process {holder}"),
                    None => f.write_str("another process"),
                }
            }
            Self::Link { path } => write!(
                f,
                "{} is a symbolic link: what it points to can be held by another server or be \
                 another disk's. Move the files themselves here; to keep the log elsewhere, set \
                 log.dir (--log-dir)",
                path.display()
            ),
            Self::Apart(why) => f.write_str(why),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for OpenDirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } | Self::Link { .. } | Self::Apart(_) => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// A data directory held by this process until the value is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    data: Held,
    log: Option<Held>,
}

impl DataDirectory {
    /// Creates the directory where it is missing (mode 0700) and takes it; likewise that of the log,
    /// where it has one of its own.
    ///
    /// # Errors
    /// `InUse` when another process, or another engine of this one, holds it; when there is a link in
    /// it, or the log's directory is of another node.
    pub fn take(path: &Path, log: Option<&Path>) -> Result<Self, OpenDirectoryError> {
        let take = |what, path: &Path| {
            create_durably(path).map_err(|source| OpenDirectoryError::Io {
                doing: format!("can't create the {what} {}", path.display()),
                source,
            })?;
            Held::take(what, path)
        };
        let held = Self::open(path, log, &take)?;
        if let Some(log) = &held.log {
            log_owner::judge(held.data.path(), log.path(), true)?;
        }
        Ok(held)
    }

    /// Keeps engines off a directory while it is read; changes nothing in it.
    ///
    /// # Errors
    /// As for [`DataDirectory::take`]; also when there is no such directory.
    pub fn share(path: &Path, log: Option<&Path>) -> Result<Self, OpenDirectoryError> {
        let held = Self::open(path, log, &Held::share)?;
        if let Some(log) = &held.log {
            log_owner::judge(held.data.path(), log.path(), false)?;
        }
        Ok(held)
    }

    fn open(
        path: &Path,
        log: Option<&Path>,
        hold: &dyn Fn(&'static str, &Path) -> Result<Held, OpenDirectoryError>,
    ) -> Result<Self, OpenDirectoryError> {
        if let Some(log) = log {
            // Before anything is made in either.
            are_apart(&resolve(path), &resolve(log))?;
        }
        let data = hold("data directory", path)?;
        let log = log.map(|log| hold("log's directory", log)).transpose()?;
        Ok(Self { data, log })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.data.path()
    }

    /// Where its log is, if it has a directory of its own.
    pub fn log_path(&self) -> Option<&Path> {
        self.log.as_ref().map(Held::path)
    }

    /// What to add to the word that the log is missing, where it may only be elsewhere.
    pub fn log_hint(&self) -> &'static str {
        if self.log.is_none() && !self.path().join(WAL_NAME).exists() {
            "; is the log kept elsewhere? Then say where (log.dir)"
        } else {
            ""
        }
    }

    /// Whether there is nothing of a node in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_blank(&self) -> io::Result<bool> {
        if let Some(log) = self.log_path() {
            let own = [LOCK_NAME, PROBE_NAME, LOST_AND_FOUND_NAME];
            let mut files = fs::read_dir(log)?;
            if files
                .any(|file| file.is_ok_and(|file| !own.iter().any(|own| file.file_name() == *own)))
            {
                return Ok(false);
            }
        }
        for name in [IDENTITY_NAME, WAL_NAME, SNAP_NAME] {
            if self.path().join(name).try_exists()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes down whose log the directory of the log holds, once that is known.
    ///
    /// # Errors
    /// What the system says.
    pub fn claim_log(&self, node: u64) -> io::Result<()> {
        self.log_path()
            .map_or(Ok(()), |log| log_owner::claim(log, node))
    }
}

/// The path without links, as far as it is there.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(resolved) = fs::canonicalize(path) {
        return resolved;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => absolute,
    }
}

/// Neither may be in the other, and the log must not be in both.
fn are_apart(data: &Path, log: &Path) -> Result<(), OpenDirectoryError> {
    if data.starts_with(log) || log.starts_with(data) {
        return Err(OpenDirectoryError::Apart(format!(
            "the log's directory {} and the data directory {} must not be one in the other",
            log.display(),
            data.display()
        )));
    }
    let inside = data.join(WAL_NAME);
    match fs::read_dir(&inside).map(|mut files| files.next()) {
        Ok(Some(_)) => Err(OpenDirectoryError::Apart(format!(
            "log.dir names {}, but the data directory has a log in {}: move its files there, or \
             leave log.dir out",
            log.display(),
            inside.display()
        ))),
        Ok(None) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(OpenDirectoryError::Io {
            doing: format!("can't read {}", inside.display()),
            source,
        }),
    }
}

/// Creates a directory and its missing parents, each entry on stable storage.
pub(crate) fn create_durably(path: &Path) -> io::Result<()> {
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
pub(crate) fn replace_durably(
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

/// Whether it is a directory to look into.
pub(super) fn is_own_directory(entry: &fs::DirEntry) -> io::Result<bool> {
    Ok(entry.file_type()?.is_dir() && entry.file_name() != LOST_AND_FOUND_NAME)
}

/// Flushes a directory's entries.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
