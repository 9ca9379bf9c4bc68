//! One frame: its header, how it is sealed and verified, and how a bad one is
//! judged torn or corrupt. The head of the crate specifies the format.

use crate::aligned::BLOCK_BYTES;
use crate::bytes::{is_zero, put, u16_at, u32_at, u64_at, u128_at};
use crate::layout::{BLOCK, FileIdentity, SECTOR_BYTES, block_checksum, digest};

/// Bytes of a frame's header: one sector, so that it is written whole or not at all.
pub(crate) const HEADER_BYTES: usize = SECTOR_BYTES;

/// Groups a header can name, and so a frame can hold records of.
pub(crate) const GROUPS_LISTED_MAX: usize = 45;

/// The largest length a frame may claim: bounds what a reader allocates.
pub(crate) const LENGTH_MAX: u64 = 64 << 20;

/// Zero bytes (before whitening) at the end of every frame, so that its last bytes on disk are known.
const END_BYTES: usize = 16;
/// A sector whose last bytes are these many zeros was never (fully) written.
const BLANK_BYTES: usize = 16;
const ENTRY_BYTES: usize = 8;

const MAGIC: [u8; 8] = *b"DOMPFRM\n";
/// Dense, at the end of the header sector: a sector cut off anywhere lacks it.
const END_MARK: [u8; 8] = *b"\xd5ENDHDR\xab";
const DIGEST_AT: usize = 120;
const GROUPS_AT: usize = 136;
const END_MARK_AT: usize = 496;
const CRC_AT: usize = 508;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Records.
    Records = 1,
    /// Nothing but the word that all before it was synced.
    Mark = 2,
    /// The last of its segment; names the next.
    Seal = 3,
    /// The first of a snapshot.
    SnapshotHead = 4,
    /// Slices of a snapshot.
    SnapshotSlices = 5,
    /// The last of a snapshot.
    SnapshotEnd = 6,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Records,
            2 => Self::Mark,
            3 => Self::Seal,
            4 => Self::SnapshotHead,
            5 => Self::SnapshotSlices,
            6 => Self::SnapshotEnd,
            _ => return None,
        })
    }

    /// A word for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Mark => "mark",
            Self::Seal => "seal",
            Self::SnapshotHead => "snapshot head",
            Self::SnapshotSlices => "snapshot slices",
            Self::SnapshotEnd => "snapshot end",
        }
    }
}

/// The groups that a frame concerns: a bounded sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupList {
    count: usize,
    ids: [u64; GROUPS_LISTED_MAX],
}

impl GroupList {
    pub const EMPTY: Self = Self {
        count: 0,
        ids: [0; GROUPS_LISTED_MAX],
    };

    /// Whether the group is listed or there is room for it.
    pub fn takes(&self, group: u64) -> bool {
        self.count < GROUPS_LISTED_MAX || self.listed().binary_search(&group).is_ok()
    }

    /// Adds a group, for which there must be room.
    pub fn insert(&mut self, group: u64) {
        let Err(place) = self.ids[..self.count].binary_search(&group) else {
            return;
        };
        self.ids.copy_within(place..self.count, place + 1);
        self.ids[place] = group;
        self.count += 1;
    }

    /// The groups.
    pub fn listed(&self) -> &[u64] {
        &self.ids[..self.count]
    }
}

