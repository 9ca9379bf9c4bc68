//! The hard state as the log holds it.

use domp_consensus::HardState;

/// The body of a hard-state record: `HardState` of `log.fbs`.
pub fn encode_hard_state(hard_state: HardState) -> [u8; 24] {
    let mut body = [0; 24];
    body[..8].copy_from_slice(&hard_state.term.to_le_bytes());
    body[8..16].copy_from_slice(&hard_state.vote.to_le_bytes());
    body[16..].copy_from_slice(&hard_state.commit.to_le_bytes());
    body
}

/// Reads it back; `None` if the length is wrong.
pub fn decode_hard_state(body: &[u8]) -> Option<HardState> {
    let body: &[u8; 24] = body.try_into().ok()?;
    let field = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&body[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    Some(HardState {
        term: field(0),
        vote: field(8),
        commit: field(16),
    })
}
