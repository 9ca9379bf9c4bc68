//! Control requests for snapshots, until each shard's has ended one way or the other.

use std::collections::BTreeMap;

use crate::control::{ControlReply, SnapshotTaken};

#[derive(Debug)]
struct Waiter {
    id: u32,
    /// Shard to the index that its snapshot must hold at least.
    open: BTreeMap<u64, u64>,
    taken: Vec<SnapshotTaken>,
    /// Shard and why.
    failed: Vec<(u64, String)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Waiters(Vec<Waiter>);

impl Waiters {
    /// A request that is answered when the snapshots of these shards, each holding at least the index
    /// beside it, have ended.
    pub fn push(&mut self, id: u32, open: BTreeMap<u64, u64>) {
        self.0.push(Waiter {
            id,
            open,
            taken: Vec::new(),
            failed: Vec::new(),
        });
    }

    /// A shard has a snapshot.
    pub fn taken(&mut self, group: u64, index: u64, digest: u128) {
        for waiter in &mut self.0 {
            if waiter.open.get(&group).is_some_and(|least| *least <= index) {
                waiter.open.remove(&group);
                waiter.taken.push(SnapshotTaken {
                    group,
                    index,
                    digest,
                });
            }
        }
    }

    /// A shard's snapshot failed.
    pub fn failed(&mut self, group: u64, why: &str) {
        for waiter in &mut self.0 {
            if waiter.open.remove(&group).is_some() {
                waiter.failed.push((group, why.to_owned()));
            }
        }
    }

    /// A shard is gone; nobody needs a snapshot of it.
    pub fn gone(&mut self, group: u64) {
        for waiter in &mut self.0 {
            waiter.open.remove(&group);
        }
    }

    /// Whether somebody waits for the shard's.
    pub fn want(&self, group: u64) -> bool {
        self.0.iter().any(|waiter| waiter.open.contains_key(&group))
    }

    /// The shards that are waited for.
    pub fn open(&self) -> Vec<u64> {
        let mut open: Vec<u64> = self
            .0
            .iter()
            .flat_map(|waiter| waiter.open.keys().copied())
            .collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// Answers to the requests that have waited enough.
    pub fn answers(&mut self) -> Vec<(u32, ControlReply)> {
        let ended: Vec<Waiter> = self
            .0
            .extract_if(.., |waiter| waiter.open.is_empty())
            .collect();
        ended
            .into_iter()
            .map(|waiter| {
                let reply = if waiter.failed.is_empty() {
                    ControlReply::Snapshotted(waiter.taken)
                } else {
                    ControlReply::Failed(describe(&waiter))
                };
                (waiter.id, reply)
            })
            .collect()
    }
}

fn describe(waiter: &Waiter) -> String {
    let failed: Vec<String> = waiter
        .failed
        .iter()
        .map(|(group, why)| format!("shard {group}: {why}"))
        .collect();
    format!(
        "{} of {} snapshots failed: {}",
        waiter.failed.len(),
        waiter.failed.len() + waiter.taken.len(),
        failed.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_hears_how_each_ended() {
        let mut waiters = Waiters::default();
        waiters.push(1, BTreeMap::from([(3, 10), (4, 20), (5, 1)]));
        waiters.push(2, BTreeMap::from([(3, 10)]));
        waiters.taken(3, 9, 1);
        assert!(waiters.want(3), "that one began before the request");
        waiters.taken(3, 10, 2);
        let answers = waiters.answers();
        let taken = vec![SnapshotTaken {
            group: 3,
            index: 10,
            digest: 2,
        }];
        assert_eq!(answers, [(2, ControlReply::Snapshotted(taken))]);
        waiters.failed(4, "no room");
        waiters.gone(5);
        let why = "1 of 2 snapshots failed: shard 4: no room".to_owned();
        assert_eq!(waiters.answers(), [(1, ControlReply::Failed(why))]);
        assert!(waiters.answers().is_empty() && waiters.open().is_empty());
    }

    #[test]
    fn with_nothing_to_take_the_answer_comes_at_once() {
        let mut waiters = Waiters::default();
        waiters.push(1, BTreeMap::new());
        let nothing = ControlReply::Snapshotted(Vec::new());
        assert_eq!(waiters.answers(), [(1, nothing)]);
    }
}
