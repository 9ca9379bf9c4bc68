//! A snapshot's walk over the sessions, and their form in a snapshot.
//!
//! The walk follows the list from the session longest unused, and so tells all in
//! the order of last use as of its beginning. A session that is used or forgotten
//! before the walk reached it is written down at once, as it was, and told when
//! its turn comes; used ones move to the end of the list, behind everything the
//! walk still wants.
//!
//! ```text
//! session  birth u64   nonce u64   principal u64   epoch u64   acked_below u64
//!          last_used_ms u64   touched u64   answers u32   zero u32, then for each answer
//! answer   sequence u64   hash u64   revision u64, then the answer itself
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::{NONE, Session, SessionId, Sessions, Slot, Window};
use crate::answer::Answer;
use crate::bytes::Cursor;
use crate::keys::Moment;

/// The state of a walk.
pub(super) struct SessionWalk {
    begin_revision: u64,
    /// The session of the list to tell next.
    next: u32,
    /// Sessions written down ahead of the walk, by the revision of their last use.
    kept: BTreeMap<u64, Vec<u8>>,
    kept_bytes: usize,
}

impl Sessions {
    /// Begins a walk over the sessions as they are now.
    pub fn begin_walk(&mut self, begin_revision: u64) {
        let next = self.oldest;
        self.walk = Some(SessionWalk {
            begin_revision,
            next,
            kept: BTreeMap::new(),
            kept_bytes: 0,
        });
    }

    /// Ends the walk, complete or not.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Tells sessions until `out` has grown to `bytes_target`; how many, and whether that is all.
    pub fn walk_on(&mut self, bytes_target: usize, out: &mut Vec<u8>) -> (u32, bool) {
        let Some(mut walk) = self.walk.take() else {
            return (0, true);
        };
        let mut count = 0;
        let done = loop {
            let listed = (walk.next != NONE).then(|| self.session(walk.next));
            let listed = listed.filter(|session| session.touched <= walk.begin_revision);
            if listed.is_none() {
                walk.next = NONE;
            }
            if listed.is_none() && walk.kept.is_empty() {
                break true;
            }
            if out.len() >= bytes_target {
                break false;
            }
            let kept_first = walk
                .kept
                .first_entry()
                .filter(|kept| listed.is_none_or(|session| *kept.key() < session.touched));
            if let Some(kept) = kept_first {
                let session = kept.remove();
                walk.kept_bytes -= session.len();
                out.extend_from_slice(&session);
            } else if let Some(session) = listed {
                write_session(session, out);
                walk.next = session.newer;
            }
            count += 1;
        };
        self.walk = Some(walk);
        (count, done)
    }

    /// Memory of the sessions written down ahead of the walk.
    pub fn walk_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.kept_bytes)
    }

    /// Writes a session down before it changes, if the walk still wants it.
    pub(super) fn keep_for_walk(&mut self, at: u32) {
        let Some(mut walk) = self.walk.take() else {
            return;
        };
        if walk.next != NONE {
            let session = self.session(at);
            let wanted = session.touched <= walk.begin_revision
                && session.touched >= self.session(walk.next).touched;
            if wanted {
                let mut bytes = Vec::new();
                write_session(session, &mut bytes);
                walk.kept_bytes += bytes.len();
                walk.kept.insert(session.touched, bytes);
            }
            if walk.next == at {
                walk.next = session.newer;
            }
        }
        self.walk = Some(walk);
    }
}

fn write_session(session: &Session, out: &mut Vec<u8>) {
    let words = [
        session.id.birth,
        session.id.nonce,
        session.principal,
        session.epoch,
        session.window.acked_below(),
        session.last_used_ms,
        session.touched,
    ];
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let answers = u32::try_from(session.window.len()).expect("a window fits 32 bits");
    out.extend_from_slice(&answers.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for slot in session.window.slots() {
        for word in [slot.sequence, slot.hash, slot.revision] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        slot.answer.write(out);
    }
}

/// Reads a session; `None` if it is not one, or from after the snapshot's moment.
pub(crate) fn read_session(cursor: &mut Cursor<'_>, now: Moment) -> Option<Session> {
    let id = SessionId {
        birth: cursor.u64()?,
        nonce: cursor.u64()?,
    };
    let (principal, epoch, acked_below) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let used = Moment {
        lease_ms: cursor.u64()?,
        revision: cursor.u64()?,
    };
    if used.revision > now.revision || used.lease_ms > now.lease_ms || id.birth > used.revision {
        return None;
    }
    let (answers, zero) = (cursor.u32()?, cursor.u32()?);
    if zero != 0 {
        return None;
    }
    let mut slots = VecDeque::new();
    for _ in 0..answers {
        let (sequence, hash, revision) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let answer = Answer::read(cursor)?;
        if revision > now.revision {
            return None;
        }
        slots.push_back(Slot {
            sequence,
            hash,
            revision,
            answer,
        });
    }
    let window = Window::restored(acked_below, slots)?;
    Some(Session::new(id, principal, epoch, used, window))
}
