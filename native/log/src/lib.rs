//! The write-ahead log of a node and its snapshot files. This comment is the
//! specification of the log's format and of the rule by which a torn write is
//! told from rot; [`snapshot`] holds that of snapshots.
//!
//! The crate decides and lays out bytes; it does no IO of its own: [`Writer`]
//! builds [`LogWrite`]s and [`Job`]s, [`run_write`] and [`run_job`] carry them out
//! on a [`Disk`], [`open`], [`check()`] and [`dump()`] read one. There is no clock, no
//! thread and no randomness here: random numbers come from the caller.
//!
//! # Use
//! [`open`] opens a directory (or founds a node in an empty one) and gives a
//! [`Writer`] and a [`Verdict`]: from where each group starts. Then, over and over:
//! [`Writer::append`] records; when no commit is on its way, [`Writer::seal`] makes one
//! of all that was appended; [`run_write`] makes it durable; [`Writer::on_written`].
//! Jobs of [`Writer::take_job`] go to the background through [`run_job`], their results
//! to [`Writer::on_job`]. After a few milliseconds without work, and at the stop,
//! [`Writer::idle_mark`]. A commit that failed is final: [`Writer::on_write_failed`],
//! and the node ends.
//!
//! # Files
//! One log for all groups of the node: segments `wal/0000000001.log` and so on,
//! numbered without a gap. A segment is made under the ending `.tmp`, in the background,
//! long before the present one's seal names it: its header is written and synced, then it
//! is renamed, and the directory synced. So a segment under its own name is whole. Its file
//! is a new one, filled with zeros to its full length, or a *spare*, that of a segment
//! nobody needs (`wal/0000000001.spare`). All integers are little endian; all offsets and
//! lengths of frames are multiples of 4096.
//!
//! The first block is the file header, twice, 2048 bytes each:
//! ```text
//!    0  magic      8   "DOMPLOG\n"; of a snapshot "DOMPSNP\n"
//!    8  version    4   3
//!   12  zero       4
//!   16  number     8   of the segment; of a snapshot, the Raft index
//!   24  group      8   of a snapshot; of a segment 0
//!   32  salt       8   random
//!   40  bytes      8   length of the segment; of a snapshot 0
//!   48  replica    8   of a snapshot; of a segment 0
//!   56  earlier    8   of a segment: salt of the segment whose file this was before; 0: of none
//!   64  zero
//! 2044  crc32c     4   over the 2044 bytes before
//! ```
//! If one copy is damaged the other counts; if both are, both salts are known from the
//! seal of the segment before, where there is one. A file of another version is
//! refused by name.
//!
//! # Tags
//! A disk writes sectors of 512 bytes whole or not at all. Each sector of a frame ends in a
//! *tag* of 8 bytes: the xxh3-64 of its offset in the file (8 bytes), seeded with the
//! file's salt, with the bits of 8040201008040201 (hexadecimal) set. So what a sector
//! holds is told by its end:
//!
//! - the tag of this salt and this place: it was *written*;
//! - zeros, or the tag of the earlier salt and this place: it is *blank*, which means not written, or not
//!   to its end;
//! - anything else is *foreign*: rot, or a write that went astray.
//!
//! A tag has eight bits at least, and shares about half of the others with that of an earlier pass: a few
//! flipped bits make no written sector look blank. No byte that a client sent ever stands in a tag's place,
//! and salts never leave the node, so stored values can forge neither tags nor frames.
//!
//! # Frames
//! From 4096 on, one behind the other. A group commit is one frame, or several
//! where one would be too large or the segment ends.
//! ```text
//! header           512   one sector
//! payload        512 p   records, then zeros
//! table                  in sectors of 63 words of 8 bytes; then zeros to the frame's end
//! ```
//! The words of the table: for each of the frame's n blocks the xxh3-64 of those of its bytes that are in
//! sectors of payload, tags included, seeded with salt ^ its offset in the file; then for each of the p
//! sectors of payload the 8 bytes that its tag stands on. With them in their places the payload is whole, one
//! piece. p and n are the smallest numbers that hold all this.
//!
//! The header:
//! ```text
//!   0  magic           8   "DOMPFRM\n"
//!   8  salt            8   of the file
//!  16  number          8   of the file
//!  24  offset          8   of the frame in the file
//!  32  sequence        8   one more than the frame's before, across segments; the first is 1
//!  40  synced_through  8   every frame up to this one was durable before this one was written
//!  48  oldest_segment  8   nothing in segments below is needed
//!  56  next_segment    8   of a seal: the number of the next segment; otherwise 0
//!  64  next_salt       8   of a seal: its salt; otherwise 0
//!  72  next_earlier    8   of a seal: salt of the segment whose file the next one was before, or 0
//!  80  length          4   of the frame
//!  84  payload_bytes   4   a multiple of 8
//!  88  records         4   how many
//!  92  kind            1   1 records, 2 mark, 3 seal (4 to 6: of snapshots)
//!  93  zero            1
//!  94  groups          2   how many are listed, at most 45: the frame ends where there would be more
//!  96  previous       16   digest of the frame before; of the very first 0
//! 112  table_digest   16   xxh3-128, seeded with the salt, from the table to the frame's end
//! 128  digest         16   xxh3-128, seeded with the salt, over bytes 0 to 504 with this field zero
//! 144  group ids     360   of all records in it, ascending; then zero
//! 504  tag             8
//! ```
//! So the digest covers every byte of the frame through the table, and through
//! `previous` every frame before. The checksum that finds a bad block is 64 bits,
//! the one that chains frames 128.
//!
//! A *mark* has no payload; it is written when the log falls idle, and says by
//! `synced_through` that all before it was synced. A *seal* is the last frame of a
//! segment; room for it is always kept. Records are as `log.fbs` lays them out:
//! a header of 48 bytes with a crc32c over header and body, the body, zeros to a
//! multiple of 8.
//!
//! # Records
//! Each is of one replica of a group, or of the node (group 2^64 - 1, its id in place
//! of the replica's). A group has at most one replica on a node at a time. Records of a
//! kind that is not known, of one that is kept for a later time, or with a body that
//! its kind can't have, damage the groups of their frame, as rot does.
//!
//! - *Entry*: a Raft entry. The log does not look into it.
//! - *Hard state*: term, vote, commit; the snapshot that must be there (index, term,
//!   digest); where the log starts. A replica's latest one counts. It stands behind the
//!   entries that it commits: a commit index beyond the log's end is damage.
//! - *Founding*: what makes a group out of nothing; needed until there is a snapshot.
//! - *Drop*: ends the replica. Nothing of it is needed any more.
//! - *Incarnation*: a start of the node: number, nonce, and the last frame it found.
//! - *Groups*: the latest incarnation, then group and replica of each that has a hard
//!   state in the log and was not dropped, ascending. It is the first record of the first
//!   frame of every segment but the first, and stands nowhere else. Of each that the
//!   oldest segment lists, the log has a hard state or the drop, or else the group is
//!   damaged; if that list can't be read, all are.
//!
//! # Torn or corrupt
//! Frames are read while they are good and chained. Let *s* be the sequence that
//! the first bad one has or should have. It was acknowledged, perhaps, if its
//! write ended; it never was if its write was cut short. What tells:
//!
//! 1. A later frame, in this segment or a later one, whose header is good and says
//!    `synced_through >= s`: the frame was durable once. **Corrupt.** (The header
//!    is enough: it was made after the sync, whatever became of the rest. Frames
//!    of the same commit do not say so, since they were on their way together.)
//! 2. Otherwise it is the last commit. It is **torn** if some of it was never
//!    written and all that was written is right; if all was written and something
//!    is wrong, it is **corrupt**.
//!
//! *Never written* must not be mistaken, and is told by tags alone: a block is wrong but excused only if
//! a sector of it is blank and none is foreign; so is the table. Where the header's own sector is blank
//! no frame was begun, or its write was cut short. Where it is there but can't be read, the frame was
//! never finished only if a sector of its first block is blank; a header of another file, or of another
//! place, is corruption in any case: that is what a misdirected write leaves. (One of an earlier pass, at
//! its own old place, is blank.) So is a good frame that does not continue the chain.
//!
//! *Corrupt*: nothing is changed. File, offset and groups are reported; the groups
//! are those the header lists, or all where it cannot be read. They must not be
//! served. Reading goes on behind the frame, for the other groups. The segment is
//! kept until the damaged groups are dropped.
//!
//! *Torn*: the frame and all behind it that is not blank is cut, which means overwritten with zeros,
//! durably, before anything is appended. A crash while zeros are written leaves a
//! frame with fewer sectors: torn still, and its followers vouch for nothing.
//!
//! Where writes pass through a cache ([`Disk::is_cached`]), a flush that failed may have
//! left frames there that look written and never will be. So those that no later frame
//! vouches for are written once more, as they were read, and synced, before anything
//! rests on them.
//!
//! # Segments that are no longer needed
//! A hard state that says another place where the log begins than the one before it makes all entries
//! of its replica that stand before it void: a snapshot of another replica was installed. They may go
//! when it is durable.
//!
//! A segment may go when, of every replica, its entries in it are covered by the
//! snapshot that a durable hard state names (or lie before the log's start, or stand once
//! more in later segments, all that follow them too), its founding
//! is made up for by such a snapshot, and a later hard state exists; and when the list
//! that the segment behind it begins with can be read. The decision is written then:
//! the last frame of a commit bears it in `oldest_segment`; when that is durable the
//! files are removed, or kept as spares: a few, of the length that segments have in the end,
//! where all frames to the seal are known to be right and the disk has room. What is behind the seal is
//! zeroed and synced, so that a spare's sectors are of one salt or blank; then it is renamed. It becomes
//! another segment under the ending `.tmp`; should a crash undo that name alone, the header's number
//! tells that it is a spare no more. So a segment that is missing though needed is noticed, and one
//! that came back is ignored. While anything is damaged, the next start removes no
//! segment that came back.
//!
//! The order at a snapshot's end is: its file durable; the hard state that names it
//! durable; the older file removed, segments reclaimed.
//!
//! # The directory
//! Beside `wal/` there are `snap/` ([`snapshot`]) and the file `identity` ([`identity`]).
//! A *position* is sequence and digest of a frame: the digest covers all before it.
//! Each snapshot and the identity name one, so they and the log can't be put
//! back one without the other. A new directory gets `identity.new`, durably, then
//! the first segment, then `identity` its name. Every start recovers the log, syncs
//! it, replaces `identity` (one incarnation more, the position found), writes
//! an incarnation before anything else, and replaces `identity` again (the position of
//! that). What must exist, and what follows where it does
//! not, is one rule for [`open`] and [`check()`]:
//!
//! | what is found | what follows |
//! |---|---|
//! | `identity` without a log, a log with frames or snapshots without `identity` | all damaged |
//! | a log without frames, and no `identity` | founding goes on |
//! | the log ends before the position of `identity` or of a snapshot | all damaged: the log was put back |
//! | another frame at the position of `identity`, or a log of another node | all damaged |
//! | the log's last incarnation is not that of `identity` or the one before | all damaged |
//! | the snapshot a hard state names is missing, or another (term, digest) | its group damaged |
//! | a snapshot of another node, or of another replica or index than its name says | its group damaged |
//! | a newer snapshot, which no hard state names, and the log holds its position | it is adopted |
//! | the same, and the log does not | its group damaged |
//! | the same, and it can't be read | told; what is named makes up for it |
//! | an older snapshot, or of a replica that is no more | removed, unless its group is damaged |
//! | committed entries that are not in the log, nor in the snapshot named | their group damaged |
//! | spares of the right length | kept, as many as wanted; others are removed |
//! | a received snapshot that a hard state names | it gets its name |
//! | `.tmp`, other `.recv`, `identity.new` beside `identity` | removed, or written over |
//!
//! # What one disk alone cannot tell
//! - The loss of the very last commit, with no mark behind it, looks as if it had
//!   never been written: a disk that lies about a flush, or loses a write, within
//!   the milliseconds before the log falls idle.
//! - Sectors of the very last commit that turn to zeros, or to what an earlier pass left there, look torn.
//! - The last segment put back as it was when it was prepared looks as if nothing had
//!   been written to it, if the node has not started since, nor taken a snapshot.
//! - A directory put back whole, as it was earlier, is whole.

