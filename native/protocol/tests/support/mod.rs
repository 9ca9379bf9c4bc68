//! Examples that several tests share.

#![allow(dead_code, reason = "no test uses all of it")]

use domp_protocol::{Guard, Operation, ValueRef};

/// Every kind of guard, with every form of its fields.
pub fn every_guard() -> Vec<Guard<'static>> {
    vec![
        Guard::Exists { key: b"a" },
        Guard::Absent { key: b"\xff\x00" },
        Guard::Version {
            key: b"c",
            version: 0,
        },
        Guard::Modified {
            key: b"d",
            revision: u64::MAX,
        },
        Guard::ModifiedAtMost {
            key: b"e",
            revision: 113_246_208_000_000_000,
        },
        Guard::Value {
            key: b"f",
            value: ValueRef::Bytes(b""),
        },
        Guard::Value {
            key: b"f",
            value: ValueRef::Number(i64::MIN),
        },
        Guard::AtLeast {
            key: b"g",
            number: -3,
        },
        Guard::Unchanged {
            from: b"",
            to: None,
            revision: 1,
            count: 0,
        },
        Guard::Unchanged {
            from: b"h",
            to: Some(b"i"),
            revision: 1,
            count: 4096,
        },
    ]
}

/// Every kind of operation but those on spaces, with every form of its fields.
pub fn every_operation() -> Vec<Operation<'static>> {
    vec![
        Operation::Get { key: b"a" },
        Operation::Range {
            from: b"",
            to: None,
            limit: 4096,
            reverse: false,
            keys_only: false,
        },
        Operation::Range {
            from: b"b",
            to: Some(b"c"),
            limit: 3,
            reverse: true,
            keys_only: true,
        },
        Operation::Count {
            from: b"",
            to: Some(b"z"),
        },
        Operation::Put {
            key: b"d",
            value: ValueRef::Bytes(b"value"),
            expire_after_ms: None,
        },
        Operation::Put {
            key: b"e",
            value: ValueRef::Number(0),
            expire_after_ms: Some(5),
        },
        Operation::Delete { key: b"f" },
        Operation::DeleteRange {
            from: b"g",
            to: None,
        },
        Operation::Add {
            key: b"h",
            delta: -1,
            floor: Some(0),
            ceiling: Some(i64::MAX),
        },
        Operation::Add {
            key: b"h",
            delta: i64::MAX,
            floor: None,
            ceiling: None,
        },
        Operation::Append {
            key: b"i",
            value: b"",
        },
    ]
}

/// A generator of pseudo-random numbers (SplitMix64): the same seed, the same run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
}
