//! Bytes of a file in memory, without room for blocks that are zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aligned::BLOCK_BYTES;

const ZERO: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A file's bytes. Blocks are shared between clones until written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    /// Those not all zero, and perhaps some that are.
    blocks: BTreeMap<u64, Arc<[u8; BLOCK_BYTES]>>,
    pub len: u64,
}

impl Sparse {
    pub fn zeroed(len: u64) -> Self {
        Self {
            blocks: BTreeMap::new(),
            len,
        }
    }

    pub fn block(&self, block: u64) -> &[u8; BLOCK_BYTES] {
        self.blocks.get(&block).map_or(&ZERO, AsRef::as_ref)
    }

    pub fn set_block(&mut self, block: u64, bytes: &[u8; BLOCK_BYTES]) {
        if bytes == &ZERO {
            self.blocks.remove(&block);
        } else {
            self.blocks.insert(block, Arc::new(*bytes));
        }
    }

    /// Takes over the block as `other` has it.
    pub fn share_block(&mut self, block: u64, other: &Self) {
        match other.blocks.get(&block) {
            Some(bytes) => self.blocks.insert(block, Arc::clone(bytes)),
            None => self.blocks.remove(&block),
        };
    }

    /// Reads what lies before the end; returns how much.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(available);
        for (block, place, range) in pieces(offset, count) {
            let length = range.len();
            buf[range].copy_from_slice(&self.block(block)[place..place + length]);
        }
        count
    }

    /// Writes, extending as needed.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (block, place, range) in pieces(offset, bytes.len()) {
            let source = &bytes[range];
            if *source == ZERO {
                self.blocks.remove(&block);
                continue;
            }
            let target = self.blocks.entry(block).or_insert_with(|| Arc::new(ZERO));
            Arc::make_mut(target)[place..place + source.len()].copy_from_slice(source);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Shortens, or lengthens with zeros.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let whole = len / BLOCK_BYTES as u64;
            let rest = in_block(len);
            self.blocks
                .retain(|&block, _| block < whole || (block == whole && rest > 0));
            if let Some(last) = self.blocks.get_mut(&whole) {
                Arc::make_mut(last)[rest..].fill(0);
            }
        }
        self.len = len;
    }
}

fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_BYTES as u64).expect("less than a block")
}

/// The blocks that bytes lie in: number, place in the block, range of the bytes.
pub(super) fn pieces(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let position = offset + at as u64;
        let place = in_block(position);
        let count = (BLOCK_BYTES - place).min(len - at);
        let piece = (position / BLOCK_BYTES as u64, place, at..at + count);
        at += count;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_vector_of_bytes() {
        let mut sparse = Sparse::default();
        let mut model: Vec<u8> = Vec::new();
        let mut state = 1_u64;
        for _ in 0..500 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let offset = (state >> 33) % 20_000;
            let len = (state >> 20) % 9_000;
            if state >> 60 == 0 {
                sparse.set_len(offset);
                model.resize(usize::try_from(offset).expect("small"), 0);
            } else {
                let fill = if state >> 59 == 3 {
                    0
                } else {
                    (state >> 56).to_le_bytes()[0]
                };
                let bytes = vec![fill; usize::try_from(len).expect("small")];
                sparse.write(offset, &bytes);
                let at = usize::try_from(offset).expect("small");
                model.resize(model.len().max(at + bytes.len()), 0);
                model[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            assert_eq!(sparse.len, model.len() as u64);
            let mut read = vec![1; model.len() + 10];
            assert_eq!(sparse.read(0, &mut read), model.len());
            assert_eq!(read[..model.len()], model);
        }
    }
}
