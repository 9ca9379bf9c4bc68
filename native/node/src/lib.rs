//! One turn of a node, without IO.
//!
//! The node decides everything that can break a promise: what a frame means,
//! what is proposed, what must be written before which answer leaves. It is
//! handed events (frames, completed writes, the clock) and hands out commands
//! (write this, run that job, answer this socket, wake me then). The engine
//! carries them out; the simulator carries them out too, on disks that lie.
//!
//! One turn is
//!
//! ```text
//! begin_turn(clock)
//!   on_attach, on_frame, on_stateless, on_detach, on_written, on_job, on_control,
//!   on_peer, on_peer_connected, on_peer_lost, on_peer_gone                        in any order
//! end_turn(&mut turn)     proposes, drives consensus until quiet, applies, answers
//! ```
//!
//! Invariants:
//! - of another node it is told, lane by lane and each way, what came and when a connection began or ended, in
//!   that order: answers to what was handed on live and die with the connections of the requests lane;
//! - a reply leaves only after what it says is durable and applied (Promise 1);
//! - one log write is in flight at a time: what came during the last flush goes
//!   into the next, so group commit needs no timer;
//! - deadlines, grants and draining are judged before proposing, never while
//!   applying;
//! - a turn's work and the memory of what waits are bounded, and connections take turns
//!   by what their requests cost (Promise 7);
//! - the same events with the same clocks and seed give the same commands
//!   (Promise 9).

mod agenda;
mod boot;
mod check;
mod commands;
mod config;
mod control;
mod cost;
mod door;
mod fields;
mod node;
mod peers;
mod replies;
mod shard;
mod snapshots;
mod spaces;
mod steps;
mod storage;
mod transfers;
mod turn;

pub use boot::{BootError, BootReport, BootStep};
pub use check::check;
pub use commands::{Applied, Notice, PeerSend, Turn};
pub use config::{Clock, Config};
pub use control::{
    ControlReply, ControlRequest, NodeStatistics, Pressure, SnapshotFailure, SnapshotTaken,
    StoppedShard,
};
pub use domp_protocol::Lane;
pub use domp_state::StateLimits;
pub use door::{Attach, Grants, HandingCounters, Stateless};
pub use node::Node;
pub use peers::{Direction, PeerCounters};
pub use replies::{Replies, Socket, Span};
pub use shard::VacancyCause;
pub use transfers::TransferCounters;
