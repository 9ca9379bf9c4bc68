//! Opens a data directory: log, snapshots and identity together.

use crate::Disk;
use crate::body::{Body, Incarnation, Position};
use crate::config::LogConfig;
use crate::identity::{self, Identity, IdentityRead};
use crate::job::{is_full, run_job, run_write};
use crate::record::{NODE_GROUP, Record, RecordKind};
use crate::recover::{ReadLog, RecoverError, Recovery, doing, read, replay_records};
use crate::report::{DamagedGroups, Report};
use crate::verdict::{Facts, Inventory, ListedSnapshot, Verdict, judge};
use crate::writer::{AppendError, Space, Writer};

/// Random numbers for a start, each drawn fresh. They must never leave the node, but for its id.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// From which salts are made.
    pub salt_seed: u64,
    /// Id of the node, should it be founded now; not 0.
    pub node: u64,
    /// Nonce of this start.
    pub nonce: u64,
}

/// A data directory that is open.
#[derive(Debug)]
pub struct Opened {
    /// Goes on behind the last good frame. If no group may be served, it takes nothing and
    /// [`Writer::failure`] says so.
    pub writer: Writer,
    /// What was found and done. Damage of all that stands beside the log is in it, too.
    pub report: Report,
    /// The groups, and from where each starts.
    pub verdict: Verdict,
    /// Who this node is; None if that can't be told.
    pub identity: Option<Identity>,
    /// This start, durable in the log. None if nothing may be served, or if the disk has no room even for
    /// this: what is there may be read then, and nothing said under a new start.
    pub incarnation: Option<Incarnation>,
}

/// Opens a data directory, or founds a node in an empty one. What is in it is judged as [`crate::check()`]
/// does.
///
/// `visit` sees every good record in log order, as in [`crate::recover`]; those of the node itself too.
/// What the snapshots hold is not known to it: a caller who knows which are likely to be taken (the newest
/// of each group) restores those first, and where [`Verdict::groups`] then says another, reads the log
/// once more with [`replay`].
///
/// The start is made durable: first in the file `identity`, then as a record of the log; then `identity`
/// stands on that record.
///
/// # Errors
/// See [`RecoverError`]. Damage is no error, but in the report.
pub fn open(
    disk: &mut dyn Disk,
    config: &LogConfig,
    drawn: &Drawn,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<Opened, RecoverError> {
    config.validate().map_err(RecoverError::Config)?;
    disk.sync_directory()
        .map_err(doing("syncing the data directory"))?;
    let inventory = Inventory::take(disk)?;
    let mut facts = Facts::default();
    let mut log = read(
        disk,
        &inventory.positions(),
        &mut |_, record: &Record<'_>, body: &Body| {
            facts.record(record, body);
            visit(*record);
        },
    )?;
    let before = log.report.damage.len();
    let mut verdict = judge(
        &inventory,
        &log.walk,
        &facts,
        &mut log.report.damage,
        &mut log.report.notes,
    );
    log.hold_damaged(before);
    let identity = match inventory.identity {
        IdentityRead::Whole(identity) => Some(identity),
        IdentityRead::Missing | IdentityRead::Damaged(_) => None,
    };
    if log.is_lost() {
        let Recovery { writer, report } = log.make_ready(disk, config, drawn.salt_seed)?;
        return Ok(Opened {
            writer,
            report,
            verdict,
            identity,
            incarnation: None,
        });
    }
    give_names(disk, &inventory.received, &mut log, &mut verdict)?;
    let position = log.walk.position();
    let latest = log.walk.incarnation.map_or(0, |(_, latest)| latest.number);
    let latest = match identity {
        // A start whose record is damaged did get into the log: its number is taken.
        Some(identity) if log.report.is_damaged(NODE_GROUP) => latest.max(identity.incarnation),
        _ => latest,
    };
    let (recovery, mut identity, may_start) = match identity {
        None => found(disk, config, drawn, log)?,
        Some(identity) => {
            let recovery = log.make_ready(disk, config, drawn.salt_seed)?;
            start(disk, recovery, identity, latest, position)?
        }
    };
    let Recovery { mut writer, report } = recovery;
    let mut incarnation = None;
    if may_start {
        let this = Incarnation {
            number: identity.incarnation,
            nonce: drawn.nonce,
            recovered: position,
        };
        if write_start(disk, &mut writer, identity.node, &this)? {
            incarnation = Some(this);
            // A log put back as it was before this start is missed from here on.
            let position = writer.position();
            identity = write_identity(
                disk,
                Identity {
                    position,
                    ..identity
                },
            )?
            .unwrap_or(identity);
        }
    }
    Ok(Opened {
        writer,
        report,
        verdict,
        identity: Some(identity),
        incarnation,
    })
}

