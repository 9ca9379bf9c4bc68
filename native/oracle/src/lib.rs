//! What a shard's state must be, told a second time and as simply as it can be: an ordered map, a
//! copy to take back what failed, scans instead of indexes. The log's order is taken as given (that is
//! what consensus and the log decide); what each entry means in that order is told here anew, from the
//! bytes on.
//!
//! Its worth is that it knows nothing of how the state does it. Of `domp-protocol` it uses the
//! generated readers, the tables and plain structures; entries, requests and tokens are read by code of
//! its own. The simulator judges nodes by it, the tests of the state judge the state.

#![deny(unsafe_code)]

mod entry;
mod idempotency;
pub mod keys;
mod limits;
mod reply;
pub mod request;
mod sessions;
mod shard;

pub use entry::{Head, Whose, empty};
pub use keys::Moment;
pub use limits::Limits;
pub use reply::{Decided, Expected, Reply};
pub use shard::{AppliedEntry, AppliedItem, Shard};
