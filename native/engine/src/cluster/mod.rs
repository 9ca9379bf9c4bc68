//! This node among others: who they are, and the connections to them.

mod link;
mod membership;
mod prepare;
mod report;
mod resolver;
mod standing;

pub(crate) use link::Link;
pub(crate) use membership::Membership;
pub(crate) use prepare::prepare;
pub(crate) use report::{ClusterReport, PeersReport};
pub(crate) use standing::Standing;