/// A frame's header.
///
/// ```text
///   0  magic           8
///   8  salt            8   of the file
///  16  number          8   of the segment; of a snapshot, the Raft index
///  24  offset          8   of the frame in the file
///  32  sequence        8   one more than the frame's before, across segments; in a snapshot from 1
///  40  synced_through  8   every frame up to this one was durable before this one was written
///  48  oldest_segment  8   segments below hold nothing that is needed; in a snapshot 0
///  56  next_segment    8   of a seal, otherwise 0
///  64  next_salt       8   of a seal, otherwise 0
///  72  length          4   of the frame, a multiple of 4096
///  76  payload_bytes   4   of the records behind the header, a multiple of 8
///  80  records         4
///  84  kind            1   FrameKind
///  85  zero            1
///  86  groups          2   how many are listed
///  88  previous       16   digest of the frame before; of the very first frame 0
/// 104  table_digest   16   xxh3-128, seeded with the salt, from the table to the frame's end
/// 120  digest         16   xxh3-128, seeded with the salt, over bytes 0 to 508 with this field zero
/// 136  group ids     360   listed ones, ascending; then zero
/// 496  end mark        8   constant
/// 504  zero            4
/// 508  crc32c          4   over the 508 bytes before
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub offset: u64,
    pub sequence: u64,
    pub synced_through: u64,
    pub oldest_segment: u64,
    pub next_segment: u64,
    pub next_salt: u64,
    pub length: u32,
    pub payload_bytes: u32,
    pub records: u32,
    pub kind: FrameKind,
    pub groups: GroupList,
    pub previous: u128,
    pub table_digest: u128,
    pub digest: u128,
}

/// What stands where a header should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderState {
    /// A header, intact and of this file and place.
    Valid(Box<FrameHeader>),
    /// Nothing was written here.
    Blank,
    /// Not a header of this file and place. `unfinished`: the sectors show that the write never ended.
    Bad { why: &'static str, unfinished: bool },
}

/// Why a frame with a good header is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Some of it was never written, and all else is right: the write was cut short by a crash.
    Torn,
    /// All was written and these blocks (numbers in the frame) are wrong. `table`: it is the checksums
    /// themselves that are wrong, so that the blocks are those that hold them.
    Corrupt { blocks: Vec<u32>, table: bool },
}

/// Length of a frame with a payload of `payload` bytes.
pub(crate) fn length_of(payload: usize) -> usize {
    (HEADER_BYTES + payload + END_BYTES).div_ceil(BLOCK_BYTES - ENTRY_BYTES) * BLOCK_BYTES
}

/// The largest payload of a frame of at most `length` bytes, a multiple of 8.
pub(crate) fn payload_max(length: u64) -> u64 {
    let blocks = length / BLOCK;
    (blocks * (BLOCK - ENTRY_BYTES as u64)).saturating_sub((HEADER_BYTES + END_BYTES) as u64)
}

fn table_start(length: usize) -> usize {
    length - END_BYTES - length / BLOCK_BYTES * ENTRY_BYTES
}

/// The part of block `block` that its checksum covers: without header, table and end.
fn covered(block: usize, length: usize) -> std::ops::Range<usize> {
    let end = ((block + 1) * BLOCK_BYTES).min(table_start(length));
    let start = if block == 0 {
        HEADER_BYTES
    } else {
        block * BLOCK_BYTES
    };
    start.min(end)..end
}

/// Whitens the frame from the table on, or takes it off.
fn whiten_tail(file: &FileIdentity, frame: &mut [u8], start: usize) {
    let mut at = start;
    while at < frame.len() {
        let end = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
        file.whiten(at, &mut frame[at..end]);
        at = end;
    }
}

impl FrameHeader {
    /// Completes the frame, whose payload stands in place and is followed by zeros: whitens it, writes
    /// the table and the header, and fills in `table_digest` and `digest`.
    pub fn seal(&mut self, file: &FileIdentity, frame: &mut [u8]) {
        let length = self.length as usize;
        assert_eq!(
            frame.len(),
            length,
            "the frame was laid out for this header"
        );
        let table = table_start(length);
        for block in 0..length / BLOCK_BYTES {
            let range = covered(block, length);
            let start = range.start;
            let bytes = &mut frame[range];
            file.whiten(start, bytes);
            let offset = self.offset + (block * BLOCK_BYTES) as u64;
            let checksum = block_checksum(file.salt, offset, bytes);
            put(frame, table + block * ENTRY_BYTES, &checksum.to_le_bytes());
        }
        whiten_tail(file, frame, table);
        self.table_digest = digest(file.salt, &frame[table..]);
        let (header, _) = frame.split_at_mut(HEADER_BYTES);
        self.encode(file, header);
    }

