//! Opens a log: reads it, cuts what was torn, and makes it ready to go on.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use crate::body::{Body, Position};
use crate::config::{ConfigError, LogConfig};
use crate::job::{NewSegment, Spare, prepare_segment, read_spare, write_zeros};
use crate::layout::{
    BLOCK, FORMAT_VERSION, FileName, parse_name, segment_name, segment_salt, spare_name,
};
use crate::ledger::Ledger;
use crate::record::Record;
use crate::report::{DamagedGroups, Report};
use crate::sector::FileIdentity;
use crate::walk::{End, LiveSegment, Visitor, Walk, WalkError, walk};
use crate::writer::{Resume, Segment, Writer};
use crate::{AlignedBuf, BLOCK_BYTES, Disk};

/// The log could not be opened. Nothing was lost by trying.
#[derive(Debug)]
pub enum RecoverError {
    /// The configuration contradicts itself.
    Config(ConfigError),
    /// The disk failed.
    Io {
        /// What was being done.
        doing: String,
        /// How it failed.
        error: io::Error,
    },
    /// A file is of another version of the format.
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "the log's configuration is wrong: {error}"),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Version { file, version } => {
                write!(
                    f,
                    "{file} has format version {version}; this program reads version {FORMAT_VERSION}"
                )
            }
        }
    }
}

impl std::error::Error for RecoverError {}

impl From<WalkError> for RecoverError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Io { file, error } => Self::Io {
                doing: format!("reading {file}"),
                error,
            },
            WalkError::Version { file, version } => Self::Version { file, version },
        }
    }
}

/// A log that is open.
#[derive(Debug)]
pub struct Recovery {
    /// Goes on behind the last good frame. If no group may be served, it takes nothing and
    /// [`Writer::failure`] says so.
    pub writer: Writer,
    /// What was found and done.
    pub report: Report,
}

struct Reader<'a> {
    ledger: Ledger,
    visit: &'a mut dyn FnMut(u64, &Record<'_>, &Body),
}

impl Visitor for Reader<'_> {
    fn record(&mut self, segment: u64, record: &Record<'_>, body: &Body) {
        self.ledger.record(segment, record, body);
        if let Body::HardState(hard_state) = body {
            let key = (record.group, record.replica);
            self.ledger.durable(key, hard_state);
        }
        (self.visit)(segment, record, body);
    }

    fn damage(&mut self, segment: u64, groups: &DamagedGroups) {
        if let DamagedGroups::Listed(groups) = groups {
            for &group in groups {
                self.ledger.damage(segment, group);
            }
        }
    }
}

/// A log that was read, and not changed yet.
pub(crate) struct ReadLog {
    pub walk: Walk,
    pub ledger: Ledger,
    pub report: Report,
}

