//! The log's `Disk` over the files of a data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domp_log::{AlignedBuf, Disk, FileInfo};
use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};

use super::directory::{LOCK_NAME, PROBE_NAME, WAL_NAME, is_own_directory, sync_directory};
use super::doomed::Doomed;
use super::flush::{FlushChoice, FlushMethod, open_for_flush};
use super::log_owner::{OWNER_NAME, OWNER_NEW_NAME};
use super::{Aligned, BLOCK_BYTES};

/// Files kept open. The log uses two or three at a time.
const OPEN_FILES_MAX: usize = 6;

/// Written at once while a file is filled with zeros: at a start, when nothing else is done.
const ZERO_BYTES: usize = 1 << 20;
/// And in the background, where the log's writes have to wait for each.
const ZERO_BYTES_BESIDE: usize = 256 << 10;
/// However slow the disk is: a stop must not wait for it.
const ZERO_PAUSE_MAX: Duration = Duration::from_millis(50);
static ZEROS: Aligned<ZERO_BYTES> = Aligned([0; ZERO_BYTES]);

/// The files of one data directory. Clones share the open files, so that a
/// file one thread removes is not kept open, and its space not held, by another.
#[derive(Clone, Debug)]
pub struct RealDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Where the files of `wal/` are, if not there.
    log: Option<PathBuf>,
    choice: FlushChoice,
    /// Read around the page cache, to see what the disk itself holds.
    direct_reads: bool,
    /// Filling a file with zeros is not worth finishing any more.
    stopping: AtomicBool,
    /// What the background does is done in small steps: others wait for the same disk.
    beside_others: AtomicBool,
    /// Bytes written to files of the log, zeros included.
    log_bytes: AtomicU64,
    doomed: Doomed,
    open: Mutex<OpenFiles>,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: Vec<OpenFile>,
    uses: u64,
}

#[derive(Debug)]
struct OpenFile {
    name: Box<str>,
    purpose: Purpose,
    file: Arc<File>,
    last_use: u64,
}

/// What a file is open for: flags differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    WriteDurable,
}

impl RealDisk {
    /// A disk that writes and flushes in the way chosen. `log`: where the files of `wal/` are, if not
    /// there.
    pub fn new(root: &Path, log: Option<&Path>, choice: FlushChoice) -> Self {
        Self::with(root, log, choice, false)
    }

    /// A disk to verify a directory with: reads go around the page cache
    /// where the file system allows, so that they see what the disk holds.
    pub fn for_check(root: &Path, log: Option<&Path>) -> Self {
        let choice = FlushChoice {
            method: FlushMethod::DataSync,
            direct: true,
            data_sync_ns: 0,
            dsync_ns: 0,
        };
        Self::with(root, log, choice, true)
    }

    fn with(root: &Path, log: Option<&Path>, choice: FlushChoice, direct_reads: bool) -> Self {
        let shared = Shared {
            root: root.to_owned(),
            log: log.map(ToOwned::to_owned),
            choice,
            direct_reads,
            stopping: AtomicBool::new(false),
            beside_others: AtomicBool::new(false),
            log_bytes: AtomicU64::new(0),
            doomed: Doomed::default(),
            open: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes a `create` under way, in whichever thread, fail soon: the process is
    /// to end, and what it prepares can be prepared at the next start.
    pub fn stop_creating(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// From now on others wait for the same disk: files are made with pauses, and the space of removed ones is
    /// given back by [`Self::give_back`], which somebody has to call.
    pub(crate) fn work_beside_others(&self) {
        self.shared.beside_others.store(true, Ordering::Release);
    }

    fn is_beside_others(&self) -> bool {
        self.shared.beside_others.load(Ordering::Acquire)
    }

    /// Gives some space of removed files back; whether there is more.
    pub(crate) fn give_back(&self) -> bool {
        self.shared.doomed.step()
    }

    /// Gives all of it back, and from now on at once.
    pub(crate) fn give_back_all(&self) {
        self.shared.beside_others.store(false, Ordering::Release);
        self.shared.doomed.finish();
    }

    /// Bytes written to files of the log so far, those included that only make segments.
    pub fn log_bytes(&self) -> u64 {
        self.shared.log_bytes.load(Ordering::Relaxed)
    }

    fn count(&self, name: &str, bytes: usize) {
        if in_log(name).is_some() {
            let bytes = bytes as u64;
            self.shared.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let in_log = in_log(name);
        match (&self.shared.log, in_log) {
            (Some(log), Some(name)) => log.join(name),
            _ => self.shared.root.join(name),
        }
    }

    fn open_files(&self) -> MutexGuard<'_, OpenFiles> {
        // Nothing that could panic half way is done under the lock.
        self.shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str, purpose: Purpose) -> io::Result<Arc<File>> {
        if let Some(file) = self.open_files().get(name, purpose) {
            return Ok(file);
        }
        let path = self.path(name);
        let direct = self.shared.choice.direct;
        let file = match purpose {
            Purpose::Read => open_to_read(&path, self.shared.direct_reads)?,
            Purpose::Write => open_for_flush(&path, FlushMethod::DataSync, direct)?.0,
            Purpose::WriteDurable => open_for_flush(&path, self.shared.choice.method, direct)?.0,
        };
        let file = Arc::new(file);
        self.open_files().put(name, purpose, file.clone());
        Ok(file)
    }

    /// Called *after* a name got another file or none: whoever opened the old
    /// one before is found here, whoever opens after gets the new one.
    fn forget(&self, name: &str) {
        self.open_files()
            .files
            .retain(|open| open.name.as_ref() != name);
    }
}

/// The name in the log's directory, if it is there.
fn in_log(name: &str) -> Option<&str> {
    name.strip_prefix(WAL_NAME)?.strip_prefix('/')
}

fn make_parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)
        }
        _ => Ok(()),
    }
}

