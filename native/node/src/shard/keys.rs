//! Questions about idempotency keys, while they wait for the read-index of the reads beside them.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::reply::ReplyHead;
use domp_protocol::{KeyOutcomeRef, KeyState, encode_key_outcome};
use domp_state::{KeyOutcome, State};

use crate::cost;
use crate::replies::{Replies, Socket, refusal};

/// What became of the transaction under a key?
pub struct Question {
    pub socket: Socket,
    sequence: u64,
    principal: u64,
    key: Box<[u8]>,
    pub deadline_us: u64,
}

impl Question {
    /// Of a principal, about one of its keys.
    pub fn new(
        socket: Socket,
        item: &Item<'_>,
        principal: u64,
        key: &[u8],
        deadline_us: u64,
    ) -> Self {
        Self {
            socket,
            sequence: item.sequence,
            principal,
            key: key.into(),
            deadline_us,
        }
    }

    /// Memory that it holds.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.key.len()
    }

    /// Says what the state knows. Nothing is decided by it.
    pub fn answer(&self, space: u32, state: &State, replies: &mut Replies) {
        let outcome = state.outcome_of(self.principal, &self.key);
        let (known, revision) = match outcome {
            KeyOutcome::Applied {
                revision,
                results,
                kept,
            } => {
                let known = KeyOutcomeRef {
                    state: KeyState::Applied,
                    code: None,
                    revision,
                    results,
                    kept,
                };
                (known, revision)
            }
            KeyOutcome::NotApplied { revision, code } => {
                let known = KeyOutcomeRef {
                    state: KeyState::NotApplied,
                    code: Some(code),
                    revision: 0,
                    results: &[],
                    kept: None,
                };
                (known, revision)
            }
            KeyOutcome::NotSeen => {
                let known = KeyOutcomeRef {
                    state: KeyState::NotSeen,
                    code: None,
                    revision: 0,
                    results: &[],
                    kept: None,
                };
                (known, state.revision())
            }
        };
        let head = ReplyHead {
            sequence: self.sequence,
            revision,
            applied: known.state == KeyState::Applied,
            ..ReplyHead::default()
        };
        replies.push(self.socket, space, &head, &encode_key_outcome(&known));
        replies.charge(cost::REQUEST);
    }

    /// Says why it is not answered.
    pub fn refuse(&self, space: u32, code: ErrorCode, replies: &mut Replies) {
        replies.push(self.socket, space, &refusal(self.sequence, code), &[]);
    }
}
