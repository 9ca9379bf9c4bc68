//! A committed answer, as sessions and idempotency keys remember it.

use domp_protocol::results::ResultsEncoder;
use domp_protocol::{ErrorCode, Outcome, encode_kept_results, limits, parse_results};

use crate::bytes::Cursor;
use crate::config::size;

/// What was answered to a request that was decided. Most are answered without a payload and take
/// no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Executed, no results.
    Done {
        /// The guards held.
        applied: bool,
    },
    /// A guard failed and there was nothing else to do.
    GuardFailed(u32),
    /// Executed, with results.
    Results {
        /// The guards held.
        applied: bool,
        /// An encoded `Results`.
        bytes: Box<[u8]>,
    },
    /// Executed, with what the transaction gave to keep under its idempotency key.
    Kept(Box<Kept>),
    /// It failed while applying and left nothing behind; it never takes effect.
    Refused(ErrorCode),
    /// An outcome request fenced it before it came; it never takes effect.
    Fence,
}

// Every request of every session has one.
const _: () = assert!(size_of::<Answer>() == 24, "what is rare takes no room");

/// An answer with what is kept beside it. Rare, and so behind a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The guards held.
    pub applied: bool,
    /// An encoded `Results`, perhaps empty.
    pub results: Box<[u8]>,
    /// As it was given, perhaps empty.
    pub value: Box<[u8]>,
}

/// Memory of a remembered answer beside its results, roughly: its place in a session's window or
/// in the table of idempotency keys, with what such a place leaves unused.
const ANSWER_BYTES: u64 = 128;

/// What remembering one more answer may take.
pub(super) const ANSWER_BYTES_MAX: u64 = ANSWER_BYTES + limits::RESULT_BYTES_MAX;

/// What remembering one more answer under an idempotency key may take.
pub(super) const KEPT_ANSWER_BYTES_MAX: u64 = ANSWER_BYTES_MAX + limits::RESULT_BYTES_MAX;

