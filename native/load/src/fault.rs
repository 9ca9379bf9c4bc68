//! The one error of the load generator: a sentence for the person who benches.

use std::fmt;

/// What went wrong, in words. A benchmark with a fault has no figures.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    /// A fault with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        Self(std::io::Error::from(error).to_string())
    }
}

/// Shorthand for everything that can fail here.
pub type Result<T> = std::result::Result<T, Fault>;
