//! The end: nothing breaks any more, and everything must come to rest and agree.

use std::collections::BTreeMap;

use domp_node::ControlRequest;

use super::{Cluster, Event, MACHINES, Situation};
use crate::history::{Broken, FOUNDING_INDEX};
use crate::situations::Situation as Met;

/// Events until all snapshots are taken.
const DIGEST_EVENTS_MAX: u64 = 200_000;

impl Cluster {
    /// Nothing breaks from now on.
    pub(super) fn settle(&mut self) {
        self.settling_since_us = Some(self.now_us);
        self.clients.settle();
        self.network.heal();
        self.network.spoilt = 0;
        for at in 0..MACHINES {
            let machine = &mut self.machines[at];
            machine.disk.set_capacity(u64::MAX);
            machine.paused_until_us = 0;
            machine.fails_in_write = None;
            machine.flush_fails = false;
            self.at(1_000, Event::Start { at });
        }
    }

    /// Whether all serve, all was answered, and all replicas hold the same.
    pub(super) fn is_at_rest(&self) -> bool {
        self.clients.is_settled()
            && self.machines.iter().all(|machine| {
                machine.node.as_ref().is_some_and(domp_node::Node::is_ready)
                    && machine.write.is_none()
                    && self.history.logs.iter().all(|(group, log)| {
                        let applied = machine.replicas.get(*group).map(|replica| replica.index);
                        let last = FOUNDING_INDEX + log.len() as u64;
                        // A space that was dropped took its replicas with it, wherever they stood.
                        let is_gone = *group != 0 && !self.history.spaces().contains(group);
                        applied == Some(last) || is_gone
                    })
            })
    }

    /// Why it does not come to rest.
    pub(super) fn restless(&self) -> Broken {
        let machines: Vec<String> = self
            .machines
            .iter()
            .map(|machine| {
                let applied: Vec<_> = machine.replicas.indices().collect();
                let node = machine.node.as_ref();
                format!(
                    "ready {:?}, leads {:?}, applied {applied:?}, write {}, jobs {}, {:?}, {:?}, {:?}",
                    node.map(domp_node::Node::is_ready),
                    node.map(|node| node.leaderships().collect::<Vec<_>>()),
                    machine.write.is_some(),
                    machine.jobs.len(),
                    node.map(domp_node::Node::peer_counters),
                    node.map(|node| (node.transfer_counters(), node.transfers_under_way())),
                    self.history
                        .logs
                        .keys()
                        .filter_map(|id| { Some((*id, node?.describe(*id)?)) })
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        let logs = self.history.logs.iter();
        let logs: Vec<_> = logs
            .map(|(id, log)| (*id, FOUNDING_INDEX + log.len() as u64))
            .collect();
        format!(
            "Promise 11: the cluster does not come to rest: at {} ms, nothing breaks since {:?} us, {} events wait; logs {logs:?}, {}; {}",
            self.now_us / 1_000,
            self.settling_since_us,
            self.events.len(),
            machines.join("; "),
            self.clients.unsettled()
        )
    }

    /// All came to rest: all replicas must tell the same, and nobody may have heard what can't be.
    pub(super) fn check_rest(&mut self) -> Result<(), Broken> {
        self.check_digests()?;
        let met = &self.history.situations;
        for (there, here) in [
            (Met::SpaceCreated, Situation::SpaceCreated),
            (Met::SpaceDropped, Situation::SpaceDropped),
        ] {
            for _ in 0..met.count(there) {
                self.situations.note(here);
            }
        }
        for at in 0..MACHINES {
            self.note_transfers(at, false);
        }
        for machine in &self.machines {
            let Some(node) = &machine.node else {
                return Err("a node is gone at the end".to_owned());
            };
            let counters = node.peer_counters();
            if counters.contradictions > 0 {
                return Err(format!(
                    "Promise 1: a node heard what contradicts what is committed: {counters:?}"
                ));
            }
            if counters.without_room > 0 {
                self.situations.note(Situation::WithoutRoom);
            }
        }
        Ok(())
    }

    /// Every machine takes snapshots: those of one index have one digest.
    fn check_digests(&mut self) -> Result<(), Broken> {
        for at in 0..MACHINES {
            self.node_turn(at, |node, turn| {
                node.on_control(1, ControlRequest::Snapshot, turn);
            })?;
        }
        for _ in 0..DIGEST_EVENTS_MAX {
            if self.taken.len() == MACHINES {
                break;
            }
            let Some(((at_us, _), event)) = self.events.pop_first() else {
                break;
            };
            self.now_us = self.now_us.max(at_us);
            self.happen(event)?;
        }
        let mut digests = BTreeMap::new();
        let mut compared = 0;
        for at in 0..MACHINES {
            let node = self.machines[at].node.as_ref();
            let Some(node) = node.filter(|_| self.taken.contains_key(&at)) else {
                return Err("Promise 11: a machine takes no snapshots".to_owned());
            };
            for (group, (index, digest)) in node.named_snapshots() {
                let (other, by) = *digests.entry((group, index)).or_insert((digest, at));
                compared += u64::from(by != at);
                if digest != other {
                    return Err(format!(
                        "Promise 3: shard {group} at index {index} is another on machine {at} than on {by}",
                    ));
                }
            }
        }
        if compared < 2 * (MACHINES as u64 - 1) {
            return Err(format!(
                "only {compared} digests could be compared: {:?}",
                self.taken
            ));
        }
        Ok(())
    }
}
