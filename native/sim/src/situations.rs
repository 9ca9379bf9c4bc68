//! What a run has to have met: a simulation that never saw a torn write proves
//! nothing about torn writes.

use std::collections::BTreeMap;

macro_rules! situations {
    ($($name:ident: $text:literal),* $(,)?) => {
        /// Something that must have happened at least once over all seeds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Situation { $(#[doc = $text] $name),* }

        impl $crate::situations::Named for Situation {
            const ALL: &'static [Self] = &[$(Self::$name),*];

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        /// How often each situation occurred.
        pub type Situations = $crate::situations::Counts<Situation>;
    };
}
pub(crate) use situations;

/// Situations of a kind of worlds.
pub trait Named: Copy + Ord + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// For a person.
    fn text(self) -> &'static str;
}

/// How often each situation occurred.
#[derive(Clone, Debug)]
pub struct Counts<S>(BTreeMap<S, u64>);

impl<S> Default for Counts<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Named> Counts<S> {
    /// It happened.
    pub fn note(&mut self, situation: S) {
        *self.0.entry(situation).or_default() += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (situation, count) in &other.0 {
            *self.0.entry(*situation).or_default() += count;
        }
    }

    /// How often it happened.
    pub fn count(&self, situation: S) -> u64 {
        self.0.get(&situation).copied().unwrap_or_default()
    }

    /// Those that never happened.
    pub fn missing(&self) -> Vec<S> {
        S::ALL
            .iter()
            .copied()
            .filter(|each| self.count(*each) == 0)
            .collect()
    }
}

situations! {
    CrashIdle: "crash between writes",
    CrashInWrite: "crash while a group commit was on its way",
    CrashInJob: "crash while a background job ran",
    CrashInBoot: "crash during recovery",
    CrashInFounding: "crash while the node was founded",
    TornTail: "recovery cut a torn tail",
    FlushFailed: "a flush failed and the node ended",
    WriteFailed: "a write failed and the node ended",
    DiskFull: "a write was refused for want of disk space",
    DiskFreed: "the disk had room again and writes went on",
    BitFlipFound: "a flipped bit was found at recovery",
    BitFlipHarmless: "a flipped bit hit nothing that matters",
    LostWriteFound: "a write the disk had lost was found missing",
    LostTail: "the disk lost its last write: the documented limit",
    MisdirectedFound: "a misdirected write was found",
    SnapshotLost: "a snapshot that was removed was missed",
    SnapshotRenamed: "a snapshot under another name was noticed",
    SnapshotsSwapped: "snapshots that changed places were noticed",
    SnapshotOlder: "an older snapshot in place of the present one was noticed",
    IdentityLost: "an identity that was removed was missed",
    IdentityOlder: "an older identity was noticed",
    SegmentLost: "a segment that was removed was missed",
    SegmentOlder: "an older segment was noticed",
    LogLost: "a log that was removed was missed",
    LogOlder: "an older log was noticed",
    LogEndOlder: "the log's last segment came back as it was prepared: the documented limit",
    LossHarmless: "a file that went was not needed",
    LossMended: "a directory was whole again when its files were put back",
    LivedDamaged: "a world lived on with a damaged shard",
    LivedMended: "the file of a damaged shard was put back, and it went on as if nothing had been",
    Stopped: "an entry of a later program stopped its shard, and the world lived on",
    StoppedGoesOn: "the later program came, and the shard went on as if nothing had been",
    StoppedMoved: "what a stopped shard needs of the log stands behind where it was written",
    DamagedRefused: "a request to a damaged shard was refused",
    Snapshot: "a snapshot was finished",
    SnapshotRestored: "recovery began from a snapshot",
    SnapshotStruck: "an error of the disk struck a snapshot's file",
    SnapshotFull: "a snapshot found the disk full",
    SnapshotAfterFailure: "a snapshot was finished after one that had failed, without a restart",
    SnapshotOfDropped: "a space was dropped while its snapshot was written",
    RemovalFailed: "a snapshot nobody needs could not be removed at once",
    SnapshotsAsked: "who asked for snapshots heard which were taken",
    SnapshotsAskedFailed: "who asked for snapshots heard that some failed",
    StartWithoutRoom: "a node started on a disk too full to say so",
    LogShort: "a world ended with a snapshot of everything and a short log",
    CalmLogShort: "so did a long world without a restart",
    WriteDuringSnapshot: "writes were applied while a snapshot was taken",
    SegmentRemoved: "a log segment was reclaimed",
    SegmentKept: "a log segment that nobody needs could not be removed",
    SegmentReused: "a log segment was made of one that nobody needed",
    SegmentNotRetired: "a log segment that nobody needs could not be kept for a later one",
    SegmentFull: "a log segment could not be prepared for want of disk space",
    Retry: "a request was sent again",
    Replayed: "an answer came from the session",
    Duplicate: "the network delivered a frame twice",
    LateSession: "a session came back late",
    ClonedSession: "two connections used one session",
    Superseded: "an older connection of a session was refused",
    SessionExpired: "a session was too old to be known",
    Conflict: "another payload came under a used request id",
    WindowExceeded: "a sequence beyond the window was refused",
    Stale: "an acknowledged sequence was asked for again",
    OutcomeApplied: "an outcome request was told: applied",
    OutcomeNever: "an outcome request was told: never",
    Fenced: "a fenced request was refused",
    GuardFailed: "a guard failed",
    ElseRan: "the else branch ran",
    Aborted: "a transaction was aborted midway",
    Phantom: "a range guard saw a change",
    Expired: "a key expired",
    CrossShard: "a transaction over two spaces was refused",
    Garbage: "bytes that are no frame were refused",
    RefusedAtDoor: "a request was refused at the door, and is in no entry",
    LargeEntry: "an entry near the longest that the log takes",
    TooLarge: "a request too long for an entry was refused",
    LeaseKept: "lease time kept up with the monotonic clock",
    Deadline: "a request waited past its deadline",
    WallForward: "the wall clock jumped forward",
    WallBackward: "the wall clock jumped back",
    Paused: "the node paused for a long time",
    SpaceCreated: "a space was created",
    SpaceDropped: "a space was dropped",
    IdempotentReplay: "an idempotency key was used again",
    KeyConflict: "another payload came under a used idempotency key",
    DecidedByKey: "an idempotency key answered a request of another id",
    LimitsChanged: "a node started with other limits",
    LimitsTaken: "a shard took other limits over through its log",
    RepliesFull: "a turn's replies were full and the next turn went on",
    Queued: "requests waited for their connection's turn",
    Crowded: "too much waited and the greediest connection was refused",
    Abandoned: "a connection went while requests of its waited",
    Drained: "a node was drained and stopped",
    SlotReused: "a slot was used again by another connection",
}
