//! What the engine tells the control plane about itself and its node, as JSON: 64-bit identities and
//! revisions, which may pass 2^53, as text, counts and sizes as numbers.

use std::path::PathBuf;

use domp_log::{Damage, Torn};
use domp_node::{
    BootReport, HandingCounters, NodeStatistics, Notice, PeerCounters, SnapshotFailure,
    SnapshotTaken, TransferCounters, VacancyCause,
};
use domp_transport::Dates;
use serde::Serialize;

use crate::cluster::{ClusterReport, Standing};
use crate::disk::{FileSystem, FlushChoice};
use crate::options::LogMode;
use crate::worker::Said;

/// What opening found and chose.
#[derive(Debug)]
pub(crate) struct OpenReport {
    pub directory: PathBuf,
    /// Where the log is, if not there.
    pub log_directory: Option<PathBuf>,
    pub file_system: FileSystem,
    /// What the log stands on.
    pub log_file_system: FileSystem,
    pub flush: FlushChoice,
    pub log_mode: LogMode,
    /// `None`: the node is alone.
    pub cluster: Option<ClusterReport>,
    pub boot: BootReport,
    /// Until the snapshots were restored, since the engine's start.
    pub restored_us: u64,
    /// Until the log was replayed.
    pub replayed_us: u64,
    /// Until everything of that began.
    pub prepared_us: u64,
}

/// What stays true while the engine runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Constants {
    node: String,
    directory: String,
    log_directory: Option<String>,
    file_system: &'static str,
    log_mode: &'static str,
    flush: Flush,
    cluster: Option<ClusterReport>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flush {
    method: &'static str,
    fdatasync_ns: u64,
    dsync_ns: u64,
}

/// All of a report, once the engine serves or gave up waiting for that.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened<'a> {
    #[serde(flatten)]
    constants: Constants,
    ready: bool,
    took_us: u64,
    recovery: Recovery<'a>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recovery<'a> {
    segments: u64,
    frames: u64,
    records: u64,
    entries: u64,
    transactions: u64,
    snapshots: u64,
    snapshot_keys: u64,
    prepare_us: u64,
    restore_us: u64,
    replay_us: u64,
    torn: Option<TornWrite<'a>>,
    damage: Vec<DamagedPlace<'a>>,
    damaged_shards: Vec<DamagedShard<'a>>,
}

#[derive(Serialize)]
struct TornWrite<'a> {
    file: &'a str,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct DamagedPlace<'a> {
    file: &'a str,
    offset: u64,
    what: &'a str,
    groups: String,
}

#[derive(Serialize)]
struct DamagedShard<'a> {
    group: u64,
    why: &'a str,
}

impl OpenReport {
    pub fn constants(&self) -> Constants {
        Constants {
            node: format!("{:016x}", self.boot.identity.node),
            directory: self.directory.to_string_lossy().into_owned(),
            log_directory: self
                .log_directory
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            file_system: self.file_system.name(),
            log_mode: self.log_mode.name(),
            flush: Flush {
                method: self.flush.name(),
                fdatasync_ns: self.flush.data_sync_ns,
                dsync_ns: self.flush.dsync_ns,
            },
            cluster: self.cluster.clone(),
        }
    }

    /// All of it, once the engine serves or gave up waiting for that.
    pub fn to_json(&self, ready: bool, took_us: u64) -> String {
        json(&Opened {
            constants: self.constants(),
            ready,
            took_us,
            recovery: self.recovery(),
            warnings: self.warnings(),
        })
    }

    fn recovery(&self) -> Recovery<'_> {
        let BootReport {
            log,
            entries,
            transactions,
            snapshots,
            snapshot_keys,
            damaged,
            ..
        } = &self.boot;
        let damaged_shards = damaged
            .iter()
            .map(|(group, why)| DamagedShard { group: *group, why });
        Recovery {
            segments: log.segments,
            frames: log.frames,
            records: log.records,
            entries: *entries,
            transactions: *transactions,
            snapshots: *snapshots,
            snapshot_keys: *snapshot_keys,
            prepare_us: self.prepared_us,
            restore_us: self.restored_us - self.prepared_us,
            replay_us: self.replayed_us - self.restored_us,
            torn: log.torn.as_ref().map(TornWrite::from),
            damage: log.damage.iter().map(DamagedPlace::from).collect(),
            damaged_shards: damaged_shards.collect(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        warnings.extend(self.file_system.warning("data directory"));
        if self.log_directory.is_some() {
            warnings.extend(self.log_file_system.warning("log's directory"));
        }
        if self.boot.incarnation.is_none() {
            warnings.push(
                "the disk has no room even to write down this start: reads are served, and writes \
                 wait for room"
                    .to_owned(),
            );
        }
        if self.flush.is_unmeasured() {
            warnings.push(
                "the disk is full: the way of flushing could not be measured, and fdatasync is used"
                    .to_owned(),
            );
        }
        if !self.flush.direct && self.log_file_system == FileSystem::Disk {
            let cached =
                "the file system allows no direct IO: log writes go through the page cache";
            warnings.push(cached.to_owned());
        }
        if let Some(torn) = &self.boot.log.torn {
            warnings.push(format!(
                "an unfinished write at the log's end was cut away ({} at {}); it was never acknowledged",
                torn.file, torn.offset
            ));
        }
        for (group, why) in &self.boot.damaged {
            warnings.push(format!(
                "shard {group} is damaged and serves nothing: {why}"
            ));
        }
        warnings
    }
}

impl<'a> From<&'a Torn> for TornWrite<'a> {
    fn from(torn: &'a Torn) -> Self {
        Self {
            file: &torn.file,
            offset: torn.offset,
            bytes: torn.bytes,
        }
    }
}

