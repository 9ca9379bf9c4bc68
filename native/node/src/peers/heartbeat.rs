//! Heartbeats between nodes: by them a door knows a leader's clocks.
//!
//! A deadline travels as a point on the leader's clock: so long behind the stamp of a heartbeat, as the door
//! counted it from hearing that. What was stuck on its way to the door or back so only comes too late.

use domp_protocol::generated::layout::node_heartbeat as place;
use domp_state::hlc::COUNTER_BITS;

use crate::fields::u64_at;

/// Bytes of a heartbeat: fewer than of any message of Raft on the same lane.
pub const HEARTBEAT_BYTES: usize = place::STRUCT_BYTES;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Of its process.
    pub incarnation: u64,
    /// Its monotonic clock.
    pub stamp_us: u64,
    /// Its hybrid clock.
    pub hybrid: u64,
}

impl Heartbeat {
    pub fn to_bytes(self) -> [u8; HEARTBEAT_BYTES] {
        let mut bytes = [0; HEARTBEAT_BYTES];
        let mut word =
            |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        word(place::INCARNATION, self.incarnation);
        word(place::STAMP_US, self.stamp_us);
        word(place::HYBRID, self.hybrid);
        bytes
    }

    /// The heartbeat that a frame of the control lane is, if it is one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == HEARTBEAT_BYTES).then(|| Self {
            incarnation: u64_at(bytes, place::INCARNATION),
            stamp_us: u64_at(bytes, place::STAMP_US),
            hybrid: u64_at(bytes, place::HYBRID),
        })
    }
}

/// A point on another node's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The process whose clock it is.
    pub incarnation: u64,
    /// Of its last heartbeat that was heard.
    pub stamp_us: u64,
    /// From hearing that on.
    pub within_us: u64,
}

impl Point {
    /// On the own clock, which shows `now_us`, of the process `incarnation`; `None`: it is on another's, or
    /// behind a stamp that this one never gave.
    pub fn own_us(self, incarnation: u64, now_us: u64) -> Option<u64> {
        let is_own = self.incarnation == incarnation && self.stamp_us <= now_us;
        is_own.then(|| self.stamp_us.saturating_add(self.within_us))
    }
}

/// The last heartbeat of a node.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub heartbeat: Heartbeat,
    /// When it was heard, on the own monotonic clock.
    pub at_us: u64,
}

impl Heard {
    /// A point on that node's clock, which is `at_us` on the own one.
    pub fn point(&self, at_us: u64) -> Point {
        Point {
            incarnation: self.heartbeat.incarnation,
            stamp_us: self.heartbeat.stamp_us,
            within_us: at_us.saturating_sub(self.at_us),
        }
    }

    /// What its hybrid clock shows by now, at least.
    pub fn hybrid(&self, now_us: u64) -> u64 {
        let passed_ms = now_us.saturating_sub(self.at_us) / 1000;
        let passed = passed_ms.min(u64::MAX >> COUNTER_BITS) << COUNTER_BITS;
        self.heartbeat.hybrid.saturating_add(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_point_on_one_clock_of_one_process() {
        let heard = Heard {
            heartbeat: Heartbeat {
                incarnation: 7,
                stamp_us: 1_000,
                hybrid: 0,
            },
            at_us: 50,
        };
        let point = heard.point(80);
        assert_eq!(point.own_us(7, 1_000), Some(1_030));
        assert_eq!(
            point.own_us(7, 900_000),
            Some(1_030),
            "it is not based anew"
        );
        assert_eq!(point.own_us(8, 1_000), None, "another process");
        assert_eq!(point.own_us(7, 999), None, "a stamp that was never given");
    }

    #[test]
    fn what_is_said_is_heard() {
        let heartbeat = Heartbeat {
            incarnation: 1,
            stamp_us: 2,
            hybrid: 3,
        };
        let bytes = heartbeat.to_bytes();
        assert_eq!(Heartbeat::from_bytes(&bytes), Some(heartbeat));
        assert_eq!(Heartbeat::from_bytes(&bytes[1..]), None);
    }
}
