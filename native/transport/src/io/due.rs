//! When the loop must look again at the latest.

use std::time::Instant;

/// The earliest of many times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due(Option<Instant>);

impl Due {
    /// Adds one.
    pub fn note(&mut self, at: Option<Instant>) {
        self.0 = [self.0, at].into_iter().flatten().min();
    }

    /// The earliest.
    pub fn at(self) -> Option<Instant> {
        self.0
    }
}
