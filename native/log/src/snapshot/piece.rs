//! Snapshots in pieces: how one replica's file becomes another's. Files don't travel as they are, since their
//! salts must not leave the node; what travels is the head's portable part and the slices.

use super::read::End;
use super::{SLICE_HEAD_BYTES, SliceKind, SnapshotError, SnapshotInfo, SnapshotReader};
use crate::Disk;
use crate::bytes::u32_at;
use crate::frame::{self, FrameKind};
use crate::sector::FileIdentity;
use crate::window::Window;

/// Which piece of a snapshot's file is read next. Default: the first. It never leaves the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadPlace {
    /// Of the file, and (offset, sequence, digest) of what comes before.
    at: Option<(FileIdentity, (u64, u64, u128))>,
}

/// What a piece holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// [`super::SnapshotHead::encode`]. Always the first.
    Head,
    /// Whole slices, as [`SliceStream`] takes them.
    Slices,
    /// [`SnapshotTotals`]. Always the last.
    End,
}

/// A piece of a snapshot: what a frame of its file holds, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// What it holds.
    pub kind: PieceKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where the next one stands.
    pub next: ReadPlace,
}

/// What a snapshot's end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// Number of slices.
    pub slices: u64,
    /// Sum of their lengths.
    pub slice_bytes: u64,
    /// Digest of the content.
    pub digest: u128,
}

impl SnapshotTotals {
    /// Reads the bytes of an end.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let end = End::of(bytes)?;
        Some(Self {
            slices: end.slices,
            slice_bytes: end.slice_bytes,
            digest: end.digest,
        })
    }
}

/// Reads a piece of a snapshot and verifies it, and that it follows the one before.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read_piece(
    disk: &mut dyn Disk,
    info: &SnapshotInfo,
    place: &ReadPlace,
) -> Result<SnapshotPiece, SnapshotError> {
    let Some((identity, at)) = place.at else {
        let reader = SnapshotReader::open_with(disk, info, Window::exact())?;
        return Ok(SnapshotPiece {
            kind: PieceKind::Head,
            bytes: reader.head().encode(),
            next: ReadPlace {
                at: Some(reader.place()),
            },
        });
    };
    let mut reader = SnapshotReader::resume(info, identity, at);
    let (kind, bytes) = reader.next_payload(disk)?;
    let kind = match kind {
        FrameKind::SnapshotSlices => PieceKind::Slices,
        FrameKind::SnapshotEnd => PieceKind::End,
        _ => return Err(reader.refuse("a frame of the wrong kind")),
    };
    Ok(SnapshotPiece {
        kind,
        bytes,
        next: ReadPlace {
            at: Some(reader.place()),
        },
    })
}

/// Takes the bytes of pieces, cut anywhere, and gives the slices.
#[derive(Debug, Default)]
pub struct SliceStream {
    bytes: Vec<u8>,
    at: usize,
}

/// What came is no slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSlice;

impl SliceStream {
    /// Takes some more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next slice that came wholly.
    ///
    /// # Errors
    /// What came is none, and nothing behind it can be read.
    pub fn next_slice(&mut self) -> Result<Option<(SliceKind, &[u8])>, NoSlice> {
        let rest = &self.bytes[self.at..];
        if rest.len() < SLICE_HEAD_BYTES {
            return Ok(None);
        }
        let length = u32_at(rest, 0) as usize;
        let kind = SliceKind::from_number(u32_at(rest, 4)).ok_or(NoSlice)?;
        let stored = SLICE_HEAD_BYTES + length.next_multiple_of(8);
        if stored as u64 > frame::payload_max(frame::LENGTH_MAX) {
            return Err(NoSlice);
        }
        if rest.len() < stored {
            return Ok(None);
        }
        let padding = &rest[SLICE_HEAD_BYTES + length..stored];
        if padding.iter().any(|byte| *byte != 0) {
            return Err(NoSlice);
        }
        let start = self.at + SLICE_HEAD_BYTES;
        self.at += stored;
        Ok(Some((kind, &self.bytes[start..start + length])))
    }

    /// Whether nothing is left that is not yet a slice.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(bytes.len())
            .expect("short")
            .to_le_bytes()
            .to_vec();
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    #[test]
    fn slices_come_out_as_they_went_in_however_they_are_cut() {
        let all = [stored(0, b"first"), stored(1, b""), stored(0, b"12345678")].concat();
        for length in 1..all.len() {
            let mut stream = SliceStream::default();
            let mut slices = Vec::new();
            for piece in all.chunks(length) {
                stream.push(piece);
                while let Some((kind, slice)) = stream.next_slice().expect("slices") {
                    slices.push((kind, slice.to_vec()));
                }
            }
            assert!(stream.is_empty());
            let expected = [
                (SliceKind::State, b"first".to_vec()),
                (SliceKind::Secret, Vec::new()),
                (SliceKind::State, b"12345678".to_vec()),
            ];
            assert_eq!(slices, expected, "in pieces of {length}");
        }
    }

    #[test]
    fn what_is_no_slice_is_refused_before_it_is_waited_for() {
        let mut padded = stored(0, b"first");
        *padded.last_mut().expect("bytes") = 1;
        let long = [u32::MAX.to_le_bytes(), 0_u32.to_le_bytes()].concat();
        for bytes in [stored(2, b"kind"), padded, long] {
            let mut stream = SliceStream::default();
            stream.push(&bytes);
            assert_eq!(stream.next_slice(), Err(NoSlice));
        }
    }
}