impl<'a> From<&'a Damage> for DamagedPlace<'a> {
    fn from(damage: &'a Damage) -> Self {
        Self {
            file: &damage.file,
            offset: damage.offset,
            what: &damage.what,
            groups: damage.groups.to_string(),
        }
    }
}

/// The snapshots that were asked for.
#[derive(Serialize)]
pub(crate) struct Taken {
    taken: Vec<TakenSnapshot>,
}

#[derive(Serialize)]
struct TakenSnapshot {
    group: u64,
    index: u64,
}

impl From<&[SnapshotTaken]> for Taken {
    fn from(taken: &[SnapshotTaken]) -> Self {
        let taken = taken.iter().map(|each| TakenSnapshot {
            group: each.group,
            index: each.index,
        });
        Self {
            taken: taken.collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedSnapshot<'a> {
    group: u64,
    why: &'a str,
    wall_ms: u64,
}

impl<'a> From<&'a SnapshotFailure> for FailedSnapshot<'a> {
    fn from(failure: &'a SnapshotFailure) -> Self {
        Self {
            group: failure.group,
            why: &failure.why,
            wall_ms: failure.wall_ms,
        }
    }
}

/// A line for the operator: what happened, and its fields.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum NoticeReport<'a> {
    SnapshotFailed {
        message: &'static str,
        group: u64,
        space: &'a str,
        why: &'a str,
        retry_ms: u64,
    },
    ShardStopped {
        message: &'static str,
        group: u64,
        space: &'a str,
        why: &'a str,
    },
    RemovalFailed {
        message: &'static str,
        file: &'a str,
        why: &'a str,
        retry_ms: u64,
    },
    Reached {
        message: &'static str,
        level: &'static str,
        node: String,
        address: String,
    },
    Lost {
        message: &'static str,
        node: String,
        why: &'a str,
    },
    LeaderElected {
        message: &'static str,
        level: &'static str,
        group: u64,
        space: &'a str,
        term: u64,
        why: &'static str,
        vacant_ms: u64,
    },
    ClockLeft {
        message: &'static str,
        skew_ms: i64,
        jump_max_ms: u64,
    },
}

impl<'a> From<&'a Said> for NoticeReport<'a> {
    fn from(said: &'a Said) -> Self {
        match said {
            Said::Node(notice) => notice.into(),
            Said::Standing(standing) => standing.into(),
            Said::ClockLeft(jump) => Self::ClockLeft {
                message: "the machine's clock left the monotonic one and is not followed until it \
                          is near again, or the server starts anew",
                skew_ms: jump.skew_ms,
                jump_max_ms: jump.jump_max_ms,
            },
        }
    }
}

impl<'a> From<&'a Standing> for NoticeReport<'a> {
    fn from(standing: &'a Standing) -> Self {
        match standing {
            Standing::Reached {
                node,
                address,
                dates,
            } => {
                let (level, message) = match dates {
                    Dates::Valid => ("info", "a node of the cluster is reached"),
                    Dates::Expired | Dates::NotYetValid => (
                        "warn",
                        "a node of the cluster is reached; by this machine's clock its certificate \
                         is out of date, which nothing depends on",
                    ),
                };
                Self::Reached {
                    message,
                    level,
                    node: format!("{node:016x}"),
                    address: address.to_string(),
                }
            }
            Standing::Lost { node, why } => Self::Lost {
                message: "a node of the cluster is not reached",
                node: format!("{node:016x}"),
                why,
            },
        }
    }
}

impl<'a> From<&'a Notice> for NoticeReport<'a> {
    fn from(notice: &'a Notice) -> Self {
        match notice {
            Notice::SnapshotFailed {
                group,
                space,
                why,
                retry_ms,
            } => Self::SnapshotFailed {
                message: "a snapshot failed; the log is kept, and it is tried again",
                group: *group,
                space,
                why,
                retry_ms: *retry_ms,
            },
            Notice::ShardStopped { group, space, why } => Self::ShardStopped {
                message: "a space is stopped: its log holds what can't be applied here",
                group: *group,
                space,
                why,
            },
            Notice::LeaderElected {
                group,
                space,
                term,
                cause,
                vacant_ms,
            } => Self::LeaderElected {
                message: "this node leads a space now",
                level: "info",
                group: *group,
                space,
                term: *term,
                why: match cause {
                    VacancyCause::Gone => "the process of the leader before is gone",
                    VacancyCause::Silence => "no leader was heard",
                },
                vacant_ms: *vacant_ms,
            },
            Notice::RemovalFailed {
                file,
                why,
                retry_ms,
            } => Self::RemovalFailed {
                message: "a file that nobody needs could not be removed; it is tried again",
                file,
                why,
                retry_ms: *retry_ms,
            },
        }
    }
}