    fn encode(&mut self, file: &FileIdentity, out: &mut [u8]) {
        out.fill(0);
        put(out, 0, &MAGIC);
        for (place, field) in [
            file.salt,
            file.number,
            self.offset,
            self.sequence,
            self.synced_through,
            self.oldest_segment,
            self.next_segment,
            self.next_salt,
        ]
        .into_iter()
        .enumerate()
        {
            put(out, 8 + place * 8, &field.to_le_bytes());
        }
        put(out, 72, &self.length.to_le_bytes());
        put(out, 76, &self.payload_bytes.to_le_bytes());
        put(out, 80, &self.records.to_le_bytes());
        out[84] = self.kind as u8;
        let count = u16::try_from(self.groups.count).expect("at most GROUPS_LISTED_MAX are listed");
        put(out, 86, &count.to_le_bytes());
        put(out, 88, &self.previous.to_le_bytes());
        put(out, 104, &self.table_digest.to_le_bytes());
        for (place, id) in self.groups.ids[..self.groups.count].iter().enumerate() {
            put(out, GROUPS_AT + place * 8, &id.to_le_bytes());
        }
        put(out, END_MARK_AT, &END_MARK);
        self.digest = digest(file.salt, &out[..CRC_AT]);
        put(out, DIGEST_AT, &self.digest.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        put(out, CRC_AT, &crc.to_le_bytes());
    }

    /// Reads the header of the frame that should begin at `offset` of a file with `file_bytes` bytes.
    /// `block` is the first block there.
    pub fn decode(file: &FileIdentity, offset: u64, file_bytes: u64, block: &[u8]) -> HeaderState {
        let (sector, rest) = block.split_at(HEADER_BYTES);
        if is_zero(sector) {
            return HeaderState::Blank;
        }
        let bad = |why| HeaderState::Bad {
            why,
            // The second sector is whitened payload or padding: written, it is not all zero.
            unfinished: is_zero(&sector[HEADER_BYTES - BLANK_BYTES..])
                || is_zero(&rest[..SECTOR_BYTES]),
        };
        let foreign = |why| HeaderState::Bad {
            why,
            unfinished: false,
        };
        if sector[..8] != MAGIC {
            return bad("no frame begins here");
        }
        if crc32c::crc32c(&sector[..CRC_AT]) != u32_at(sector, CRC_AT) {
            return bad("the frame header's checksum is wrong");
        }
        if (u64_at(sector, 8), u64_at(sector, 16)) != (file.salt, file.number) {
            return foreign("the frame belongs to another file");
        }
        if u64_at(sector, 24) != offset {
            return foreign("the frame belongs to another place of the file");
        }
        let mut plain = [0; CRC_AT];
        plain.copy_from_slice(&sector[..CRC_AT]);
        plain[DIGEST_AT..GROUPS_AT].fill(0);
        let header = Self::read_fields(sector);
        match header {
            Some(header) if header.digest != digest(file.salt, &plain) => {
                foreign("the frame header's digest is wrong")
            }
            Some(header) if u64::from(header.length) > file_bytes - offset => {
                foreign("the frame is longer than its file")
            }
            Some(header) => HeaderState::Valid(Box::new(header)),
            None => foreign("the frame header contradicts itself"),
        }
    }

    fn read_fields(sector: &[u8]) -> Option<Self> {
        let count = usize::from(u16_at(sector, 86));
        if count > GROUPS_LISTED_MAX || sector[85] != 0 {
            return None;
        }
        let mut groups = GroupList {
            count,
            ids: [0; GROUPS_LISTED_MAX],
        };
        for (place, id) in groups.ids.iter_mut().enumerate() {
            *id = u64_at(sector, GROUPS_AT + place * 8);
        }
        let header = Self {
            offset: u64_at(sector, 24),
            sequence: u64_at(sector, 32),
            synced_through: u64_at(sector, 40),
            oldest_segment: u64_at(sector, 48),
            next_segment: u64_at(sector, 56),
            next_salt: u64_at(sector, 64),
            length: u32_at(sector, 72),
            payload_bytes: u32_at(sector, 76),
            records: u32_at(sector, 80),
            kind: FrameKind::from_number(sector[84])?,
            groups,
            previous: u128_at(sector, 88),
            table_digest: u128_at(sector, 104),
            digest: u128_at(sector, DIGEST_AT),
        };
        let payload = header.payload_bytes as usize;
        let consistent = u64::from(header.length) <= LENGTH_MAX
            && payload.is_multiple_of(8)
            && payload < header.length as usize
            && length_of(payload) == header.length as usize
            && header.synced_through < header.sequence
            && header.sequence < u64::MAX / 2
            && header.oldest_segment <= u64_at(sector, 16);
        consistent.then_some(header)
    }

    /// Whether rot in any frame before this one is told from a torn write, and this one holds no records
    /// itself.
    pub fn vouches_for_all(&self) -> bool {
        self.kind != FrameKind::Records && self.synced_through + 1 == self.sequence
    }

    /// The payload of a verified frame that was unwhitened.
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[HEADER_BYTES..HEADER_BYTES + self.payload_bytes as usize]
    }

