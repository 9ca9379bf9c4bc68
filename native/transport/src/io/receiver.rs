//! A connection that another node dialled: frames come in, notes of how much was taken go back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domp_protocol::NoteHead;

use super::assembler::{Assembler, goodbye};
use super::socket::{Fault, Socket};
use crate::counters::add;
use crate::event::ClosingReason;
use crate::shared::{Peer, Shared, frame_bytes};
use domp_protocol::Lane;

/// What was taken is told at so many bytes at the latest...
const TELL_BYTES: u64 = 256 << 10;
/// ... or after so long: a note a frame would cost as much as short frames do.
const TELL_AFTER: Duration = Duration::from_millis(25);

/// See the module.
pub(crate) struct Receiver {
    pub peer: Arc<Peer>,
    pub lane: Lane,
    assembler: Assembler,
    frames: Vec<Vec<u8>>,
    taken_bytes: u64,
    told_bytes: u64,
    tell_at: Option<Instant>,
    is_paused: bool,
}

impl Receiver {
    pub fn new(peer: Arc<Peer>, lane: Lane, frame_bytes_max: u32) -> Self {
        Self {
            peer,
            lane,
            assembler: Assembler::new(frame_bytes_max),
            frames: Vec::new(),
            taken_bytes: 0,
            told_bytes: 0,
            tell_at: None,
            is_paused: false,
        }
    }

    /// Whether nothing is read until the owner has polled.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Reads once, unless the owner has more than enough. The frames before a fault are handed on.
    pub fn take(
        &mut self,
        socket: &mut Socket,
        scratch: &mut [u8],
        shared: &Shared,
        now: Instant,
    ) -> Result<(), Fault> {
        self.is_paused = self.must_pause(shared);
        if self.is_paused {
            return Ok(());
        }
        let Self {
            assembler, frames, ..
        } = self;
        let mut taken = 0;
        let read = socket.read(scratch, |bytes| {
            taken += bytes.len() as u64;
            assembler.feed(bytes, frames)
        });
        self.taken_bytes += taken;
        let counting = &self.peer.lane(self.lane).counting;
        add(&counting.received_frames, frames.len());
        let bytes = frames.iter().map(|bytes| frame_bytes(bytes)).sum();
        add(&counting.received_bytes, bytes);
        shared.inbox.push_frames(&self.peer, self.lane, frames);
        read?;
        if self.taken_bytes - self.told_bytes >= TELL_BYTES {
            self.tell(socket, now)?;
        } else if self.taken_bytes > self.told_bytes {
            self.tell_at.get_or_insert(now + TELL_AFTER);
        }
        Ok(())
    }

    fn must_pause(&self, shared: &Shared) -> bool {
        let state = self.peer.lane(self.lane);
        let max = shared.options.lane(self.lane).inbox_bytes_max;
        if state.inbox_bytes.load(Ordering::SeqCst) < max {
            return false;
        }
        state.paused.store(true, Ordering::SeqCst);
        // The owner may have polled everything between the two looks, and would not do so again.
        let is_low = state.inbox_bytes.load(Ordering::SeqCst) <= max / 2;
        !(is_low && state.paused.swap(false, Ordering::SeqCst))
    }

    /// Tells how much was taken, or later if what was told before has not left.
    pub fn tell(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Fault> {
        self.tell_at = None;
        if !socket.flush()? {
            self.tell_at = Some(now + TELL_AFTER);
            return Ok(());
        }
        let bytes = self.taken_bytes;
        socket.write_all(&NoteHead::Taken { bytes }.encode())?;
        self.told_bytes = bytes;
        socket.flush()?;
        Ok(())
    }

    /// When [`Self::tell`] is due.
    pub fn tell_at(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Says goodbye; what still comes is not read.
    pub fn say_goodbye(
        socket: &mut Socket,
        reason: ClosingReason,
        text: &str,
    ) -> Result<(), Fault> {
        socket.write_all(&goodbye(reason, text))?;
        socket.finish();
        Ok(())
    }
}
