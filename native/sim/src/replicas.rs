//! What one machine applied, judged by the oracle.

use std::collections::BTreeMap;

use domp_node::Applied;
use domp_oracle::Shard;

use crate::history::{Broken, FOUNDING_INDEX};

/// A shard as a machine applied it.
#[derive(Debug)]
pub struct Replica {
    pub shard: Shard,
    /// Of the last entry.
    pub index: u64,
}

/// All of a machine, by shard.
#[derive(Debug, Default)]
pub struct Replicas(BTreeMap<u64, Replica>);

impl Replicas {
    /// One of them, if the machine applied anything of it.
    pub fn get(&self, group: u64) -> Option<&Replica> {
        self.0.get(&group)
    }

    /// How far each has come.
    pub fn indices(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(id, replica)| (*id, replica.index))
    }

    /// The machine starts again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The machine has a snapshot of another's, or starts from its own: all of `log` up to that index is in it.
    ///
    /// # Errors
    /// Nobody ever applied so much.
    pub fn install(&mut self, group: u64, index: u64, log: &[Vec<u8>]) -> Result<(), Broken> {
        let entries = usize::try_from(index - FOUNDING_INDEX).expect("in memory");
        let covered = log.get(..entries).ok_or_else(|| {
            format!("Promise 1: a snapshot of shard {group} at {index} holds what nobody applied")
        })?;
        let mut shard = Shard::new(group);
        for entry in covered {
            shard.apply(entry)?;
        }
        if self
            .0
            .get(&group)
            .is_some_and(|replica| replica.index > index)
        {
            return Err(format!(
                "Promise 1: a snapshot of shard {group} at {index} takes back what was applied"
            ));
        }
        self.0.insert(group, Replica { shard, index });
        Ok(())
    }

    /// The oracle's word on an entry that the machine applied.
    pub fn apply(&mut self, applied: &Applied) -> Result<(), Broken> {
        let replica = self.0.entry(applied.group);
        let replica = replica.or_insert_with(|| Replica {
            shard: Shard::new(applied.group),
            index: FOUNDING_INDEX,
        });
        if applied.index != replica.index + 1 {
            return Err(format!(
                "Promise 1: entry {} of shard {} follows entry {}",
                applied.index, applied.group, replica.index
            ));
        }
        replica.index = applied.index;
        replica.shard.apply(&applied.entry).map(|_| ())
    }
}
