//! What a sound node never puts into a log, although every state would take it.

use domp_oracle::{AppliedEntry, Moment, Whose, empty};
use domp_protocol::frame::ItemKind;

use crate::history::Broken;

/// Checks an entry that was applied.
///
/// # Errors
/// What should not be in it.
pub fn check_logged(bytes: &[u8], entry: &AppliedEntry) -> Result<(), Broken> {
    let (stamped, taken_for) = (entry.stamped, entry.taken_for);
    // What the world itself put there bears no stamps.
    let is_of_world = stamped == Moment::default() && bytes.len() == empty(0).len();
    // A leader of this world has no reason for stamps that must be lifted.
    if stamped != taken_for && !is_of_world {
        return Err(format!("{stamped:?} is taken for {taken_for:?}"));
    }
    for item in &entry.items {
        if item.only_reads {
            return Err("a transaction that only reads is in the log".to_owned());
        }
        if item.kind == ItemKind::Outcome && item.head.whose != Whose::Session {
            return Err("an outcome request without a session is in the log".to_owned());
        }
    }
    Ok(())
}
