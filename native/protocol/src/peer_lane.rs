//! The lanes between two nodes.

/// A connection of its own, so that what is short and urgent never stands behind what is long.
///
/// Its number is what the handshake says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Heartbeats and votes.
    Control = 0,
    /// Entries, and that they are durable.
    Log = 1,
    /// What doors hand on, and the answers.
    Requests = 2,
    /// Snapshots.
    Bulk = 3,
}

impl Lane {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// All of them, the most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Control, Self::Log, Self::Requests, Self::Bulk];

    /// The lane of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What operators read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Log => "log",
            Self::Requests => "requests",
            Self::Bulk => "bulk",
        }
    }

    /// What the handshake says.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its place in what is kept for each lane.
    pub fn index(self) -> usize {
        usize::from(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_number() {
        for (at, lane) in Lane::ALL.into_iter().enumerate() {
            assert_eq!(lane.index(), at);
            assert_eq!(Lane::from_number(lane.number()), Some(lane));
        }
        assert_eq!(Lane::from_number(4), None);
    }
}
