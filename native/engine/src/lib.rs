//! Carries out what the node decides: threads, the disk, and the rings that
//! join the Node thread to the worker. Nothing here decides what a transaction
//! does or when it may be answered; that is the node's.
//!
//! | thread | owns | talks through |
//! |---|---|---|
//! | gateway's (not ours) | sockets | writes the inbound ring, reads the outbound ring |
//! | worker | the node, all state, the log's files when it writes itself | both rings, commands |
//! | log (unless inline) | the write under way | a channel of one, and unparking the worker |
//! | background | segments made, snapshots written, files removed | a queue of jobs, likewise |
//!
//! A failed write or flush, a node that can't go on, and a panic all end the
//! engine: it says why through [`Engine::fatal`] and answers nothing more.

mod arrivals;
mod background;
mod clock;
mod cluster;
pub mod disk;
mod engine;
mod intake;
mod log_writer;
pub mod offline;
mod options;
mod outbound;
mod poll;
mod probe;
mod randomness;
mod report;
pub mod rings;
mod shared;
mod start;
mod statistics;
mod worker;

pub use engine::Engine;
pub use options::{LogMode, Options};
pub use shared::{Answer, Control, EngineState, Wake};
