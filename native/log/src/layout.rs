//! Names of files, the header block of a file, and its checksums. The head of the crate
//! explains why each part is there.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::aligned::BLOCK_BYTES;
use crate::bytes::{put, u32_at, u64_at};
use crate::sector::FileIdentity;

/// The unit of all writes, in bytes.
pub(crate) const BLOCK: u64 = BLOCK_BYTES as u64;

/// Bytes of a file's header.
pub(crate) const FILE_HEADER_BYTES: usize = BLOCK_BYTES;

/// Version of the format that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 3;

const COPY_BYTES: usize = FILE_HEADER_BYTES / 2;
const COPY_CRC_AT: usize = COPY_BYTES - 4;

const SEGMENT_SUFFIX: &str = ".log";
/// A segment that nobody needs, kept for a later one.
const SPARE_SUFFIX: &str = ".spare";
const SNAPSHOT_SUFFIX: &str = ".snap";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// A snapshot that is being received.
const RECEIVED_SUFFIX: &str = ".recv";
const SEGMENT_DIRECTORY: &str = "wal/";
const SNAPSHOT_DIRECTORY: &str = "snap/";

/// Name of a segment.
pub fn segment_name(segment: u64) -> String {
    format!("{SEGMENT_DIRECTORY}{segment:010}{SEGMENT_SUFFIX}")
}

/// Name of a segment that is being prepared.
pub(crate) fn segment_temporary_name(segment: u64) -> String {
    format!("{SEGMENT_DIRECTORY}{segment:010}{TEMPORARY_SUFFIX}")
}

/// Name of a segment that nobody needs and whose file waits to become another.
pub fn spare_name(segment: u64) -> String {
    format!("{SEGMENT_DIRECTORY}{segment:010}{SPARE_SUFFIX}")
}

/// Name of a replica's snapshot at an index.
pub(crate) fn snapshot_name(group: u64, replica: u64, index: u64) -> String {
    snapshot_path(group, replica, index, SNAPSHOT_SUFFIX)
}

/// Name of a snapshot that is being written.
pub(crate) fn snapshot_temporary_name(group: u64, replica: u64, index: u64) -> String {
    snapshot_path(group, replica, index, TEMPORARY_SUFFIX)
}

/// Name of a snapshot that came from elsewhere, whole; nothing names it yet.
pub(crate) fn snapshot_received_name(group: u64, replica: u64, index: u64) -> String {
    snapshot_path(group, replica, index, RECEIVED_SUFFIX)
}

fn snapshot_path(group: u64, replica: u64, index: u64, suffix: &str) -> String {
    format!("{SNAPSHOT_DIRECTORY}{group:010}-{replica:016x}-{index:020}{suffix}")
}

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Segment(u64),
    /// A segment kept for a later one.
    Spare(u64),
    Snapshot {
        group: u64,
        replica: u64,
        index: u64,
    },
    /// Left behind by a job that did not finish.
    Temporary,
    /// A snapshot that came from elsewhere, and that was not given its name yet.
    Received {
        group: u64,
        replica: u64,
        index: u64,
    },
    /// In the log's directories, but not of the log.
    Unknown,
    /// Elsewhere: of no concern.
    Other,
}

/// Numbers in names stay below, so that there is always a next one.
const NAME_NUMBER_MAX: u64 = u64::MAX / 2;