impl OpenFiles {
    fn get(&mut self, name: &str, purpose: Purpose) -> Option<Arc<File>> {
        self.uses += 1;
        let open = self
            .files
            .iter_mut()
            .find(|open| open.purpose == purpose && open.name.as_ref() == name)?;
        open.last_use = self.uses;
        Some(open.file.clone())
    }

    fn put(&mut self, name: &str, purpose: Purpose, file: Arc<File>) {
        if self.files.len() >= OPEN_FILES_MAX
            && let Some(oldest) = (0..self.files.len()).min_by_key(|at| self.files[*at].last_use)
        {
            self.files.swap_remove(oldest);
        }
        self.uses += 1;
        self.files.push(OpenFile {
            name: name.into(),
            purpose,
            file,
            last_use: self.uses,
        });
    }
}

fn open_to_read(path: &Path, direct: bool) -> io::Result<File> {
    if direct {
        let flags = i32::try_from((OFlags::CLOEXEC | OFlags::DIRECT).bits())
            .expect("open flags fit an int: they are one");
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            // What a file system without direct IO answers.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            file => return file,
        }
    }
    File::open(path)
}

impl Disk for RealDisk {
    fn list(&mut self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        walk(&self.shared.root, "", &mut files)?;
        files.retain(|file| ![LOCK_NAME, PROBE_NAME].contains(&file.name.as_str()));
        if let Some(log) = &self.shared.log {
            let mut segments = Vec::new();
            walk(log, "", &mut segments)?;
            let own = [LOCK_NAME, PROBE_NAME, OWNER_NAME, OWNER_NEW_NAME];
            segments.retain(|file| !own.contains(&file.name.as_str()));
            files.extend(segments.into_iter().map(|file| FileInfo {
                name: format!("{WAL_NAME}/{}", file.name),
                ..file
            }));
        }
        Ok(files)
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "files are made in blocks of 4 KiB",
            ));
        }
        let path = self.path(name);
        make_parents(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        self.forget(name);
        if len > 0 {
            match fallocate(&file, FallocateFlags::empty(), 0, len) {
                // Only a head start: the zeros below take the space anyway.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
            // Space that is only reserved would be turned into written space by
            // the first write, through the file system's journal, on the hot path.
            let (zeros, _) =
                open_for_flush(&path, FlushMethod::DataSync, self.shared.choice.direct)?;
            let is_beside_others = self.is_beside_others();
            let most = if is_beside_others {
                ZERO_BYTES_BESIDE
            } else {
                ZERO_BYTES
            };
            let mut at = 0;
            while at < len {
                let begun = Instant::now();
                let bytes = usize::try_from(len - at).map_or(most, |left| left.min(most));
                if self.shared.stopping.load(Ordering::Acquire) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                zeros.write_all_at(&ZEROS.0[..bytes], at)?;
                self.count(name, bytes);
                at += bytes as u64;
                if is_beside_others {
                    // A third of the disk's time is left to others.
                    thread::sleep((begun.elapsed() / 2).min(ZERO_PAUSE_MAX));
                }
            }
        }
        file.sync_all()
    }

    fn read(&mut self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.file(name, Purpose::Read)?;
        let mut filled = 0;
        while filled < buf.len() {
            match file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Direct IO can't go on from the middle of a block: that was the file's end.
            if self.shared.direct_reads && !filled.is_multiple_of(BLOCK_BYTES) {
                break;
            }
        }
        Ok(filled)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name, Purpose::Write)?
            .write_all_at(bytes, offset)?;
        self.count(name, bytes.len());
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name, Purpose::Write)?.sync_data()
    }

    fn write_durable(&mut self, name: &str, offset: u64, bytes: &AlignedBuf) -> io::Result<()> {
        let file = self.file(name, Purpose::WriteDurable)?;
        file.write_all_at(bytes.as_slice(), offset)?;
        self.count(name, bytes.len());
        match self.shared.choice.method {
            FlushMethod::DataSync => file.sync_data(),
            FlushMethod::Dsync => Ok(()),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.forget(from);
        self.forget(to);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        if self.is_beside_others() {
            self.shared.doomed.remove(&path)?;
        } else {
            fs::remove_file(path)?;
        }
        self.forget(name);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        sync_tree(&self.shared.root)?;
        self.shared.log.as_deref().map_or(Ok(()), sync_tree)
    }

    fn is_cached(&self) -> bool {
        !self.shared.choice.direct
    }

    fn read_small(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_small(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        make_parents(&path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        self.forget(name);
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let free = |path: &Path| -> io::Result<u64> {
            let statistics = statvfs(path)?;
            Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
        };
        let here = free(&self.shared.root)?;
        // Where one has no room for snapshots, the other must not fill up with what they would free.
        let log = self.shared.log.as_deref();
        log.map_or(Ok(here), |log| Ok(here.min(free(log)?)))
    }
}

/// Files below `directory`, their names relative to the data directory.
fn walk(directory: &Path, prefix: &str, files: &mut Vec<FileInfo>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // The log's own names are plain; anything else in here is not the log's.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{prefix}{name}");
        if is_own_directory(&entry)? {
            walk(&entry.path(), &format!("{name}/"), files)?;
        } else if entry.file_type()?.is_file() {
            let len = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            files.push(FileInfo { name, len });
        }
    }
    Ok(())
}

/// Flushes a directory and those in it.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_own_directory(&entry)? {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(directory)
}
