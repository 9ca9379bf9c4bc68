//! From what the disk holds to a node that can turn: snapshots first, then the
//! log behind them.

mod restore;
mod settle;

use std::collections::BTreeMap;
use std::fmt;

use domp_consensus::{Entry, Group, HardState, Start};
use domp_log::{DamagedGroups, Disk, Record, RecordKind, RecoverError, Recovery, Report};
use domp_state::entry::Entry as EntryReader;
use domp_state::hlc::Hlc;
use domp_state::{Reply, Sink, State};

use crate::agenda::Agenda;
use crate::commands::Applied;
use crate::config::{Clock, Config};
use crate::door::{Door, Minter, Queues};
use crate::node::{Counters, Node};
use crate::shard::{Shard, decode_hard_state};
use crate::snapshots::Snapshots;
use crate::spaces::{META, empty_shard, names, state_config};
use crate::storage::Storage;
use restore::{Restored, restore_snapshots};
pub use settle::SettleError;

/// The node can't start. Nothing was changed that matters.
#[derive(Debug)]
pub enum BootError {
    /// The log could not be opened.
    Log(RecoverError),
    /// Snapshots could not be read.
    Snapshots(String),
    /// Damage concerns every shard: there is nothing to serve.
    Damaged(Box<Report>),
    /// A shard could not be put together.
    Shard(String),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "{error}"),
            Self::Snapshots(why) | Self::Shard(why) => f.write_str(why),
            Self::Damaged(report) => {
                f.write_str("the data directory is damaged and nothing of it can be served")?;
                report
                    .damage
                    .iter()
                    .try_for_each(|damage| write!(f, "; {damage}"))
            }
        }
    }
}

impl std::error::Error for BootError {}

/// A step of the boot, for whoever watches the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootStep {
    /// Snapshots are restored.
    SnapshotsRestored {
        /// Keys in them.
        keys: u64,
    },
    /// The log is replayed.
    LogReplayed {
        /// Transactions in the entries that were replayed.
        transactions: u64,
    },
}

/// What the boot found.
#[derive(Debug, Default)]
pub struct BootReport {
    /// What recovery of the log says.
    pub log: Report,
    /// Snapshots that were restored.
    pub snapshots: u64,
    /// Keys in them.
    pub snapshot_keys: u64,
    /// Entries replayed from the log.
    pub entries: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Shards that serve nothing, and why.
    pub damaged: BTreeMap<u64, String>,
    /// Entries replayed, where [`Config::report_applied`] asks for them.
    pub applied: Vec<Applied>,
}

/// A group while its records are read.
struct Booting {
    state: State,
    applied_term: u64,
    snapshot_index: u64,
    hard_state: HardState,
    /// Behind the applied index, perhaps not committed.
    staged: Vec<Entry>,
    log_bytes: u64,
}

/// Nobody waits for the answers of an earlier run.
struct Silence;

impl Sink for Silence {
    fn reply(&mut self, _position: u32, _reply: &Reply<'_>) {}
}

impl Booting {
    fn new(restored: Option<Restored>, config: &Config, group: u64) -> Self {
        let (state, applied_term) = match restored {
            Some(restored) => (restored.state, restored.term),
            None => (State::new(state_config(config, group)), 0),
        };
        Self {
            snapshot_index: state.applied_index(),
            state,
            applied_term,
            hard_state: HardState::default(),
            staged: Vec::new(),
            log_bytes: 0,
        }
    }

    /// An entry was read. What is applied already is old; a second copy with
    /// another term replaces the first and all behind it.
    fn stage(&mut self, record: &Record<'_>) {
        if record.index <= self.state.applied_index() {
            return;
        }
        self.log_bytes += record.body.len() as u64;
        if let Some(first) = self.staged.first()
            && record.index >= first.index
            && let Some(at) = usize::try_from(record.index - first.index).ok()
            && let Some(present) = self.staged.get(at)
        {
            if present.term == record.term {
                return;
            }
            self.staged.truncate(at);
        }
        self.staged.push(Entry {
            index: record.index,
            term: record.term,
            data: record.body.to_vec().into(),
            ..Entry::default()
        });
    }

