//! Frames: the envelope around items that travel together in one message.
//!
//! ```text
//! client to server                        server to client
//! FrameHeader            24 bytes         FrameHeader            24 bytes
//! ItemHeader             16 bytes  \      ReplyHeader            24 bytes  \
//! payload, zero padding to 8        x n   payload, zero padding to 8        x n
//! ```
//! A frame too large for one message travels as parts, whose one item begins with
//! a `PartHeader` (16 bytes) instead; see [`crate::part`].
//!
//! The headers are the structs of `schemas/wire.fbs`; the constants below are
//! their offsets, checked against the generated code by a test.

use crate::bytes::{array_at, pad, padding, u16_at, u32_at, u64_at};
use crate::error::ErrorCode;
use crate::limits::{FRAME_BYTES_MAX, FRAME_ITEMS_MAX, PROTOCOL_VERSION, TIMEOUT_MS_MAX};

/// First two bytes of a frame: `DM` in memory order.
pub const MAGIC: u16 = 0x4d44;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of the header of an item that a client sends.
pub const ITEM_HEADER_BYTES: usize = 16;
/// Bytes of the header of an item that a server sends.
pub const REPLY_HEADER_BYTES: usize = 24;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// From the client: its first frame.
    Hello = 1,
    /// From the server: the answer to it.
    Welcome = 2,
    /// From the client: requests.
    Submit = 3,
    /// From the server: answers.
    Replies = 4,
    /// From the server: its last frame, which says why.
    Goodbye = 5,
    /// From the client: a piece of a submit frame.
    Part = 6,
}

/// Kinds that the schema keeps for a later time.
const RESERVED_KINDS: core::ops::RangeInclusive<u8> = 7..=11;

impl FrameKind {
    /// The kind of that number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Submit,
            4 => Self::Replies,
            5 => Self::Goodbye,
            6 => Self::Part,
            _ => return None,
        })
    }

    /// Items of frames of this kind begin with a `ReplyHeader`.
    pub const fn is_from_server(self) -> bool {
        matches!(self, Self::Welcome | Self::Replies | Self::Goodbye)
    }

    /// Bytes of the header of an item in frames of this kind, and where its length stands.
    const fn header_shape(self) -> (usize, usize) {
        if self.is_from_server() {
            (REPLY_HEADER_BYTES, 16)
        } else {
            (ITEM_HEADER_BYTES, 8)
        }
    }

    /// Frames of this kind name a space.
    const fn has_space(self) -> bool {
        matches!(self, Self::Submit | Self::Replies)
    }

    /// Frames of this kind carry exactly one item, whose header says nothing but its length.
    const fn is_single(self) -> bool {
        matches!(self, Self::Hello | Self::Welcome | Self::Goodbye)
    }
}

/// What the payload of a submitted item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ItemKind {
    /// A `Transaction`.
    Transaction = 1,
    /// An `OutcomeRequest`.
    Outcome = 2,
    /// An `OutcomeOfRequest`.
    OutcomeOf = 3,
}

impl ItemKind {
    /// The kind of that number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Transaction,
            2 => Self::Outcome,
            3 => Self::OutcomeOf,
            _ => return None,
        })
    }
}

/// One submitted item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// With session and space the request id; at least 1.
    pub sequence: u64,
    /// What the payload is.
    pub kind: ItemKind,
    /// The payload, not yet verified.
    pub payload: &'a [u8],
    /// Header, payload and padding as they came: what the log keeps.
    pub bytes: &'a [u8],
}

impl<'a> Item<'a> {
    /// Takes the first item off `rest`.
    fn take(rest: &mut &'a [u8]) -> Result<Self, ErrorCode> {
        let bytes: &'a [u8] = rest;
        let header: [u8; ITEM_HEADER_BYTES] = array_at(bytes, 0).ok_or(ErrorCode::InvalidFrame)?;
        let (sequence, length, tail) = split_item_header(&header);
        // The tail is kind and three reserved zero bytes.
        let kind = u8::try_from(tail).ok().and_then(ItemKind::from_number);
        let kind = kind.ok_or(ErrorCode::InvalidFrame)?;
        if sequence == 0 {
            return Err(ErrorCode::InvalidFrame);
        }
        let split = split_payload(bytes, ITEM_HEADER_BYTES, length)?;
        *rest = split.after;
        Ok(Self {
            sequence,
            kind,
            payload: split.payload,
            bytes: split.item,
        })
    }
}

/// Sequence, payload length, and the last four bytes of an `ItemHeader`.
fn split_item_header(header: &[u8; ITEM_HEADER_BYTES]) -> (u64, usize, u32) {
    let word = |at| u32_at(header, at).unwrap_or_default();
    let sequence = u64_at(header, 0).unwrap_or_default();
    (sequence, word(8) as usize, word(12))
}