/// Reads a name. Only the spelling the log itself uses is taken for a segment or a snapshot.
pub(crate) fn parse_name(name: &str) -> FileName {
    let parsed = if let Some(rest) = name.strip_prefix(SEGMENT_DIRECTORY) {
        let number = |suffix| rest.strip_suffix(suffix).and_then(|text| text.parse().ok());
        number(SEGMENT_SUFFIX)
            .map(FileName::Segment)
            .or_else(|| number(SPARE_SUFFIX).map(FileName::Spare))
    } else if let Some(rest) = name.strip_prefix(SNAPSHOT_DIRECTORY) {
        let numbers = |suffix| {
            let (group, rest) = rest.strip_suffix(suffix)?.split_once('-')?;
            let (replica, index) = rest.split_once('-')?;
            let replica = u64::from_str_radix(replica, 16).ok()?;
            Some((group.parse().ok()?, replica, index.parse().ok()?))
        };
        let snapshot = |(group, replica, index)| FileName::Snapshot {
            group,
            replica,
            index,
        };
        let received = |(group, replica, index)| FileName::Received {
            group,
            replica,
            index,
        };
        numbers(SNAPSHOT_SUFFIX)
            .map(snapshot)
            .or_else(|| numbers(RECEIVED_SUFFIX).map(received))
    } else {
        return FileName::Other;
    };
    match parsed {
        Some(FileName::Segment(number))
            if (1..NAME_NUMBER_MAX).contains(&number) && segment_name(number) == name =>
        {
            FileName::Segment(number)
        }
        Some(FileName::Spare(number))
            if (1..NAME_NUMBER_MAX).contains(&number) && spare_name(number) == name =>
        {
            FileName::Spare(number)
        }
        Some(FileName::Snapshot {
            group,
            replica,
            index,
        }) if index < NAME_NUMBER_MAX && snapshot_name(group, replica, index) == name => {
            FileName::Snapshot {
                group,
                replica,
                index,
            }
        }
        Some(FileName::Received {
            group,
            replica,
            index,
        }) if index < NAME_NUMBER_MAX && snapshot_received_name(group, replica, index) == name => {
            FileName::Received {
                group,
                replica,
                index,
            }
        }
        // Received names that are spelt otherwise are of no use either.
        _ if name.ends_with(TEMPORARY_SUFFIX) || name.ends_with(RECEIVED_SUFFIX) => {
            FileName::Temporary
        }
        _ => FileName::Unknown,
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Snapshot,
}

impl FileKind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Segment => *b"DOMPLOG\n",
            Self::Snapshot => *b"DOMPSNP\n",
        }
    }
}

/// The first block of a file: two copies, one in each half.
///
/// ```text
///    0  magic      8   of the kind of file
///    8  version    4   FORMAT_VERSION
///   12  zero       4
///   16  number     8   of the segment; of a snapshot, the Raft index
///   24  group      8   of a snapshot; of a segment 0
///   32  salt       8
///   40  bytes      8   length of the segment; of a snapshot 0
///   48  replica    8   of a snapshot; of a segment 0
///   56  earlier    8   of a segment: salt of the segment whose file this was before; 0: of none
///   64  zero
/// 2044  crc32c     4   over the 2044 bytes before
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub kind: FileKind,
    pub number: u64,
    pub group: u64,
    pub salt: u64,
    pub bytes: u64,
    pub replica: u64,
    pub earlier_salt: u64,
}

/// What the first block of a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    /// Both copies are good.
    Whole(FileHeader),
    /// One copy is good; the other, at this offset, is not.
    Half(FileHeader, u64),
    /// Neither is good.
    Bad,
    /// Of a version this code does not know.
    Version(u32),
}

impl HeaderRead {
    /// The header, where one copy is good.
    pub fn header(self) -> Option<FileHeader> {
        match self {
            Self::Whole(header) | Self::Half(header, _) => Some(header),
            Self::Bad | Self::Version(_) => None,
        }
    }
}

impl FileHeader {
    /// What its frames bear.
    pub fn identity(&self) -> FileIdentity {
        FileIdentity {
            number: self.number,
            salt: self.salt,
            earlier_salt: self.earlier_salt,
        }
    }

    /// Writes both copies into `block`, which has [`FILE_HEADER_BYTES`].
    pub fn encode(&self, block: &mut [u8]) {
        let (first, second) = block.split_at_mut(COPY_BYTES);
        first.fill(0);
        put(first, 0, &self.kind.magic());
        put(first, 8, &FORMAT_VERSION.to_le_bytes());
        put(first, 16, &self.number.to_le_bytes());
        put(first, 24, &self.group.to_le_bytes());
        put(first, 32, &self.salt.to_le_bytes());
        put(first, 40, &self.bytes.to_le_bytes());
        put(first, 48, &self.replica.to_le_bytes());
        put(first, 56, &self.earlier_salt.to_le_bytes());
        let crc = crc32c::crc32c(&first[..COPY_CRC_AT]);
        put(first, COPY_CRC_AT, &crc.to_le_bytes());
        second.copy_from_slice(first);
    }

