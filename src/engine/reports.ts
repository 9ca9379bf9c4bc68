/** What the engine tells of itself, as the addon's JSON says it. Names end in units. */

/** What an engine says once it serves. */
export interface OpenReport {
  /** The node's identity, in hexadecimal. */
  readonly node: string;
  readonly directory: string;
  /** Where the log is, if not in it. */
  readonly logDirectory: string | null;
  /** What the directory stands on. */
  readonly fileSystem: "disk" | "memory" | "overlay" | "network";
  readonly logMode: "auto" | "inline" | "threaded";
  /** How writes are made durable, and the medians of 4 KiB writes that decided it. */
  readonly flush: {
    readonly method: string;
    readonly fdatasyncNs: number;
    readonly dsyncNs: number;
  };
  /** Null: the node is alone. */
  readonly cluster: ClusterReport | null;
  /** False: the node goes on trying to serve, `control` statistics tell more. */
  readonly ready: boolean;
  /** From the call of `openEngine` to serving. */
  readonly tookUs: number;
  /** What recovery found. */
  readonly recovery: RecoveryReport;
  /** What an operator must be told, a sentence each. */
  readonly warnings: readonly string[];
}

/** The cluster that the node belongs to. Identities are hexadecimal. */
export interface ClusterReport {
  readonly cluster: string;
  /** Where this node listens for the others. */
  readonly listens: string;
  /** All nodes, this one too, and where each is expected to listen. */
  readonly members: readonly { readonly node: string; readonly address: string }[];
}

/** What `prepare` made: a data directory for each node. */
export interface PreparedCluster {
  readonly cluster: string;
  readonly nodes: readonly {
    readonly node: string;
    readonly address: string;
    readonly directory: string;
  }[];
}

/** What recovery read and found. */
export interface RecoveryReport {
  readonly segments: number;
  readonly frames: number;
  readonly records: number;
  /** Log entries replayed, and the transactions in them. */
  readonly entries: number;
  readonly transactions: number;
  readonly snapshots: number;
  readonly snapshotKeys: number;
  /** Before recovery: lock, measuring the disk. */
  readonly prepareUs: number;
  readonly restoreUs: number;
  readonly replayUs: number;
  /** A write that a crash cut short; it was never acknowledged. */
  readonly torn: { readonly file: string; readonly offset: number; readonly bytes: number } | null;
  readonly damage: readonly {
    readonly file: string;
    readonly offset: number;
    readonly what: string;
    readonly groups: string;
  }[];
  /** Shards that serve nothing. */
  readonly damagedShards: readonly { readonly group: number; readonly why: string }[];
}

