//! Carries out what the node decides: threads, the disk, and the rings that
//! join the Node thread to the worker. Nothing here decides what a transaction
//! does or when it may be answered; that is the node's.

pub mod rings;
