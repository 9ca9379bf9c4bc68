//! One segment: its header, then its frames.

use super::evidence::Evidence;
use super::{End, Ended, Link, LiveSegment, WalkError, Walker};
use crate::body::Body;
use crate::frame::{FrameHeader, FrameKind, HeaderState, Judgement, NextSegment};
use crate::layout::{BLOCK, FILE_HEADER_BYTES, FileHeader, FileKind, HeaderRead, segment_name};
use crate::record::{self, RecordKind};
use crate::report::DamagedGroups;
use crate::sector::FileIdentity;

/// A segment's file while it is read.
pub(crate) struct SegmentFile {
    pub identity: FileIdentity,
    pub name: String,
    /// Length it was made with.
    pub bytes: u64,
    /// Length it has, in whole blocks, at most `bytes`.
    pub present_bytes: u64,
}

/// What to do behind a place where no good frame began.
enum Step {
    /// Read on here.
    Continue(u64),
    /// The segment ends like this.
    Done(Ended),
}

impl Walker<'_> {
    /// Reads a segment. `named`: what the seal of the one before says of it.
    pub(super) fn segment(
        &mut self,
        number: u64,
        named: Option<NextSegment>,
    ) -> Result<Ended, WalkError> {
        let name = segment_name(number);
        let len = self.files[&number];
        self.window.open(&name);
        let read = self.header(&name, len)?;
        let (identity, bytes) = match (read.header(), named) {
            (Some(header), _) if header.number != number => {
                let what = format!("the file is segment {} under another name", header.number);
                self.damage_all(number, &name, 0, what);
                return Ok(Ended::Lost);
            }
            (Some(header), Some(named)) if header.salt != named.salt => {
                let what = format!(
                    "the file is not the segment that segment {} names",
                    number - 1
                );
                self.damage_all(number, &name, 0, what);
                return Ok(Ended::Lost);
            }
            (Some(header), _) => (header.identity(), header.bytes),
            (None, Some(named)) => {
                let what = "both copies of the file header are damaged; harmless, since the segment before names the salt";
                self.note(&name, 0, what.into());
                (named.identity(), len / BLOCK * BLOCK)
            }
            (None, None) => {
                self.damage_all(
                    number,
                    &name,
                    0,
                    "both copies of the file header are damaged".into(),
                );
                return Ok(Ended::Lost);
            }
        };
        if let HeaderRead::Half(_, at) = read {
            let what = "a copy of the file header is damaged; harmless, since the other is whole";
            self.note(&name, at, what.into());
        }
        if len > bytes {
            self.note(
                &name,
                bytes,
                format!("the file is {} bytes longer than it was made", len - bytes),
            );
        }
        let present_bytes = len.min(bytes) / BLOCK * BLOCK;
        let segment = SegmentFile {
            identity,
            name,
            bytes,
            present_bytes,
        };
        self.walk.segments.push(LiveSegment {
            number,
            bytes,
            salt: segment.identity.salt,
            used_bytes: None,
        });
        self.visitor.segment(&segment);
        self.frames(&segment)
    }

    /// Reads a segment's header block.
    pub(super) fn header(&mut self, name: &str, len: u64) -> Result<HeaderRead, WalkError> {
        if len < FILE_HEADER_BYTES as u64 {
            return Ok(HeaderRead::Bad);
        }
        let block = self
            .window
            .read(self.disk, len, 0, FILE_HEADER_BYTES as u64)
            .map_err(|error| WalkError::Io {
                file: name.into(),
                error,
            })?;
        match FileHeader::decode(block, FileKind::Segment) {
            HeaderRead::Version(version) => Err(WalkError::Version {
                file: name.into(),
                version,
            }),
            read => Ok(read),
        }
    }

    fn frames(&mut self, segment: &SegmentFile) -> Result<Ended, WalkError> {
        let mut at = BLOCK;
        loop {
            if at + BLOCK > segment.present_bytes {
                return Ok(self.without_seal(segment, at));
            }
            let state = {
                let block = self.read(segment, at, BLOCK)?;
                FrameHeader::decode(&segment.identity, at, segment.bytes, block)
            };
            match state {
                HeaderState::Valid(header) => {
                    if at + u64::from(header.length) > segment.present_bytes {
                        return Ok(self.without_seal(segment, at));
                    }
                    self.check_chain(segment, &header);
                    match self.frame(segment, &header)? {
                        Step::Continue(next) => at = next,
                        Step::Done(ended) => return Ok(ended),
                    }
                }
                HeaderState::Blank => match self.no_frame(segment, at, None)? {
                    Step::Continue(next) => at = next,
                    Step::Done(ended) => return Ok(ended),
                },
                HeaderState::Bad { why, unfinished } => {
                    match self.no_frame(segment, at, Some((why, unfinished)))? {
                        Step::Continue(next) => at = next,
                        Step::Done(ended) => return Ok(ended),
                    }
                }
            }
        }
    }

    /// The file ends where a frame, if only the seal, must be.
    fn without_seal(&mut self, segment: &SegmentFile, at: u64) -> Ended {
        let what = if segment.present_bytes < segment.bytes {
            format!(
                "the file was cut short: it was made with {} bytes and has {}",
                segment.bytes, segment.present_bytes
            )
        } else {
            "the segment ends without a seal".into()
        };
        self.damage_all(segment.identity.number, &segment.name, at, what);
        Ended::Lost
    }

    /// A good header that does not follow the frame before: frames between are gone.
    fn check_chain(&mut self, segment: &SegmentFile, header: &FrameHeader) {
        let Some(link) = self.link else {
            return;
        };
        if (link.sequence + 1, link.digest) == (header.sequence, header.previous) {
            return;
        }
        let what = format!(
            "frame {} does not follow frame {}: what was between is lost",
            header.sequence, link.sequence
        );
        self.damage_all(segment.identity.number, &segment.name, header.offset, what);
    }

    /// A frame with a good header.
    fn frame(&mut self, segment: &SegmentFile, header: &FrameHeader) -> Result<Step, WalkError> {
        let end = header.offset + u64::from(header.length);
        let good = {
            let bytes = self.read(segment, header.offset, u64::from(header.length))?;
            let good = header.verify(&segment.identity, bytes);
            if good {
                header.restore(bytes);
            }
            good
        };
        if good {
            self.good_frame(segment, header)?;
        } else if let Some(torn_at) = self.wrong_frame(segment, header)? {
            return Ok(Step::Done(self.open_end(segment, header.offset, torn_at)));
        }
        self.note_frame(segment.identity.number, header);
        self.link = Some(Link {
            sequence: header.sequence,
            digest: header.digest,
            oldest_segment: header.oldest_segment,
            vouches: header.vouches_for_all(),
        });
        if header.kind == FrameKind::Seal {
            if let Some(live) = self.walk.segments.last_mut()
                && self.found.iter().all(|found| found.segment != live.number)
            {
                live.used_bytes = Some(end);
            }
            if segment.present_bytes < segment.bytes {
                let what = "the file was cut short behind its last frame; harmless";
                self.note(&segment.name, segment.present_bytes, what.into());
            }
            return Ok(Step::Done(Ended::Sealed(header.next)));
        }
        Ok(Step::Continue(end))
    }

    /// A frame with a good header and something wrong behind it. If it is torn, the end of what is left of
    /// it and of frames behind it; otherwise the damage was noted.
    fn wrong_frame(
        &mut self,
        segment: &SegmentFile,
        header: &FrameHeader,
    ) -> Result<Option<u64>, WalkError> {
        let end = header.offset + u64::from(header.length);
        let bytes = self.read(segment, header.offset, u64::from(header.length))?;
        let what = match header.judge(&segment.identity, bytes) {
            Judgement::Torn => {
                let evidence = self.look_behind(segment, end, Some(header.sequence))?;
                if !evidence.found {
                    return Ok(Some(evidence.dirty_end.max(end)));
                }
                format!(
                    "frame {} lacks blocks, though a later frame says that it was synced",
                    header.sequence
                )
            }
            Judgement::Corrupt { blocks, table } => describe(header, &blocks, table),
        };
        self.bad_frame(segment, header, what);
        Ok(None)
    }

    fn bad_frame(&mut self, segment: &SegmentFile, header: &FrameHeader, what: String) {
        let groups = DamagedGroups::Listed(header.groups.listed().to_vec());
        self.damage(
            segment.identity.number,
            &segment.name,
            header.offset,
            what,
            groups,
        );
    }

    /// The frame's bytes stand in the window, verified and restored.
    fn good_frame(&mut self, segment: &SegmentFile, header: &FrameHeader) -> Result<(), WalkError> {
        let number = segment.identity.number;
        self.walk.frames += 1;
        self.visitor.frame(number, header);
        // Taken out of `self` so that the records can be borrowed from it while `self` counts them.
        let mut window = std::mem::take(&mut self.window);
        let read = window.read(
            self.disk,
            segment.present_bytes,
            header.offset,
            u64::from(header.length),
        );
        let result = match read {
            Ok(bytes) => {
                self.records(number, header, header.payload(bytes));
                Ok(())
            }
            Err(error) => Err(WalkError::Io {
                file: segment.name.clone(),
                error,
            }),
        };
        self.window = window;
        let malformed = std::mem::take(&mut self.malformed);
        if let Some(what) = malformed {
            self.bad_frame(
                segment,
                header,
                format!("frame {}: {what}", header.sequence),
            );
        }
        result
    }

    fn records(&mut self, segment: u64, header: &FrameHeader, payload: &[u8]) {
        let mut rest = payload;
        let mut count = 0;
        // What the log held when the segment began comes first, and nowhere else.
        let begins = segment > 1 && header.offset == BLOCK;
        while !rest.is_empty() {
            let read = record::split_first(rest)
                .and_then(|(record, behind)| Ok((record, Body::of(&record)?, behind)));
            let (record, body, behind) = match read {
                Ok(read) => read,
                Err(what) => {
                    self.malformed = Some(what);
                    return;
                }
            };
            if (record.kind == RecordKind::Groups) != (begins && count == 0) {
                self.malformed = Some("a list of groups stands elsewhere than at the beginning");
                return;
            }
            self.record(segment, &record, &body);
            rest = behind;
            count += 1;
        }
        if count != header.records {
            self.malformed = Some("the number of records is not what the header says");
        }
    }

    /// Where a frame should begin, none does. `bad`: there is something, and whether it is unfinished.
    fn no_frame(
        &mut self,
        segment: &SegmentFile,
        at: u64,
        bad: Option<(&'static str, bool)>,
    ) -> Result<Step, WalkError> {
        let number = segment.identity.number;
        let evidence = self.look_behind(segment, at, self.link.map(|link| link.sequence + 1))?;
        let unfinished = bad.is_none_or(|(_, unfinished)| unfinished);
        if !evidence.found && unfinished && self.link.is_some() {
            return Ok(Step::Done(self.open_end(segment, at, evidence.dirty_end)));
        }
        if self.link.is_none()
            && bad.is_none()
            && evidence.first_frame.is_none()
            && self.all_damaged()
        {
            // Nothing was ever written here; why the chain is unknown is told already.
            return Ok(Step::Done(Ended::Lost));
        }
        let what = match bad {
            Some((why, _)) => why.to_owned(),
            None if self.link.is_none() => "the first frame of the oldest segment is gone".into(),
            None => "a frame is gone, though a later one says that it was synced".into(),
        };
        self.damage_all(number, &segment.name, at, what);
        self.link = None;
        match evidence.first_frame {
            Some(next) => Ok(Step::Continue(next)),
            None => Ok(Step::Done(Ended::Lost)),
        }
    }

    fn open_end(&mut self, segment: &SegmentFile, offset: u64, dirty_end: u64) -> Ended {
        if segment.present_bytes < segment.bytes {
            return self.without_seal(segment, segment.present_bytes);
        }
        let Some(link) = self.link else {
            return Ended::Lost;
        };
        Ended::Open(End {
            segment: segment.identity,
            bytes: segment.bytes,
            offset,
            dirty_to: dirty_end.max(offset),
            sequence: link.sequence,
            digest: link.digest,
            vouched: link.vouches,
        })
    }

    pub(super) fn read(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        len: u64,
    ) -> Result<&mut [u8], WalkError> {
        self.window
            .read(self.disk, segment.present_bytes, offset, len)
            .map_err(|error| WalkError::Io {
                file: segment.name.clone(),
                error,
            })
    }

    fn look_behind(
        &mut self,
        segment: &SegmentFile,
        from: u64,
        sequence: Option<u64>,
    ) -> Result<Evidence, WalkError> {
        let mut evidence = self.scan(segment, from, sequence)?;
        if !evidence.found {
            evidence.found = self.later_segments_vouch(segment.identity.number, sequence)?;
            self.window.open(&segment.name);
        }
        Ok(evidence)
    }
}

fn describe(header: &FrameHeader, blocks: &[u32], table: bool) -> String {
    let places: Vec<String> = blocks.iter().map(u32::to_string).collect();
    let (sequence, places) = (header.sequence, places.join(", "));
    let count = u64::from(header.length) / BLOCK;
    if table {
        return format!(
            "frame {sequence} was written whole, but the checksums of its {count} blocks are \
             wrong (they stand in block {places}, counted from 0)"
        );
    }
    format!(
        "frame {sequence} was written whole, but of its {count} blocks these are wrong \
         (counted from 0): {places}"
    )
}
