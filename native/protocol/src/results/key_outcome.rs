//! What is known under an idempotency key: the answer to a request for it, and what a
//! transaction that is answered from its key is given.

use flatbuffers::FlatBufferBuilder;

use crate::error::ErrorCode;
use crate::generated::wire;

use super::read::{Results, parse_results};
use super::{ResultOffset, encode_result};

/// What became of the transaction under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyState {
    /// It took effect.
    Applied = wire::KeyState::applied.0,
    /// It was refused for good.
    NotApplied = wire::KeyState::not_applied.0,
    /// Nothing is known of the key.
    NotSeen = wire::KeyState::not_seen.0,
    /// The key was seen; what became of it is forgotten.
    Expired = wire::KeyState::expired.0,
}

impl KeyState {
    /// The state of that number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match wire::KeyState(number) {
            wire::KeyState::applied => Self::Applied,
            wire::KeyState::not_applied => Self::NotApplied,
            wire::KeyState::not_seen => Self::NotSeen,
            wire::KeyState::expired => Self::Expired,
            _ => return None,
        })
    }
}

/// The answer to an `OutcomeOfRequest`, to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOutcomeRef<'a> {
    /// What became of it.
    pub state: KeyState,
    /// `NotApplied`: why.
    pub code: Option<ErrorCode>,
    /// `Applied`: of the commit.
    pub revision: u64,
    /// `Applied`: its encoded `Results`; empty where there is nothing to say.
    pub results: &'a [u8],
    /// `Applied`: what the transaction gave to keep.
    pub kept: Option<&'a [u8]>,
}

/// The answer to an `OutcomeOfRequest`, as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutcome {
    /// What became of it.
    pub state: KeyState,
    /// `NotApplied`: why.
    pub code: Option<ErrorCode>,
    /// `Applied`: of the commit.
    pub revision: u64,
    /// `Applied`: what it found and did.
    pub results: Results,
    /// `Applied`: what the transaction gave to keep.
    pub kept: Option<Vec<u8>>,
}

/// The payload of the reply to an item of kind `outcome_of`.
pub fn encode_key_outcome(outcome: &KeyOutcomeRef<'_>) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let results = (!outcome.results.is_empty()).then(|| builder.create_vector(outcome.results));
    let kept = outcome.kept.map(|kept| builder.create_vector(kept));
    let arguments = wire::KeyOutcomeArgs {
        state: wire::KeyState(outcome.state as u8),
        code: outcome.code.map_or(0, ErrorCode::number),
        revision: outcome.revision,
        results,
        kept,
    };
    let root = wire::KeyOutcome::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

/// Reads the payload of the reply to an item of kind `outcome_of`.
///
/// # Errors
/// `invalid_frame` if it is malformed, or says a state or an error that is not known.
pub fn parse_key_outcome(payload: &[u8]) -> Result<KeyOutcome, ErrorCode> {
    let invalid = || ErrorCode::InvalidFrame;
    let root = flatbuffers::root::<wire::KeyOutcome<'_>>(payload);
    let root = root.map_err(|_| ErrorCode::InvalidFrame)?;
    let code = match root.code() {
        0 => None,
        number => Some(ErrorCode::from_number(number).ok_or_else(invalid)?),
    };
    let results = root.results().map(|results| results.bytes());
    Ok(KeyOutcome {
        state: KeyState::from_number(root.state().0).ok_or_else(invalid)?,
        code,
        revision: root.revision(),
        results: parse_results(results.unwrap_or_default())?,
        kept: root.kept().map(|kept| kept.bytes().to_vec()),
    })
}

/// Appends the `Results` that answer a transaction from its key: those of the attempt that
/// took effect (`results`, encoded, perhaps empty) with what it gave to keep.
///
/// # Errors
/// `internal` if `results` is not what this crate encodes.
pub fn encode_kept_results(
    results: &[u8],
    kept: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ErrorCode> {
    let results = parse_results(results).map_err(|_| ErrorCode::Internal)?;
    let mut builder = FlatBufferBuilder::with_capacity(kept.len() + 256);
    let kept = builder.create_vector(kept);
    let values: Vec<ResultOffset> = results
        .results
        .iter()
        .map(|result| encode_result(&mut builder, result))
        .collect();
    let values = (!values.is_empty()).then(|| builder.create_vector(&values));
    let arguments = wire::ResultsArgs {
        results: values,
        failed_guard: results
            .failed_guard
            .and_then(|index| i32::try_from(index).ok())
            .unwrap_or(-1),
        kept: Some(kept),
    };
    let root = wire::Results::create(&mut builder, &arguments);
    builder.finish_minimal(root);
    out.extend_from_slice(builder.finished_data());
    Ok(())
}