/** A distribution: quantiles to two digits. */
export interface Distribution {
  readonly count: number;
  readonly sum: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Counters since start and distributions of the engine's work; names end in units. */
export interface WorkStatistics {
  /** Turns of the node, and times the worker had nothing to do. */
  readonly turns: number;
  readonly parks: number;
  /** Times work came while the worker looked for it before sleeping. */
  readonly polled: number;
  /** Processor time of looking for work, found or not. */
  readonly pollCpuNs: number;
  /** Wake-ups of the JavaScript thread. */
  readonly wakeUps: number;
  readonly inboundRecords: number;
  readonly inboundBytes: number;
  /** Records that made no sense, and times the ring was unreadable: faults of the gateway's. */
  readonly inboundMalformed: number;
  readonly inboundFaults: number;
  readonly outboundReplies: number;
  readonly outboundFrames: number;
  readonly outboundBytes: number;
  /** Frames that had to wait for room in the ring. */
  readonly outboundBlocked: number;
  /** Background jobs, and those that failed. */
  readonly jobs: number;
  readonly jobsFailed: number;
  /** Bytes written to files of the log, those included that only make segments. */
  readonly logDiskBytes: number;
  /** How far the machine's clock is ahead of the one that stamps revisions; behind where negative. */
  readonly clockSkewMs: number;
  /** A turn without the log's write. */
  readonly turnNs: Distribution;
  /** A log write with its flush. */
  readonly logWriteNs: Distribution;
  readonly logWriteBytes: Distribution;
  /** Replies that one log write released. */
  readonly batchReplies: Distribution;
  /** Bytes waiting in the rings. */
  readonly inboundFillBytes: Distribution;
  readonly outboundFillBytes: Distribution;
  /** From a frame's arrival in the ring to its first reply's departure; sampled. */
  readonly requestNs: Distribution;
}

/** One shard. Revisions are decimal strings: they pass 2^53. */
export interface ShardStatistics {
  readonly group: number;
  /** The space's name; empty for the meta group. */
  readonly name: string;
  readonly leader: boolean;
  /** The node that leads it, as far as this one knows. */
  readonly ledBy: string | null;
  /** Where this node leads: how many entries the others are behind. */
  readonly lags: readonly { readonly node: string; readonly entries: number }[];
  readonly term: number;
  readonly appliedIndex: number;
  readonly revision: string;
  readonly leaseMs: number;
  readonly logBytes: number;
  readonly snapshotIndex: number;
  readonly keys: number;
  readonly bytes: number;
  readonly expiringKeys: number;
  readonly sessions: number;
  /** Answers and fences that sessions keep. */
  readonly sessionAnswers: number;
  readonly answerBytes: number;
  readonly idempotencyKeys: number;
  readonly overlayBytes: number;
}

/** The node, since start. */
export interface NodeStatistics {
  readonly node: string;
  readonly connections: number;
  readonly frames: number;
  readonly proposed: number;
  readonly reads: number;
  readonly refused: number;
  /** Requests waiting now, for their connection's turn or to be answered. */
  readonly queued: number;
  /** Requests refused because their connection had the most waiting when all had too much. */
  readonly crowded: number;
  /** Requests forgotten because their connection was gone. */
  readonly abandoned: number;
  /** What the work so far has cost: bytes read and answered, keys looked at, in bytes' worth. */
  readonly work: number;
  readonly entries: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly backlogBytes: number;
  readonly snapshots: number;
  /** Snapshots that could not be finished; each is tried again. */
  readonly snapshotsFailed: number;
  /** The last of those, or null: which shard, why, and when by the machine's clock. */
  readonly snapshotLastFailure: {
    readonly group: number;
    readonly why: string;
    readonly wallMs: number;
  } | null;
  readonly segments: number;
  /** Files of segments nobody needs that are kept for later ones. */
  readonly spareSegments: number;
  readonly diskLow: boolean;
  readonly draining: boolean;
  /** Messages of Raft between nodes: said, taken; dropped since they made no sense, contradicted what is committed, or found no room. */
  readonly messages: {
    readonly sent: number;
    readonly taken: number;
    readonly senseless: number;
    readonly contradictions: number;
    readonly withoutRoom: number;
  };
  /** Requests that this node handed on to those who lead, or was handed. */
  readonly handing: {
    readonly handed: number;
    readonly answered: number;
    /** Tried once more: whoever was asked did not lead. */
    readonly retried: number;
    /** Of which nobody knows what became. */
    readonly lost: number;
    /** Answers that nobody waited for any more. */
    readonly late: number;
    /** That waited until somebody led. */
    readonly waited: number;
    /** Refused since too much was handed on, or waited. */
    readonly spent: number;
    /** Of other nodes: past their deadline; beyond what they may hand on. */
    readonly overdue: number;
    readonly refused: number;
  };
  /** Snapshots sent to other nodes, and taken in. */
  readonly transfers: {
    readonly sent: number;
    readonly failed: number;
    /** Given up since they held up too much of the log. */
    readonly outgrown: number;
    readonly takenIn: number;
    readonly givenUp: number;
    readonly installed: number;
  };
  /** Shards that serve nothing: damaged, or their log holds what can't be applied. */
  readonly stopped: readonly StoppedShard[];
  /** All others. */
  readonly shards: readonly ShardStatistics[];
}

/** A shard that serves nothing until somebody looks at it. */
export interface StoppedShard {
  readonly group: number;
  /** The space's name; empty for the meta group, and where it can't be told. */
  readonly name: string;
  readonly why: string;
}

/** The answer to `statistics`. */
export interface Statistics {
  readonly engine: {
    readonly node: string;
    readonly directory: string;
    readonly logDirectory: string | null;
    readonly fileSystem: OpenReport["fileSystem"];
    readonly logMode: OpenReport["logMode"];
    readonly flush: OpenReport["flush"];
    readonly cluster: ClusterReport | null;
  };
  readonly work: WorkStatistics;
  readonly node: NodeStatistics;
  /** Null: the node is alone. */
  readonly peers: PeerStatistics | null;
}

/** The connections to the other nodes. */
export interface PeerStatistics {
  /** The other nodes that were heard of since the start. */
  readonly nodes: readonly {
    readonly node: string;
    readonly reached: boolean;
    /** Why not. */
    readonly why: string | null;
  }[];
  readonly lanes: readonly LaneStatistics[];
  /** Connections that came and never proved who they are, and what was wrong with the last of them. */
  readonly strangers: number;
  readonly lastStranger: string | null;
  /** Connections that came from nodes of the cluster and were refused. */
  readonly refused: number;
}

/** One lane to and from one node; counters since start. */
export interface LaneStatistics {
  readonly node: string;
  readonly lane: "control" | "log" | "requests" | "bulk";
  readonly connectedOut: boolean;
  readonly connectedIn: boolean;
  readonly sentFrames: number;
  readonly sentBytes: number;
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  /** Frames that found no connection or no room, or were lost with their connection. */
  readonly droppedFrames: number;
  readonly connects: number;
  /** Connections that ended, or could not be made. */
  readonly failures: number;
  /** Waiting to be sent, and to be taken in. */
  readonly queueBytes: number;
  readonly inboxBytes: number;
}

/** Something an operator should read: a sentence, how much it matters (a warning if it does not say), what it is about. */
export interface Notice {
  readonly message: string;
  readonly level?: "info" | "warn";
  readonly [field: string]: string | number | undefined;
}

/** What an open engine can be asked, and what it answers. */
export interface Controls {
  statistics: Statistics;
  /**
   * Snapshots what has changed; answered when it is on disk: the shards, and the index of the last
   * entry each snapshot holds. Rejects, with the shards and why, when one failed; it is tried again.
   */
  snapshot: { readonly taken: readonly { readonly group: number; readonly index: number }[] };
  /** What the operator was not told yet, once each; `forgotten`: how many more there were. */
  notices: { readonly notices: readonly Notice[]; readonly forgotten: number };
  /** Refuses new requests and finishes the accepted ones; answered when that is done. */
  drain: Readonly<Record<string, never>>;
}

/** What becomes of an engine that is closed. */
export interface CloseReport {
  /** False: what was accepted was not finished in time, or the engine had failed before. */
  readonly drained: boolean;
}

/** What `check` found. */
export interface CheckReply {
  /** Nothing acknowledged is damaged or missing. */
  readonly healthy: boolean;
  /** All of it for a person. */
  readonly text: string;
  /** All of it for programs. */
  readonly report: {
    readonly healthy: boolean;
    readonly frames: number;
    readonly records: number;
    readonly findings: readonly CheckFinding[];
    readonly [field: string]: unknown;
  };
}

/** Something `check` found, the worst first. */
export interface CheckFinding {
  readonly severity: "damage" | "torn" | "note";
  readonly file: string;
  readonly offset: number;
  readonly what: string;
  readonly means: string;
  readonly action: string;
  /** Shards that are not served because of it, in decimal. */
  readonly groups: readonly string[] | "all";
}
