//! A snapshot's walk over the sessions, and their form in a snapshot.
//!
//! The walk follows the list from the session longest unused. A session that
//! is used or forgotten before the walk reached it is written down at once, as
//! it was; used ones move to the end of the list, behind everything the walk
//! still wants.
//!
//! ```text
//! session  birth u64   nonce u64   principal u64   epoch u64   acked_below u64
//!          last_used_ms u64   touched u64   answers u32   zero u32, then for each answer
//! answer   sequence u64   hash u64   revision u64, then the answer itself
//! ```

use std::collections::VecDeque;

use super::{NONE, Session, SessionId, Sessions, Slot, Window};
use crate::answer::Answer;
use crate::bytes::Cursor;
use crate::keys::Moment;

/// The state of a walk.
pub(super) struct SessionWalk {
    begin_revision: u64,
    /// The session to tell next.
    next: u32,
    /// Sessions written down ahead of the walk.
    kept: Vec<u8>,
    kept_count: u32,
}

impl Sessions {
    /// Begins a walk over the sessions as they are now.
    pub fn begin_walk(&mut self, begin_revision: u64) {
        let next = self.oldest;
        self.walk = Some(SessionWalk {
            begin_revision,
            next,
            kept: Vec::new(),
            kept_count: 0,
        });
    }

    /// Ends the walk, complete or not.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Tells sessions until `out` has grown to `bytes_target`; how many, and whether that is all.
    /// More than were asked for may come, if they were written down ahead of the walk.
    pub fn walk_on(&mut self, bytes_target: usize, out: &mut Vec<u8>) -> (u32, bool) {
        let Some(mut walk) = self.walk.take() else {
            return (0, true);
        };
        let mut count = std::mem::take(&mut walk.kept_count);
        out.append(&mut walk.kept);
        while out.len() < bytes_target && walk.next != NONE {
            let session = self.session(walk.next);
            if session.touched > walk.begin_revision {
                walk.next = NONE;
                break;
            }
            write_session(session, out);
            count += 1;
            walk.next = session.newer;
        }
        let done = walk.next == NONE;
        self.walk = Some(walk);
        (count, done)
    }

    /// Memory of the sessions written down ahead of the walk.
    pub fn walk_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.kept.len())
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
                write_session(session, &mut walk.kept);
                walk.kept_count += 1;
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
