//! What the engine tells the control plane about itself and its node, as JSON.

use std::path::PathBuf;

use domp_log::{Damage, Torn};
use domp_node::{BootReport, NodeStatistics, Notice, SnapshotFailure, SnapshotTaken};

use crate::disk::{FileSystem, FlushChoice};
use crate::json::Json;
use crate::options::LogMode;

/// What opening found and chose.
#[derive(Debug)]
pub(crate) struct OpenReport {
    pub directory: PathBuf,
    pub node: u64,
    pub file_system: FileSystem,
    pub flush: FlushChoice,
    pub log_mode: LogMode,
    pub boot: BootReport,
    /// Which limits this start changed, for the operator.
    pub limits_changed: Option<String>,
    /// Until the snapshots were restored, since the engine's start.
    pub restored_us: u64,
    /// Until the log was replayed.
    pub replayed_us: u64,
    /// Until everything of that began.
    pub prepared_us: u64,
}

impl OpenReport {
    /// What stays true while the engine runs.
    pub fn constants(&self) -> Json {
        Json::Object(self.constant_fields())
    }

    fn constant_fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("node", Json::text(format!("{:016x}", self.node))),
            ("directory", Json::text(self.directory.to_string_lossy())),
            ("fileSystem", Json::text(self.file_system.name())),
            ("logMode", Json::text(self.log_mode.name())),
            (
                "flush",
                Json::Object(vec![
                    ("method", Json::text(self.flush.name())),
                    ("fdatasyncNs", Json::Number(self.flush.data_sync_ns)),
                    ("dsyncNs", Json::Number(self.flush.dsync_ns)),
                ]),
            ),
        ]
    }

    /// All of it, once the engine serves or gave up waiting for that.
    pub fn to_json(&self, ready: bool, took_us: u64) -> Json {
        let mut fields = self.constant_fields();
        fields.push(("ready", Json::Bool(ready)));
        fields.push(("tookUs", Json::Number(took_us)));
        fields.push(("recovery", self.recovery()));
        fields.push(("warnings", self.warnings()));
        Json::Object(fields)
    }

    fn recovery(&self) -> Json {
        let boot = &self.boot;
        Json::Object(vec![
            ("segments", Json::Number(boot.log.segments)),
            ("frames", Json::Number(boot.log.frames)),
            ("records", Json::Number(boot.log.records)),
            ("entries", Json::Number(boot.entries)),
            ("transactions", Json::Number(boot.transactions)),
            ("snapshots", Json::Number(boot.snapshots)),
            ("snapshotKeys", Json::Number(boot.snapshot_keys)),
            ("prepareUs", Json::Number(self.prepared_us)),
            (
                "restoreUs",
                Json::Number(self.restored_us - self.prepared_us),
            ),
            (
                "replayUs",
                Json::Number(self.replayed_us - self.restored_us),
            ),
            (
                "torn",
                boot.log.torn.as_ref().map_or(Json::Null, torn_to_json),
            ),
            (
                "damage",
                Json::List(boot.log.damage.iter().map(damage_to_json).collect()),
            ),
            (
                "damagedShards",
                Json::List(
                    boot.damaged
                        .iter()
                        .map(|(group, why)| {
                            Json::Object(vec![
                                ("group", Json::Number(*group)),
                                ("why", Json::text(why.as_str())),
                            ])
                        })
                        .collect(),
                ),
            ),
        ])
    }

    fn warnings(&self) -> Json {
        let mut warnings: Vec<Json> = Vec::new();
        warnings.extend(self.file_system.warning().map(Json::text));
        if !self.flush.direct && self.file_system == FileSystem::Disk {
            warnings.push(Json::text(
                "the file system allows no direct IO: log writes go through the page cache",
            ));
        }
        if let Some(torn) = &self.boot.log.torn {
            warnings.push(Json::text(format!(
                "an unfinished write at the log's end was cut away ({} at {}); it was never acknowledged",
                torn.file, torn.offset
            )));
        }
        if let Some(changes) = &self.limits_changed {
            warnings.push(Json::text(format!(
                "limits of sessions were changed by the configuration: {changes}"
            )));
        }
        for (group, why) in &self.boot.damaged {
            warnings.push(Json::text(format!(
                "shard {group} is damaged and serves nothing: {why}"
            )));
        }
        Json::List(warnings)
    }
}

