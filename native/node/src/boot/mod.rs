//! From what the disk holds to a node that can turn: snapshots first, then the
//! log behind them.

mod restore;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use domp_consensus::{Entry, Group, Start};
use domp_log::snapshot::SnapshotInfo;
use domp_log::{
    DamagedGroups, Disk, GroupVerdict, HardState, Identity, Incarnation, NODE_GROUP, Record,
    RecordKind, RecoverError, Report,
};
use domp_state::entry::Entry as EntryReader;
use domp_state::hlc::Hlc;
use domp_state::{State, StateConfig};

use crate::agenda::Agenda;
use crate::commands::Applied;
use crate::config::{Clock, Config};
use crate::door::{Door, Handing, Minter, Queues, Remote};
use crate::node::{Counters, Node};
use crate::peers::Peers;
use crate::shard::{Replica, Shard, raft_state};
use crate::snapshots::Snapshots;
use crate::spaces::{META, founded_state, names, state_config};
use crate::storage::Storage;
use crate::transfers::Transfers;
use restore::{Restored, restore};

/// The node can't start. Nothing was changed that matters.
#[derive(Debug)]
pub enum BootError {
    /// The log could not be opened.
    Log(RecoverError),
    /// Damage concerns every shard: there is nothing to serve.
    Damaged(Box<Report>),
    /// A shard could not be put together.
    Shard(String),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "{error}"),
            Self::Shard(why) => f.write_str(why),
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
    /// Who this node is.
    pub identity: Identity,
    /// This start, as the log holds it; `None` if the disk has no room even for that.
    pub incarnation: Option<Incarnation>,
    /// What recovery of the log says.
    pub log: Report,
    /// Snapshots that were restored.
    pub snapshots: u64,
    /// Keys in them.
    pub snapshot_keys: u64,
    /// By group: the index that its snapshot stands for.
    pub begun: BTreeMap<u64, u64>,
    /// Entries replayed from the log.
    pub entries: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Shards that serve nothing, and why.
    pub damaged: BTreeMap<u64, String>,
    /// Entries replayed, where [`Config::report_applied`] asks for them.
    pub applied: Vec<Applied>,
}

/// Terms of entries in one row, in runs: there may be millions of entries, and few terms.
#[derive(Default)]
struct Passed {
    /// First index and term of each run.
    runs: Vec<(u64, u64)>,
    /// Index behind the last.
    end: u64,
}

impl Passed {
    /// Takes note of an entry. False: it is there already; else it takes the place of all from it on.
    fn put(&mut self, index: u64, term: u64) -> bool {
        let run = self.runs.partition_point(|(first, _)| *first <= index);
        let present = run.checked_sub(1).map(|run| self.runs[run].1);
        if index < self.end && present == Some(term) {
            return false;
        }
        if present.is_none() || index > self.end {
            self.runs.clear();
        } else {
            self.runs.truncate(run);
            self.runs.pop_if(|(first, _)| *first == index);
        }
        if self.runs.last().is_none_or(|(_, last)| *last != term) {
            self.runs.push((index, term));
        }
        self.end = index + 1;
        true
    }
}

/// A group while its records are read.
struct Booting {
    state: State,
    applied_term: u64,
    replica: Replica,
    snapshot_index: u64,
    hard_state: HardState,
    /// The latest of them was read.
    has_hard_state: bool,
    /// Behind the applied index, perhaps not committed.
    staged: Vec<Entry>,
    /// Those that were read and are applied.
    passed: Passed,
    /// Applied, and kept for other replicas, if there are any.
    kept: VecDeque<Entry>,
    /// Term of the entry before those.
    kept_behind_term: u64,
    kept_bytes: u64,
    /// See [`Config::entries_kept_bytes_max`]; 0: there are no others.
    kept_bytes_max: u64,
    log_bytes: u64,
    /// Why the next entry can't be applied: the shard is stopped.
    stopped: Option<String>,
}

