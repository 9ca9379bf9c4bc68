//! One frame: its header, how it is sealed and verified, and how a bad one is
//! judged torn or corrupt. The head of the crate specifies the format.

use crate::aligned::BLOCK_BYTES;
use crate::bytes::{put, u16_at, u32_at, u64_at, u128_at};
use crate::layout::{BLOCK, block_checksum, digest};
use crate::sector::{FileIdentity, SECTOR_BYTES, SectorState, TAG_BYTES, tag};

/// Bytes of a frame's header: one sector, so that it is written whole or not at all.
pub(crate) const HEADER_BYTES: usize = SECTOR_BYTES;

/// Groups a header can name, and so a frame can hold records of.
pub(crate) const GROUPS_LISTED_MAX: usize = 45;

/// The largest length a frame may claim: bounds what a reader allocates.
pub(crate) const LENGTH_MAX: u64 = 64 << 20;

const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;
/// Where in a sector its tag is.
const TAG_AT: usize = SECTOR_BYTES - TAG_BYTES;
const WORD_BYTES: usize = 8;
/// Words of the table that a sector holds beside its tag.
const WORDS_PER_SECTOR: usize = TAG_AT / WORD_BYTES;

const MAGIC: [u8; 8] = *b"DOMPFRM\n";
const DIGEST_AT: usize = 128;
const GROUPS_AT: usize = 144;

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

/// The segment that a seal names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextSegment {
    pub number: u64,
    pub salt: u64,
    /// Salt of the segment whose file it was before; 0: of none.
    pub earlier_salt: u64,
}

impl NextSegment {
    /// What its frames bear.
    pub fn identity(&self) -> FileIdentity {
        FileIdentity {
            number: self.number,
            salt: self.salt,
            earlier_salt: self.earlier_salt,
        }
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
///  72  next_earlier    8   of a seal: salt of the segment whose file the next one was before, or 0
///  80  length          4   of the frame, a multiple of 4096
///  84  payload_bytes   4   of the records behind the header, a multiple of 8
///  88  records         4
///  92  kind            1   FrameKind
///  93  zero            1
///  94  groups          2   how many are listed
///  96  previous       16   digest of the frame before; of the very first frame 0
/// 112  table_digest   16   xxh3-128, seeded with the salt, from the table to the frame's end
/// 128  digest         16   xxh3-128, seeded with the salt, over bytes 0 to 504 with this field zero
/// 144  group ids     360   listed ones, ascending; then zero
/// 504  tag             8   as every sector's
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub offset: u64,
    pub sequence: u64,
    pub synced_through: u64,
    pub oldest_segment: u64,
    pub next: NextSegment,
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
    let sectors = payload.div_ceil(SECTOR_BYTES);
    let fits = |blocks: usize| {
        blocks * SECTORS_PER_BLOCK > sectors + (blocks + sectors).div_ceil(WORDS_PER_SECTOR)
    };
    // No fewer: the table has a word for each of these sectors, and for each block.
    let mut blocks = (1 + sectors + sectors / WORDS_PER_SECTOR).div_ceil(SECTORS_PER_BLOCK);
    while !fits(blocks) {
        blocks += 1;
    }
    blocks * BLOCK_BYTES
}

/// The largest payload of a frame of at most `length` bytes, a multiple of 8.
pub(crate) fn payload_max(length: u64) -> u64 {
    let blocks = length / BLOCK;
    let words = WORDS_PER_SECTOR as u64;
    // Of all sectors but the header's, so many that the others hold a word for each, and for each block.
    let behind = (blocks * SECTORS_PER_BLOCK as u64).saturating_sub(1);
    let sectors = (behind * words).saturating_sub(blocks) / (words + 1);
    sectors * SECTOR_BYTES as u64
}

/// Where the parts of a frame are.
#[derive(Clone, Copy)]
struct Shape {
    blocks: usize,
    /// Sectors that hold payload, from 1 on.
    payload_sectors: usize,
}

impl Shape {
    fn table_start(self) -> usize {
        (1 + self.payload_sectors) * SECTOR_BYTES
    }

    /// Sectors that hold payload.
    fn payload(self) -> std::ops::RangeInclusive<usize> {
        1..=self.payload_sectors
    }

    /// The part of block `block` that its checksum covers: the sectors of it that hold payload.
    fn covered(self, block: usize) -> std::ops::Range<usize> {
        let end = ((block + 1) * BLOCK_BYTES).min(self.table_start());
        let start = (block * BLOCK_BYTES).max(SECTOR_BYTES);
        start.min(end)..end
    }

