//! Spaces come and go: what the meta group's state says becomes shards.

use std::collections::BTreeMap;

use domp_consensus::{Group, HardState, Start};
use domp_log::{Founding, Record, RecordKind, Timeline};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{Frame, FrameBuilder, FrameKind, ItemKind};
use domp_protocol::transaction::{Operation, TransactionBuilder};
use domp_state::entry::BatchHead;
use domp_state::{SigningKey, State, StateConfig, StateKind, SystemItem};

use crate::commands::Turn;
use crate::node::Node;
use crate::replies::Socket;
use crate::shard::{Replica, Shard, Stamper};

/// The group that holds the table of spaces.
pub const META: u64 = 0;
/// The id of the space `default`: the first that is ever created.
pub const DEFAULT_SPACE: u64 = 1;
/// Its name.
const DEFAULT_NAME: &str = "default";

/// What a shard's state is made with.
pub fn state_config(group: u64, apply_version_known: u16) -> StateConfig {
    let kind = if group == META {
        StateKind::Meta
    } else {
        StateKind::Space
    };
    StateConfig {
        apply_version_known,
        ..StateConfig::new(kind)
    }
}

/// A state that begins behind the founding at `index`.
pub fn founded_state(config: StateConfig, index: u64) -> Result<State, String> {
    let mut state = State::new(config);
    // An entry without bytes only moves the index.
    state
        .apply(index, &[], &mut ())
        .map_err(|error| error.to_string())?;
    Ok(state)
}

/// Index and term of what founds a group: its log begins behind them.
const FOUNDING: (u64, u64) = (1, 1);
/// In which a group elects for the first time, mostly.
pub const FIRST_TERM: u64 = FOUNDING.1 + 1;