/// Reads the log, of a directory whose names were synced: a process that was killed may leave names that
/// only memory knows, and they are taken for what is on the disk from here on. `visit` sees every good
/// record with its segment.
pub(crate) fn read(
    disk: &mut dyn Disk,
    asked: &[Position],
    visit: &mut dyn FnMut(u64, &Record<'_>, &Body),
) -> Result<ReadLog, RecoverError> {
    let mut reader = Reader {
        ledger: Ledger::default(),
        visit,
    };
    let mut walk = walk(disk, &mut reader, asked)?;
    let Reader { mut ledger, .. } = reader;
    for &LiveSegment { number, .. } in &walk.segments {
        let blank = walk
            .end
            .as_ref()
            .is_some_and(|end| (end.segment.number, end.offset) == (number, BLOCK));
        if number > 1 && !blank && !walk.lists.contains_key(&number) {
            ledger.headless(number);
        }
    }
    ledger.forget_below(walk.oldest_segment);
    let report = Report {
        segments: walk.segments.len() as u64,
        frames: walk.frames,
        records: walk.records,
        record_bytes: walk.record_bytes,
        last_sequence: walk.last_sequence,
        torn: walk.torn.take(),
        damage: std::mem::take(&mut walk.damage),
        notes: std::mem::take(&mut walk.notes),
        removed: Vec::new(),
    };
    Ok(ReadLog {
        walk,
        ledger,
        report,
    })
}

/// Opens the log of a data directory, or makes a new one in an empty directory, without a look at
/// anything beside it. A node uses [`crate::open`], which also knows what must be there.
///
/// `visit` sees every good record in log order, before it is known what else there is: what it gathered
/// for groups that [`Report::is_damaged`] names must be thrown away. An entry may come twice: if the
/// second has the same index and term as the first it changes nothing, and entries behind it stay; if
/// the term differs, those behind it are gone.
///
/// `salt_seed` must be random, fresh at every start, and never leave the node.
///
/// What was torn is cut and the disk made ready to go on; what is damaged is left as it is. If all
/// groups are damaged nothing is changed at all. Opening twice, or after a crash while opening, finds
/// the same log.
///
/// # Errors
/// See [`RecoverError`]. Damage is no error, but in the report.
pub fn recover(
    disk: &mut dyn Disk,
    config: &LogConfig,
    salt_seed: u64,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<Recovery, RecoverError> {
    config.validate().map_err(RecoverError::Config)?;
    disk.sync_directory()
        .map_err(doing("syncing the data directory"))?;
    let read = read(disk, &[], &mut |_, record, _| visit(*record))?;
    read.make_ready(disk, config, salt_seed)
}

/// Reads the log's good records, and changes nothing.
pub(crate) fn replay_records(
    disk: &mut dyn Disk,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<(), RecoverError> {
    struct Records<'a>(&'a mut dyn FnMut(Record<'_>));
    impl Visitor for Records<'_> {
        fn record(&mut self, _segment: u64, record: &Record<'_>, _body: &Body) {
            (self.0)(*record);
        }
    }
    walk(disk, &mut Records(visit), &[])?;
    Ok(())
}

impl ReadLog {
    /// Whether nothing of it may be used.
    pub fn is_lost(&self) -> bool {
        self.report.is_all_damaged() || (self.walk.exists && self.walk.end.is_none())
    }

    /// Cuts what was torn, makes what was found durable, and goes on from there.
    pub fn make_ready(
        self,
        disk: &mut dyn Disk,
        config: &LogConfig,
        salt_seed: u64,
    ) -> Result<Recovery, RecoverError> {
        let lost = self.is_lost();
        let Self {
            mut walk,
            ledger,
            mut report,
        } = self;
        if lost {
            report.torn = None;
            let writer = Writer::resume(config.clone(), salt_seed, refused(&report));
            return Ok(Recovery { writer, report });
        }
        let spares = take_spares(disk, config, &mut walk);
        remove_leftovers(disk, &walk, &mut report)?;
        let resume = match walk.end.take() {
            Some(end) => go_on(disk, &walk, &end, ledger, spares)?,
            None => begin(disk, config, salt_seed, ledger, spares)?,
        };
        let writer = Writer::resume(config.clone(), salt_seed, resume);
        Ok(Recovery { writer, report })
    }
}

pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> RecoverError {
    let doing = what.into();
    |error| RecoverError::Io { doing, error }
}

/// The spares that can become segments; the others are leftovers.
fn take_spares(disk: &mut dyn Disk, config: &LogConfig, walk: &mut Walk) -> Vec<Spare> {
    let mut spares = Vec::new();
    for number in std::mem::take(&mut walk.spares) {
        let is_wanted = spares.len() < config.spare_segments_max;
        match is_wanted.then(|| read_spare(disk, number, config.segment_bytes)) {
            Some(Ok(Some(spare))) => spares.push(spare),
            // One that can't be read is as good as none.
            _ => walk.leftovers.push(spare_name(number)),
        }
    }
    spares
}

fn remove_leftovers(
    disk: &mut dyn Disk,
    walk: &Walk,
    report: &mut Report,
) -> Result<(), RecoverError> {
    // A segment that is no longer needed stays while anything is wrong: it might tell why.
    let keep = !report.damage.is_empty();
    let unneeded = |name: &String| matches!(parse_name(name), FileName::Segment(number) if number < walk.oldest_segment);
    for name in walk
        .leftovers
        .iter()
        .filter(|name| !(keep && unneeded(name)))
    {
        disk.remove(name)
            .map_err(doing(format!("removing {name}")))?;
        report.removed.push(name.clone());
    }
    if report.removed.is_empty() {
        return Ok(());
    }
    disk.sync_directory()
        .map_err(doing("syncing the data directory"))
}

/// Makes the end of the log durable and clean.
///
/// The cut is made of zeros, in any order and however often interrupted: every state in between has
/// fewer written sectors than the one before, so the first bad frame stays torn, and frames behind it
/// stay without a word about it. Nothing is appended before all are durable, so no old frame can ever
/// stand behind a new one.
fn go_on(
    disk: &mut dyn Disk,
    walk: &Walk,
    end: &End,
    ledger: Ledger,
    spares: Vec<Spare>,
) -> Result<Resume, RecoverError> {
    let name = segment_name(end.segment.number);
    write_zeros(disk, &name, end.offset..end.dirty_to)
        .map_err(doing(format!("cutting the torn end of {name}")))?;
    write_again(disk, walk)?;
    // The last commit, if only memory has it yet, is in this segment, or its seal ends the one before.
    let live = walk.segments.iter().map(|segment| segment.number);
    for number in live.filter(|&number| number + 1 >= end.segment.number) {
        let name = segment_name(number);
        disk.sync(&name).map_err(doing(format!("syncing {name}")))?;
    }
    let next = walk.prepared;
    Ok(Resume {
        segment: Segment::new(end.segment, end.bytes),
        segments: walk.segments.iter().copied().collect(),
        offset: end.offset,
        sequence: end.sequence,
        digest: end.digest,
        oldest_segment: walk.oldest_segment,
        vouched: end.vouched,
        next: next.map(|next| Segment::new(next.segment, next.bytes)),
        spares,
        ledger,
        failure: None,
    })
}

/// Where writes pass through a cache, a flush that failed may have left frames in it that will never
/// be written: the cache takes them for written. So those that no later frame vouches for are written
/// once more, as they were read.
fn write_again(disk: &mut dyn Disk, walk: &Walk) -> Result<(), RecoverError> {
    if !disk.is_cached() {
        return Ok(());
    }
    for place in &walk.unvouched {
        let name = segment_name(place.segment);
        let again = || doing(format!("writing the last frames of {name} again"));
        let length = usize::try_from(place.length).expect("bounded by the largest frame");
        let mut bytes = AlignedBuf::zeroed(length);
        let mut done = 0;
        while done < length {
            // What is read stays aligned, whatever the disk gives at a time.
            let at = done / BLOCK_BYTES * BLOCK_BYTES;
            let buf = &mut bytes.as_mut_slice()[at..];
            match disk
                .read(&name, place.offset + at as u64, buf)
                .map_err(again())?
            {
                read if at + read > done => done = at + read,
                _ => return Err(again()(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        disk.write(&name, place.offset, bytes.as_slice())
            .map_err(again())?;
    }
    Ok(())
}

/// Makes the first segment.
fn begin(
    disk: &mut dyn Disk,
    config: &LogConfig,
    salt_seed: u64,
    ledger: Ledger,
    spares: Vec<Spare>,
) -> Result<Resume, RecoverError> {
    let new = NewSegment {
        segment: 1,
        bytes: config.founding_segment_bytes,
        salt: segment_salt(salt_seed, 1),
        spare: None,
        keep_free_bytes: 0,
    };
    prepare_segment(disk, &new).map_err(doing("making the first segment of the log"))?;
    let header = new.header();
    Ok(Resume {
        segment: Segment::new(header.identity(), header.bytes),
        segments: VecDeque::from([LiveSegment {
            number: header.number,
            bytes: header.bytes,
            salt: header.salt,
            used_bytes: None,
        }]),
        offset: BLOCK,
        sequence: 0,
        digest: 0,
        oldest_segment: 1,
        vouched: true,
        next: None,
        spares,
        ledger,
        failure: None,
    })
}

/// A log of which nothing may be used.
fn refused(report: &Report) -> Resume {
    let first = report
        .damage
        .iter()
        .find(|damage| damage.groups == DamagedGroups::All);
    let why = first.map_or_else(|| "it has no end".to_owned(), ToString::to_string);
    Resume {
        segment: Segment::new(FileIdentity::NONE, 0),
        segments: VecDeque::new(),
        offset: 0,
        sequence: 0,
        digest: 0,
        oldest_segment: 0,
        vouched: true,
        next: None,
        spares: Vec::new(),
        ledger: Ledger::default(),
        failure: Some(format!("the log is damaged: {why}")),
    }
}
