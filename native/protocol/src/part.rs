//! Parts: how a frame travels that is too large for one message.
//!
//! ```text
//! FrameHeader   24 bytes    kind part, count 1, all else zero
//! PartHeader    16 bytes
//! bytes of the frame, zero padding to 8
//! ```
//! The first part has offset 0 and each goes on where the one before ended. Who puts
//! them together (the gateway) judges their order and what it keeps in memory; here
//! stands what one message says.

use crate::bytes::{array_at, pad, put, u32_at};
use crate::error::ErrorCode;
use crate::frame::{FRAME_HEADER_BYTES, Frame, FrameKind, frame_header, split_payload};
use crate::generated::layout::part_header as place;
use crate::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Bytes of a part's header.
pub const PART_HEADER_BYTES: usize = place::STRUCT_BYTES;

/// Bytes of a frame that one message can carry.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB")]
pub const PART_BYTES_MAX: usize =
    MESSAGE_BYTES_MAX as usize - FRAME_HEADER_BYTES - PART_HEADER_BYTES;

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHeader {
    /// Bytes of the whole frame.
    pub frame_bytes: u32,
    /// Where in it this part begins.
    pub offset: u32,
    /// Bytes of this part, without padding.
    pub length: u32,
}

impl PartHeader {
    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; PART_HEADER_BYTES] {
        let mut bytes = [0; PART_HEADER_BYTES];
        put(
            &mut bytes,
            place::FRAME_BYTES,
            self.frame_bytes.to_le_bytes(),
        );
        put(&mut bytes, place::OFFSET, self.offset.to_le_bytes());
        put(&mut bytes, place::LENGTH, self.length.to_le_bytes());
        bytes
    }
}

/// Splits what stands behind the frame's header.
pub(crate) fn split(body: &[u8]) -> Result<(PartHeader, &[u8]), ErrorCode> {
    let invalid = || ErrorCode::InvalidFrame;
    let bytes: [u8; PART_HEADER_BYTES] = array_at(body, 0).ok_or_else(invalid)?;
    let word = |at| u32_at(&bytes, at).ok_or_else(invalid);
    let header = PartHeader {
        frame_bytes: word(place::FRAME_BYTES)?,
        offset: word(place::OFFSET)?,
        length: word(place::LENGTH)?,
    };
    if u64::from(header.frame_bytes) > FRAME_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let end = header.offset.checked_add(header.length);
    let fits = end.is_some_and(|end| end <= header.frame_bytes);
    if !fits || header.length == 0 || word(place::RESERVED)? != 0 {
        return Err(ErrorCode::InvalidFrame);
    }
    let split = split_payload(body, PART_HEADER_BYTES, header.length as usize)?;
    if split.after.is_empty() {
        Ok((header, split.payload))
    } else {
        Err(ErrorCode::InvalidFrame)
    }
}

/// Reads a message that is a part: where it belongs, and its bytes.
///
/// # Errors
/// Those of [`Frame::parse`], `too_large` too where the whole frame would be; and
/// `invalid_frame` for a frame of another kind.
pub fn parse_part(message: &[u8]) -> Result<(PartHeader, &[u8]), ErrorCode> {
    let frame = Frame::parse(message)?;
    match frame.kind {
        FrameKind::Part => split(frame.body()),
        _ => Err(ErrorCode::InvalidFrame),
    }
}

/// The messages in which a frame travels: itself where it fits one, else its parts in order.
///
/// # Panics
/// On 4 GiB and more, far over any limit: a mistake of the caller.
pub fn encode_parts(frame: &[u8]) -> Vec<Vec<u8>> {
    if frame.len() as u64 <= MESSAGE_BYTES_MAX {
        return vec![frame.to_vec()];
    }
    let word = |number: usize| u32::try_from(number).expect("a frame is far below 4 GiB");
    let mut messages = Vec::with_capacity(frame.len() / PART_BYTES_MAX + 1);
    for (index, bytes) in frame.chunks(PART_BYTES_MAX).enumerate() {
        let header = PartHeader {
            frame_bytes: word(frame.len()),
            offset: word(index * PART_BYTES_MAX),
            length: word(bytes.len()),
        };
        let mut message = frame_header(FrameKind::Part, 1, 0, 0, 0).to_vec();
        message.extend_from_slice(&header.to_bytes());
        message.extend_from_slice(bytes);
        pad(&mut message, 0);
        messages.push(message);
    }
    messages
}
