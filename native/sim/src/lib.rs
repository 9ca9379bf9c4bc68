//! Worlds from seeds: a node, a disk that tears and fails and lies, clients
//! that retry and vanish and cheat, clocks that jump. Runs the node itself and
//! compares everything it says with a model that knows nothing of how it does it.
//!
//! Checked at every step: acked is kept (1), once (2), one order (3), refused is
//! absent (4), rot is found (6), clocks are hints (8), same seed same run (9),
//! nothing hangs (11).

#![allow(
    clippy::needless_pass_by_value,
    reason = "worlds hand over what they are done with"
)]
#![allow(
    clippy::struct_field_names,
    reason = "the clients' table of clients is called what it is"
)]

mod arrival;
mod branch;
mod clients;
mod compare;
mod history;
mod ids;
mod logged;
mod loss;
mod requests;
mod rng;
mod situations;
mod world;

pub use history::Broken;
pub use situations::{Situation, Situations};
pub use world::{FAULTS_MIN, REQUESTS_MIN, Report, World};

/// Lives the world of a seed.
///
/// # Errors
/// The first broken promise.
pub fn run(seed: u64) -> Result<Report, Broken> {
    World::new(seed).live()
}