#![deny(unsafe_code)]

mod aligned;
mod body;
mod bytes;
mod check;
mod config;
mod disk;
mod dump;
mod frame;
pub mod identity;
mod job;
mod layout;
mod ledger;
pub mod memory;
mod open;
mod record;
mod recover;
mod report;
mod sector;
pub mod snapshot;
mod verdict;
mod walk;
mod window;
mod writer;

pub use aligned::{AlignedBuf, BLOCK_BYTES};
pub use body::{
    Founding, GroupsList, HARD_STATE_BYTES, HardState, Incarnation, Position, SnapshotName,
    Timeline,
};
pub use check::{
    Applier, CheckReport, Finding, GroupCheck, SegmentCheck, Severity, SnapshotCheck, check,
};
pub use config::{ConfigError, LogConfig};
pub use disk::{Disk, FileInfo};
pub use dump::{Describe, DumpFilter, dump};
pub use frame::FrameKind;
pub use identity::Identity;
pub use job::{Job, JobResult, JobTag, LogWrite, NewSegment, Spare, WritePart, run_job, run_write};
pub use layout::{FORMAT_VERSION, segment_name, spare_name};
pub use ledger::{Pin, PinReason};
pub use memory::{Fault, FaultCounts, MemoryDisk, Tear};
pub use open::{Drawn, Opened, open, replay};
pub use record::{NODE_GROUP, Record, RecordKind};
pub use recover::{RecoverError, Recovery, recover};
pub use report::{Damage, DamagedGroups, Note, Report, Torn};
pub use verdict::{GroupVerdict, Verdict};
pub use writer::{AppendError, Space, Statistics, Writer};
