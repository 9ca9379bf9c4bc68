//! Records: what the log keeps for its callers. Layout as in `log.fbs`:
//! a header of 48 bytes, the body, zero bytes up to a multiple of 8.

use crate::bytes::{u32_at, u64_at};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 48;

/// The number that no group has: records of the node itself bear it.
pub const NODE_GROUP: u64 = u64::MAX;

const LENGTH_AT: usize = 32;
const CRC_AT: usize = 36;
const KIND_AT: usize = 40;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordKind {
    /// A Raft entry.
    Entry = 1,
    /// What a replica must remember beside its entries: [`crate::HardState`]; index and term are 0.
    HardState = 2,
    /// The replica is gone: nothing of it is served again.
    Drop = 3,
    /// Makes a group out of nothing: [`crate::Founding`]; index and term are 0.
    Founding = 5,
    /// The replicas that the log holds: [`crate::GroupsList`]. The log itself writes it.
    Groups = 6,
    /// A start of the node: [`crate::Incarnation`].
    Incarnation = 7,
}

/// Kinds of a later time, by number.
const RESERVED: [(u8, &str); 3] = [
    (4, "a record is a conf_change, which is of a later time"),
    (8, "a record is a heard, which is of a later time"),
    (9, "a record is a refused, which is of a later time"),
];

impl RecordKind {
    /// The kind of that number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Entry),
            2 => Some(Self::HardState),
            3 => Some(Self::Drop),
            5 => Some(Self::Founding),
            6 => Some(Self::Groups),
            7 => Some(Self::Incarnation),
            _ => None,
        }
    }

    /// A word for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::HardState => "hard_state",
            Self::Drop => "drop",
            Self::Founding => "founding",
            Self::Groups => "groups",
            Self::Incarnation => "incarnation",
        }
    }

    /// Whether it takes a place in its group's sequence of entries.
    pub fn is_entry(self) -> bool {
        self == Self::Entry
    }

    /// Whether it is of the node, and so under [`NODE_GROUP`].
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::Groups | Self::Incarnation)
    }
}

/// A record, its body borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The Raft group it belongs to, or [`NODE_GROUP`].
    pub group: u64,
    /// Which of the group's replicas wrote it; the node's id in records of the node.
    pub replica: u64,
    /// What it is.
    pub kind: RecordKind,
    /// Raft index of an entry, otherwise 0.
    pub index: u64,
    /// Raft term of an entry, otherwise 0.
    pub term: u64,
    /// The body. On reading, its address is a multiple of 8.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes in the log.
    pub fn stored_bytes(&self) -> usize {
        stored_bytes(self.body.len())
    }

    /// Whether it may use the room kept for what must always be writable.
    pub(crate) fn is_control(&self) -> bool {
        !self.kind.is_entry() || self.body.is_empty()
    }

    /// Writes the record into `out`, which has exactly [`Record::stored_bytes`].
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let (header, rest) = out.split_at_mut(HEADER_BYTES);
        let fields = [self.group, self.replica, self.index, self.term];
        for (place, field) in fields.into_iter().enumerate() {
            header[place * 8..place * 8 + 8].copy_from_slice(&field.to_le_bytes());
        }
        let length =
            u32::try_from(self.body.len()).expect("a frame, and so a body, is below 4 GiB");
        header[LENGTH_AT..CRC_AT].copy_from_slice(&length.to_le_bytes());
        header[CRC_AT..KIND_AT].fill(0);
        header[KIND_AT] = self.kind as u8;
        header[KIND_AT + 1..].fill(0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(header), self.body);
        header[CRC_AT..KIND_AT].copy_from_slice(&crc.to_le_bytes());
        let (body, padding) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        padding.fill(0);
    }
}

/// Bytes a record with a body of that length takes in the log.
pub(crate) fn stored_bytes(body: usize) -> usize {
    HEADER_BYTES + body.next_multiple_of(8)
}

/// Takes the first record off `payload`; the rest follows. The error says what is wrong with it.
pub(crate) fn split_first(payload: &[u8]) -> Result<(Record<'_>, &[u8]), &'static str> {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER_BYTES>() else {
        return Err("a record's header is cut off");
    };
    let length = u32_at(header, LENGTH_AT) as usize;
    let padded = length.next_multiple_of(8);
    if padded > rest.len() {
        return Err("a record is longer than its frame");
    }
    let body = &rest[..length];
    let mut plain = *header;
    plain[CRC_AT..KIND_AT].fill(0);
    if crc32c::crc32c_append(crc32c::crc32c(&plain), body) != u32_at(header, CRC_AT) {
        return Err("a record's checksum is wrong");
    }
    let number = header[KIND_AT];
    let Some(kind) = RecordKind::from_number(number) else {
        let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == number);
        return Err(reserved.map_or("a record is of an unknown kind", |(_, what)| what));
    };
    if header[KIND_AT + 1..]
        .iter()
        .chain(&rest[length..padded])
        .any(|&byte| byte != 0)
    {
        return Err("a record's reserved bytes are not zero");
    }
    let record = Record {
        group: u64_at(header, 0),
        replica: u64_at(header, 8),
        kind,
        index: u64_at(header, 16),
        term: u64_at(header, 24),
        body,
    };
    if kind.is_of_node() != (record.group == NODE_GROUP) {
        return Err("a record is of a kind that its group can't have");
    }
    Ok((record, &rest[padded..]))
}
