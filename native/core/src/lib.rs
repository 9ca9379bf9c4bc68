//! The core of DOMP: what a transaction does. It decides; it does no IO,
//! reads no clock, starts no thread and draws no random number (Promise 9: same inputs, same run).

mod bytes;
pub mod entry;
pub mod hlc;
pub mod index;
pub mod state;
