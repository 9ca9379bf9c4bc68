//! One stored entry: key, value and stamps.

use std::fmt;

/// A value as it is stored: bytes, or a 64-bit number of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any bytes, possibly none.
    Bytes(&'a [u8]),
    /// A signed 64-bit number.
    Number(i64),
}

/// What a record says about its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamps {
    /// Revision that created the entry.
    pub created: u64,
    /// Revision of its last write.
    pub modified: u64,
    /// Count of its writes since it was created.
    pub version: u64,
    /// Lease time at which the entry expires, if it does.
    pub expires_at_ms: Option<u64>,
}

/// The key or the value is longer than a record can hold ([`Record::KEY_BYTES_MAX`],
/// [`Record::VALUE_BYTES_MAX`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTooLarge;

impl fmt::Display for RecordTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key or value too large for a record")
    }
}

impl std::error::Error for RecordTooLarge {}

/// Why bytes could not be appended to a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The value is a number.
    NotBytes,
    /// The result would be longer than a record can hold.
    TooLarge,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBytes => "the value is a number",
            Self::TooLarge => "value too large for a record",
        })
    }
}

impl std::error::Error for AppendError {}

#[derive(Clone)]
enum Stored {
    Bytes(Vec<u8>),
    Number(i64),
}

/// One entry, owned: key, value and stamps.
#[derive(Clone)]
pub struct Record {
    key: Box<[u8]>,
    value: Stored,
    stamps: Stamps,
}

impl Record {
    /// Longest key a record can hold, in bytes.
    pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
    /// Longest value a record can hold, in bytes.
    pub const VALUE_BYTES_MAX: usize = 1 << 30;

    /// Makes a record.
    ///
    /// # Errors
    /// [`RecordTooLarge`] beyond [`Self::KEY_BYTES_MAX`] or [`Self::VALUE_BYTES_MAX`].
    pub fn new(key: &[u8], value: Value<'_>, stamps: Stamps) -> Result<Self, RecordTooLarge> {
        if key.len() > Self::KEY_BYTES_MAX {
            return Err(RecordTooLarge);
        }
        let mut record = Self {
            key: key.into(),
            value: Stored::Number(0),
            stamps,
        };
        record.write(value, stamps)?;
        Ok(record)
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> Value<'_> {
        match &self.value {
            Stored::Bytes(bytes) => Value::Bytes(bytes),
            Stored::Number(number) => Value::Number(*number),
        }
    }

    /// Bytes of the value (8 for a number).
    pub fn value_len(&self) -> usize {
        match &self.value {
            Stored::Bytes(bytes) => bytes.len(),
            Stored::Number(_) => 8,
        }
    }

    /// All stamps.
    pub fn stamps(&self) -> Stamps {
        self.stamps
    }

    /// Revision that created the entry.
    pub fn created(&self) -> u64 {
        self.stamps.created
    }

    /// Revision of the last write.
    pub fn modified(&self) -> u64 {
        self.stamps.modified
    }

    /// Count of writes.
    pub fn version(&self) -> u64 {
        self.stamps.version
    }

    /// Lease time at which the entry expires, if it does.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.stamps.expires_at_ms
    }

    /// Memory of this record, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.value_len()
    }

    /// Replaces value and stamps.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; the record is then unchanged.
    pub fn write(&mut self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        self.value = match value {
            Value::Bytes(bytes) if bytes.len() > Self::VALUE_BYTES_MAX => {
                return Err(RecordTooLarge);
            }
            Value::Bytes(bytes) => Stored::Bytes(bytes.to_vec()),
            Value::Number(number) => Stored::Number(number),
        };
        self.stamps = stamps;
        Ok(())
    }

    /// Appends to a value of bytes and replaces the stamps.
    ///
    /// # Errors
    /// [`AppendError`]; the record is then unchanged.
    pub fn append(&mut self, tail: &[u8], stamps: Stamps) -> Result<(), AppendError> {
        match &mut self.value {
            Stored::Number(_) => Err(AppendError::NotBytes),
            Stored::Bytes(bytes) => {
                if tail.len() > Self::VALUE_BYTES_MAX - bytes.len() {
                    return Err(AppendError::TooLarge);
                }
                bytes.extend_from_slice(tail);
                self.stamps = stamps;
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key())
            .field("value", &self.value())
            .field("stamps", &self.stamps())
            .finish()
    }
}