/// What [`split_payload`] finds.
pub(crate) struct Split<'a> {
    pub payload: &'a [u8],
    /// Header, payload and padding.
    pub item: &'a [u8],
    pub after: &'a [u8],
}

/// Splits an item with a header of so many bytes and a payload of that length off `bytes`.
#[inline]
pub(crate) fn split_payload(
    bytes: &[u8],
    header_bytes: usize,
    length: usize,
) -> Result<Split<'_>, ErrorCode> {
    let end = header_bytes + length;
    let padded = end + padding(length);
    let (item, after) = bytes
        .split_at_checked(padded)
        .ok_or(ErrorCode::InvalidFrame)?;
    if item[end..].iter().any(|&byte| byte != 0) {
        return Err(ErrorCode::InvalidFrame);
    }
    Ok(Split {
        payload: &item[header_bytes..end],
        item,
        after,
    })
}

/// The items of a verified `submit` frame, in order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    count: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.count = self.count.checked_sub(1)?;
        let item = Item::take(&mut self.rest);
        debug_assert!(item.is_ok(), "Frame::parse walked the same bytes");
        item.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count as usize, Some(self.count as usize))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// Walks `count` items that stand one behind the other and fill `bytes`
/// exactly: the same walk that [`Frame::parse`] does, for a batch in the log.
/// After the first error it ends.
pub fn items_of_batch(
    bytes: &[u8],
    count: u32,
) -> impl Iterator<Item = Result<Item<'_>, ErrorCode>> {
    let mut rest = bytes;
    let mut left = count;
    let mut failed = false;
    core::iter::from_fn(move || {
        if failed {
            return None;
        }
        let result = match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                Item::take(&mut rest)
            }
            None if rest.is_empty() => return None,
            None => Err(ErrorCode::InvalidFrame),
        };
        failed = result.is_err();
        Some(result)
    })
}

/// A frame whose envelope was verified; payloads are not.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// Items in it, at least 1.
    pub count: u32,
    /// `submit`: the client holds every reply below this sequence.
    pub acked_below: u64,
    /// `submit`: not to be proposed later than this after arrival.
    pub timeout_ms: u32,
    /// `submit`, `replies`: the space all of it is about. In `submit` a hint: each
    /// payload names its own, and one that differs is to be refused.
    pub space: u32,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Verifies the envelope: header, item headers, lengths, padding, count.
    ///
    /// # Errors
    /// `too_large` over the limits of bytes or items, `unsupported_version`,
    /// `unsupported_operation` for kinds that are kept for later, else `invalid_frame`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorCode> {
        let frame = Self::parse_header(bytes)?;
        match frame.kind {
            FrameKind::Submit => frame.verify_items()?,
            FrameKind::Replies => crate::reply::verify_replies(frame.body, frame.count)?,
            FrameKind::Hello | FrameKind::Welcome | FrameKind::Goodbye => {
                frame.single_payload().ok_or(ErrorCode::InvalidFrame)?;
            }
            FrameKind::Part => {
                crate::part::split(frame.body)?;
            }
        }
        Ok(frame)
    }

    fn parse_header(bytes: &'a [u8]) -> Result<Self, ErrorCode> {
        let (header, body) = bytes
            .split_at_checked(FRAME_HEADER_BYTES)
            .ok_or(ErrorCode::InvalidFrame)?;
        let invalid = || ErrorCode::InvalidFrame;
        if u16_at(header, 0) != Some(MAGIC) {
            return Err(ErrorCode::InvalidFrame);
        }
        if u64::from(header[2]) != PROTOCOL_VERSION {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let kind = FrameKind::from_number(header[3]);
        if kind.is_none() && RESERVED_KINDS.contains(&header[3]) {
            return Err(ErrorCode::UnsupportedOperation);
        }
        let frame = Self {
            kind: kind.ok_or_else(invalid)?,
            count: u32_at(header, 4).ok_or_else(invalid)?,
            acked_below: u64_at(header, 8).ok_or_else(invalid)?,
            timeout_ms: u32_at(header, 16).ok_or_else(invalid)?,
            space: u32_at(header, 20).ok_or_else(invalid)?,
            body,
        };
        if bytes.len() as u64 > FRAME_BYTES_MAX || u64::from(frame.count) > FRAME_ITEMS_MAX {
            return Err(ErrorCode::TooLarge);
        }
        let timing = match frame.kind {
            FrameKind::Submit => (1..=TIMEOUT_MS_MAX).contains(&u64::from(frame.timeout_ms)),
            _ => frame.timeout_ms == 0 && frame.acked_below == 0,
        };
        let space = frame.kind.has_space() || frame.space == 0;
        let count = match frame.kind {
            FrameKind::Part => frame.count == 1,
            _ => frame.count > 0,
        };
        if !timing || !space || !count {
            return Err(ErrorCode::InvalidFrame);
        }
        Ok(frame)
    }

    fn verify_items(&self) -> Result<(), ErrorCode> {
        let mut rest = self.body;
        for _ in 0..self.count {
            Item::take(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(ErrorCode::InvalidFrame)
        }
    }

    /// The items of a `submit` frame; none for other kinds.
    pub fn items(&self) -> Items<'a> {
        match self.kind {
            FrameKind::Submit => Items {
                rest: self.body,
                count: self.count,
            },
            _ => Items {
                rest: &[],
                count: 0,
            },
        }
    }

    /// The payload of a `hello`, `welcome` or `goodbye`; `None` for other kinds.
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.single_payload()
    }

    fn single_payload(&self) -> Option<&'a [u8]> {
        if !self.kind.is_single() || self.count != 1 {
            return None;
        }
        let (header_bytes, length_at) = self.kind.header_shape();
        let length = u32_at(self.body, length_at)?;
        let header = self.body.get(..header_bytes)?;
        let mut rest = header[..length_at].iter().chain(&header[length_at + 4..]);
        if rest.any(|&byte| byte != 0) {
            return None;
        }
        let split = split_payload(self.body, header_bytes, length as usize).ok()?;
        split.after.is_empty().then_some(split.payload)
    }

    /// What follows the header.
    pub(crate) fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// A frame's header. `acked_below` and `timeout_ms` are zero but in `submit`, `space` is but in