/// Proposes the space `default`, under a key of its own: once for ever.
pub fn create_default(meta: &mut Shard, stamper: &mut Stamper<'_>) {
    let transaction = TransactionBuilder::new(0)
        .then(Operation::SpaceCreate {
            name: DEFAULT_NAME.as_bytes(),
        })
        .idempotency_key(b"domp default 001")
        .finish();
    let mut builder = FrameBuilder::new(FrameKind::Submit);
    builder.push_item(1, ItemKind::Transaction, &transaction);
    let bytes = builder.finish(0, 1, 0);
    let frame = Frame::parse(&bytes).expect("a frame built here is well-formed");
    let batch = BatchHead::stateless(0);
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
    /// Follows what the meta group says: makes shards of new spaces, drops those of spaces that are
    /// gone, and has every shard take over the limits that are wanted.
    pub(crate) fn follow_spaces(&mut self, turn: &mut Turn) -> Result<(), String> {
        let Some(meta) = self.shards.get(&META) else {
            return Ok(());
        };
        // What is committed but not applied may create and drop spaces too. A sole voter is about to know
        // all of it; others hear it when they hear it.
        let is_new = meta.state.applied_index() != self.meta_applied;
        let knows = meta.serves() || !meta.is_alone();
        if !(is_new || self.is_settling) || !knows || meta.lags() {
            return Ok(());
        }
        let leads_meta = meta.may_propose();
        self.meta_applied = meta.state.applied_index();
        self.names = names(&meta.state);
        self.door.set_keys(meta.state.signing_keys());
        self.drop_gone(turn);
        let is_just_founded = |shard: &Shard| leads_meta && shard.term() == FOUNDING.1;
        let founded = self.found_missing()?;
        // Of several voters the one beside the leader of the meta group stands first, and once.
        let idle: Vec<u64> = self
            .shards
            .iter()
            .filter(|(_, shard)| shard.is_alone() || is_just_founded(shard))
            .filter(|(_, shard)| !shard.is_leader() && !shard.is_stopped())
            .map(|(id, _)| *id)
            .collect();
        self.is_settling = false;
        if leads_meta && !self.is_alone(META) {
            self.create_default();
        }
        for some in idle.chunks(ELECTIONS_AT_ONCE) {
            if !some.iter().all(|id| self.campaign(*id)) {
                break;
            }
            self.drive_touched(turn);
        }
        let told = self.propose_settings();
        // What found no room on the disk is tried again.
        self.is_settling |= !(founded && told);
        self.drive_touched(turn);
        Ok(())
    }

    fn drop_gone(&mut self, turn: &mut Turn) {
        let meta = self.shards.get(&META);
        let next_id = meta.map_or(0, |meta| u64::from(meta.state.next_space_id()));
        let gone: Vec<u64> = self
            .shards
            .keys()
            .chain(self.damaged.keys())
            .copied()
            .filter(|id| *id != META && !self.names.contains_key(id))
            // An id that is still to be given may be of a space whose creation is not known here yet.
            .filter(|id| *id < next_id)
            .collect();
        if let Some(meta) = self.shards.get(&META)
            && !gone.is_empty()
        {
            // Before the drops, so that no start knows of a drop and not of its cause: it would found the shard
            // anew, as a voter that has forgotten all it said.
            meta.write_hard_state(&mut self.storage);
        }
        for id in gone {
            self.damaged.remove(&id);
            let damaged = self.damaged_replicas.remove(&id);
            if let Some(mut shard) = self.shards.remove(&id) {
                self.agenda.forget(id);
                self.handing.forget_group(id);
                shard.refuse_all(ErrorCode::UnknownSpace, &mut turn.replies);
                self.drop_replica(id, shard.replica.id);
            } else {
                self.drop_replica(id, damaged.unwrap_or(self.identity.node));
            }
        }
    }

    /// Spaces that have no shard yet.
    fn missing_shards(&self) -> Vec<u64> {
        let has = |id: &u64| self.shards.contains_key(id) || self.damaged.contains_key(id);
        self.names.keys().copied().filter(|id| !has(id)).collect()
    }

    /// Founds the shards of new spaces; false if the log had no room for one.
    fn found_missing(&mut self) -> Result<bool, String> {
        for id in self.missing_shards() {
            if self.storage.reserve(FOUNDING_BYTES).is_err() {
                return Ok(false);
            }
            self.found_shard(id)?;
        }
        Ok(true)
    }

    /// Makes a group out of nothing: nothing else does.
    pub(crate) fn found_shard(&mut self, id: u64) -> Result<(), String> {
        let node = self.identity.node;
        let founding = self.founding(id);
        let replica = Replica::founded(node, &founding);
        let config = state_config(id, self.config.apply_version_known);
        let state = founded_state(config, founding.index)?;
        let start = Start {
            applied: founding.index,
            applied_term: founding.term,
            hard_state: HardState {
                term: founding.term,
                vote: 0,
                commit: founding.index,
            },
            seed: self.config.seed ^ id,
            ..Start::default()
        };
        let raft = Group::open(node, &founding.voters, start)
            .map_err(|error| format!("shard {id}: {error}"))?;
        let shard = Shard::new(id, replica, raft, state, &self.config);
        self.storage.append(&Record {
            group: id,
            replica: node,
            kind: RecordKind::Founding,
            index: 0,
            term: 0,
            body: &founding.encode(),
        });
        shard.write_hard_state(&mut self.storage);
        self.shards.insert(id, shard);
        Ok(())
    }

    /// What makes the group out of nothing, the same on all nodes that do it together.
    fn founding(&mut self, id: u64) -> Founding {
        let (random, voters) = if self.config.founders.is_empty() {
            let random = (u128::from(self.door.draw()) << 64) | u128::from(self.door.draw());
            (random, vec![self.identity.node])
        } else {
            // One timeline for each group of the cluster.
            let random = self.config.cluster.wrapping_add(u128::from(id));
            (random, self.config.founders.clone())
        };
        Founding {
            timeline: Timeline { counter: 1, random },
            index: FOUNDING.0,
            term: FOUNDING.1,
            voters,
        }
    }

    /// Tells the log that a replica is gone, and removes its snapshots.
    fn drop_replica(&mut self, group: u64, replica: u64) {
        self.forget_snapshots(group);
        self.storage.append(&Record {
            group,
            replica,
            kind: RecordKind::Drop,
            index: 0,
            term: 0,
            body: &[],
        });
    }

    /// The meta group gets a key for sessions' tokens, if it has none, and hears of the limits that are
    /// wanted; every shard takes over those. False if the log had no room for it.
    fn propose_settings(&mut self) -> bool {
        let Some(meta) = self.shards.get(&META) else {
            return true;
        };
        let mut wanted: Vec<(u64, SystemItem)> = Vec::new();
        if meta.state.signing_keys().is_empty() {
            let key = self.config.signing_key;
            wanted.push((META, SystemItem::SigningKey(SigningKey { id: 1, key })));
        }
        if meta.state.wanted_limits() != Some(&self.config.limits) {
            wanted.push((META, SystemItem::WantedLimits(self.config.limits)));
        }
        if let Some(limits) = meta.state.wanted_limits() {
            for (id, shard) in &self.shards {
                if shard.is_leader() && shard.state.limits() != limits {
                    wanted.push((*id, SystemItem::Limits(*limits)));
                }
            }
        }
        for (id, item) in wanted {
            let Some(shard) = self.shards.get_mut(&id) else {
                continue;
            };
            if !shard.takes_system() {
                continue;
            }
            if self.storage.reserve(SYSTEM_BYTES).is_err() {
                return false;
            }
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.propose_system(&item, &mut stamper);
            self.touched.push(id);
        }
        true
    }
}

/// Elections whose records surely fit the room that the log keeps for them.
const ELECTIONS_AT_ONCE: usize = 32;
/// What the log takes for a founding record and its hard state.
const FOUNDING_BYTES: usize = 512;
/// What the log takes for an entry of one system item.
const SYSTEM_BYTES: usize = 256;

/// The table of spaces: id to name.
pub fn names(meta: &State) -> BTreeMap<u64, String> {
    meta.spaces()
        .map(|(name, id)| (u64::from(id), String::from_utf8_lossy(name).into_owned()))
        .collect()
}
