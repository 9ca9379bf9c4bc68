//! What was found in a log: cut, damaged, or merely worth a note.

use std::fmt;

use crate::record::NODE_GROUP;

/// The groups that damage concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamagedGroups {
    /// It cannot be told which; all.
    All,
    /// These, ascending; [`NODE_GROUP`] among them if it concerns records of the node. None if nothing of a group was in the damaged place.
    Listed(Vec<u64>),
}

impl DamagedGroups {
    /// Whether the group is among them.
    pub fn contains(&self, group: u64) -> bool {
        match self {
            Self::All => true,
            Self::Listed(groups) => groups.binary_search(&group).is_ok(),
        }
    }
}

impl fmt::Display for DamagedGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all groups"),
            Self::Listed(groups) => {
                // The node's own records stand last: no group has so high a number.
                let (groups, of_node) = match groups.split_last() {
                    Some((&NODE_GROUP, groups)) => (groups, true),
                    _ => (&groups[..], false),
                };
                match groups {
                    [] if of_node => return f.write_str("the node's own records"),
                    [] => return f.write_str("no group"),
                    [_] => f.write_str("group ")?,
                    _ => f.write_str("groups ")?,
                }
                for (place, group) in groups.iter().enumerate() {
                    write!(f, "{}{group}", if place == 0 { "" } else { ", " })?;
                }
                if of_node {
                    f.write_str(" and the node's own records")?;
                }
                Ok(())
            }
        }
    }
}

/// Acknowledged bytes that are not as they were written. The files are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong, for a person.
    pub what: String,
    /// Groups that must not be served. One that was dropped later is no longer among them.
    pub groups: DamagedGroups,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}: {} (concerns {})",
            self.file, self.offset, self.what, self.groups
        )
    }
}

/// A write that a crash cut short. It was never acknowledged, and is cut away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// Where the log ends.
    pub offset: u64,
    /// From there to the end of what the unfinished write left behind.
    pub bytes: u64,
    /// Sequence of the first frame cut away.
    pub sequence: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}: a write cut short by a crash ({} bytes, from frame {} on; never acknowledged)",
            self.file, self.offset, self.bytes, self.sequence
        )
    }
}

/// Something a person may want to know, that harms nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.file, self.offset, self.what)
    }
}

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of those records as stored.
    pub record_bytes: u64,
    /// Sequence of the last frame; 0 without one.
    pub last_sequence: u64,
    /// What was cut away.
    pub torn: Option<Torn>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Harmless finds.
    pub notes: Vec<Note>,
    /// Files removed: no longer needed, or left by jobs that did not finish.
    pub removed: Vec<String>,
}

impl Report {
    /// Whether the group must not be served.
    pub fn is_damaged(&self, group: u64) -> bool {
        self.damage
            .iter()
            .any(|damage| damage.groups.contains(group))
    }

    /// Whether no group may be served.
    pub fn is_all_damaged(&self) -> bool {
        self.damage
            .iter()
            .any(|damage| damage.groups == DamagedGroups::All)
    }
}
