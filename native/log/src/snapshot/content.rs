//! The digest of a snapshot's content.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::SliceKind;

/// Gathers what the digest covers. The head of [`crate::snapshot`] specifies it.
#[derive(Clone)]
pub struct ContentDigest {
    portable: Vec<u8>,
    state: (u64, Xxh3),
    secret: (u64, Xxh3),
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentDigest")
    }
}

impl ContentDigest {
    /// Of a snapshot with that head ([`super::SnapshotHead::encode`]).
    pub fn new(portable: Vec<u8>) -> Self {
        Self {
            portable,
            state: (0, Xxh3::new()),
            secret: (0, Xxh3::new()),
        }
    }

    /// Its next slice.
    pub fn add(&mut self, kind: SliceKind, bytes: &[u8]) {
        let (total, content) = match kind {
            SliceKind::State => &mut self.state,
            SliceKind::Secret => &mut self.secret,
        };
        *total += bytes.len() as u64;
        content.update(bytes);
    }

    /// Of the head and the slices so far.
    pub fn digest(&self) -> u128 {
        let mut all = Xxh3::new();
        all.update(&self.portable);
        for (total, content) in [&self.state, &self.secret] {
            all.update(&total.to_le_bytes());
            all.update(&content.digest128().to_le_bytes());
        }
        all.digest128()
    }
}
