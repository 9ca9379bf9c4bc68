//! Whether another node is reached: what an operator reads of it, once each time that it changes.

use std::net::SocketAddr;

use domp_transport::{Cause, Dates, Hello};

/// What there is to say of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It answers.
    Reached {
        node: u64,
        address: SocketAddr,
        /// Of its certificate, which are only warned of.
        dates: Dates,
    },
    /// It does not.
    Lost {
        node: u64,
        /// For a person.
        why: String,
    },
}

impl Standing {
    /// A connection to it stands.
    pub fn reached(peer: &Hello) -> Self {
        Self::Reached {
            node: peer.node,
            address: peer.address,
            dates: peer.dates,
        }
    }

    /// It ended, or could not be made.
    pub fn lost(node: u64, cause: &Cause) -> Self {
        let why = cause.to_string();
        Self::Lost { node, why }
    }

    pub fn node(&self) -> u64 {
        match self {
            Self::Reached { node, .. } | Self::Lost { node, .. } => *node,
        }
    }
}