/// The node's statistics.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeReport<'a> {
    node: String,
    connections: u64,
    frames: u64,
    proposed: u64,
    reads: u64,
    refused: u64,
    queued: u64,
    crowded: u64,
    abandoned: u64,
    work: u64,
    entries: u64,
    writes: u64,
    written_bytes: u64,
    backlog_bytes: u64,
    snapshots: u64,
    snapshots_failed: u64,
    snapshot_last_failure: Option<FailedSnapshot<'a>>,
    segments: u64,
    spare_segments: u64,
    disk_low: bool,
    draining: bool,
    messages: Messages,
    handing: Handing,
    transfers: Transfers,
    stopped: Vec<StoppedReport<'a>>,
    shards: Vec<ShardReport<'a>>,
}

/// Counters of the node's, under their own names.
macro_rules! counters {
    ($name:ident of $of:ty: $($field:ident),+) => {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct $name {
            $($field: u64),+
        }

        impl From<&$of> for $name {
            fn from(counters: &$of) -> Self {
                Self { $($field: counters.$field),+ }
            }
        }
    };
}
counters!(Messages of PeerCounters: sent, taken, senseless, contradictions, without_room);
counters!(Handing of HandingCounters: handed, answered, retried, lost, late, waited, spent, overdue, refused);
counters!(Transfers of TransferCounters: sent, failed, outgrown, taken_in, given_up, installed);

#[derive(Serialize)]
struct StoppedReport<'a> {
    group: u64,
    name: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct LagReport {
    node: String,
    entries: u64,
}

impl From<&(u64, u64)> for LagReport {
    fn from((node, entries): &(u64, u64)) -> Self {
        Self {
            node: format!("{node:016x}"),
            entries: *entries,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardReport<'a> {
    group: u64,
    name: &'a str,
    leader: bool,
    led_by: Option<String>,
    lags: Vec<LagReport>,
    term: u64,
    applied_index: u64,
    revision: String,
    lease_ms: u64,
    log_bytes: u64,
    snapshot_index: u64,
    keys: u64,
    bytes: u64,
    expiring_keys: u64,
    sessions: u64,
    session_answers: u64,
    answer_bytes: u64,
    idempotency_keys: u64,
    overlay_bytes: u64,
}

impl<'a> From<&'a NodeStatistics> for NodeReport<'a> {
    fn from(node: &'a NodeStatistics) -> Self {
        let shards = node.shards.iter().map(|shard| ShardReport {
            group: shard.group,
            name: &shard.name,
            leader: shard.leader,
            led_by: shard.led_by.map(|node| format!("{node:016x}")),
            lags: shard.lags.iter().map(LagReport::from).collect(),
            term: shard.term,
            applied_index: shard.applied_index,
            revision: shard.revision.to_string(),
            lease_ms: shard.lease_ms,
            log_bytes: shard.log_bytes,
            snapshot_index: shard.snapshot_index,
            keys: shard.state.keys,
            bytes: shard.state.bytes,
            expiring_keys: shard.state.expiring_keys,
            sessions: shard.state.sessions,
            session_answers: shard.state.session_answers,
            answer_bytes: shard.state.answer_bytes,
            idempotency_keys: shard.state.idempotency_keys,
            overlay_bytes: shard.state.overlay_bytes,
        });
        let stopped = node.stopped.iter().map(|stopped| StoppedReport {
            group: stopped.group,
            name: &stopped.name,
            why: &stopped.why,
        });
        Self {
            node: format!("{:016x}", node.node),
            connections: node.connections,
            frames: node.frames,
            proposed: node.proposed,
            reads: node.reads,
            refused: node.refused,
            queued: node.queued,
            crowded: node.crowded,
            abandoned: node.abandoned,
            work: node.work,
            entries: node.entries,
            writes: node.writes,
            written_bytes: node.written_bytes,
            backlog_bytes: node.backlog_bytes,
            snapshots: node.snapshots,
            snapshots_failed: node.snapshots_failed,
            snapshot_last_failure: node
                .snapshot_last_failure
                .as_ref()
                .map(FailedSnapshot::from),
            segments: node.segments,
            spare_segments: node.spare_segments,
            disk_low: node.disk_low,
            draining: node.draining,
            messages: (&node.messages).into(),
            handing: (&node.handing).into(),
            transfers: (&node.transfers).into(),
            stopped: stopped.collect(),
            shards: shards.collect(),
        }
    }
}

/// The JSON of a report.
pub(crate) fn json(report: &impl Serialize) -> String {
    serde_json::to_string(report)
        .expect("a report's names are text, and writing to memory succeeds")
}
