//! What is remembered under idempotency keys.

use std::collections::BTreeMap;

use domp_protocol::ErrorCode;

use crate::keys::Outcome;
use crate::limits::Limits;
use crate::reply::Decided;
use crate::request::Request;
use crate::sessions::Remembered;

/// A request under a key.
#[derive(Clone, Debug)]
struct Keyed {
    used_ms: u64,
    remembered: Remembered,
}

/// By principal and key.
#[derive(Clone, Debug, Default)]
pub struct Idempotency {
    known: BTreeMap<(u64, Vec<u8>), Keyed>,
}

impl Idempotency {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets keys that are as old as they may get.
    pub fn expire(&mut self, lease_ms: u64, limits: &Limits) {
        self.known
            .retain(|_, keyed| keyed.used_ms + limits.idempotency_ttl_ms > lease_ms);
    }

    /// When the first is forgotten.
    pub fn next_due_ms(&self, limits: &Limits) -> Option<u64> {
        let used = self.known.values().map(|keyed| keyed.used_ms);
        used.min().map(|ms| ms + limits.idempotency_ttl_ms)
    }

    /// How the request under a key was decided.
    pub fn of(&self, principal: u64, key: &[u8]) -> Option<&Decided> {
        let keyed = self.known.get(&(principal, key.to_vec()))?;
        Some(&keyed.remembered.decided)
    }

    /// How it was decided, if this request may be answered so; an error refuses it.
    pub fn find(
        &self,
        principal: u64,
        key: &[u8],
        request: &Request<'_>,
        payload: &[u8],
        limits: &Limits,
    ) -> Result<Option<Decided>, ErrorCode> {
        if let Some(keyed) = self.known.get(&(principal, key.to_vec())) {
            // What comes with a result is another each time: nobody compares it.
            if request.result.is_none() && keyed.remembered.is_other(payload) {
                return Err(ErrorCode::IdempotencyConflict);
            }
            return Ok(Some(keyed.remembered.decided.clone()));
        }
        if self.known.len() as u64 >= u64::from(limits.idempotency_keys_max) {
            return Err(ErrorCode::SessionsFull);
        }
        Ok(None)
    }

    /// Remembers how a request was decided, if that binds its key: it did something, or never will.
    pub fn bind(
        &mut self,
        principal: u64,
        key: &[u8],
        request: &Request<'_>,
        payload: &[u8],
        decided: &Decided,
        lease_ms: u64,
    ) {
        let mut decided = decided.clone();
        match &decided.outcome {
            Some(Outcome::Executed { applied, .. }) => {
                if !applied && request.otherwise.is_empty() {
                    return;
                }
                decided.kept = request.result.map(<[u8]>::to_vec);
            }
            Some(Outcome::Aborted(_)) => {}
            None => return,
        }
        let payload = request.result.is_none().then(|| payload.to_vec());
        let keyed = Keyed {
            used_ms: lease_ms,
            remembered: Remembered { payload, decided },
        };
        self.known.insert((principal, key.to_vec()), keyed);
    }
}
