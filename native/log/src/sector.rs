//! What the end of a sector tells: whether it was written since its file became what
//! it is. The head of the crate explains why.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The unit a disk writes whole, in bytes.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Bits that every tag has, so that flipping a few makes none zero.
const TAG_BITS: u64 = 0x8040_2010_0804_0201;

/// Bytes of the tag at a sector's end.
pub(crate) const TAG_BYTES: usize = 8;

/// Whether a sector was written since its file became what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectorState {
    /// To its end.
    Written,
    /// Not, or not to its end: what was there before ends it, or zeros do.
    Blank,
    /// Neither: it is not as anything that belongs here was written.
    Foreign,
}

/// A file as its frames see it: what every frame must bear to belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub number: u64,
    pub salt: u64,
    /// Of the segment whose file this was before; 0: there was none.
    pub earlier_salt: u64,
}

impl FileIdentity {
    /// Of no file.
    pub const NONE: Self = Self {
        number: 0,
        salt: 0,
        earlier_salt: 0,
    };

    /// The tag of the sector at `offset` of the file.
    pub fn tag(&self, offset: u64) -> [u8; TAG_BYTES] {
        tag(self.salt, offset)
    }

    /// What the tag of the sector at `offset` of the file tells.
    pub fn sector_state(&self, offset: u64, sector: &[u8]) -> SectorState {
        let found = &sector[SECTOR_BYTES - TAG_BYTES..SECTOR_BYTES];
        if found == self.tag(offset) {
            SectorState::Written
        } else if found == [0; TAG_BYTES]
            || (self.earlier_salt != 0 && found == tag(self.earlier_salt, offset))
        {
            SectorState::Blank
        } else {
            SectorState::Foreign
        }
    }

    /// Whether no sector of these, the first at `offset`, was written.
    pub fn is_blank(&self, offset: u64, sectors: &[u8]) -> bool {
        self.states(offset, sectors)
            .all(|state| state == SectorState::Blank)
    }

    /// The states of these sectors, the first at `offset`.
    pub fn states(&self, offset: u64, sectors: &[u8]) -> impl Iterator<Item = SectorState> {
        (offset..)
            .step_by(SECTOR_BYTES)
            .zip(sectors.chunks_exact(SECTOR_BYTES))
            .map(|(offset, sector)| self.sector_state(offset, sector))
    }
}

/// The tag of the sector at `offset` of a file with that salt.
pub(crate) fn tag(salt: u64, offset: u64) -> [u8; TAG_BYTES] {
    (xxh3_64_with_seed(&offset.to_le_bytes(), salt) | TAG_BITS).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileIdentity = FileIdentity {
        number: 7,
        salt: 0xfeed,
        earlier_salt: 0xbeef,
    };

    #[test]
    fn a_tag_is_of_its_file_and_place() {
        let mut sector = [9; SECTOR_BYTES];
        let mut state = |end: [u8; TAG_BYTES], offset: u64| {
            sector[SECTOR_BYTES - TAG_BYTES..].copy_from_slice(&end);
            FILE.sector_state(offset, &sector)
        };
        assert_eq!(state(FILE.tag(512), 512), SectorState::Written);
        assert_eq!(state(tag(FILE.earlier_salt, 512), 512), SectorState::Blank);
        assert_eq!(state([0; TAG_BYTES], 512), SectorState::Blank);
        assert_eq!(state(FILE.tag(512), 1024), SectorState::Foreign);
        assert_eq!(
            state(tag(FILE.earlier_salt, 512), 1024),
            SectorState::Foreign
        );
        assert_eq!(state(tag(1, 512), 512), SectorState::Foreign);
        // No salt before: nothing is blank but zeros.
        let first = FileIdentity {
            earlier_salt: 0,
            ..FILE
        };
        sector[SECTOR_BYTES - TAG_BYTES..].copy_from_slice(&tag(0, 512));
        assert_eq!(first.sector_state(512, &sector), SectorState::Foreign);
    }

    #[test]
    fn few_flipped_bits_make_no_written_sector_blank() {
        for offset in (0..64 << 20).step_by(SECTOR_BYTES) {
            let written = u64::from_le_bytes(FILE.tag(offset));
            let earlier = u64::from_le_bytes(tag(FILE.earlier_salt, offset));
            assert!(written.count_ones() >= 8, "at {offset}");
            assert!((written ^ earlier).count_ones() >= 4, "at {offset}");
        }
    }
}