    /// Where the table's word of that number is: of a block first, then of a sector of payload.
    fn word(self, number: usize) -> std::ops::Range<usize> {
        let (sector, word) = (number / WORDS_PER_SECTOR, number % WORDS_PER_SECTOR);
        let at = self.table_start() + sector * SECTOR_BYTES + word * WORD_BYTES;
        at..at + WORD_BYTES
    }

    /// Where the table keeps what the tag of that sector stands on.
    fn displaced(self, sector: usize) -> std::ops::Range<usize> {
        self.word(self.blocks + sector - 1)
    }
}

/// Where the tag of that sector is.
fn tag_of(sector: usize) -> std::ops::Range<usize> {
    let at = sector * SECTOR_BYTES + TAG_AT;
    at..at + TAG_BYTES
}

fn word_of(frame: &[u8], place: std::ops::Range<usize>) -> [u8; WORD_BYTES] {
    frame[place].try_into().expect("a word was taken")
}

impl FrameHeader {
    fn shape(&self) -> Shape {
        Shape {
            blocks: self.length as usize / BLOCK_BYTES,
            payload_sectors: (self.payload_bytes as usize).div_ceil(SECTOR_BYTES),
        }
    }

    /// Completes the frame, whose payload stands in place and is followed by zeros: writes the tags, the
    /// table and the header, and fills in `table_digest` and `digest`.
    pub fn seal(&mut self, file: &FileIdentity, frame: &mut [u8]) {
        let shape = self.shape();
        assert_eq!(
            frame.len(),
            shape.blocks * BLOCK_BYTES,
            "the frame was laid out for this header"
        );
        for block in 0..shape.blocks {
            let covered = shape.covered(block);
            for sector in covered.start / SECTOR_BYTES..covered.end / SECTOR_BYTES {
                frame.copy_within(tag_of(sector), shape.displaced(sector).start);
                self.put_tag(file, frame, sector);
            }
            let checksum = self.checksum(file, block, &frame[covered]);
            frame[shape.word(block)].copy_from_slice(&checksum);
        }
        for sector in shape.payload_sectors + 1..shape.blocks * SECTORS_PER_BLOCK {
            self.put_tag(file, frame, sector);
        }
        self.table_digest = digest(file.salt, &frame[shape.table_start()..]);
        self.encode(file, &mut frame[..HEADER_BYTES]);
    }

    fn put_tag(&self, file: &FileIdentity, frame: &mut [u8], sector: usize) {
        let tag = file.tag(self.offset + (sector * SECTOR_BYTES) as u64);
        frame[tag_of(sector)].copy_from_slice(&tag);
    }

    fn checksum(&self, file: &FileIdentity, block: usize, covered: &[u8]) -> [u8; WORD_BYTES] {
        let offset = self.offset + (block * BLOCK_BYTES) as u64;
        block_checksum(file.salt, offset, covered).to_le_bytes()
    }

    /// Writes the header, and fills in `digest`.
    pub(crate) fn encode(&mut self, file: &FileIdentity, out: &mut [u8]) {
        out.fill(0);
        put(out, 0, &MAGIC);
        for (place, field) in [
            file.salt,
            file.number,
            self.offset,
            self.sequence,
            self.synced_through,
            self.oldest_segment,
            self.next.number,
            self.next.salt,
            self.next.earlier_salt,
        ]
        .into_iter()
        .enumerate()
        {
            put(out, 8 + place * 8, &field.to_le_bytes());
        }
        put(out, 80, &self.length.to_le_bytes());
        put(out, 84, &self.payload_bytes.to_le_bytes());
        put(out, 88, &self.records.to_le_bytes());
        out[92] = self.kind as u8;
        let count = u16::try_from(self.groups.count).expect("at most GROUPS_LISTED_MAX are listed");
        put(out, 94, &count.to_le_bytes());
        put(out, 96, &self.previous.to_le_bytes());
        put(out, 112, &self.table_digest.to_le_bytes());
        for (place, id) in self.groups.ids[..self.groups.count].iter().enumerate() {
            put(out, GROUPS_AT + place * 8, &id.to_le_bytes());
        }
        self.digest = digest(file.salt, &out[..TAG_AT]);
        put(out, DIGEST_AT, &self.digest.to_le_bytes());
        put(out, TAG_AT, &file.tag(self.offset));
    }