    /// Reads `block`, which has [`FILE_HEADER_BYTES`].
    pub fn decode(block: &[u8], kind: FileKind) -> HeaderRead {
        let (first, second) = block.split_at(COPY_BYTES);
        match (
            Self::decode_copy(first, kind),
            Self::decode_copy(second, kind),
        ) {
            (Ok(first), Ok(second)) if first == second => HeaderRead::Whole(first),
            (Err(Some(version)), _) | (_, Err(Some(version))) => HeaderRead::Version(version),
            (Ok(header), Err(None)) => HeaderRead::Half(header, COPY_BYTES as u64),
            (Err(None), Ok(header)) => HeaderRead::Half(header, 0),
            // Two good copies that differ tell no more than two bad ones.
            (Err(None), Err(None)) | (Ok(_), Ok(_)) => HeaderRead::Bad,
        }
    }

    /// The error holds the version if that is all that is wrong.
    fn decode_copy(copy: &[u8], kind: FileKind) -> Result<Self, Option<u32>> {
        if copy[..8] != kind.magic()
            || crc32c::crc32c(&copy[..COPY_CRC_AT]) != u32_at(copy, COPY_CRC_AT)
        {
            return Err(None);
        }
        let version = u32_at(copy, 8);
        if version != FORMAT_VERSION {
            return Err(Some(version));
        }
        Ok(Self {
            kind,
            number: u64_at(copy, 16),
            group: u64_at(copy, 24),
            salt: u64_at(copy, 32),
            bytes: u64_at(copy, 40),
            replica: u64_at(copy, 48),
            earlier_salt: u64_at(copy, 56),
        })
    }
}

/// The salt of a segment, never 0. `seed` must be random and never leave the node: clients who could guess
/// a salt could forge frames inside their values.
pub(crate) fn segment_salt(seed: u64, segment: u64) -> u64 {
    xxh3_64_with_seed(&segment.to_le_bytes(), seed).max(1)
}

/// A checksum of 128 bits bound to the file's salt.
pub(crate) fn digest(salt: u64, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, salt)
}

/// A block's checksum, bound to the file's salt and the block's place in the file.
pub(crate) fn block_checksum(salt: u64, offset: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, salt ^ offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_look_alikes_are_not() {
        assert_eq!(parse_name(&segment_name(17)), FileName::Segment(17));
        assert_eq!(
            parse_name(&snapshot_name(3, 0xab, 99)),
            FileName::Snapshot {
                group: 3,
                replica: 0xab,
                index: 99
            }
        );
        assert_eq!(parse_name(&spare_name(17)), FileName::Spare(17));
        assert_eq!(parse_name(&segment_temporary_name(17)), FileName::Temporary);
        assert_eq!(
            parse_name(&snapshot_temporary_name(3, 0xab, 99)),
            FileName::Temporary
        );
        assert_eq!(
            parse_name(&snapshot_received_name(3, 0xab, 99)),
            FileName::Received {
                group: 3,
                replica: 0xab,
                index: 99
            }
        );
        for unknown in [
            "wal/17.log",
            "wal/17.spare",
            "wal/0000000000.log",
            "wal/+000000017.log",
            "snap/1-2.snap",
            "snap/0000000003-00000000000000AB-00000000000000000099.snap",
            "wal/x",
        ] {
            assert_eq!(parse_name(unknown), FileName::Unknown, "{unknown}");
        }
        assert_eq!(parse_name("node.json"), FileName::Other);
    }

    #[test]
    fn any_flipped_bit_of_a_file_header_is_seen_and_survived() {
        let header = FileHeader {
            kind: FileKind::Segment,
            number: 9,
            group: 0,
            salt: 0xfeed,
            bytes: 1 << 24,
            replica: 0,
            earlier_salt: 0xbeef,
        };
        let mut block = [0; FILE_HEADER_BYTES];
        header.encode(&mut block);
        assert_eq!(
            FileHeader::decode(&block, FileKind::Segment),
            HeaderRead::Whole(header)
        );
        assert_eq!(
            FileHeader::decode(&block, FileKind::Snapshot),
            HeaderRead::Bad
        );
        for bit in 0..FILE_HEADER_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            let bad_copy = (bit / 8 / COPY_BYTES * COPY_BYTES) as u64;
            let read = FileHeader::decode(&block, FileKind::Segment);
            assert_eq!(read, HeaderRead::Half(header, bad_copy), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        block[100] ^= 1;
        block[3000] ^= 1;
        assert_eq!(
            FileHeader::decode(&block, FileKind::Segment),
            HeaderRead::Bad
        );
    }
}
