//! Frames out of a stream of bytes.

use domp_protocol::{NoteHead, PEER_FRAME_HEADER_BYTES, PeerFrameReader};

use crate::event::{Cause, Closing, ClosingReason};

type Header = [u8; PEER_FRAME_HEADER_BYTES];

enum Part {
    Header,
    Body {
        header: Header,
        length: usize,
    },
    /// Behind an empty frame: the words by which a connection ends.
    Goodbye,
}

/// Assembles the frames of one connection, however their bytes come.
pub(crate) struct Assembler {
    reader: PeerFrameReader,
    part: Part,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Longer bodies than `frame_bytes_max` are refused.
    pub fn new(frame_bytes_max: u32) -> Self {
        Self {
            reader: PeerFrameReader::new(frame_bytes_max),
            part: Part::Header,
            bytes: Vec::new(),
        }
    }

    /// Takes what came; appends the bodies that are complete.
    ///
    /// # Errors
    /// When the connection can't go on, or says that it ends.
    pub fn feed(&mut self, mut input: &[u8], bodies: &mut Vec<Vec<u8>>) -> Result<(), Cause> {
        while !input.is_empty() {
            let want = match &self.part {
                Part::Header => PEER_FRAME_HEADER_BYTES,
                Part::Body { length, .. } => *length,
                Part::Goodbye => goodbye_length(&self.bytes)?,
            };
            let (taken, rest) = input.split_at(input.len().min(want - self.bytes.len()));
            self.bytes.extend_from_slice(taken);
            input = rest;
            if self.bytes.len() == want {
                self.complete(bodies)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, bodies: &mut Vec<Vec<u8>>) -> Result<(), Cause> {
        match self.part {
            Part::Header => {
                let mut header: Header = [0; PEER_FRAME_HEADER_BYTES];
                header.copy_from_slice(&self.bytes);
                self.bytes.clear();
                let length = self.reader.length(&header).map_err(Cause::Broken)?;
                if length == 0 {
                    self.reader.check(&header, &[]).map_err(Cause::Broken)?;
                    self.part = Part::Goodbye;
                } else {
                    self.bytes = Vec::with_capacity(length);
                    self.part = Part::Body { header, length };
                }
            }
            Part::Body { header, .. } => {
                let body = std::mem::take(&mut self.bytes);
                self.reader.check(&header, &body).map_err(Cause::Broken)?;
                bodies.push(body);
                self.part = Part::Header;
            }
            // The head alone is complete as long as more follows.
            Part::Goodbye if goodbye_length(&self.bytes)? > self.bytes.len() => {}
            Part::Goodbye => return Err(closed(&self.bytes)),
        }
        Ok(())
    }
}

/// How many bytes a goodbye has, by those that are there.
fn goodbye_length(bytes: &[u8]) -> Result<usize, Cause> {
    let Some(head) = bytes.first_chunk() else {
        return Ok(NoteHead::BYTES);
    };
    match NoteHead::parse(head) {
        Ok(NoteHead::Closing { length, .. }) => Ok(NoteHead::BYTES + length as usize),
        Ok(NoteHead::Taken { .. }) => {
            Err(Cause::Malformed("no goodbye behind the last frame".into()))
        }
        Err(error) => Err(Cause::Malformed(error.to_string())),
    }
}

/// A goodbye that is complete.
pub(crate) fn closed(bytes: &[u8]) -> Cause {
    let (head, text) = bytes.split_at(NoteHead::BYTES.min(bytes.len()));
    match head.try_into().map(NoteHead::parse) {
        Ok(Ok(NoteHead::Closing { reason, .. })) => Cause::Closed(Closing {
            reason: ClosingReason::from_number(reason),
            text: String::from_utf8_lossy(text).into_owned(),
        }),
        _ => Cause::Malformed("no goodbye".into()),
    }
}

/// The header of the empty frame behind which a goodbye follows is made by the writer of the connection; this is
/// the goodbye.
pub(crate) fn goodbye(reason: ClosingReason, text: &str) -> Vec<u8> {
    let text = shortened(text);
    let head = NoteHead::Closing {
        reason: reason.number(),
        length: u32::try_from(text.len()).unwrap_or_default(),
    };
    [&head.encode(), text.as_bytes()].concat()
}

/// As much of a text as travels.
pub(crate) fn shortened(text: &str) -> &str {
    const MAX: usize = domp_protocol::peer_handshake::PEER_TEXT_BYTES_MAX;
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use domp_protocol::{PeerFrameError, PeerFrameWriter};

    fn stream(writer: &mut PeerFrameWriter, bodies: &[Vec<u8>]) -> Vec<u8> {
        let frames = bodies
            .iter()
            .map(|body| [&writer.header(body)[..], body].concat());
        frames.collect::<Vec<_>>().concat()
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let bodies = [vec![1; 8], vec![2; 4096], vec![3; 16]];
        let mut writer = PeerFrameWriter::default();
        let mut bytes = stream(&mut writer, &bodies);
        bytes.extend_from_slice(&writer.header(&[]));
        bytes.extend_from_slice(&goodbye(ClosingReason::Stopping, "until later"));
        for cut in [1, 7, 16, 24, 1000, bytes.len()] {
            let mut assembler = Assembler::new(4096);
            let mut came = Vec::new();
            let mut end = Ok(());
            for piece in bytes.chunks(cut) {
                assert_eq!(end, Ok(()), "cut at {cut}: ended early");
                end = assembler.feed(piece, &mut came);
            }
            assert_eq!(came, bodies, "cut at {cut}");
            let closing = Closing {
                reason: ClosingReason::Stopping,
                text: "until later".into(),
            };
            assert_eq!(end, Err(Cause::Closed(closing)), "cut at {cut}");
        }
    }

    #[test]
    fn a_goodbye_may_have_no_text_and_must_be_one() {
        let mut writer = PeerFrameWriter::default();
        let empty = writer.header(&[]);
        let feed = |behind: &[u8]| {
            let bytes = [&empty[..], behind].concat();
            Assembler::new(64).feed(&bytes, &mut Vec::new())
        };
        let ended = feed(&goodbye(ClosingReason::Removed, ""));
        assert!(matches!(ended, Err(Cause::Closed(_))), "{ended:?}");
        let taken = feed(&NoteHead::Taken { bytes: 1 }.encode());
        assert!(matches!(taken, Err(Cause::Malformed(_))), "{taken:?}");
        let garbage = feed(&[0xff; 32]);
        assert!(matches!(garbage, Err(Cause::Malformed(_))), "{garbage:?}");
    }

    #[test]
    fn what_is_wrong_ends_it_before_anything_is_handed_on() {
        let good = stream(&mut PeerFrameWriter::default(), &[vec![1; 64]]);
        let mut came = Vec::new();
        let long = Assembler::new(56).feed(&good, &mut came);
        assert_eq!(long, Err(Cause::Broken(PeerFrameError::Length(64))));
        let mut flipped = good.clone();
        flipped[40] ^= 1;
        let broken = Assembler::new(64).feed(&flipped, &mut came);
        assert_eq!(broken, Err(Cause::Broken(PeerFrameError::Checksum)));
        assert_eq!(came, Vec::<Vec<u8>>::new());
        let twice = [good.clone(), good].concat();
        let repeat = Assembler::new(64).feed(&twice, &mut came);
        let due = PeerFrameError::Sequence { due: 2, came: 1 };
        assert_eq!((repeat, came.len()), (Err(Cause::Broken(due)), 1));
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        let long = "ä".repeat(600);
        assert_eq!(shortened(&long).len(), 1024);
        let odd = format!("x{long}");
        assert_eq!(shortened(&odd).len(), 1023);
    }
}