impl Booting {
    /// From its snapshot, or from what founded it. The error says why it can't be served.
    fn new(
        verdict: &GroupVerdict,
        restored: Option<Restored>,
        config: StateConfig,
        kept_bytes_max: u64,
    ) -> Result<Self, String> {
        let hard_state = verdict.hard_state.unwrap_or_default();
        let start = (hard_state.start_index, hard_state.start_term);
        let (state, applied_term, replica, snapshot_index) =
            if let Some(Restored { state, from }) = restored {
                let replica = Replica::restored(verdict.replica, from.name, start, &from.head);
                (state, from.head.term, replica, from.head.index)
            } else {
                let founding = verdict
                    .founding
                    .as_ref()
                    .ok_or("nothing in the log founds it, and it has no snapshot")?;
                let state = founded_state(config, founding.index)?;
                let replica = Replica::founded(verdict.replica, founding);
                (state, founding.term, replica, 0)
            };
        let is_alone = replica.voters.iter().all(|voter| *voter == replica.id);
        let kept_bytes_max = if is_alone { 0 } else { kept_bytes_max };
        Ok(Self {
            state,
            applied_term,
            replica,
            snapshot_index,
            // As the log says it, record by record: what is committed is known in that order.
            hard_state: HardState::default(),
            has_hard_state: false,
            staged: Vec::new(),
            passed: Passed::default(),
            kept: VecDeque::new(),
            kept_behind_term: applied_term,
            kept_bytes: 0,
            kept_bytes_max,
            log_bytes: 0,
            stopped: None,
        })
    }

    /// An entry was read. What is applied already is old; a second copy with
    /// another term replaces the first and all behind it. Where the log begins amid entries that were
    /// written again behind, those begin anew.
    fn stage(&mut self, record: &Record<'_>) {
        if record.index <= self.state.applied_index() {
            return self.pass(record);
        }
        self.log_bytes += record.body.len() as u64;
        if let Some(first) = self.staged.first() {
            let at = record.index.checked_sub(first.index);
            let at = at.map_or(Some(0), |at| usize::try_from(at).ok());
            if let Some(at) = at
                && let Some(present) = self.staged.get(at)
            {
                if (present.index, present.term) == (record.index, record.term) {
                    return;
                }
                self.staged.truncate(at);
            }
        }
        self.staged.push(Entry {
            index: record.index,
            term: record.term,
            data: record.body.to_vec().into(),
            ..Entry::default()
        });
    }

    /// An entry that is applied already. One that took the place of another did so with all behind that.
    fn pass(&mut self, record: &Record<'_>) {
        if self.passed.put(record.index, record.term) {
            self.staged.clear();
        }
    }

    /// Where the log begins anew, entries that stand before count no more: what was installed is not what
    /// they led to.
    fn take_hard_state(&mut self, hard_state: HardState) {
        if self.has_hard_state && hard_state.begins_anew(&self.hard_state) {
            self.staged.clear();
            self.passed = Passed::default();
            self.log_bytes = 0;
        }
        self.has_hard_state = true;
        self.hard_state = hard_state;
    }

