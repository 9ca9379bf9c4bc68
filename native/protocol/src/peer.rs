//! Frames between nodes: what a lane carries. Layout as in `schemas/peer.fbs`.
//!
//! A frame's checksum covers its header and what follows, and frames count up on each connection: a gap, a
//! repeat or a flipped bit ends the connection, and what was lost is sent again by whoever needs it.

use core::fmt;

use crate::bytes::{put, u32_at, u64_at};
use crate::generated::layout::peer_frame_header as place;

/// Bytes of a frame's header.
pub const PEER_FRAME_HEADER_BYTES: usize = place::STRUCT_BYTES;

/// Why a connection can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFrameError {
    /// Its length is no multiple of 8, or more than is taken.
    Length(u32),
    /// Bytes are not those that were sent.
    Checksum,
    /// It is not the next one.
    Sequence {
        /// The sequence that was due.
        due: u64,
        /// The one that came.
        came: u64,
    },
}

impl fmt::Display for PeerFrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a frame of {length} bytes"),
            Self::Checksum => f.write_str("a frame whose checksum does not fit"),
            Self::Sequence { due, came } => write!(f, "frame {came} came where {due} was due"),
        }
    }
}

impl core::error::Error for PeerFrameError {}

/// Gives the frames of one connection their headers.
#[derive(Debug, Default)]
pub struct PeerFrameWriter {
    last: u64,
}

impl PeerFrameWriter {
    /// The header of the next frame, which carries `body`.
    ///
    /// # Panics
    /// When the body is longer than 32 bits can say.
    pub fn header(&mut self, body: &[u8]) -> [u8; PEER_FRAME_HEADER_BYTES] {
        self.last += 1;
        let length = u32::try_from(body.len()).expect("frames are bounded");
        let mut header = [0; PEER_FRAME_HEADER_BYTES];
        put(&mut header, place::LENGTH, length.to_le_bytes());
        put(&mut header, place::SEQUENCE, self.last.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header), body);
        put(&mut header, place::CRC32C, checksum.to_le_bytes());
        header
    }
}

/// Checks the frames of one connection.
#[derive(Debug)]
pub struct PeerFrameReader {
    last: u64,
    bytes_max: u32,
}

impl PeerFrameReader {
    /// Of a connection that nothing came on yet. Longer frames than `bytes_max` are refused.
    pub fn new(bytes_max: u32) -> Self {
        Self { last: 0, bytes_max }
    }

    /// How many bytes follow a header.
    ///
    /// # Errors
    /// [`PeerFrameError::Length`].
    pub fn length(&self, header: &[u8; PEER_FRAME_HEADER_BYTES]) -> Result<usize, PeerFrameError> {
        let length = u32_at(header, place::LENGTH).unwrap_or_default();
        if length > self.bytes_max || !length.is_multiple_of(8) {
            return Err(PeerFrameError::Length(length));
        }
        Ok(length as usize)
    }

    /// Whether a frame is what was sent, and the next one.
    ///
    /// # Errors
    /// [`PeerFrameError`]: nothing of the frame may be used, and nothing behind it.
    pub fn check(
        &mut self,
        header: &[u8; PEER_FRAME_HEADER_BYTES],
        body: &[u8],
    ) -> Result<(), PeerFrameError> {
        let length = self.length(header)?;
        let told = u32_at(header, place::CRC32C).unwrap_or_default();
        let mut bare = *header;
        put(&mut bare, place::CRC32C, [0; 4]);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bare), body);
        if told != checksum || length != body.len() {
            return Err(PeerFrameError::Checksum);
        }
        let due = self.last + 1;
        let came = u64_at(header, place::SEQUENCE).unwrap_or_default();
        if came != due {
            return Err(PeerFrameError::Sequence { due, came });
        }
        self.last = due;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: [u8; 24] = *b"messages of many replica";

    #[test]
    fn any_flipped_bit_is_found() {
        let header = PeerFrameWriter::default().header(&BODY);
        let whole: Vec<u8> = header.iter().chain(&BODY).copied().collect();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (header, body) = bytes.split_first_chunk().expect("a header");
            let mut reader = PeerFrameReader::new(1024);
            assert!(reader.check(header, body).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn frames_come_in_a_row() {
        let mut writer = PeerFrameWriter::default();
        let headers: Vec<_> = (0..3).map(|_| writer.header(&BODY)).collect();
        let mut reader = PeerFrameReader::new(1024);
        assert_eq!(reader.check(&headers[0], &BODY), Ok(()));
        let repeat = PeerFrameError::Sequence { due: 2, came: 1 };
        assert_eq!(reader.check(&headers[0], &BODY), Err(repeat));
        let gap = PeerFrameError::Sequence { due: 2, came: 3 };
        assert_eq!(reader.check(&headers[2], &BODY), Err(gap));
        assert_eq!(reader.check(&headers[1], &BODY), Ok(()));
    }

    #[test]
    fn a_length_that_is_not_taken_is_refused_before_anything_is_read() {
        let header = PeerFrameWriter::default().header(&[0; 32]);
        let refused = PeerFrameReader::new(24).length(&header);
        assert_eq!(refused, Err(PeerFrameError::Length(32)));
        let odd = PeerFrameWriter::default().header(&[0; 31]);
        let refused = PeerFrameReader::new(64).length(&odd);
        assert_eq!(refused, Err(PeerFrameError::Length(31)));
    }
}