/// `submit` and `replies`.
#[inline]
pub fn frame_header(
    kind: FrameKind,
    count: u32,
    acked_below: u64,
    timeout_ms: u32,
    space: u32,
) -> [u8; FRAME_HEADER_BYTES] {
    const VERSION: u8 = PROTOCOL_VERSION.to_le_bytes()[0];
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..2].copy_from_slice(&MAGIC.to_le_bytes());
    header[2] = VERSION;
    header[3] = kind as u8;
    header[4..8].copy_from_slice(&count.to_le_bytes());
    header[8..16].copy_from_slice(&acked_below.to_le_bytes());
    header[16..20].copy_from_slice(&timeout_ms.to_le_bytes());
    header[20..].copy_from_slice(&space.to_le_bytes());
    header
}

/// The header of a submitted item.
#[inline]
pub fn item_header(sequence: u64, kind: ItemKind, length: u32) -> [u8; ITEM_HEADER_BYTES] {
    let mut header = [0; ITEM_HEADER_BYTES];
    header[..8].copy_from_slice(&sequence.to_le_bytes());
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12] = kind as u8;
    header
}

/// A whole frame with one payload, for `hello`, `welcome` and `goodbye`.
pub(crate) fn single_frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let (header_bytes, length_at) = kind.header_shape();
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + header_bytes + payload.len() + 8);
    frame.extend_from_slice(&frame_header(kind, 1, 0, 0, 0));
    frame.resize(FRAME_HEADER_BYTES + header_bytes, 0);
    let length = payload_length(payload);
    let length_at = FRAME_HEADER_BYTES + length_at;
    frame[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(payload);
    pad(&mut frame, 0);
    frame
}

/// The length of a payload as it stands in a header.
///
/// # Panics
/// On 4 GiB and more: five hundred times over any limit, a mistake of the caller.
#[inline]
pub(crate) fn payload_length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).expect("a payload is far below 4 GiB")
}

/// Builds `submit` frames, each for one space; for clients, tests and load generators. Can be used again.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    kind: FrameKind,
    count: u32,
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// An empty builder of frames of that kind.
    pub fn new(kind: FrameKind) -> Self {
        Self {
            kind,
            count: 0,
            bytes: vec![0; FRAME_HEADER_BYTES],
        }
    }

    /// Adds an item.
    pub fn push_item(&mut self, sequence: u64, kind: ItemKind, payload: &[u8]) {
        self.bytes
            .extend_from_slice(&item_header(sequence, kind, payload_length(payload)));
        self.bytes.extend_from_slice(payload);
        pad(&mut self.bytes, 0);
        self.count += 1;
    }

    /// Items so far.
    pub fn items(&self) -> u32 {
        self.count
    }

    /// Bytes so far, header included.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the header and lends the frame; [`Self::clear`] begins the next one
    /// in the same memory.
    pub fn seal(&mut self, acked_below: u64, timeout_ms: u32, space: u32) -> &[u8] {
        let header = frame_header(self.kind, self.count, acked_below, timeout_ms, space);
        self.bytes[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        &self.bytes
    }

    /// Forgets the items, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        self.count = 0;
    }

    /// Hands the frame out and begins an empty one.
    pub fn finish(&mut self, acked_below: u64, timeout_ms: u32, space: u32) -> Vec<u8> {
        self.seal(acked_below, timeout_ms, space);
        self.count = 0;
        core::mem::replace(&mut self.bytes, vec![0; FRAME_HEADER_BYTES])
    }
}