    /// Reads the header of the frame that should begin at `offset` of a file with `file_bytes` bytes.
    /// `block` is the first block there.
    pub fn decode(file: &FileIdentity, offset: u64, file_bytes: u64, block: &[u8]) -> HeaderState {
        let sector = &block[..HEADER_BYTES];
        let state = file.sector_state(offset, sector);
        if state == SectorState::Blank {
            return HeaderState::Blank;
        }
        let bad = |why| HeaderState::Bad {
            why,
            // A frame that was written whole has all sectors of its first block.
            unfinished: file
                .states(offset, block)
                .any(|state| state == SectorState::Blank),
        };
        let misplaced = |why| HeaderState::Bad {
            why,
            unfinished: false,
        };
        if sector[..8] != MAGIC {
            return bad("no frame begins here");
        }
        let (salt, number, place) = (u64_at(sector, 8), u64_at(sector, 16), u64_at(sector, 24));
        if state == SectorState::Foreign {
            if sector[TAG_AT..] != tag(salt, place) {
                return bad("the frame header is not as it was written");
            }
            if (salt, number) != (file.salt, file.number) {
                return misplaced("the frame belongs to another file");
            }
            return misplaced("the frame belongs to another place of the file");
        }
        let mut plain = [0; TAG_AT];
        plain.copy_from_slice(&sector[..TAG_AT]);
        plain[DIGEST_AT..GROUPS_AT].fill(0);
        if u128_at(sector, DIGEST_AT) != digest(file.salt, &plain) {
            return bad("the frame header is not as it was written");
        }
        if (salt, number, place) != (file.salt, file.number, offset) {
            return misplaced("the frame header contradicts itself");
        }
        match Self::read_fields(sector) {
            Some(header) if u64::from(header.length) > file_bytes - offset => {
                misplaced("the frame is longer than its file")
            }
            Some(header) => HeaderState::Valid(Box::new(header)),
            None => misplaced("the frame header contradicts itself"),
        }
    }

    fn read_fields(sector: &[u8]) -> Option<Self> {
        let count = usize::from(u16_at(sector, 94));
        if count > GROUPS_LISTED_MAX || sector[93] != 0 {
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
            next: NextSegment {
                number: u64_at(sector, 56),
                salt: u64_at(sector, 64),
                earlier_salt: u64_at(sector, 72),
            },
            length: u32_at(sector, 80),
            payload_bytes: u32_at(sector, 84),
            records: u32_at(sector, 88),
            kind: FrameKind::from_number(sector[92])?,
            groups,
            previous: u128_at(sector, 96),
            table_digest: u128_at(sector, 112),
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

    /// The payload of a verified frame that was [restored](Self::restore).
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[HEADER_BYTES..HEADER_BYTES + self.payload_bytes as usize]
    }

    /// Whether every byte behind the header is as it was written.
    pub fn verify(&self, file: &FileIdentity, frame: &[u8]) -> bool {
        let shape = self.shape();
        digest(file.salt, &frame[shape.table_start()..]) == self.table_digest
            && (0..shape.blocks).all(|block| self.verify_block(file, frame, block))
    }

    /// Puts what tags stand on back in its place: the payload of a verified frame is whole then.
    pub fn restore(&self, frame: &mut [u8]) {
        let shape = self.shape();
        for sector in shape.payload() {
            frame.copy_within(shape.displaced(sector), tag_of(sector).start);
        }
    }

    fn verify_block(&self, file: &FileIdentity, frame: &[u8], block: usize) -> bool {
        let shape = self.shape();
        let covered = &frame[shape.covered(block)];
        self.checksum(file, block, covered) == word_of(frame, shape.word(block))
    }

    /// Judges a frame that did not verify and that no later frame vouches for.
    pub fn judge(&self, file: &FileIdentity, frame: &[u8]) -> Judgement {
        let shape = self.shape();
        let table = shape.table_start();
        let tells = |from: usize, to: usize, what: SectorState| {
            let mut states = file.states(self.offset + from as u64, &frame[from..to]);
            states.any(|state| state == what)
        };
        let block_tells = |block: usize, what| {
            let start = (block * BLOCK_BYTES).max(HEADER_BYTES);
            tells(start, (block + 1) * BLOCK_BYTES, what)
        };
        let foreign: Vec<u32> = (0..shape.blocks)
            .filter(|&block| block_tells(block, SectorState::Foreign))
            .map(number)
            .collect();
        if !foreign.is_empty() {
            return Judgement::Corrupt {
                blocks: foreign,
                table: false,
            };
        }
        if digest(file.salt, &frame[table..]) != self.table_digest {
            if tells(table, frame.len(), SectorState::Blank) {
                return Judgement::Torn;
            }
            return Judgement::Corrupt {
                blocks: (table / BLOCK_BYTES..shape.blocks).map(number).collect(),
                table: true,
            };
        }
        let corrupt: Vec<u32> = (0..shape.blocks)
            .filter(|&block| !self.verify_block(file, frame, block))
            .filter(|&block| !block_tells(block, SectorState::Blank))
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
