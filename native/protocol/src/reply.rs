//! Answers: what stands in a `replies` frame.

use flatbuffers::FlatBufferBuilder;

use crate::bytes::{array_at, pad, padding, put, u16_at, u32_at, u64_at};
use crate::error::{ErrorCode, Outcome};
use crate::frame::{Frame, FrameKind, REPLY_HEADER_BYTES, payload_length, split_payload};
use crate::generated::layout::reply_header as place;
use crate::generated::wire;

const APPLIED: u8 = 1;
const REPLAYED: u8 = 1 << 1;
const OUTCOME_APPLIED: u8 = 1 << 2;
const RETRYABLE: u8 = 1 << 3;
/// Two bits: the number of an outcome.
const OUTCOME: u8 = 0b11 << OUTCOME_SHIFT;
const OUTCOME_SHIFT: u32 = 4;
const FLAGS: u8 = APPLIED | REPLAYED | OUTCOME_APPLIED | RETRYABLE | OUTCOME;

/// An outcome as it stands on the wire.
pub(crate) const fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::NotSubmitted => 1,
        Outcome::NotApplied => 2,
        Outcome::Unknown => 3,
    }
}

/// The outcome of that number, if there is one.
pub(crate) const fn outcome_of_number(number: u8) -> Option<Outcome> {
    Some(match number {
        1 => Outcome::NotSubmitted,
        2 => Outcome::NotApplied,
        3 => Outcome::Unknown,
        _ => return None,
    })
}

/// The header of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReplyHead {
    /// Of the request it answers.
    pub sequence: u64,
    /// Of the commit, or of the state that was read; 0 with an error that has none.
    pub revision: u64,
    /// What went wrong; the payload is then an `ErrorDetail` or empty.
    pub code: Option<ErrorCode>,
    /// The guards held and the operations ran.
    pub applied: bool,
    /// Answered from the session or from an idempotency key: an earlier attempt took effect.
    pub replayed: bool,
    /// To `outcome`: the request took effect; payload and other fields are its answer's.
    pub outcome_applied: bool,
}

impl ReplyHead {
    /// With an error, the table's word on it goes along, for clients whose table does not know it.
    fn flags(&self) -> u8 {
        let advice = self.code.map_or(0, |code| {
            (u8::from(code.retryable()) * RETRYABLE)
                | (outcome_number(code.outcome()) << OUTCOME_SHIFT)
        });
        advice
            | (u8::from(self.applied) * APPLIED)
            | (u8::from(self.replayed) * REPLAYED)
            | (u8::from(self.outcome_applied) * OUTCOME_APPLIED)
    }

    fn to_bytes(self, length: u32) -> [u8; REPLY_HEADER_BYTES] {
        let mut header = [0; REPLY_HEADER_BYTES];
        let code = self.code.map_or(0, ErrorCode::number);
        put(&mut header, place::SEQUENCE, self.sequence.to_le_bytes());
        put(&mut header, place::REVISION, self.revision.to_le_bytes());
        put(&mut header, place::LENGTH, length.to_le_bytes());
        put(&mut header, place::CODE, code.to_le_bytes());
        header[place::FLAGS] = self.flags();
        header
    }

    /// Takes the first reply off `rest`.
    fn take<'a>(rest: &mut &'a [u8]) -> Result<(Self, &'a [u8]), ErrorCode> {
        let bytes: &'a [u8] = rest;
        let invalid = || ErrorCode::InvalidFrame;
        let header: [u8; REPLY_HEADER_BYTES] = array_at(bytes, 0).ok_or_else(invalid)?;
        let code = match u16_at(&header, place::CODE).ok_or_else(invalid)? {
            0 => None,
            number => Some(ErrorCode::from_number(number).ok_or_else(invalid)?),
        };
        let flags = header[place::FLAGS];
        // An error says what is known of the request, and only an error does.
        let advised = match code {
            None => flags & (RETRYABLE | OUTCOME) == 0,
            Some(_) => flags & OUTCOME != 0,
        };
        if flags & !FLAGS != 0 || !advised || header[place::RESERVED] != 0 {
            return Err(ErrorCode::InvalidFrame);
        }
        let length = u32_at(&header, place::LENGTH).ok_or_else(invalid)? as usize;
        let split = split_payload(bytes, REPLY_HEADER_BYTES, length)?;
        *rest = split.after;
        let head = Self {
            sequence: u64_at(&header, place::SEQUENCE).ok_or_else(invalid)?,
            revision: u64_at(&header, place::REVISION).ok_or_else(invalid)?,
            code,
            applied: flags & APPLIED != 0,
            replayed: flags & REPLAYED != 0,
            outcome_applied: flags & OUTCOME_APPLIED != 0,
        };
        Ok((head, split.payload))
    }
}

