//! The names of spaces: what group 0 keeps.
//!
//! A space is a key (its name) that holds a number (its id). Ids count up from
//! 1 and are never used again, so that what was left of a dropped space can
//! never be taken for part of a later one.

use domp_protocol::{ErrorCode, limits};

use crate::index::{Place, Value};
use crate::keys::{Keys, Moment};

/// The counter of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spaces {
    next_id: u32,
    /// Revision of the last change; 0: none yet.
    changed: u64,
}

impl Default for Spaces {
    fn default() -> Self {
        Self {
            next_id: 1,
            changed: 0,
        }
    }
}

impl Spaces {
    /// As a snapshot tells it.
    pub fn restored(next_id: u32, changed: u64) -> Self {
        Self { next_id, changed }
    }

    /// Creates a space; its id.
    pub fn create(&mut self, keys: &mut Keys, name: &[u8], now: Moment) -> Result<u32, ErrorCode> {
        if keys.index().get(name).is_some() {
            return Err(ErrorCode::SpaceExists);
        }
        if keys.index().len() as u64 >= limits::SPACES_MAX || self.next_id == u32::MAX {
            return Err(ErrorCode::SpacesFull);
        }
        let id = self.next_id;
        let value = Value::Number(i64::from(id));
        keys.put(name, Place::UNKNOWN, value, None, now, true)?;
        self.next_id += 1;
        self.changed = now.revision;
        Ok(id)
    }

    /// Drops a space.
    pub fn drop(&mut self, keys: &mut Keys, name: &[u8], now: Moment) -> Result<(), ErrorCode> {
        if !keys.delete(name, Place::UNKNOWN, now)? {
            return Err(ErrorCode::SpaceNotFound);
        }
        self.changed = now.revision;
        Ok(())
    }

    /// The id that the next space gets.
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Revision of the last change; 0: none yet.
    pub fn changed(&self) -> u64 {
        self.changed
    }
}

/// A name and the id it stands for, as one record; `None` if it is not that.
pub(super) fn space_of<'r>(key: &'r [u8], value: Value<'_>) -> Option<(&'r [u8], u32)> {
    match value {
        Value::Number(id) => Some((key, u32::try_from(id).ok()?)),
        Value::Bytes(_) => None,
    }
}
