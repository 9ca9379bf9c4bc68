//! Spaces come and go: what the meta group's state says becomes shards.

use std::collections::{BTreeMap, BTreeSet};

use domp_consensus::{Group, Start};
use domp_log::{Record, RecordKind};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{Frame, FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{Operation, TransactionBuilder};
use domp_state::{State, StateConfig, StateKind};

use crate::commands::Turn;
use crate::config::Config;
use crate::door::idempotent_batch;
use crate::node::Node;
use crate::replies::Socket;
use crate::shard::{Shard, Stamper};

/// The group that holds the table of spaces.
pub const META: u64 = 0;
/// The id of the space `default`: the first that is ever created.
pub const DEFAULT_SPACE: u64 = 1;
/// Its name.
const DEFAULT_NAME: &str = "default";

/// What a shard's state is made with.
pub fn state_config(config: &Config, group: u64) -> StateConfig {
    config.limits.for_state(if group == META {
        StateKind::Meta
    } else {
        StateKind::Space
    })
}

/// A shard that was never written to.
pub fn empty_shard(config: &Config, group: u64) -> Result<Shard, String> {
    let state = State::new(state_config(config, group));
    let replica = Group::open(config.node, &[config.node], Start::default())
        .map_err(|error| format!("shard {group}: {error}"))?;
    Ok(Shard::new(group, replica, state, config))
}

/// Proposes the space `default`, under a key of its own: once for ever.
pub fn create_default(meta: &mut Shard, stamper: &mut Stamper<'_>) {
    let transaction = TransactionBuilder::new(0)
        .then(Operation::SpaceCreate {
            name: DEFAULT_NAME.as_bytes(),
        })
        .finish();
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(1, ItemKind::Transaction, &transaction);
    let bytes = builder.finish(0, 1);
    let frame = Frame::parse(&bytes).expect("a frame built here is well-formed");
    let batch = idempotent_batch(0, *b"domp default 001");
    for item in frame.items() {
        // Refused only by a shard that does not lead, and then the next start tries again.
        let _ = meta.write(
            (Socket::NOBODY, item.sequence),
            &batch,
            &item,
            None,
            stamper,
        );
    }
}

impl Node {
    /// Makes shards of new spaces and drops those of spaces that are gone.
    pub(crate) fn follow_spaces(&mut self, turn: &mut Turn) -> Result<(), String> {
        let Some(meta) = self.shards.get(&META) else {
            return Ok(());
        };
        // Before its first commit as leader the meta group may still hold
        // entries of an earlier run that create spaces with data in the log;
        // and what is committed but not applied may create some too.
        if meta.state.applied_index() == self.meta_applied || !meta.serves() || meta.lags() {
            return Ok(());
        }
        self.meta_applied = meta.state.applied_index();
        self.names = names(&meta.state);
        // A crash may have come between a drop and the removal of its snapshot: then the log has
        // ended the group, and only the file is left.
        let gone: BTreeSet<u64> = self
            .shards
            .keys()
            .chain(self.damaged.keys())
            .copied()
            .chain(self.snapshots.groups())
            .filter(|id| *id != META && !self.names.contains_key(id))
            .collect();
        for id in gone {
            if let Some(mut shard) = self.shards.remove(&id) {
                self.agenda.forget(id);
                shard.refuse_all(ErrorCode::UnknownSpace, &mut turn.replies);
            }
            self.damaged.remove(&id);
            self.drop_group(id);
        }
        let new = self.missing_shards();
        for id in new {
            let shard = empty_shard(&self.config, id)?;
            self.shards.insert(id, shard);
        }
        let idle: Vec<u64> = self
            .shards
            .iter()
            .filter(|(_, shard)| !shard.is_leader())
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.campaign(id);
        }
        self.drive_touched(turn)
    }

    /// Spaces that have no shard yet.
    pub(crate) fn missing_shards(&self) -> Vec<u64> {
        let has = |id: &u64| self.shards.contains_key(id) || self.damaged.contains_key(id);
        self.names.keys().copied().filter(|id| !has(id)).collect()
    }

    /// Tells the log that a group is gone, and removes its snapshots.
    pub(crate) fn drop_group(&mut self, id: u64) {
        self.forget_snapshots(id);
        self.storage.append(&Record {
            group: id,
            kind: RecordKind::Drop,
            index: 0,
            term: 0,
            body: &[],
        });
    }
}

/// The table of spaces: id to name.
pub fn names(meta: &State) -> BTreeMap<u64, String> {
    meta.spaces()
        .map(|(name, id)| (u64::from(id), String::from_utf8_lossy(name).into_owned()))
        .collect()
}