/// Reads the log's good records once more, and changes nothing: for groups that start from another
/// snapshot than was thought. To be called before anything is appended.
///
/// # Errors
/// See [`RecoverError`].
pub fn replay(disk: &mut dyn Disk, visit: &mut dyn FnMut(Record<'_>)) -> Result<(), RecoverError> {
    replay_records(disk, visit)
}

/// Gives those received snapshots their names that a hard state calls for: the node ended in between.
fn give_names(
    disk: &mut dyn Disk,
    received: &[ListedSnapshot],
    log: &mut ReadLog,
    verdict: &mut Verdict,
) -> Result<(), RecoverError> {
    for ListedSnapshot { info, .. } in received {
        let groups = verdict.groups.values_mut();
        let mut candidates = groups.flat_map(|group| &mut group.snapshots);
        let Some(candidate) = candidates.find(|one| one.info == *info) else {
            continue;
        };
        candidate.info = info.named();
        disk.rename(&info.file, &candidate.info.file)
            .and_then(|()| disk.sync_directory())
            .map_err(doing("giving a snapshot its name"))?;
        log.walk.leftovers.retain(|file| **file != *info.file);
    }
    Ok(())
}

/// Makes a node where there was none. A crash at any place leaves what the next start goes on with: the
/// identity gets its name only when there is a log.
fn found(
    disk: &mut dyn Disk,
    config: &LogConfig,
    drawn: &Drawn,
    log: ReadLog,
) -> Result<(Recovery, Identity, bool), RecoverError> {
    let identity = Identity {
        node: drawn.node,
        incarnation: 1,
        position: Position::default(),
    };
    let writing = "writing the identity of a new node";
    identity::write_new(disk, &identity).map_err(doing(writing))?;
    let recovery = log.make_ready(disk, config, drawn.salt_seed)?;
    identity::rename_new(disk).map_err(doing(writing))?;
    Ok((recovery, identity, true))
}

/// Writes down that the node starts again. False: the disk is full.
fn start(
    disk: &mut dyn Disk,
    recovery: Recovery,
    identity: Identity,
    latest: u64,
    position: Position,
) -> Result<(Recovery, Identity, bool), RecoverError> {
    let next = Identity {
        // A start that did not get into the log said nothing; its number is free.
        incarnation: latest + 1,
        position,
        ..identity
    };
    Ok(match write_identity(disk, next)? {
        Some(next) => (recovery, next, true),
        None => (recovery, identity, false),
    })
}

/// Replaces the file `identity`. None: the disk is full, and the older one stands.
fn write_identity(disk: &mut dyn Disk, next: Identity) -> Result<Option<Identity>, RecoverError> {
    match identity::write_new(disk, &next).and_then(|()| identity::rename_new(disk)) {
        Ok(()) => Ok(Some(next)),
        Err(error) if is_full(error.kind()) => Ok(None),
        Err(error) => Err(doing("writing the file identity")(error)),
    }
}

/// Makes the start durable in the log. False: there is no room for it.
fn write_start(
    disk: &mut dyn Disk,
    writer: &mut Writer,
    node: u64,
    incarnation: &Incarnation,
) -> Result<bool, RecoverError> {
    let body = incarnation.encode();
    let record = Record {
        group: NODE_GROUP,
        replica: node,
        kind: RecordKind::Incarnation,
        index: 0,
        term: 0,
        body: &body,
    };
    let failed = |writer: &Writer| {
        let why = writer.failure().unwrap_or("it takes no record").to_owned();
        doing("writing this start to the log")(std::io::Error::other(why))
    };
    // What the groups write when they start must find room as well.
    if writer.space() == Space::Waiting
        && let Some(job) = writer.take_job()
    {
        let result = run_job(disk, &job);
        writer.on_job(job.tag(), &result);
    }
    let mut taken = writer.append(&record);
    if taken == Err(AppendError::NoRoom)
        && let Some(job) = writer.take_job()
    {
        let result = run_job(disk, &job);
        writer.on_job(job.tag(), &result);
        taken = writer.append(&record);
    }
    match taken {
        Ok(()) => {}
        Err(AppendError::NoRoom) => return Ok(false),
        Err(_) => return Err(failed(writer)),
    }
    let write = writer.seal().ok_or_else(|| failed(writer))?;
    run_write(disk, &write).map_err(doing("writing this start to the log"))?;
    writer.on_written(write.ticket);
    writer.recycle(write);
    Ok(true)
}

impl ReadLog {
    /// What was found missing from place `from` of the damage on: the log keeps all it has of it.
    fn hold_damaged(&mut self, from: usize) {
        for damage in &self.report.damage[from..] {
            if let DamagedGroups::Listed(groups) = &damage.groups {
                for &group in groups {
                    self.ledger.damage(self.walk.oldest_segment, group);
                }
            }
        }
    }
}
