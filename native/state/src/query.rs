//! Operations that read, and how much they may answer.

use domp_protocol::results::{EntryRef, ResultsEncoder};
use domp_protocol::{ErrorCode, ValueRef, limits};

use crate::index::{Index, Place, Record, Value};
use crate::keys::bounds;

/// What results may still take. Keys and values are counted as they come, so that no more is
/// gathered than may be answered; the encoded form is measured in the end. Entries are counted
/// too: short keys alone would let many be visited, and their encoded form grow, for few bytes.
pub(super) struct Budget {
    left: u64,
    entries_left: u64,
}

impl Budget {
    pub fn new(bytes: u64) -> Self {
        Self {
            left: bytes,
            entries_left: limits::VISITED_KEYS_MAX,
        }
    }

    /// Takes one entry of so many bytes.
    fn spend(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        let left = self.left.checked_sub(bytes as u64);
        let entries_left = self.entries_left.checked_sub(1);
        (self.left, self.entries_left) = left.zip(entries_left).ok_or(ErrorCode::ResultTooLarge)?;
        Ok(())
    }
}

/// Which entries of a range are wanted.
#[derive(Clone, Copy)]
pub(super) struct RangeQuery<'a> {
    pub from: &'a [u8],
    pub to: Option<&'a [u8]>,
    pub limit: u32,
    pub reverse: bool,
    pub keys_only: bool,
}

/// Reads for one transaction.
pub(super) struct Query<'s> {
    pub index: &'s Index,
    /// Lease time, to tell how long an entry still lives.
    pub lease_ms: u64,
    pub encoder: &'s mut ResultsEncoder,
    pub budget: &'s mut Budget,
}

impl Query<'_> {
    /// Answers one entry, or that there is none.
    pub fn get(&mut self, key: &[u8], place: Place) -> Result<(), ErrorCode> {
        match self.index.get_at(key, place) {
            Some(record) => {
                self.budget.spend(key.len() + record.value_len())?;
                self.encoder
                    .push_get(Some(&entry(record, self.lease_ms, false)));
            }
            None => self.encoder.push_get(None),
        }
        Ok(())
    }

    /// Answers a page of entries, and whether there are more behind it.
    pub fn range(&mut self, query: &RangeQuery<'_>) -> Result<(), ErrorCode> {
        let (low, high) = bounds(query.from, query.to);
        let range = self.index.range(low, high);
        self.encoder.begin_range();
        let more = if query.reverse {
            self.page(range.rev(), query)?
        } else {
            self.page(range, query)?
        };
        self.encoder.end_range(more);
        Ok(())
    }

    /// Answers how many entries there are.
    pub fn count(&mut self, from: &[u8], to: Option<&[u8]>) {
        let (low, high) = bounds(from, to);
        self.encoder.push_count(self.index.count(low, high) as u64);
    }

    fn page<'i>(
        &mut self,
        mut records: impl Iterator<Item = &'i Record>,
        query: &RangeQuery<'_>,
    ) -> Result<bool, ErrorCode> {
        let limit = u64::from(query.limit).min(limits::RANGE_PAGE_ENTRIES_MAX);
        let mut bytes = 0;
        for _ in 0..limit {
            let Some(record) = records.next() else {
                return Ok(false);
            };
            let value_len = if query.keys_only {
                0
            } else {
                record.value_len()
            };
            let size = record.key().len() + value_len;
            self.budget.spend(size)?;
            self.encoder
                .range_entry(&entry(record, self.lease_ms, query.keys_only));
            bytes += size as u64;
            if bytes > limits::RANGE_PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(records.next().is_some())
    }
}

fn entry(record: &Record, lease_ms: u64, keys_only: bool) -> EntryRef<'_> {
    let stamps = record.stamps();
    EntryRef {
        key: record.key(),
        value: (!keys_only).then(|| match record.value() {
            Value::Bytes(bytes) => ValueRef::Bytes(bytes),
            Value::Number(number) => ValueRef::Number(number),
        }),
        created: stamps.created,
        modified: stamps.modified,
        version: stamps.version,
        expires_in_ms: stamps
            .expires_at_ms
            .map(|at_ms| at_ms.saturating_sub(lease_ms)),
    }
}
