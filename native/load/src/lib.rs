//! The load generator of the benchmark suite.
//!
//! One thread drives any number of connections in a closed loop: each keeps a
//! fixed number of messages outstanding and sends the next one when an answer
//! arrives. Messages are copied from templates and patched in place, so the
//! loop allocates nothing per operation; every answer is checked against what
//! was asked. The same loop drives DOMP, Redis, PostgreSQL and a WebSocket
//! echo; raw disk writes have a loop of their own.
//!
//! Commands come as lines on standard input, answers leave as one line of JSON
//! each on standard output: see [`command`].

#![allow(
    clippy::cast_precision_loss,
    reason = "shares and rates are printed with a few digits; the 53 bits of an f64 hold them"
)]
#![allow(
    clippy::missing_panics_doc,
    reason = "each `expect` says why it can't happen"
)]
#![allow(
    clippy::doc_markdown,
    reason = "PostgreSQL and its messages keep their names"
)]

pub mod arguments;
pub mod clock;
pub mod codec;
pub mod command;
pub mod connection;
pub mod disk;
pub mod fault;
pub mod first;
pub mod flood;
pub mod generator;
pub mod idle;
pub mod json;
pub mod lifetime;
pub mod operation;
pub mod outstanding;
pub mod preload;
pub mod processes;
pub mod random;
pub mod recorder;
pub mod stream;
pub mod system;
pub mod websocket;
pub mod zipf;