    /// Whether every byte behind the header is as it was written.
    pub fn verify(&self, file: &FileIdentity, frame: &[u8]) -> bool {
        let length = frame.len();
        let table = table_start(length);
        digest(file.salt, &frame[table..]) == self.table_digest
            && (0..length / BLOCK_BYTES).all(|block| self.verify_block(file, frame, block))
    }

    /// Takes the whitening off a verified frame.
    pub fn unwhiten(file: &FileIdentity, frame: &mut [u8]) {
        whiten_tail(file, frame, HEADER_BYTES);
    }

    fn verify_block(&self, file: &FileIdentity, frame: &[u8], block: usize) -> bool {
        let at = table_start(frame.len()) + block * ENTRY_BYTES;
        let mut entry = [0; ENTRY_BYTES];
        entry.copy_from_slice(&frame[at..at + ENTRY_BYTES]);
        // An entry may cross a block's end only if tables were not aligned to 8, which they are.
        file.whiten(at, &mut entry);
        let offset = self.offset + (block * BLOCK_BYTES) as u64;
        let bytes = &frame[covered(block, frame.len())];
        block_checksum(file.salt, offset, bytes) == u64::from_le_bytes(entry)
    }

    /// Judges a frame that did not verify and that no later frame vouches for.
    pub fn judge(&self, file: &FileIdentity, frame: &[u8]) -> Judgement {
        let length = frame.len();
        let blocks = length / BLOCK_BYTES;
        let table = table_start(length);
        if digest(file.salt, &frame[table..]) != self.table_digest {
            let held_by = table / BLOCK_BYTES..blocks;
            if held_by.clone().any(|block| never_finished(frame, block)) {
                return Judgement::Torn;
            }
            return Judgement::Corrupt {
                blocks: held_by.map(number).collect(),
                table: true,
            };
        }
        let wrong = (0..blocks).filter(|&block| !self.verify_block(file, frame, block));
        let corrupt: Vec<u32> = wrong
            .filter(|&block| !never_finished(frame, block))
            .map(number)
            .collect();
        if corrupt.is_empty() {
            Judgement::Torn
        } else {
            Judgement::Corrupt {
                blocks: corrupt,
                table: false,
            }
        }
    }
}

fn number(block: usize) -> u32 {
    u32::try_from(block).expect("a frame has at most LENGTH_MAX bytes")
}

/// Whether a sector of the block was never written, or only its beginning was. What was written is
/// whitened, so that its sectors do not end in zeros (the chance is 2^-128 a sector).
fn never_finished(frame: &[u8], block: usize) -> bool {
    let sectors = frame.len() / SECTOR_BYTES;
    let per_block = BLOCK_BYTES / SECTOR_BYTES;
    let first = if block == 0 { 1 } else { block * per_block };
    (first..(block + 1) * per_block).any(|sector| {
        let end = (sector + 1) * SECTOR_BYTES;
        if is_zero(&frame[end - BLANK_BYTES..end]) {
            return true;
        }
        if sector + 1 == sectors {
            // Cut off in the very last bytes; see `FileIdentity::new`.
            frame[end - 1] == 0
        } else {
            is_zero(&frame[end..end + SECTOR_BYTES])
        }
    })
}
