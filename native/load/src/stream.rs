//! What a connection asks, operation after operation.
//!
//! Streams are deterministic: the same seed gives the same operations, so what
//! the last write to a key was can be found after a run by replaying them
//! instead of being written down while the clock runs.

use crate::operation::{Kind, Operation, PRELOADED_STAMP};
use crate::random::Random;
use crate::zipf::{Pair, scatter, scatter_step};
use std::rc::Rc;

/// The operations of one connection.
#[derive(Clone, Debug)]
pub enum Stream {
    /// Puts without end, to keys no other connection writes.
    Puts(Puts),
    /// Gets without end, uniform over all keys.
    Gets(Gets),
    /// Transfers without end.
    Transfers(Transfers),
    /// Each of a connection's share of the numbers once, in scattered order.
    Fill(Fill),
    /// Just these.
    List(std::vec::IntoIter<Operation>),
}

impl Iterator for Stream {
    type Item = Operation;

    #[inline]
    fn next(&mut self) -> Option<Operation> {
        match self {
            Self::Puts(puts) => Some(puts.draw()),
            Self::Gets(gets) => Some(gets.draw()),
            Self::Transfers(transfers) => Some(transfers.draw()),
            Self::Fill(fill) => fill.draw(),
            Self::List(list) => list.next(),
        }
    }
}

/// Puts to the keys whose number leaves the connection's number as remainder.
#[derive(Clone, Debug)]
pub struct Puts {
    random: Random,
    connection: u32,
    connections: u32,
    share: u32,
    stamp: u64,
}

impl Puts {
    /// `keys` is at least `connections`; `seed` tells the stamps of one process from another's.
    pub fn new(connection: u32, connections: u32, keys: u32, seed: u64) -> Self {
        Self {
            random: Random::new(seed.rotate_left(32) ^ u64::from(connection)),
            connection,
            connections,
            share: keys / connections,
            // 15 bits of seed, 16 of connection, 32 of count; the count begins at one.
            stamp: ((seed & 0x7fff) << 48) | (u64::from(connection & 0xffff) << 32),
        }
    }

    /// Puts drawn so far.
    pub fn drawn(&self) -> u64 {
        self.stamp & 0xffff_ffff
    }

    #[inline]
    fn draw(&mut self) -> Operation {
        self.stamp += 1;
        Operation {
            kind: Kind::Put,
            key: self.random.below(self.share) * self.connections + self.connection,
            stamp: self.stamp,
            ..Operation::default()
        }
    }
}

/// Uniform gets.
#[derive(Clone, Debug)]
pub struct Gets {
    random: Random,
    keys: u32,
    stamp: u64,
}

impl Gets {
    /// Every value read must bear `stamp`.
    pub fn new(connection: u32, keys: u32, seed: u64, stamp: u64) -> Self {
        Self {
            random: Random::new(seed.rotate_left(32) ^ u64::from(connection)),
            keys,
            stamp,
        }
    }

    #[inline]
    fn draw(&mut self) -> Operation {
        Operation {
            kind: Kind::Get,
            key: self.random.below(self.keys),
            stamp: self.stamp,
            ..Operation::default()
        }
    }
}

/// Transfers between pairs drawn beforehand, of 10 to 99.
#[derive(Clone, Debug)]
pub struct Transfers {
    random: Random,
    pairs: Rc<[Pair]>,
    cursor: usize,
}

impl Transfers {
    /// Begins at the connection's own place among the pairs.
    pub fn new(connection: u32, connections: u32, pairs: Rc<[Pair]>, seed: u64) -> Self {
        let cursor = pairs.len() / connections as usize * connection as usize;
        Self {
            random: Random::new(seed.rotate_left(32) ^ u64::from(connection)),
            pairs,
            cursor,
        }
    }

    #[inline]
    fn draw(&mut self) -> Operation {
        let (from, to) = self.pairs[self.cursor];
        self.cursor += 1;
        if self.cursor == self.pairs.len() {
            self.cursor = 0;
        }
        Operation {
            kind: Kind::Transfer,
            key: from,
            other: to,
            amount: 10 + self.random.below(90),
            ..Operation::default()
        }
    }
}

/// A share of all numbers, each once, scattered over the key range.
#[derive(Clone, Debug)]
pub struct Fill {
    kind: Kind,
    rank: u32,
    count: u32,
    connections: u32,
    step: u32,
    stamp: u64,
}

impl Fill {
    /// Operations of `kind` on numbers below `count`; all connections together cover each once.
    pub fn new(kind: Kind, connection: u32, connections: u32, count: u32) -> Self {
        Self {
            kind,
            rank: connection,
            count,
            connections,
            step: scatter_step(count),
            stamp: PRELOADED_STAMP,
        }
    }

    /// The same with another stamp.
    #[must_use]
    pub fn stamped(mut self, stamp: u64) -> Self {
        self.stamp = stamp;
        self
    }

    fn draw(&mut self) -> Option<Operation> {
        if self.rank >= self.count {
            return None;
        }
        let key = scatter(self.rank, self.step, self.count);
        self.rank += self.connections;
        Some(Operation {
            kind: self.kind,
            key,
            stamp: self.stamp,
            ..Operation::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zipf;
    use std::collections::HashSet;

    #[test]
    fn connections_write_disjoint_keys_and_never_repeat_a_stamp() {
        let mut owners = std::collections::HashMap::new();
        let mut stamps = HashSet::new();
        for connection in 0..7 {
            for operation in Stream::Puts(Puts::new(connection, 7, 1_000, 3)).take(2_000) {
                assert!(operation.key < 1_000);
                assert_eq!(
                    *owners.entry(operation.key).or_insert(connection),
                    connection
                );
                assert!(stamps.insert(operation.stamp));
                assert_ne!(operation.stamp, PRELOADED_STAMP);
            }
        }
    }

    #[test]
    fn a_stream_repeats_itself() {
        let keys = |seed| -> Vec<u32> {
            Stream::Puts(Puts::new(1, 4, 1_000, seed))
                .take(50)
                .map(|put| put.key)
                .collect()
        };
        assert_eq!(keys(5), keys(5));
        assert_ne!(keys(5), keys(6));
    }

    #[test]
    fn a_fill_covers_every_number_once() {
        let all: Vec<u32> = (0..3)
            .flat_map(|connection| Stream::Fill(Fill::new(Kind::Put, connection, 3, 1_001)))
            .map(|operation| operation.key)
            .collect();
        assert_eq!(all.len(), 1_001);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1_001);
    }

    #[test]
    fn transfers_move_two_digits_between_two_accounts() {
        let pairs = zipf::pairs(100, 1.5, 1);
        for transfer in Stream::Transfers(Transfers::new(3, 4, pairs, 1)).take(1_000) {
            assert_ne!(transfer.key, transfer.other);
            assert!((10..100).contains(&transfer.amount));
        }
    }
}
