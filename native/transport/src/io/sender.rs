//! A connection that this node dialled: frames go out, notes of how much was taken come back.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domp_protocol::{NoteHead, PEER_FRAME_HEADER_BYTES, PeerFrameWriter};

use super::assembler::{closed, goodbye};
use super::socket::{Fault, Socket};
use crate::counters::add;
use crate::event::{Cause, ClosingReason};
use crate::shared::{LaneState, Peer, frame_bytes, lock};
use domp_protocol::Lane;

/// What is encrypted at a time.
const BATCH_BYTES: usize = 128 << 10;
/// Frames of it at most.
const BATCH_FRAMES: usize = 128;
/// What one lane sends before the others have their turn.
const TURN_BYTES: usize = 256 << 10;

struct OutFrame {
    header: [u8; PEER_FRAME_HEADER_BYTES],
    body: Vec<u8>,
    /// Of header and body, how much is with TLS.
    offset: usize,
}

impl OutFrame {
    fn left(&self) -> usize {
        frame_bytes(&self.body) - self.offset
    }
}

/// What a turn of sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// All that waited is sent, or waits for the socket.
    Done,
    /// There is more to send, in the next turn.
    More,
    /// The goodbye is said; nothing follows.
    Finished,
}

/// See the module.
pub(crate) struct Sender {
    pub peer: Arc<Peer>,
    pub lane: Lane,
    pub since: Instant,
    writer: PeerFrameWriter,
    out: VecDeque<OutFrame>,
    /// Of frames that are wholly with TLS and still count as queued.
    done_bytes: usize,
    sent_bytes: u64,
    taken_bytes: u64,
    /// When `taken_bytes` last rose, or `sent_bytes` left it behind.
    progress_at: Instant,
    notes: Vec<u8>,
    /// Ends when all has left.
    goodbye: Option<(ClosingReason, String)>,
}

impl Sender {
    pub fn new(peer: Arc<Peer>, lane: Lane, now: Instant) -> Self {
        Self {
            peer,
            lane,
            since: now,
            writer: PeerFrameWriter::default(),
            out: VecDeque::new(),
            done_bytes: 0,
            sent_bytes: 0,
            taken_bytes: 0,
            progress_at: now,
            notes: Vec::new(),
            goodbye: None,
        }
    }

    /// Takes no more, and says goodbye once all has left.
    pub fn end(&mut self, reason: ClosingReason, text: &str) {
        self.peer.lane(self.lane).seal();
        self.goodbye = Some((reason, text.to_owned()));
    }

    /// The connection is gone, and with it what had not left.
    pub fn shut(&self) {
        self.peer.lane(self.lane).shut(self.out.len());
    }

    /// Sends what waits.
    pub fn pump(&mut self, socket: &mut Socket, now: Instant) -> Result<Pumped, Fault> {
        let peer = self.peer.clone();
        let state = peer.lane(self.lane);
        let mut turn_bytes = 0;
        loop {
            if !socket.flush()? {
                return Ok(Pumped::Done);
            }
            if turn_bytes >= TURN_BYTES {
                return Ok(Pumped::More);
            }
            self.refill(state);
            if self.out.is_empty() {
                let Some((reason, text)) = self.goodbye.take() else {
                    return Ok(Pumped::Done);
                };
                self.say_goodbye(socket, reason, &text)?;
                return Ok(Pumped::Finished);
            }
            turn_bytes += self.encrypt(socket, state, now)?;
        }
    }

    /// Takes frames out of the queue for the next batch.
    fn refill(&mut self, state: &LaneState) {
        let mut bytes: usize = self.out.iter().map(OutFrame::left).sum();
        let mut bodies = Vec::new();
        {
            let mut queue = lock(&state.queue);
            queue.bytes -= std::mem::take(&mut self.done_bytes).min(queue.bytes);
            while bytes < BATCH_BYTES && self.out.len() + bodies.len() < BATCH_FRAMES {
                let Some(body) = queue.frames.pop_front() else {
                    break;
                };
                bytes += frame_bytes(&body);
                bodies.push(body);
            }
        }
        // Checksums take a while: outside of the lock.
        let frames = bodies.into_iter().map(|body| OutFrame {
            header: self.writer.header(&body),
            body,
            offset: 0,
        });
        self.out.extend(frames);
    }

    /// Hands TLS a batch; how much that was.
    fn encrypt(
        &mut self,
        socket: &mut Socket,
        state: &LaneState,
        now: Instant,
    ) -> Result<usize, Fault> {
        let mut slices = Vec::with_capacity(2 * self.out.len());
        let mut room = BATCH_BYTES;
        for frame in &self.out {
            let header_at = frame.offset.min(PEER_FRAME_HEADER_BYTES);
            let body_at = frame.offset - header_at;
            for part in [&frame.header[header_at..], &frame.body[body_at..]] {
                let part = &part[..part.len().min(room)];
                room -= part.len();
                if !part.is_empty() {
                    slices.push(IoSlice::new(part));
                }
            }
        }
        let written = socket.write(&slices)?;
        if self.sent_bytes == self.taken_bytes {
            self.progress_at = now;
        }
        self.sent_bytes += written as u64;
        let mut left = written;
        while let Some(frame) = self.out.front_mut() {
            let taken = frame.left().min(left);
            frame.offset += taken;
            left -= taken;
            if frame.left() > 0 {
                break;
            }
            let bytes = frame_bytes(&frame.body);
            self.done_bytes += bytes;
            add(&state.counting.sent_frames, 1);
            add(&state.counting.sent_bytes, bytes);
            self.out.pop_front();
        }
        Ok(written)
    }

    /// Says goodbye now, behind the frame that is half sent if there is one; what else waits is lost.
    pub fn say_goodbye(
        &mut self,
        socket: &mut Socket,
        reason: ClosingReason,
        text: &str,
    ) -> Result<(), Fault> {
        // Frames that were taken out of the queue have their numbers already.
        for frame in self.out.drain(..) {
            let header_at = frame.offset.min(PEER_FRAME_HEADER_BYTES);
            socket.write_all(&frame.header[header_at..])?;
            socket.write_all(&frame.body[frame.offset - header_at..])?;
        }
        socket.write_all(&self.writer.header(&[]))?;
        socket.write_all(&goodbye(reason, text))?;
        socket.finish();
        Ok(())
    }

    /// Takes what came back.
    pub fn take_notes(&mut self, bytes: &[u8], now: Instant) -> Result<(), Cause> {
        self.notes.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(head) = self.notes[at..].first_chunk() {
            let note =
                NoteHead::parse(head).map_err(|error| Cause::Malformed(error.to_string()))?;
            match note {
                NoteHead::Taken { bytes } => {
                    if bytes < self.taken_bytes || bytes > self.sent_bytes {
                        let text = format!("{bytes} bytes taken of {}", self.sent_bytes);
                        return Err(Cause::Malformed(text));
                    }
                    if bytes > self.taken_bytes {
                        self.progress_at = now;
                    }
                    self.taken_bytes = bytes;
                    at += NoteHead::BYTES;
                }
                NoteHead::Closing { length, .. } => {
                    let end = at + NoteHead::BYTES + length as usize;
                    let Some(bytes) = self.notes.get(at..end) else {
                        break;
                    };
                    return Err(closed(bytes));
                }
            }
        }
        self.notes.drain(..at);
        Ok(())
    }

    /// When the other side is silent, if it takes nothing till then.
    pub fn silent_at(&self, timeout: Duration) -> Option<Instant> {
        (self.sent_bytes > self.taken_bytes).then(|| self.progress_at + timeout)
    }
}