    /// Applies what is known to be committed.
    fn apply_committed(
        &mut self,
        group: u64,
        report: &mut BootReport,
        keep: bool,
    ) -> Result<(), String> {
        let commit = self.hard_state.commit;
        let ready = self
            .staged
            .iter()
            .take_while(|entry| entry.index <= commit)
            .count();
        for entry in self.staged.drain(..ready) {
            let expected = self.state.applied_index() + 1;
            if entry.index != expected {
                return Err(format!(
                    "the log continues at entry {} where {expected} was expected",
                    entry.index
                ));
            }
            self.state
                .apply(entry.index, &entry.data, &mut Silence)
                .map_err(|error| format!("entry {} can't be applied: {error}", entry.index))?;
            self.applied_term = entry.term;
            report.entries += 1;
            if let Ok(read) = EntryReader::parse(&entry.data) {
                report.transactions += u64::from(read.items);
            }
            if keep {
                let entry_bytes = entry.data.to_vec();
                report.applied.push(Applied {
                    group,
                    index: entry.index,
                    entry: entry_bytes,
                });
            }
        }
        Ok(())
    }

    /// The highest revision and lease time that the log holds of the group.
    fn last_stamps(&self) -> (u64, u64) {
        let (mut revision, mut lease_ms) = (self.state.revision(), self.state.lease_ms());
        for entry in &self.staged {
            if let Ok(read) = EntryReader::parse(&entry.data) {
                revision = revision.max(read.last_revision().unwrap_or(u64::MAX));
                lease_ms = lease_ms.max(read.lease_ms);
            }
        }
        (revision, lease_ms)
    }

    fn into_shard(self, config: &Config, group: u64) -> Result<Shard, String> {
        let (_, lease_floor_ms) = self.last_stamps();
        let start = Start {
            applied: self.state.applied_index(),
            applied_term: self.applied_term,
            hard_state: self.hard_state,
            entries: self.staged,
        };
        let replica =
            Group::open(config.node, &[config.node], start).map_err(|error| error.to_string())?;
        let mut shard = Shard::new(group, replica, self.state, config);
        shard.snapshot_index = self.snapshot_index;
        shard.lease_floor_ms = lease_floor_ms;
        shard.log_bytes = self.log_bytes;
        Ok(shard)
    }
}

/// Everything read so far.
struct Boot<'a> {
    config: &'a Config,
    groups: BTreeMap<u64, Booting>,
    report: BootReport,
}

impl Boot<'_> {
    fn record(&mut self, record: &Record<'_>) {
        let id = record.group;
        if record.kind == RecordKind::Drop {
            self.groups.remove(&id);
            self.report.damaged.remove(&id);
            return;
        }
        if self.report.damaged.contains_key(&id) {
            return;
        }
        let config = self.config;
        let group = self
            .groups
            .entry(id)
            .or_insert_with(|| Booting::new(None, config, id));
        let outcome = match record.kind {
            RecordKind::Entry | RecordKind::ConfChange => {
                group.stage(record);
                Ok(())
            }
            RecordKind::HardState => match decode_hard_state(record.body) {
                Some(hard_state) => {
                    group.hard_state = hard_state;
                    group.apply_committed(id, &mut self.report, config.report_applied)
                }
                None => Err("a hard state in the log has the wrong length".to_owned()),
            },
            RecordKind::Drop => Ok(()),
        };
        if let Err(why) = outcome {
            self.damage(id, why);
        }
    }

    fn damage(&mut self, group: u64, why: String) {
        self.groups.remove(&group);
        self.report.damaged.insert(group, why);
    }
}