/// Bytes that [`encode_reply`] appends for a payload of that length.
pub const fn reply_bytes(payload_bytes: usize) -> usize {
    REPLY_HEADER_BYTES + payload_bytes + padding(payload_bytes)
}

/// Appends one reply: header, payload, zero padding to 8.
#[inline]
pub fn encode_reply(out: &mut Vec<u8>, head: &ReplyHead, payload: &[u8]) {
    out.reserve(reply_bytes(payload.len()));
    let start = out.len();
    out.extend_from_slice(&head.to_bytes(payload_length(payload)));
    out.extend_from_slice(payload);
    pad(out, start);
}

/// Walks replies that must fill `bytes` exactly.
pub(crate) fn verify_replies(bytes: &[u8], count: u32) -> Result<(), ErrorCode> {
    let mut rest = bytes;
    for _ in 0..count {
        ReplyHead::take(&mut rest)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(ErrorCode::InvalidFrame)
    }
}

/// One answer among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyItem<'a> {
    /// Its head.
    pub head: ReplyHead,
    /// Head, payload and padding as they stand.
    pub bytes: &'a [u8],
}

/// Walks answers that stand one behind the other and fill `bytes` exactly. After the first error it ends.
pub fn reply_items(bytes: &[u8]) -> impl Iterator<Item = Result<ReplyItem<'_>, ErrorCode>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let before = rest;
        let taken = ReplyHead::take(&mut rest).map(|(head, _)| ReplyItem {
            head,
            bytes: &before[..before.len() - rest.len()],
        });
        if taken.is_err() {
            rest = &[];
        }
        Some(taken)
    })
}

/// The replies of a `replies` frame, with their payloads.
///
/// # Errors
/// Those of [`Frame::parse`], and `invalid_frame` for a frame of another kind.
pub fn parse_replies(frame: &[u8]) -> Result<impl Iterator<Item = (ReplyHead, &[u8])>, ErrorCode> {
    let frame = Frame::parse(frame)?;
    if frame.kind != FrameKind::Replies {
        return Err(ErrorCode::InvalidFrame);
    }
    let mut rest = frame.body();
    // Frame::parse walked the same bytes: each take succeeds.
    Ok((0..frame.count).map_while(move |_| ReplyHead::take(&mut rest).ok()))
}

/// What an error says beyond its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetail {
    /// For a person; may be empty.
    pub message: String,
    /// Index of the operation concerned, in the branch that ran.
    pub operation: Option<u32>,
    /// Index of the guard concerned.
    pub guard: Option<u32>,
    /// The key concerned; empty: none.
    pub key: Vec<u8>,
    /// Worth waiting this long before another attempt, milliseconds; 0: unknown.
    pub retry_after_ms: u32,
}

/// The payload of a reply with an error.
pub fn encode_error_detail(detail: &ErrorDetail) -> Vec<u8> {
    let index = |index: Option<u32>| index.and_then(|index| i32::try_from(index).ok());
    let mut builder = FlatBufferBuilder::with_capacity(detail.message.len() + 64);
    let message = (!detail.message.is_empty()).then(|| builder.create_string(&detail.message));
    let key = (!detail.key.is_empty()).then(|| builder.create_vector(&detail.key));
    let arguments = wire::ErrorDetailArgs {
        message,
        operation: index(detail.operation).unwrap_or(-1),
        retry_after_ms: detail.retry_after_ms,
        guard: index(detail.guard).unwrap_or(-1),
        key,
    };
    let root = wire::ErrorDetail::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

/// Reads the payload of a reply with an error; an empty one says nothing.
///
/// # Errors
/// `invalid_frame` if it is malformed.
pub fn parse_error_detail(payload: &[u8]) -> Result<ErrorDetail, ErrorCode> {
    if payload.is_empty() {
        return Ok(ErrorDetail::default());
    }
    let root = flatbuffers::root::<wire::ErrorDetail<'_>>(payload);
    let detail = root.map_err(|_| ErrorCode::InvalidFrame)?;
    Ok(ErrorDetail {
        message: detail.message().unwrap_or_default().to_owned(),
        operation: u32::try_from(detail.operation()).ok(),
        guard: u32::try_from(detail.guard()).ok(),
        key: detail
            .key()
            .map(|key| key.bytes().to_vec())
            .unwrap_or_default(),
        retry_after_ms: detail.retry_after_ms(),
    })
}
