//! A leader's half: a file is read in pieces, a window of them is under way, and what is not taken in time is
//! said again. Knows no shards and no node.

use std::collections::VecDeque;

use domp_log::Job;
use domp_log::snapshot::{PieceKind, ReadPlace, SnapshotInfo, SnapshotPiece};
use domp_protocol::generated::peer::SnapshotWord;

use super::wire::Saying;

/// Bytes that may be under way to a replica, and lie in the memory of both nodes.
pub const WINDOW_BYTES: u64 = 1 << 20;
/// The longest piece.
const PIECE_BYTES: usize = 128 << 10;
/// Without a word, what was said is said again.
const AGAIN_US: u64 = 1_000_000;
/// Without any progress, it failed.
pub const STALL_US: u64 = 20_000_000;
/// How long the crate may take to begin what was offered to it.
const BEGIN_US: u64 = 2_000_000;

/// How far the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    /// There is more of it.
    Open,
    /// A job reads it.
    BeingRead,
    /// All was read.
    Read,
}

/// See the module.
pub struct Sending {
    /// What every message of the attempt bears.
    pub base: Saying,
    pub info: SnapshotInfo,
    place: ReadPlace,
    /// The group has begun it: its replica waits for it.
    has_begun: bool,
    is_accepted: bool,
    file: File,
    /// Said, and not taken yet: (offset, word, bytes).
    open: VecDeque<(u64, SnapshotWord, Vec<u8>)>,
    /// How many of those were said since they were last begun with.
    said: usize,
    sent: u64,
    taken: u64,
    restored: u64,
    progress_at_us: u64,
    heard_at_us: u64,
}

impl Sending {
    pub fn new(base: Saying, info: SnapshotInfo, now_us: u64) -> Self {
        Self {
            base,
            info,
            place: ReadPlace::default(),
            has_begun: false,
            is_accepted: false,
            file: File::Open,
            open: VecDeque::new(),
            said: 0,
            sent: 0,
            taken: 0,
            restored: 0,
            progress_at_us: now_us,
            heard_at_us: now_us,
        }
    }

    /// The group waits for it to be taken in.
    pub fn begin(&mut self, now_us: u64) {
        self.has_begun = true;
        self.progress_at_us = now_us;
        self.heard_at_us = now_us;
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What was said may be lost.
    pub fn on_lost(&mut self) {
        self.said = 0;
    }

    /// The next job, if one is needed and none is out.
    pub fn take_job(&mut self) -> Option<Job> {
        let may_read = self.is_accepted || self.place == ReadPlace::default();
        let is_wanted = self.has_begun
            && self.file == File::Open
            && may_read
            && self.sent - self.taken < WINDOW_BYTES;
        if !is_wanted {
            return None;
        }
        self.file = File::BeingRead;
        Some(Job::SnapshotRead {
            info: self.info.clone(),
            place: self.place,
        })
    }

    /// A piece was read.
    pub fn on_piece(&mut self, piece: SnapshotPiece, now_us: u64) {
        self.file = File::Open;
        self.place = piece.next;
        self.progress_at_us = now_us;
        match piece.kind {
            PieceKind::Head => self.open.push_back((0, SnapshotWord::offer, piece.bytes)),
            PieceKind::Slices => {
                for part in piece.bytes.chunks(PIECE_BYTES) {
                    self.open
                        .push_back((self.sent, SnapshotWord::piece, part.to_vec()));
                    self.sent += part.len() as u64;
                }
            }
            PieceKind::End => {
                self.file = File::Read;
                self.open
                    .push_back((self.sent, SnapshotWord::end, Vec::new()));
            }
        }
    }

    /// The replica says how far it is.
    pub fn on_taken(&mut self, taken: u64, restored: u64, now_us: u64) {
        self.heard_at_us = now_us;
        let is_news = !self.is_accepted || taken > self.taken || restored > self.restored;
        if taken > self.sent || !is_news {
            return;
        }
        self.progress_at_us = now_us;
        self.is_accepted = true;
        self.taken = self.taken.max(taken);
        self.restored = self.restored.max(restored);
        while let Some((offset, word, bytes)) = self.open.front()
            && match *word {
                SnapshotWord::offer => true,
                SnapshotWord::piece => offset + bytes.len() as u64 <= self.taken,
                _ => false,
            }
        {
            self.open.pop_front();
            self.said = self.said.saturating_sub(1);
        }
    }

    /// What is to be said now.
    pub fn say(&mut self, now_us: u64, mut put: impl FnMut(&Saying, &[u8])) {
        if now_us >= self.heard_at_us.saturating_add(AGAIN_US) {
            self.said = 0;
            self.heard_at_us = now_us;
        }
        for (offset, word, bytes) in self.open.iter().skip(self.said) {
            let saying = Saying {
                offset: *offset,
                word: *word,
                ..self.base
            };
            put(&saying, bytes);
        }
        self.said = self.open.len();
    }

    /// Whether it does not go on.
    pub fn is_stalled(&self, now_us: u64) -> bool {
        now_us >= self.ends_us()
    }

    fn ends_us(&self) -> u64 {
        let wait_us = if self.has_begun { STALL_US } else { BEGIN_US };
        self.progress_at_us.saturating_add(wait_us)
    }

    /// When to look at it again.
    pub fn next_us(&self) -> u64 {
        let again_us = self.heard_at_us.saturating_add(AGAIN_US);
        if self.open.is_empty() {
            self.ends_us()
        } else {
            self.ends_us().min(again_us)
        }
    }
}
