//! What must exist, and what follows where it does not: the one rule by which a
//! node starts and by which `check` judges.
//!
//! The log is read first ([`crate::walk`]), and of the files beside it what is called
//! what: `identity`, and of each snapshot its head and end. Then:
//!
//! - *Identity.* It is there if the log has a frame, and the log if it is. The log
//!   holds the frame that it stands on (or has reclaimed that place), and tells of
//!   its incarnation or of the one before. Else one of the two was put back, or came
//!   from elsewhere: damage of all.
//! - *Snapshots.* What a replica's latest hard state names is there, of this node, this
//!   replica, that term and that digest. Else: damage of its group.
//! - A *newer* one, which a crash left without a hard state, is adopted if the log holds
//!   the frame it stands on. If the log ends before that frame, the log was put back:
//!   damage of all. Otherwise it does not belong here: damage of its group. One that
//!   can't be read is told, and does no harm: nothing was given up for it.
//! - One that was *received* and has not got its name is the one that a hard state names, or nothing.
//! - An *older* one, and one of a replica that is no more, is a leftover.
//! - *Entries.* They follow one another from the snapshot named (or the log's start) to
//!   the commit index at least. Else: damage of the group.
//! - *Founding.* Without a snapshot, what founded the group is in the log.
//!
//! Nothing is a leftover while its group, or all, are damaged.

mod facts;
mod inventory;

use std::collections::BTreeMap;

use crate::body::{Founding, HardState};
use crate::identity::{IDENTITY_NAME, IdentityRead};
use crate::record::NODE_GROUP;
use crate::report::{Damage, DamagedGroups, Note};
use crate::snapshot::{Candidate, SnapshotInfo};
use crate::walk::{Standing, Walk};

pub(crate) use facts::Facts;
pub(crate) use inventory::{Inventory, ListedSnapshot, Unread};

/// What the directory holds of a group, and from where it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupVerdict {
    /// The group's replica here.
    pub replica: u64,
    /// Its latest hard state.
    pub hard_state: Option<HardState>,
    /// What founded it, if the log still has that.
    pub founding: Option<Founding>,
    /// Snapshots to start from, the best first: at most one that is newer than the one named, which is
    /// to be named by a hard state before anything rests on it; then the one named. See
    /// [`crate::snapshot::load`].
    pub snapshots: Vec<Candidate>,
    /// Index of the first entry in the log without a gap up to the last; 0 without one.
    pub first_index: u64,
    /// Index of the last entry in the log; 0 without one.
    pub last_index: u64,
}

impl GroupVerdict {
    /// Whether it can start without a snapshot: none was ever named.
    pub fn starts_empty(&self) -> bool {
        self.named().is_none()
    }

    /// Index of the snapshot that the hard state names.
    fn named(&self) -> Option<u64> {
        let index = self.hard_state?.snapshot.index;
        (index > 0).then_some(index)
    }

    /// The entries behind this index must be in the log.
    fn base(&self) -> u64 {
        self.hard_state.map_or(0, |state| state.covered())
    }
}

/// What is to be done with a directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The groups that a record or a snapshot tells of, and that were not dropped; damaged ones too.
    pub groups: BTreeMap<u64, GroupVerdict>,
    /// Snapshots that nothing needs. Each may go once its group has started: what replaced it was then
    /// read whole.
    pub leftovers: Vec<SnapshotInfo>,
}

impl Verdict {
    /// Whether a group may start from that file.
    pub(crate) fn starts_from(&self, info: &SnapshotInfo) -> bool {
        let group = self.groups.get(&info.group);
        group.is_some_and(|group| group.snapshots.iter().any(|one| one.info == *info))
    }
}

/// Judges. `damage` holds what the walk found, and gets what is found here.
pub(crate) fn judge(
    inventory: &Inventory,
    walk: &Walk,
    facts: &Facts,
    damage: &mut Vec<Damage>,
    notes: &mut Vec<Note>,
) -> Verdict {
    let mut judge = Judge {
        inventory,
        walk,
        facts,
        damage,
        notes,
        verdict: Verdict::default(),
        unneeded: Vec::new(),
    };
    judge.identity();
    judge.groups();
    for listed in &inventory.snapshots {
        judge.snapshot(listed);
    }
    for listed in &inventory.received {
        judge.received(listed);
    }
    judge.entries();
    judge.leftovers();
    judge.verdict
}

struct Judge<'a> {
    inventory: &'a Inventory,
    walk: &'a Walk,
    facts: &'a Facts,
    damage: &'a mut Vec<Damage>,
    notes: &'a mut Vec<Note>,
    verdict: Verdict,
    unneeded: Vec<SnapshotInfo>,
}

