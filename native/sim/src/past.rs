//! What a shard's state was at any revision: reads that another machine answered are held against it.

use domp_oracle::Shard;

/// Entries from one state that is kept to the next.
const KEPT_EACH: usize = 32;

/// Of one shard.
#[derive(Debug, Default)]
pub struct Past {
    /// The revision behind each entry.
    revisions: Vec<u64>,
    /// The state before every so many entries.
    kept: Vec<Shard>,
}

impl Past {
    /// An entry is about to be applied to that state.
    pub fn before(&mut self, shard: &Shard) {
        if self.revisions.len().is_multiple_of(KEPT_EACH) {
            self.kept.push(shard.clone());
        }
    }

    /// It was applied.
    pub fn after(&mut self, shard: &Shard) {
        self.revisions.push(shard.revision);
    }

    /// The state that has a revision, by the entries of its log; `None`: it never had that.
    pub fn at(&self, revision: u64, log: &[Vec<u8>]) -> Option<Shard> {
        let entries = self.revisions.partition_point(|each| *each <= revision);
        let from = entries.min(self.revisions.len().saturating_sub(1)) / KEPT_EACH;
        let mut shard = self.kept.get(from)?.clone();
        for entry in log.get(from * KEPT_EACH..entries)? {
            shard.apply(entry).ok()?;
        }
        (shard.revision == revision).then_some(shard)
    }
}