impl Node {
    /// Opens the data directory behind `disk`: restores snapshots, replays the
    /// log, prepares the first segment. Blocks; `step` hears of its progress.
    ///
    /// Shards whose log is damaged serve nothing; the others do.
    ///
    /// # Errors
    /// [`BootError`]; nothing is served then.
    pub fn boot(
        config: Config,
        disk: &mut dyn Disk,
        clock: Clock,
        step: &mut dyn FnMut(BootStep),
    ) -> Result<(Self, BootReport), BootError> {
        let mut boot = Boot {
            config: &config,
            groups: BTreeMap::new(),
            report: BootReport::default(),
        };
        let snapshots = restore_snapshots(&config, disk).map_err(BootError::Snapshots)?;
        for (group, restored) in snapshots.restored {
            boot.report.snapshots += 1;
            boot.report.snapshot_keys += restored.state.statistics().keys;
            boot.groups
                .insert(group, Booting::new(Some(restored), &config, group));
        }
        // A damaged snapshot's group is not served, whatever the log holds of it.
        boot.report.damaged = snapshots.damaged;
        step(BootStep::SnapshotsRestored {
            keys: boot.report.snapshot_keys,
        });
        let salt_seed = config.seed ^ 0x5a17_5eed_0000_0001;
        let Recovery { writer, report } =
            domp_log::recover(disk, &config.log, salt_seed, &mut |record| {
                boot.record(&record);
            })
            .map_err(BootError::Log)?;
        step(BootStep::LogReplayed {
            transactions: boot.report.transactions,
        });
        if report.is_all_damaged() {
            return Err(BootError::Damaged(Box::new(report)));
        }
        let Boot {
            mut groups,
            report: mut booted,
            ..
        } = boot;
        for damage in &report.damage {
            // All its records may have stood in the damaged place: then it is
            // not among the groups that were read.
            let DamagedGroups::Listed(concerned) = &damage.groups else {
                continue;
            };
            for group in concerned {
                groups.remove(group);
                booted.damaged.insert(*group, damage.to_string());
            }
        }
        booted.log = report;
        let mut hlc = Hlc::new();
        for group in groups.values() {
            // The clock must stay above every stamp that was ever written.
            hlc.observe(group.last_stamps().0);
        }
        let mut shards = BTreeMap::new();
        for (id, group) in groups {
            match group.into_shard(&config, id) {
                Ok(shard) => {
                    shards.insert(id, shard);
                }
                Err(why) => {
                    booted.damaged.insert(id, why);
                }
            }
        }
        let mut node = Self {
            door: Door::new(Minter::new(config.session_key, config.seed)),
            storage: Storage::new(writer),
            snapshots: Snapshots::new(snapshots.files),
            clock,
            hlc,
            shards,
            damaged: booted.damaged.clone(),
            names: BTreeMap::new(),
            touched: Vec::new(),
            agenda: Agenda::default(),
            filled_by: 0,
            unanswered_bytes: 0,
            queues: Queues::default(),
            intake_left: 0,
            started: false,
            draining: false,
            counters: Counters::default(),
            meta_applied: 0,
            snapshot_waiters: Vec::new(),
            fatal: None,
            config,
        };
        node.settle_spaces().map_err(BootError::Shard)?;
        for id in node.shards.keys() {
            node.agenda.wake(*id);
        }
        for job in snapshots.removals {
            node.storage.want(job);
        }
        Ok((node, booted))
    }

    /// Makes the shards of the spaces that are known by now. What must go is
    /// decided once the meta group leads: it may hold more than is known here.
    fn settle_spaces(&mut self) -> Result<(), String> {
        if self.damaged.contains_key(&META) {
            // Which spaces there are can't be told; none is served.
            self.shards.clear();
            return Ok(());
        }
        if !self.shards.contains_key(&META) {
            let meta = empty_shard(&self.config, META)?;
            self.shards.insert(META, meta);
        }
        self.names = names(&self.shards[&META].state);
        for id in self.missing_shards() {
            let shard = empty_shard(&self.config, id)?;
            self.shards.insert(id, shard);
        }
        Ok(())
    }
}
