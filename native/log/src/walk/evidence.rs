//! Looks behind a bad place for frames which say that it was synced.

use super::{Prepared, SegmentFile, WalkError, Walker};
use crate::frame::{FrameHeader, HeaderState};
use crate::layout::{BLOCK, FILE_HEADER_BYTES, segment_name};

/// What stands behind a bad place.
#[derive(Default)]
pub(super) struct Evidence {
    /// A later frame says that the place was synced. Its header is enough: it was made after the sync,
    /// whatever became of the rest of the frame.
    pub found: bool,
    /// Where the next good header of the segment is.
    pub first_frame: Option<u64>,
    /// Behind the last block of the segment that is not blank; 0 without one.
    pub dirty_end: u64,
}

impl Walker<'_> {
    /// Scans a segment from `from` to its end. `sequence`: of the frame in the bad place, if known;
    /// otherwise any frame is evidence.
    pub(super) fn scan(
        &mut self,
        segment: &SegmentFile,
        from: u64,
        sequence: Option<u64>,
    ) -> Result<Evidence, WalkError> {
        let mut evidence = Evidence::default();
        let mut at = from;
        while at + BLOCK <= segment.present_bytes {
            let block = self.read(segment, at, BLOCK)?;
            if !segment.identity.is_blank(at, block) {
                evidence.dirty_end = at + BLOCK;
                let state = FrameHeader::decode(&segment.identity, at, segment.bytes, block);
                if let HeaderState::Valid(header) = state {
                    evidence.first_frame.get_or_insert(at);
                    evidence.found |=
                        sequence.is_none_or(|sequence| header.synced_through >= sequence);
                }
            }
            at += BLOCK;
        }
        Ok(evidence)
    }

    /// Whether a segment behind `number` has a frame that says so. Normally there is one such segment,
    /// prepared and empty, of which only the beginning is read.
    pub(super) fn later_segments_vouch(
        &mut self,
        number: u64,
        sequence: Option<u64>,
    ) -> Result<bool, WalkError> {
        let behind: Vec<u64> = self
            .files
            .range(number + 1..)
            .map(|(&number, _)| number)
            .collect();
        for later in behind {
            let Some(segment) = self.unnamed(later)? else {
                continue;
            };
            if !self.is_blank(&segment)? && self.scan(&segment, BLOCK, sequence)?.found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The segment, if it can be used as the next of the log: whole, and nothing written to it.
    pub(super) fn prepared(&mut self, number: u64) -> Result<Option<Prepared>, WalkError> {
        let Some(segment) = self.unnamed(number)? else {
            return Ok(None);
        };
        let whole = segment.present_bytes == segment.bytes && segment.bytes >= 3 * BLOCK;
        let usable = whole && self.is_blank(&segment)?;
        Ok(usable.then_some(Prepared {
            segment: segment.identity,
            bytes: segment.bytes,
        }))
    }

    /// A segment that no seal names, if its own header is good.
    fn unnamed(&mut self, number: u64) -> Result<Option<SegmentFile>, WalkError> {
        let name = segment_name(number);
        let len = self.files[&number];
        self.window.open(&name);
        let Some(header) = self.header(&name, len)?.header() else {
            return Ok(None);
        };
        if header.number != number {
            return Ok(None);
        }
        let identity = header.identity();
        let present_bytes = len.min(header.bytes) / BLOCK * BLOCK;
        Ok(Some(SegmentFile {
            identity,
            name,
            bytes: header.bytes,
            present_bytes,
        }))
    }

    /// Whether no frame was ever begun in it. Its first blocks tell: frames are written one behind the
    /// other, each durable before the next.
    fn is_blank(&mut self, segment: &SegmentFile) -> Result<bool, WalkError> {
        let start = FILE_HEADER_BYTES as u64;
        if segment.present_bytes < start + BLOCK {
            return Ok(true);
        }
        let block = self.read(segment, start, BLOCK)?;
        Ok(segment.identity.is_blank(start, block))
    }
}
