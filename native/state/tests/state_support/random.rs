//! Random requests from a seed.

use domp_protocol::{Guard, Operation, TransactionBuilder, ValueRef};

/// A small generator of random numbers (`SplitMix64`): the same from the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Below a bound, as a size.
    pub fn size(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a size")
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.size(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Makes transactions over a few keys, so that they meet.
pub struct Requests {
    pub random: Random,
    /// How many keys there are.
    pub keys: u64,
    /// Revisions that guards may name.
    pub revision: u64,
}

impl Requests {
    /// A transaction that writes, or may.
    pub fn transaction(&mut self) -> Vec<u8> {
        self.transaction_under(None, None)
    }

    /// One under an idempotency key, perhaps, with something to keep.
    pub fn transaction_under(&mut self, key: Option<&[u8]>, kept: Option<&[u8]>) -> Vec<u8> {
        let mut builder = TransactionBuilder::new(1);
        if let Some(key) = key {
            builder = builder.idempotency_key(key);
        }
        if let Some(kept) = kept {
            builder = builder.result(kept);
        }
        if self.random.chance(40) {
            for _ in 0..=self.random.below(2) {
                builder = self.guard(builder);
            }
        }
        let many = if self.random.chance(10) { 8 } else { 3 };
        for _ in 0..=self.random.below(many) {
            builder = self.operation(builder, 12, false);
        }
        if self.random.chance(25) {
            builder = self.operation(builder, 12, true);
        }
        builder.finish()
    }

    /// A transaction that reads.
    pub fn read(&mut self) -> Vec<u8> {
        let mut builder = TransactionBuilder::new(1);
        if self.random.chance(30) {
            builder = self.guard(builder);
        }
        for _ in 0..=self.random.below(3) {
            builder = self.operation(builder, 3, false);
        }
        builder.finish()
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.keys);
        // Keys that are prefixes of others, and some with a long part in common.
        match number % 3 {
            0 => format!("k{number}").into_bytes(),
            1 => format!("k{number}/part").into_bytes(),
            _ => format!("some/long/common/prefix/{number:06}").into_bytes(),
        }
    }

    fn range(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let from = if self.random.chance(10) {
            Vec::new()
        } else {
            self.key()
        };
        let to = (!self.random.chance(10)).then(|| self.key());
        (from, to)
    }

    fn number(&mut self) -> i64 {
        let small = i64::try_from(self.random.below(9)).expect("small") - 4;
        match self.random.below(12) {
            0 => i64::MAX - small.abs(),
            1 => i64::MIN + small.abs(),
            _ => small,
        }
    }

    fn guard(&mut self, builder: TransactionBuilder) -> TransactionBuilder {
        let named = self.key();
        let key = named.as_slice();
        let revision = self.revision.saturating_sub(self.random.below(40));
        let number = self.number();
        let bytes = self.random.bytes(1);
        let (from, to) = self.range();
        builder.guard(match self.random.below(8) {
            0 => Guard::Exists { key },
            1 => Guard::Absent { key },
            2 => Guard::Version {
                key,
                version: self.random.below(4),
            },
            3 => Guard::Modified { key, revision },
            4 => Guard::ModifiedAtMost { key, revision },
            5 if self.random.chance(50) => Guard::Value {
                key,
                value: ValueRef::Number(number),
            },
            5 => Guard::Value {
                key,
                value: ValueRef::Bytes(&bytes),
            },
            6 => Guard::AtLeast { key, number },
            _ => Guard::Unchanged {
                from: &from,
                to: to.as_deref(),
                revision,
                count: self.random.below(5),
            },
        })
    }

    /// One of the first `kinds` kinds of operation; the first three read.
    fn operation(
        &mut self,
        builder: TransactionBuilder,
        kinds: u64,
        otherwise: bool,
    ) -> TransactionBuilder {
        let named = self.key();
        let key = named.as_slice();
        let (from, to) = self.range();
        let (from, to) = (from.as_slice(), to.as_deref());
        let bytes = self.random.bytes(6);
        let number = self.number();
        let reading = kinds <= 3;
        let most = if reading { 40 } else { 3 };
        let operation = match self.random.below(kinds) {
            0 => Operation::Get { key },
            1 => Operation::Range {
                from,
                to,
                limit: u32::try_from(1 + self.random.below(most)).expect("small"),
                reverse: self.random.chance(50),
                keys_only: self.random.chance(50),
            },
            2 => Operation::Count { from, to },
            3 => Operation::Delete { key },
            4 if self.random.chance(30) => Operation::DeleteRange { from, to },
            4..=6 => Operation::Add {
                key,
                delta: number,
                floor: self.random.chance(20).then_some(-3),
                ceiling: self.random.chance(20).then_some(9),
            },
            7 => Operation::Append { key, value: &bytes },
            _ => Operation::Put {
                key,
                value: if self.random.chance(60) {
                    ValueRef::Number(number)
                } else {
                    ValueRef::Bytes(&bytes)
                },
                expire_after_ms: self.random.chance(20).then(|| 1 + self.random.below(400)),
            },
        };
        if otherwise {
            builder.otherwise(operation)
        } else {
            builder.then(operation)
        }
    }
}
