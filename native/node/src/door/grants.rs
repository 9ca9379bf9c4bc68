//! What a connection may do.

/// What whoever sends a request may do. A value of its own, so that it can come to
/// tell spaces and operations apart; today it tells readers from writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    writes: bool,
}

impl Grants {
    /// Reads every space, writes none.
    pub const READ: Self = Self { writes: false };
    /// Reads and writes every space.
    pub const WRITE: Self = Self { writes: true };

    /// Whether it may write to that space.
    pub const fn may_write(self, _space: u32) -> bool {
        self.writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_do_not_write() {
        assert!(!Grants::READ.may_write(1));
        assert!(Grants::WRITE.may_write(1));
    }
}