fn torn_to_json(torn: &Torn) -> Json {
    Json::Object(vec![
        ("file", Json::text(torn.file.as_str())),
        ("offset", Json::Number(torn.offset)),
        ("bytes", Json::Number(torn.bytes)),
    ])
}

fn damage_to_json(damage: &Damage) -> Json {
    Json::Object(vec![
        ("file", Json::text(damage.file.as_str())),
        ("offset", Json::Number(damage.offset)),
        ("what", Json::text(damage.what.as_str())),
        ("groups", Json::text(damage.groups.to_string())),
    ])
}

/// The snapshots that were asked for.
pub(crate) fn taken_to_json(taken: &[SnapshotTaken]) -> Json {
    let taken = taken.iter().map(|each| {
        Json::Object(vec![
            ("group", Json::Number(each.group)),
            ("index", Json::Number(each.index)),
        ])
    });
    Json::Object(vec![("taken", Json::List(taken.collect()))])
}

fn failure_to_json(failure: &SnapshotFailure) -> Json {
    Json::Object(vec![
        ("group", Json::Number(failure.group)),
        ("why", Json::text(failure.why.as_str())),
        ("wallMs", Json::Number(failure.wall_ms)),
    ])
}

/// A line for the operator: what happened, and its fields.
pub(crate) fn notice_to_json(notice: &Notice) -> Json {
    Json::Object(match notice {
        Notice::SnapshotFailed {
            group,
            space,
            why,
            retry_ms,
        } => vec![
            (
                "message",
                Json::text("a snapshot failed; the log is kept, and it is tried again"),
            ),
            ("group", Json::Number(*group)),
            ("space", Json::text(space.as_str())),
            ("why", Json::text(why.as_str())),
            ("retryMs", Json::Number(*retry_ms)),
        ],
        Notice::RemovalFailed {
            file,
            why,
            retry_ms,
        } => vec![
            (
                "message",
                Json::text("a snapshot nobody needs could not be removed; it is tried again"),
            ),
            ("file", Json::text(file.as_str())),
            ("why", Json::text(why.as_str())),
            ("retryMs", Json::Number(*retry_ms)),
        ],
    })
}

/// The node's statistics.
pub(crate) fn node_to_json(node: &NodeStatistics) -> Json {
    let shards = node.shards.iter().map(|shard| {
        Json::Object(vec![
            ("group", Json::Number(shard.group)),
            ("name", Json::text(shard.name.as_str())),
            ("leader", Json::Bool(shard.leader)),
            ("damage", Json::optional_text(shard.damage.as_deref())),
            ("term", Json::Number(shard.term)),
            ("appliedIndex", Json::Number(shard.applied_index)),
            ("revision", Json::wide(shard.revision)),
            ("leaseMs", Json::Number(shard.lease_ms)),
            ("logBytes", Json::Number(shard.log_bytes)),
            ("snapshotIndex", Json::Number(shard.snapshot_index)),
            ("keys", Json::Number(shard.state.keys)),
            ("bytes", Json::Number(shard.state.bytes)),
            ("expiringKeys", Json::Number(shard.state.expiring_keys)),
            ("sessions", Json::Number(shard.state.sessions)),
            ("sessionAnswers", Json::Number(shard.state.session_answers)),
            ("answerBytes", Json::Number(shard.state.answer_bytes)),
            (
                "idempotencyKeys",
                Json::Number(shard.state.idempotency_keys),
            ),
            ("overlayBytes", Json::Number(shard.state.overlay_bytes)),
        ])
    });
    Json::Object(vec![
        ("node", Json::text(format!("{:016x}", node.node))),
        ("connections", Json::Number(node.connections)),
        ("frames", Json::Number(node.frames)),
        ("proposed", Json::Number(node.proposed)),
        ("reads", Json::Number(node.reads)),
        ("refused", Json::Number(node.refused)),
        ("entries", Json::Number(node.entries)),
        ("writes", Json::Number(node.writes)),
        ("writtenBytes", Json::Number(node.written_bytes)),
        ("backlogBytes", Json::Number(node.backlog_bytes)),
        ("snapshots", Json::Number(node.snapshots)),
        ("snapshotsFailed", Json::Number(node.snapshots_failed)),
        (
            "snapshotLastFailure",
            node.snapshot_last_failure
                .as_ref()
                .map_or(Json::Null, failure_to_json),
        ),
        ("segments", Json::Number(node.segments)),
        ("diskLow", Json::Bool(node.disk_low)),
        ("draining", Json::Bool(node.draining)),
        ("shards", Json::List(shards.collect())),
    ])
}