impl Judge<'_> {
    fn is_all_damaged(&self) -> bool {
        let mut groups = self.damage.iter().map(|damage| &damage.groups);
        groups.any(|groups| *groups == DamagedGroups::All)
    }

    fn is_damaged(&self, group: u64) -> bool {
        self.damage
            .iter()
            .any(|damage| damage.groups.contains(group))
    }

    fn damage(&mut self, file: &str, what: String, groups: DamagedGroups) {
        self.damage.push(Damage {
            file: file.into(),
            offset: 0,
            what,
            groups,
        });
    }

    fn damage_all(&mut self, file: &str, what: impl Into<String>) {
        self.damage(file, what.into(), DamagedGroups::All);
    }

    fn damage_group(&mut self, group: u64, file: &str, what: String) {
        self.damage(file, what, DamagedGroups::Listed(vec![group]));
    }

    fn identity(&mut self) {
        let has_log = self.walk.exists && !self.walk.segments.is_empty();
        let identity = match &self.inventory.identity {
            IdentityRead::Whole(identity) => *identity,
            IdentityRead::Damaged(what) => {
                return self.damage_all(
                    IDENTITY_NAME,
                    format!("who this node is can't be read: {what}"),
                );
            }
            IdentityRead::Missing => {
                if self.walk.frames > 0 || !self.inventory.snapshots.is_empty() {
                    self.damage_all(
                        IDENTITY_NAME,
                        "the file is missing, though the directory holds data",
                    );
                }
                return;
            }
        };
        if self.is_all_damaged() {
            return;
        }
        if !has_log {
            return self.damage_all("wal", "there is an identity, but no log");
        }
        let (node, latest) = self.walk.incarnation.unwrap_or_default();
        let latest = latest.number;
        if latest > 0 && node != identity.node {
            let what = format!(
                "the log is of node {node:016x}, the identity of node {:016x}",
                identity.node
            );
            return self.damage_all(IDENTITY_NAME, what);
        }
        let sequence = identity.position.sequence;
        match self.walk.standing(identity.position) {
            Standing::Held | Standing::Below => {}
            Standing::Beyond => {
                let what = format!(
                    "the log is older than the identity: it ends at frame {}, and held frame {sequence} when the node started last",
                    self.walk.last_sequence
                );
                return self.damage_all("wal", what);
            }
            Standing::NotHeld => {
                let what = format!(
                    "the log is not the one that the identity stands on: it has another frame {sequence}"
                );
                return self.damage_all("wal", what);
            }
        }
        if latest > identity.incarnation {
            let what = format!(
                "the identity is older than the log: it knows of start {}, the log of start {latest}",
                identity.incarnation
            );
            self.damage_all(IDENTITY_NAME, what);
        } else if latest + 1 < identity.incarnation && !self.is_damaged(NODE_GROUP) {
            let what = format!(
                "the log is older than the identity: it knows of start {latest}, the identity of start {}",
                identity.incarnation
            );
            self.damage_all("wal", what);
        }
    }

    /// The replicas that the log tells of.
    fn groups(&mut self) {
        for (&(group, replica), facts) in &self.facts.replicas {
            if facts.dropped {
                continue;
            }
            if self.verdict.groups.contains_key(&group) {
                let what =
                    format!("the log holds two replicas of group {group} that were not dropped");
                self.damage_group(group, "wal", what);
            }
            self.verdict.groups.insert(
                group,
                GroupVerdict {
                    replica,
                    hard_state: facts.hard_state,
                    founding: facts.founding.clone(),
                    snapshots: Vec::new(),
                    first_index: facts.first_index,
                    last_index: facts.last_index,
                },
            );
        }
    }

    /// Looks at one snapshot; those of a replica come with the newest first.
    fn snapshot(&mut self, listed: &ListedSnapshot) {
        let ListedSnapshot { info, read } = listed;
        let state = self.verdict.groups.get(&info.group);
        let here = state.is_some_and(|state| state.replica == info.replica);
        let named = state.filter(|_| here).and_then(GroupVerdict::named);
        let is_newer = here && named.is_none_or(|named| info.index > named);
        let is_named = here && named == Some(info.index);
        let (name, origin, head) = match read {
            Ok(read) => read,
            Err(Unread::Misnamed(damage)) => return self.damage.push(damage.clone()),
            Err(Unread::Damaged(damage)) if is_named => return self.damage.push(damage.clone()),
            Err(Unread::Damaged(damage)) if is_newer => {
                let what = format!(
                    "{}; no hard state names it, and nothing is lost",
                    damage.what
                );
                let groups = DamagedGroups::Listed(Vec::new());
                return self.damage.push(Damage {
                    what,
                    groups,
                    ..damage.clone()
                });
            }
            Err(Unread::Damaged(damage)) => {
                self.notes.push(Note {
                    file: damage.file.clone(),
                    offset: damage.offset,
                    what: format!("{}; harmless, since it is not needed", damage.what),
                });
                return self.unneeded.push(info.clone());
            }
        };
        if let IdentityRead::Whole(identity) = &self.inventory.identity
            && origin.node != identity.node
        {
            let what = format!("it is of another node, {:016x}", origin.node);
            return self.damage_group(info.group, &info.file, what);
        }
        let standing = self.walk.standing(origin.position);
        if standing == Standing::Beyond && self.walk.end.is_some() {
            let what = format!(
                "the log is older than this snapshot: it ends at frame {}, and held frame {} when the snapshot was taken",
                self.walk.last_sequence, origin.position.sequence
            );
            return self.damage_all(&info.file, what);
        }
        let candidate = Candidate {
            info: info.clone(),
            name: *name,
            head: head.clone(),
        };
        if is_named {
            self.named(candidate, standing);
        } else if is_newer {
            self.newer(candidate, standing);
        } else {
            self.unneeded.push(info.clone());
        }
    }

    /// One that came from elsewhere is of use only where a hard state names it, and it was not given its
    /// name before the node ended. Any other is a leftover, whatever is wrong with it.
    fn received(&mut self, listed: &ListedSnapshot) {
        let ListedSnapshot { info, read } = listed;
        let Some(state) = self.verdict.groups.get(&info.group) else {
            return;
        };
        let is_named = state.replica == info.replica && state.named() == Some(info.index);
        let has_it = |candidate: &Candidate| candidate.info.index == info.index;
        if !is_named || state.snapshots.iter().any(has_it) {
            return;
        }
        // Where it can't be read, the one named is missing, which is said below.
        let wanted = state.hard_state.map(|state| state.snapshot);
        if matches!(read, Ok((name, _, _)) if Some(*name) == wanted) {
            self.snapshot(listed);
        }
    }

    fn named(&mut self, candidate: Candidate, standing: Standing) {
        let group = candidate.info.group;
        let state = self.verdict.groups.get_mut(&group).expect("it is here");
        let wanted = state.hard_state.map(|state| state.snapshot);
        let what = if wanted != Some(candidate.name) {
            "it is another than the one that the hard state names"
        } else if standing == Standing::NotHeld {
            "the log does not hold the frame that it stands on"
        } else {
            return state.snapshots.push(candidate);
        };
        self.damage_group(group, &candidate.info.file, what.into());
    }

    fn newer(&mut self, candidate: Candidate, standing: Standing) {
        let group = candidate.info.group;
        let state = self.verdict.groups.get_mut(&group).expect("it is here");
        if standing != Standing::Held || candidate.info.index > state.last_index.max(state.base()) {
            let what = "no hard state names it, and the log does not hold what it stands on";
            return self.damage_group(group, &candidate.info.file, what.into());
        }
        if state.snapshots.is_empty() {
            state.snapshots.push(candidate);
        } else {
            // One that is newer still is adopted.
            self.unneeded.push(candidate.info);
        }
    }

    /// What must be there of each group, beside what is wrong with its files.
    fn entries(&mut self) {
        let mut lacking: Vec<(u64, String)> = Vec::new();
        for (&group, state) in &self.verdict.groups {
            // What is damaged explains all else that may be missing.
            if self.is_damaged(group) {
                continue;
            }
            if let Some(what) = missing(group, state) {
                lacking.push((group, what));
            }
            if state.hard_state.is_none() {
                self.notes.push(Note {
                    file: "wal".into(),
                    offset: 0,
                    what: format!("group {group} has no hard state"),
                });
            }
        }
        for (group, what) in lacking {
            self.damage_group(group, "wal", what);
        }
    }

    fn leftovers(&mut self) {
        if self.is_all_damaged() {
            return;
        }
        for info in std::mem::take(&mut self.unneeded) {
            if !self.is_damaged(info.group) {
                self.verdict.leftovers.push(info);
            }
        }
    }
}

/// What is missing of a group, if anything.
fn missing(group: u64, state: &GroupVerdict) -> Option<String> {
    let named = state.named();
    let held = |candidate: &Candidate| Some(candidate.info.index) == named;
    if let Some(index) = named
        && !state.snapshots.iter().any(held)
    {
        return Some(format!(
            "the snapshot of group {group} at {index} is missing, though its hard state names it"
        ));
    }
    let hard_state = state.hard_state.unwrap_or_default();
    if named.is_none() && hard_state.start_index > 0 && state.founding.is_none() {
        return Some(format!(
            "what founded group {group} is missing, and it has no snapshot"
        ));
    }
    let base = state.base();
    if state.last_index > base && state.first_index > base + 1 {
        return Some(format!(
            "entries {} to {} of group {group} are missing",
            base + 1,
            state.first_index - 1
        ));
    }
    let last = state.last_index.max(base);
    (hard_state.commit > last).then(|| {
        format!(
            "entries {} to {} of group {group} are missing: they are committed",
            last + 1,
            hard_state.commit
        )
    })
}
