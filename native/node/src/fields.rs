//! The fixed structs that nodes say to each other, field by field: all of them are little-endian, one after the
//! other in a frame. `schemas/peer.fbs` lays them out, `generated::layout` says where each field stands.

/// What came is none of what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A field of four bytes.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// A field of eight bytes.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Two fields of eight bytes, the lower half first.
pub fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(field(bytes, at))
}

fn field<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    *bytes[at..].first_chunk().expect("a field of the struct")
}

/// A struct that is being written.
pub struct Fields<'a>(&'a mut [u8]);

impl<'a> Fields<'a> {
    /// Those of a struct that stands there.
    pub fn of(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// Appends a struct of so many bytes, all zero, and lends them.
    pub fn append(out: &'a mut Vec<u8>, struct_bytes: usize) -> Self {
        let begin = out.len();
        out.resize(begin + struct_bytes, 0);
        Self(&mut out[begin..])
    }

    pub fn put_u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    pub fn put_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn put_u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Two fields of eight bytes, the lower half first.
    pub fn put_u128(&mut self, at: usize, value: u128) {
        self.0[at..at + 16].copy_from_slice(&value.to_le_bytes());
    }
}

/// A length as fields hold it.
pub fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("what nodes say is bounded")
}

/// What stands in a frame, in order: `take` takes the first off. Ends behind the first that does not read.
pub fn each<'a, T>(
    bytes: &'a [u8],
    take: impl Fn(&mut &'a [u8]) -> Option<T>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = take(&mut rest).ok_or(Malformed);
        if taken.is_err() {
            rest = &[];
        }
        Some(taken)
    })
}