impl Answer {
    /// Memory that it takes, as it is counted against `answers_bytes_max`. A function of what was
    /// decided alone: a replay and a snapshot count the same.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Results { bytes, .. } => ANSWER_BYTES + bytes.len() as u64,
            Self::Kept(kept) => ANSWER_BYTES + (kept.results.len() + kept.value.len()) as u64,
            _ => ANSWER_BYTES,
        }
    }

    /// The answer of an execution.
    pub fn executed(applied: bool, results: &[u8]) -> Self {
        if results.is_empty() {
            Self::Done { applied }
        } else {
            Self::Results {
                applied,
                bytes: results.into(),
            }
        }
    }

    /// The same answer with what is kept beside it; one that was not executed keeps nothing.
    pub fn keeping(&self, kept: &[u8]) -> Self {
        let results = match self {
            Self::Done { .. } => &[],
            Self::Results { bytes, .. } => &bytes[..],
            _ => return self.clone(),
        };
        Self::Kept(Box::new(Kept {
            applied: self.applied(),
            results: results.into(),
            value: kept.into(),
        }))
    }

    /// The results as they were encoded, without what is kept; none of an answer that was not
    /// executed, or whose guard failed with nothing else to do.
    pub fn plain_results(&self) -> &[u8] {
        match self {
            Self::Results { bytes, .. } => bytes,
            Self::Kept(kept) => &kept.results,
            _ => &[],
        }
    }

    /// What is kept beside the answer.
    pub fn kept(&self) -> Option<&[u8]> {
        match self {
            Self::Kept(kept) => Some(&kept.value),
            _ => None,
        }
    }

    /// Whether the request was executed: guards judged and the branch they chose run.
    pub fn is_executed(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Fence)
    }

    /// Whether the guards held.
    pub fn applied(&self) -> bool {
        match self {
            Self::Done { applied } | Self::Results { applied, .. } => *applied,
            Self::Kept(kept) => kept.applied,
            Self::GuardFailed(_) | Self::Refused(_) | Self::Fence => false,
        }
    }

    /// Why the request never takes effect.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(code) => Some(*code),
            Self::Fence => Some(ErrorCode::Fenced),
            _ => None,
        }
    }

    /// The results, where needed encoded again into `scratch`; with what is kept, if anything.
    pub fn results<'a>(
        &'a self,
        encoder: &mut ResultsEncoder,
        scratch: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        match self {
            Self::Results { bytes, .. } => bytes,
            Self::GuardFailed(guard) => {
                scratch.clear();
                encoder.begin();
                encoder.finish(Some(*guard), scratch);
                scratch
            }
            Self::Kept(kept) => {
                scratch.clear();
                let written = encode_kept_results(&kept.results, &kept.value, scratch);
                debug_assert!(written.is_ok(), "the results are this program's own");
                scratch
            }
            Self::Done { .. } | Self::Refused(_) | Self::Fence => &[],
        }
    }

    /// Appends it for a snapshot: kind u8, flag u8, code u16, word u32, then the results. Of kind 6
    /// `code` is the length of what is kept, which stands last.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut kept_beside = &[][..];
        let (kind, flag, code, word, bytes) = match self {
            Self::Done { applied } => (1, u8::from(*applied), 0, 0, &[][..]),
            Self::GuardFailed(guard) => (2, 0, 0, *guard, &[][..]),
            Self::Results { applied, bytes } => {
                let length =
                    u32::try_from(bytes.len()).expect("recorded results are at most 1 KiB");
                (3, u8::from(*applied), 0, length, &bytes[..])
            }
            Self::Refused(code) => (4, 0, code.number(), 0, &[][..]),
            Self::Fence => (5, 0, 0, 0, &[][..]),
            Self::Kept(kept) => {
                let fits = "results and what is kept are at most 1 KiB each";
                kept_beside = &kept.value;
                let kept_length = u16::try_from(kept.value.len()).expect(fits);
                let length = u32::try_from(kept.results.len()).expect(fits);
                (
                    6,
                    u8::from(kept.applied),
                    kept_length,
                    length,
                    &kept.results[..],
                )
            }
        };
        out.push(kind);
        out.push(flag);
        out.extend_from_slice(&u16::to_le_bytes(code));
        out.extend_from_slice(&u32::to_le_bytes(word));
        out.extend_from_slice(bytes);
        out.extend_from_slice(kept_beside);
    }

    /// Reads what [`Self::write`] wrote; `None` if it is anything else.
    pub fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let (kind, flag, code, word) = (cursor.u8()?, cursor.u8()?, cursor.u16()?, cursor.u32()?);
        let applied = match flag {
            0 => false,
            1 => true,
            _ => return None,
        };
        match (kind, applied, code, word) {
            (1, _, 0, 0) => Some(Self::Done { applied }),
            (2, false, 0, guard) => Some(Self::GuardFailed(guard)),
            (3, _, 0, length) => {
                let length = length as usize;
                if length == 0 || length > size(limits::RESULT_BYTES_MAX) {
                    return None;
                }
                let bytes = cursor.take(length)?.into();
                Some(Self::Results { applied, bytes })
            }
            (4, false, code, 0) => {
                let code = ErrorCode::from_number(code)?;
                is_recorded(code).then_some(Self::Refused(code))
            }
            (5, false, 0, 0) => Some(Self::Fence),
            (6, _, kept_length, length) => {
                let (length, kept_length) = (length as usize, usize::from(kept_length));
                let most = size(limits::RESULT_BYTES_MAX);
                if length > most || kept_length > most {
                    return None;
                }
                let results = cursor.take(length)?;
                // They are read when they are given again.
                parse_results(results).ok()?;
                let kept = cursor.take(kept_length)?;
                Some(Self::Kept(Box::new(Kept {
                    applied,
                    results: results.into(),
                    value: kept.into(),
                })))
            }
            _ => None,
        }
    }
}

/// Whether a failed execution is remembered: what says `not_applied` must stay true for every
/// later attempt (Promise 4). Other refusals did nothing and are judged again each time.
pub(super) fn is_recorded(code: ErrorCode) -> bool {
    code.outcome() == Outcome::NotApplied
}
