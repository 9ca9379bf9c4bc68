//! Requests about a data directory that no engine holds.
