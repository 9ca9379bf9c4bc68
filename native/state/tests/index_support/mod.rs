//! Random numbers and awkward keys for the tests of the index.

use std::fmt::Write as _;

/// A small generator of random numbers (splitmix64); the same seed, the same run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    pub fn byte_of(&mut self, alphabet: &[u8]) -> u8 {
        alphabet[self.below(alphabet.len())]
    }
}

/// Ways to make the key number `n` of at most `keys`.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `player/000123/pos`.
    Players,
    /// Several fields for each random id: heads tie.
    Fields,
    /// A byte repeated, and the same with one byte behind it: every key is a prefix of others.
    Nested,
    /// Up to eight bytes, each 0x00, 0x01, 0xfe or 0xff; often the empty key.
    Extremes,
    /// 1,024 bytes, different only somewhere near the end.
    Long,
    /// Random bytes of random length up to 24.
    Random,
    /// Long common beginnings of different kinds, so that nodes' prefixes come and go.
    Forest,
    /// All of them together.
    Mixed,
}

impl Shape {
    pub const ALL: [Self; 8] = [
        Self::Players,
        Self::Fields,
        Self::Nested,
        Self::Extremes,
        Self::Long,
        Self::Random,
        Self::Forest,
        Self::Mixed,
    ];

    /// The same `n` always gives the same key.
    pub fn key(self, n: usize) -> Vec<u8> {
        let mut random = Random(n as u64 ^ 0x5bd1_e995);
        match self {
            Self::Players => format!("player/{n:06}/pos").into_bytes(),
            Self::Fields => {
                let id = Random(n as u64 / 20).next();
                format!("user/{id:016x}/field-{:02}", n % 20).into_bytes()
            }
            Self::Nested => {
                let mut key = vec![b'a' + u8::try_from(n % 3).expect("small"); (n / 3) % 700];
                if n.is_multiple_of(2) {
                    key.push(random.byte_of(&[0, 1, b'a', b'b', 0xff]));
                }
                key
            }
            Self::Extremes => {
                let len = random.below(9);
                (0..len)
                    .map(|_| random.byte_of(&[0, 1, 0xfe, 0xff]))
                    .collect()
            }
            Self::Long => {
                let mut key = vec![b'k'; 1024];
                for _ in 0..3 {
                    let at = 1024 - 1 - random.below(if n.is_multiple_of(50) { 1024 } else { 12 });
                    key[at] = random.byte_of(b"\0acky\xff");
                }
                key
            }
            Self::Random => {
                let len = random.below(25);
                (0..len).map(|_| random.next().to_le_bytes()[0]).collect()
            }
            Self::Forest => {
                let mut key = String::new();
                for _ in 0..random.below(6) {
                    let tree = [
                        "tenant-with-a-long-name/",
                        "t/",
                        "game/",
                        "tenant-with-a-long-",
                        "",
                    ];
                    key.push_str(tree[random.below(tree.len())]);
                }
                write!(key, "{:x}", random.below(4096)).expect("a string takes all");
                key.into_bytes()
            }
            Self::Mixed => Self::ALL[n % 7].key(n / 7),
        }
    }
}
