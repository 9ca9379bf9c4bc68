//! What work costs, in the time it takes to copy so many bytes: about a nanosecond each.
//! Turns are bounded and connections take turns by it, so it need not be exact; but
//! nothing that takes long may be cheap.

/// Looking at a key.
pub const KEY: u64 = 16;

/// Any request, beside its bytes and those of its answer.
pub const REQUEST: u64 = 256;

/// What a connection may spend before the next has its turn. Its last request may pass
/// it, for a request is never cut; then it waits for as many rounds as that took.
pub const QUANTUM: u64 = 64 << 10;