    /// Applies what is known to be committed, as far as that can be.
    fn apply_committed(&mut self, group: u64, report: &mut BootReport, keep: bool) {
        let commit = self.hard_state.commit;
        let known = self.state.config().apply_version_known;
        let mut applied = 0;
        for entry in &self.staged {
            // Those between may be written again behind; that none is missing the verdict has said.
            let is_next = entry.index == self.state.applied_index() + 1;
            if self.stopped.is_some() || !is_next || entry.index > commit {
                break;
            }
            if let Err(error) = self.state.apply(entry.index, &entry.data, &mut ()) {
                self.stopped = Some(format!("entry {} can't be applied: {error}", entry.index));
                break;
            }
            applied += 1;
            self.applied_term = entry.term;
            self.passed.put(entry.index, entry.term);
            report.entries += 1;
            if let Ok(read) = EntryReader::parse_known(&entry.data, known) {
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
        let applied = self.staged.drain(..applied);
        if self.kept_bytes_max == 0 {
            return;
        }
        for entry in applied {
            self.kept_bytes += entry.data.len() as u64;
            self.kept.push_back(entry);
        }
        while self.kept_bytes > self.kept_bytes_max
            && let Some(entry) = self.kept.pop_front()
        {
            self.kept_bytes -= entry.data.len() as u64;
            self.kept_behind_term = entry.term;
        }
    }

    /// The highest revision and lease time that the log holds of the group.
    fn last_stamps(&self) -> (u64, u64) {
        let known = self.state.config().apply_version_known;
        let (mut revision, mut lease_ms) = (self.state.revision(), self.state.lease_ms());
        for entry in &self.staged {
            if let Ok(read) = EntryReader::parse_known(&entry.data, known) {
                revision = revision.max(read.last_revision());
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
            hard_state: raft_state(&self.hard_state),
            entries: self.staged,
            kept: self.kept.into(),
            kept_behind_term: self.kept_behind_term,
            seed: config.seed ^ group,
        };
        let raft = Group::open(self.replica.id, &self.replica.voters, start)
            .map_err(|error| error.to_string())?;
        let mut shard = Shard::new(group, self.replica, raft, self.state, config);
        shard.snapshot_index = self.snapshot_index;
        shard.lease_floor_ms = lease_floor_ms;
        shard.log_bytes = self.log_bytes;
        if self.stopped.is_some() {
            shard.stop();
        }
        Ok(shard)
    }
}

/// Makes a shard of each group. Those that can't serve are told in `damaged`; one that is stopped is among
/// the shards all the same.
fn into_shards(
    groups: BTreeMap<u64, Booting>,
    config: &Config,
    damaged: &mut BTreeMap<u64, String>,
) -> BTreeMap<u64, Shard> {
    let mut shards = BTreeMap::new();
    for (id, group) in groups {
        if let Some(why) = &group.stopped {
            damaged.insert(id, why.clone());
        }
        match group.into_shard(config, id) {
            Ok(shard) => {
                shards.insert(id, shard);
            }
            Err(why) => {
                damaged.insert(id, why);
            }
        }
    }
    shards
}

/// Everything read so far.
struct Boot<'a> {
    config: &'a Config,
    groups: BTreeMap<u64, Booting>,
    /// The snapshot file of each group.
    files: BTreeMap<u64, SnapshotInfo>,
    /// Groups whose snapshot the hard state in the log does not name yet, and the file that it names.
    adopting: BTreeMap<u64, Option<Arc<str>>>,
    report: BootReport,
}

impl Boot<'_> {
    /// Brings a group to where its snapshot or its founding left it.
    fn begin(&mut self, disk: &mut dyn Disk, id: u64, verdict: &GroupVerdict) {
        let config = state_config(id, self.config.apply_version_known);
        let kept_bytes_max = self.config.entries_kept_bytes_max;
        let begun = restore(disk, config, verdict).and_then(|restored| {
            if let Some(Restored { state, from }) = &restored {
                self.report.snapshots += 1;
                self.report.snapshot_keys += state.statistics().keys;
                self.report.begun.insert(id, from.head.index);
                self.files.insert(id, from.info.clone());
                if verdict.hard_state.map(|state| state.snapshot) != Some(from.name) {
                    let older = verdict.snapshots.iter().find(|one| one.info != from.info);
                    let older = older.map(|one| Arc::clone(&one.info.file));
                    self.adopting.insert(id, older);
                }
            }
            Booting::new(verdict, restored, config, kept_bytes_max)
        });
        match begun {
            Ok(group) => {
                self.groups.insert(id, group);
            }
            Err(why) => self.damage(id, why),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let id = record.group;
        // The node's own records, and those of replicas that are gone, say nothing here.
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if record.replica != group.replica.id {
            return;
        }
        let outcome = match record.kind {
            RecordKind::Entry => {
                group.stage(record);
                Ok(())
            }
            RecordKind::HardState => match HardState::decode(record.body) {
                Some(hard_state) => {
                    group.take_hard_state(hard_state);
                    group.apply_committed(id, &mut self.report, self.config.report_applied);
                    Ok(())
                }
                None => Err("a hard state in the log has the wrong length".to_owned()),
            },
            _ => Ok(()),
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
    /// Opens the data directory behind `disk`, or founds a node in an empty one: restores snapshots,
    /// replays the log, prepares the first segment. Blocks; `step` hears of its progress.
    ///
    /// Shards of which something is damaged or missing serve nothing; the others do.
    ///
    /// # Errors
    /// [`BootError`]; nothing is served then.
    pub fn boot(
        config: Config,
        disk: &mut dyn Disk,
        clock: Clock,
        step: &mut dyn FnMut(BootStep),
    ) -> Result<(Self, BootReport), BootError> {
        let opened = domp_log::open(disk, &config.log, &config.drawn, &mut |_| {})
            .map_err(BootError::Log)?;
        let report = opened.report;
        let Some(identity) = opened.identity.filter(|_| !report.is_all_damaged()) else {
            return Err(BootError::Damaged(Box::new(report)));
        };
        let mut boot = Boot {
            config: &config,
            groups: BTreeMap::new(),
            files: BTreeMap::new(),
            adopting: BTreeMap::new(),
            report: BootReport {
                incarnation: opened.incarnation,
                identity,
                ..BootReport::default()
            },
        };
        for damage in &report.damage {
            let DamagedGroups::Listed(concerned) = &damage.groups else {
                continue;
            };
            for group in concerned.iter().filter(|group| **group != NODE_GROUP) {
                boot.damage(*group, damage.to_string());
            }
        }
        for (id, verdict) in &opened.verdict.groups {
            if !boot.report.damaged.contains_key(id) {
                boot.begin(disk, *id, verdict);
            }
        }
        step(BootStep::SnapshotsRestored {
            keys: boot.report.snapshot_keys,
        });
        // A second reading: which snapshot a group starts from is known only when all was read once.
        domp_log::replay(disk, &mut |record| boot.record(&record)).map_err(BootError::Log)?;
        step(BootStep::LogReplayed {
            transactions: boot.report.transactions,
        });
        let Boot {
            groups,
            files,
            adopting,
            report: mut booted,
            ..
        } = boot;
        booted.log = report;
        let mut hlc = Hlc::new();
        for group in groups.values() {
            // The clock must stay above every stamp that was ever written.
            hlc.observe(group.last_stamps().0);
        }
        let shards = into_shards(groups, &config, &mut booted.damaged);
        let mut node = Self {
            door: Door::new(Minter::new(config.seed)),
            storage: Storage::new(opened.writer),
            snapshots: Snapshots::new(files, adopting),
            transfers: Transfers::default(),
            peers: Peers::new(identity.node, &config.founders),
            handing: Handing::default(),
            remote: Remote::default(),
            identity,
            clock,
            hlc,
            shards,
            damaged_replicas: booted
                .damaged
                .keys()
                .filter_map(|id| Some((*id, opened.verdict.groups.get(id)?.replica)))
                .collect(),
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
            is_settling: true,
            fatal: None,
            config,
        };
        node.settle_spaces().map_err(BootError::Shard)?;
        for id in node.shards.keys() {
            node.agenda.wake(*id);
        }
        // Whatever is damaged may be what would explain them.
        if node.damaged.is_empty() {
            for leftover in opened.verdict.leftovers {
                node.snapshots.remove(leftover.group, leftover.file);
            }
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
            if !self.shards.is_empty() || !self.damaged.is_empty() {
                return Err("the log tells of spaces, but not of the group that names them".into());
            }
            self.found_shard(META)?;
        }
        let meta = &self.shards[&META].state;
        self.names = names(meta);
        self.door.set_keys(meta.signing_keys());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Passed;

    #[test]
    fn passed_entries_are_known_until_others_take_their_place() {
        let mut passed = Passed::default();
        for (index, term) in [(5, 1), (6, 1), (7, 2), (8, 2)] {
            assert!(passed.put(index, term));
        }
        assert_eq!(passed.runs, [(5, 1), (7, 2)]);
        for (index, term) in [(5, 1), (6, 1), (7, 2), (8, 2)] {
            assert!(!passed.put(index, term), "{index} is there");
        }
        // Of a later leader: what stood behind it is gone.
        assert!(passed.put(6, 3));
        assert_eq!(
            (passed.runs.as_slice(), passed.end),
            (&[(5, 1), (6, 3)][..], 7)
        );
        assert!(passed.put(7, 3));
        assert!(passed.put(5, 3), "the first one too");
        assert_eq!((passed.runs.as_slice(), passed.end), (&[(5, 3)][..], 6));
        // Behind a gap, or before all, a row begins anew.
        assert!(passed.put(9, 3));
        assert_eq!((passed.runs.as_slice(), passed.end), (&[(9, 3)][..], 10));
        assert!(passed.put(2, 1));
        assert_eq!((passed.runs.as_slice(), passed.end), (&[(2, 1)][..], 3));
    }
}
