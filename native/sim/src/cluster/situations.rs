//! What the worlds of clusters have to have met.

use crate::situations::situations;

situations! {
    Elected: "a leader was elected",
    LeaderCrashed: "a leader crashed",
    FollowerCrashed: "a follower crashed",
    AllCrashed: "all machines crashed at once",
    CrashInWrite: "a machine crashed while a group commit was on its way",
    FlushFailed: "a flush failed and the node ended",
    Paused: "a machine paused for a while",
    LeaderPaused: "a leader paused for longer than an election takes",
    Isolated: "a machine was cut off from all others",
    LeaderIsolated: "a leader was cut off from all others",
    CutBothWays: "two machines did not hear each other and the third heard both",
    CutOneWay: "one machine did not hear another, which heard it",
    Slow: "the network was slow for a while",
    ConnectionBroken: "a connection broke, and what was on its way was lost",
    FalseAlarm: "a machine believed another's process gone that was there",
    FrameRefused: "a frame was not the one due, or spoilt, and its connection ended",
    LeaderChanged: "a request was on its way to the disks when its leader changed",
    NoLeaderHere: "a request was refused by a node that does not lead",
    WallJumped: "a machine's wall clock jumped",
    WithoutRoom: "a follower had no room for a leader's entries",
    SpaceCreated: "a space was created",
    SpaceDropped: "a space was dropped",
    CaughtUp: "a machine that had missed entries caught up",
}
