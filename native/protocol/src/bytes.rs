//! Little-endian reads and writes at an offset.

/// Items, payloads and records start at multiples of this.
pub const ALIGNMENT_BYTES: usize = 8;

/// How many zero bytes follow `length` bytes up to the next multiple of 8.
#[inline]
pub const fn padding(length: usize) -> usize {
    length.wrapping_neg() & (ALIGNMENT_BYTES - 1)
}

/// Reads `N` bytes at `at`, or `None` if they are not all there.
#[inline]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// Writes `N` bytes at `at`, where there must be room for them.
#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Appends zero bytes until the length since `start` is a multiple of 8.
#[inline]
pub(crate) fn pad(out: &mut Vec<u8>, start: usize) {
    let missing = padding(out.len() - start);
    out.extend_from_slice(&[0; ALIGNMENT_BYTES][..missing]);
}
