//! Lease time runs no faster than the monotonic clock, and no slower while a shard is led.

use domp_node::Node;

use super::{STARTS_US, World};
use crate::history::Broken;
use crate::situations::Situation;

/// What lease time may lack: it counts whole milliseconds, and a sweep takes a turn or two.
const LEASE_SLACK_MS: u64 = 30;

impl World {
    /// Lease time runs no faster than the monotonic clock, whatever walls say.
    pub(super) fn check_lease_time(&self) -> Result<(), Broken> {
        let lived_ms = (self.now_us - STARTS_US) / 1000;
        let ahead = self
            .history
            .shards
            .iter()
            .find(|(_, shard)| shard.lease_ms > lived_ms + 1);
        match ahead {
            None => Ok(()),
            Some((group, shard)) => Err(format!(
                "Promise 8: shard {group} counts {} ms of lease time in a world {lived_ms} ms old",
                shard.lease_ms
            )),
        }
    }

    /// Takes note of when a shard is served first in this run.
    pub(super) fn note_leads(&mut self) {
        if !self.node.as_ref().is_some_and(Node::is_ready) {
            return;
        }
        for (group, shard) in &self.history.shards {
            let now = (shard.lease_ms, self.now_us);
            self.led.entry(*group).or_insert(now);
        }
    }

    /// Lease time is not slower than the monotonic clock while a shard is led, and what is due goes
    /// although nobody writes.
    pub(super) fn check_lease_kept(&mut self) -> Result<(), Broken> {
        // Somebody waits, and nothing else happens.
        for _ in 0..200 {
            self.now_us += 5_000;
            while self.write.is_some() {
                self.written()?;
            }
            while !self.jobs.is_empty() {
                self.job_done()?;
            }
            self.node_turn(|_, _| {})?;
        }
        while self.write.is_some() {
            self.written()?;
        }
        let Some(told) = self.statistics()? else {
            return Err("a node at rest tells nothing".to_owned());
        };
        for shard in &told.shards {
            let Some((base_ms, since_us)) = self.led.get(&shard.group) else {
                continue;
            };
            let least_ms = base_ms + (self.now_us - since_us) / 1000 - LEASE_SLACK_MS;
            if shard.lease_ms < least_ms {
                return Err(format!(
                    "Promise 8: lease time of shard {} is {}, and {least_ms} at the least",
                    shard.group, shard.lease_ms
                ));
            }
            let overdue = self.history.shards.get(&shard.group).and_then(|shard| {
                let due_ms = shard.keys.next_due_ms();
                due_ms.filter(|due_ms| due_ms + LEASE_SLACK_MS < least_ms)
            });
            if let Some(due_ms) = overdue {
                return Err(format!(
                    "Promise 8: a key of shard {} was due at {due_ms}, and lease time is {least_ms}",
                    shard.group
                ));
            }
        }
        self.history.situations.note(Situation::LeaseKept);
        Ok(())
    }
}
