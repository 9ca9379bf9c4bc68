//! Where applying an entry says what came of it.

use domp_protocol::ErrorCode;

/// The position given to [`Sink::effects`] for what expired at the start of an entry: it belongs
/// to no item and has a revision of its own.
pub const EXPIRY_POSITION: u32 = u32::MAX;

/// Receives what applying an entry leads to.
pub trait Sink {
    /// Whether effects are wanted; they are encoded only then.
    const WANTS_EFFECTS: bool = false;

    /// The answer to the item at `position`. Called once for each item of a client, in order; items
    /// of the system have a position too, but nobody is answered.
    fn reply(&mut self, position: u32, reply: &Reply<'_>);

    /// What the item at `position` changed, before its reply; see [`crate::effects`] for
    /// the bytes. Items that changed nothing have none. Expiry comes first, under
    /// [`EXPIRY_POSITION`].
    fn effects(&mut self, position: u32, effects: &[u8]) {
        let _ = (position, effects);
    }
}

/// Nobody listens: of an entry of an earlier run, say.
impl Sink for () {
    fn reply(&mut self, _position: u32, _reply: &Reply<'_>) {}
}

/// The answer to one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Of the item.
    pub sequence: u64,
    /// At which it was decided; 0 with a refusal that was not committed.
    pub revision: u64,
    /// Why it did not take effect.
    pub code: Option<ErrorCode>,
    /// The guards held.
    pub applied: bool,
    /// The answer is one that was recorded before.
    pub replayed: bool,
    /// To an outcome request: the request it asks about was executed; this is its answer.
    pub outcome_applied: bool,
    /// An encoded `Results`, or nothing.
    pub results: &'a [u8],
}

impl Reply<'_> {
    /// A refusal that nothing remembers.
    pub(super) const fn refused(sequence: u64, code: ErrorCode) -> Self {
        Self {
            sequence,
            revision: 0,
            code: Some(code),
            applied: false,
            replayed: false,
            outcome_applied: false,
            results: &[],
        }
    }
}
