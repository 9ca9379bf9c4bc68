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
mod cluster;
mod compare;
mod history;
mod ids;
mod logged;
mod loss;
mod past;
mod power;
mod replicas;
mod requests;
mod rng;
mod said;
mod situations;
mod world;

pub use history::Broken;
pub use situations::{Counts, Named};
pub use world::{FAULTS_MIN, REQUESTS_MIN};

/// What a seed came to.
#[derive(Debug)]
pub struct Lived<S> {
    /// What it met, and how often.
    pub situations: Counts<S>,
    /// Requests that clients made.
    pub requests: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Over everything that was said: the same seed gives the same digest.
    pub digest: u64,
}

/// Lives the world of a seed, of one machine.
///
/// # Errors
/// The first broken promise.
pub fn live_world(seed: u64) -> Result<Lived<situations::Situation>, Broken> {
    world::World::new(seed).live()
}

/// Lives the world of a seed, of several machines.
///
/// # Errors
/// The first broken promise.
pub fn live_cluster(seed: u64) -> Result<Lived<cluster::Situation>, Broken> {
    cluster::Cluster::new(seed).live()
}
