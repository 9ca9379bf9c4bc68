//! A committed answer, as sessions and idempotency keys remember it.

use domp_protocol::results::ResultsEncoder;
use domp_protocol::{ErrorCode, Outcome, limits};

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
    /// It failed while applying and left nothing behind; it never takes effect.
    Refused(ErrorCode),
    /// An outcome request fenced it before it came; it never takes effect.
    Fence,
}

/// Memory of a remembered answer beside its results, roughly: its place in a session's window or
/// in the table of idempotency keys, with what such a place leaves unused.
const ANSWER_BYTES: u64 = 128;

/// What remembering one more answer may take.
pub(super) const ANSWER_BYTES_MAX: u64 = ANSWER_BYTES + limits::RESULT_BYTES_MAX;

impl Answer {
    /// Memory that it takes, as it is counted against `answers_bytes_max`. A function of what was
    /// decided alone: a replay and a snapshot count the same.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Results { bytes, .. } => ANSWER_BYTES + bytes.len() as u64,
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

    /// Whether the request was executed: guards judged and the branch they chose run.
    pub fn is_executed(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Fence)
    }

    /// Whether the guards held.
    pub fn applied(&self) -> bool {
        matches!(
            self,
            Self::Done { applied: true } | Self::Results { applied: true, .. }
        )
    }

    /// Why the request never takes effect.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(code) => Some(*code),
            Self::Fence => Some(ErrorCode::Fenced),
            Self::Done { .. } | Self::GuardFailed(_) | Self::Results { .. } => None,
        }
    }

    /// The results, where needed encoded again into `scratch`.
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
            Self::Done { .. } | Self::Refused(_) | Self::Fence => &[],
        }
    }

    /// Appends it for a snapshot: kind u8, flag u8, code u16, word u32, then the results.
    pub fn write(&self, out: &mut Vec<u8>) {
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
        };
        out.push(kind);
        out.push(flag);
        out.extend_from_slice(&u16::to_le_bytes(code));
        out.extend_from_slice(&u32::to_le_bytes(word));
        out.extend_from_slice(bytes);
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
            _ => None,
        }
    }
}

/// Whether a failed execution is remembered: what says `not_applied` must stay true for every
/// later attempt (Promise 4). Other refusals did nothing and are judged again each time.
pub(super) fn is_recorded(code: ErrorCode) -> bool {
    code.outcome() == Outcome::NotApplied
}
