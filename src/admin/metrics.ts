/** What `/metrics` tells: the gateway's counters, the engine's statistics, the process. */

import type {
  Distribution,
  LaneStatistics,
  NodeStatistics,
  PeerStatistics,
  ShardStatistics,
  Statistics,
  WorkStatistics,
} from "../engine/index.js";
import type { Counters } from "../gateway/index.js";
import { Exposition, type Summary } from "./exposition.js";

export interface MetricsSource {
  readonly version: string;
  /** Undefined until clients are let in. */
  readonly counters: Counters | undefined;
  /** Undefined while the engine can't be asked: it is opening, or has ended. */
  readonly statistics: Statistics | undefined;
  readonly process: ProcessFigures;
}

export interface ProcessFigures {
  readonly startSeconds: number;
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly cpuSeconds: number;
  /** How late the event loop ran, in seconds, since the last scrape. */
  readonly eventLoopDelay: { readonly p50: number; readonly p99: number; readonly max: number };
}

/** The metrics' text in Prometheus' format. */
export function renderMetrics(source: MetricsSource): string {
  const exposition = new Exposition();
  exposition.gauge("domp_info", "The server's version.", [
    { labels: { version: source.version }, value: 1 },
  ]);
  if (source.counters !== undefined) describeGateway(exposition, source.counters);
  describeProcess(exposition, source.process);
  exposition.gauge("domp_engine_up", "1 while the engine answers.", source.statistics ? 1 : 0);
  if (source.statistics !== undefined) {
    describeWork(exposition, source.statistics.work);
    describeNode(exposition, source.statistics);
    describeShards(exposition, source.statistics.node);
    describePeers(exposition, source.statistics.peers ?? NO_PEERS);
    describeTraffic(exposition, source.statistics.node);
  }
  return exposition.toString();
}

function describeGateway(exposition: Exposition, counters: Counters): void {
  const gauge = (name: string, help: string, value: number) =>
    exposition.gauge(`domp_gateway_${name}`, help, value);
  const counter = (name: string, help: string, value: number) =>
    exposition.counter(`domp_gateway_${name}_total`, help, value);
  gauge("sockets", "Sockets of clients open now, WebSocket and HTTP.", counters.socketsOpen);
  counter("sockets_accepted", "Sockets of clients accepted.", counters.socketsAccepted);
  counter(
    "heads_incomplete",
    "Sockets that ended without one whole, well-formed request head.",
    counters.headsIncomplete,
  );
  gauge(
    "client_memory_bytes",
    "Kept for clients: half frames, unread replies, HTTP bodies and answers.",
    counters.memoryBytes,
  );
  counter(
    "client_memory_shed",
    "Times that whoever held the most of a full memory gave way.",
    counters.memoryShed,
  );
  gauge(
    "connections",
    "WebSockets open now.",
    counters.connectionsOpened - counters.connectionsClosed,
  );
  gauge("connections_attached", "WebSockets that have said hello.", counters.connectionsAttached);
  counter("connections_opened", "WebSockets opened.", counters.connectionsOpened);
  counter("frames_received", "Messages received.", counters.framesIn);
  counter("received_bytes", "Bytes of messages received.", counters.bytesIn);
  counter("frames_sent", "Messages sent.", counters.framesOut);
  counter("sent_bytes", "Bytes of messages sent.", counters.bytesOut);
  counter("http_requests", "HTTP requests received.", counters.httpRequests);
  counter("stale_replies", "Replies for connections that were gone.", counters.repliesStale);
  exposition.counter(
    "domp_gateway_refusals_total",
    "Requests and connections the gateway turned away, by error.",
    [...counters.refusals].map(([code, value]) => ({ labels: { code }, value })),
  );
}

function describeProcess(exposition: Exposition, figures: ProcessFigures): void {
  const { eventLoopDelay: delay } = figures;
  exposition.gauge(
    "process_start_time_seconds",
    "When the process started, since the epoch.",
    figures.startSeconds,
  );
  exposition.gauge(
    "process_resident_memory_bytes",
    "Memory of the process in RAM.",
    figures.residentBytes,
  );
  exposition.counter("process_cpu_seconds_total", "Processor time used.", figures.cpuSeconds);
  exposition.gauge("domp_heap_used_bytes", "JavaScript memory in use.", figures.heapUsedBytes);
  exposition.gauge(
    "domp_event_loop_delay_seconds",
    "How late the event loop ran since the last scrape.",
    [
      { labels: { quantile: "0.5" }, value: delay.p50 },
      { labels: { quantile: "0.99" }, value: delay.p99 },
      { labels: { quantile: "1" }, value: delay.max },
    ],
  );
}

function describeWork(exposition: Exposition, work: WorkStatistics): void {
  const counter = (name: string, help: string, value: number) =>
    exposition.counter(`domp_engine_${name}_total`, help, value);
  counter("turns", "Turns of the node.", work.turns);
  counter("parks", "Times the worker had nothing to do.", work.parks);
  counter("polled", "Times work came while the worker looked for it before sleeping.", work.polled);
  counter(
    "poll_cpu_seconds",
    "Processor time of looking for work, found or not.",
    work.pollCpuNs / 1e9,
  );
  counter("wake_ups", "Wake-ups of the gateway.", work.wakeUps);
  counter("inbound_records", "Records taken from the gateway.", work.inboundRecords);
  counter("inbound_bytes", "Bytes taken from the gateway.", work.inboundBytes);
  counter("inbound_malformed", "Records that made no sense.", work.inboundMalformed);
  counter("inbound_faults", "Times the inbound ring was unreadable.", work.inboundFaults);
  counter("replies", "Replies given to the gateway.", work.outboundReplies);
  counter("outbound_frames", "Frames given to the gateway.", work.outboundFrames);
  counter("outbound_bytes", "Bytes given to the gateway.", work.outboundBytes);
  counter("outbound_blocked", "Frames that waited for room.", work.outboundBlocked);
  counter("jobs", "Background jobs done.", work.jobs);
  counter("jobs_failed", "Background jobs failed.", work.jobsFailed);

  const summary = (name: string, help: string, distribution: Distribution, scale = 1) =>
    exposition.summary(`domp_engine_${name}`, help, [summaryOf(distribution, scale)]);
  const NANOSECONDS = 1e9;
  summary(
    "request_seconds",
    "From a frame's arrival to its first reply.",
    work.requestNs,
    NANOSECONDS,
  );
  summary("turn_seconds", "A turn without the log's write.", work.turnNs, NANOSECONDS);
  summary("log_write_seconds", "A log write with its flush.", work.logWriteNs, NANOSECONDS);
  summary("log_write_bytes", "Bytes of a log write.", work.logWriteBytes);
  summary("batch_replies", "Replies that one log write released.", work.batchReplies);
  exposition.gauge(
    "domp_clock_skew_ms",
    "How far the machine's clock is ahead of the one that stamps revisions.",
    work.clockSkewMs,
  );
  summary("inbound_fill_bytes", "Bytes waiting for the engine.", work.inboundFillBytes);
  summary("outbound_fill_bytes", "Bytes waiting for the gateway.", work.outboundFillBytes);
}

function summaryOf(distribution: Distribution, scale: number): Summary {
  const { count, sum, p50, p90, p99, p999, max } = distribution;
  const points = [
    [0.5, p50],
    [0.9, p90],
    [0.99, p99],
    [0.999, p999],
    [1, max],
  ] as const;
  return {
    count,
    sum: sum / scale,
    quantiles: points.map(([quantile, value]) => [quantile, value / scale]),
  };
}

function describeNode(exposition: Exposition, { engine, node, work }: Statistics): void {
  const counter = (name: string, help: string, value: number) =>
    exposition.counter(`domp_node_${name}_total`, help, value);
  exposition.gauge("domp_node_info", "The node and how it writes.", [
    {
      labels: {
        node: engine.node,
        log_mode: engine.logMode,
        flush_method: engine.flush.method,
        file_system: engine.fileSystem,
      },
      value: 1,
    },
  ]);
  counter("frames", "Frames judged.", node.frames);
  counter("proposed", "Transactions proposed to the log.", node.proposed);
  counter("reads", "Transactions that only read.", node.reads);
  counter("refused", "Requests refused.", node.refused);
  counter("crowded", "Requests refused of connections that had the most waiting.", node.crowded);
  counter("abandoned", "Requests forgotten with their connection.", node.abandoned);
  counter("work_bytes", "Cost of the work done, in bytes copied.", node.work);
  counter("entries", "Log entries applied.", node.entries);
  counter("log_writes", "Log writes, each a group commit.", node.writes);
  counter("log_written_bytes", "Bytes written to the log.", node.writtenBytes);
  counter(
    "log_disk_bytes",
    "Bytes written to files of the log, those included that only make segments.",
    work.logDiskBytes,
  );
  counter("snapshots", "Snapshots finished.", node.snapshots);
  counter("snapshots_failed", "Snapshots that failed; each is tried again.", node.snapshotsFailed);
  exposition.gauge(
    "domp_node_snapshot_last_failure_seconds",
    "When a snapshot failed last, since the epoch; 0: none did.",
    (node.snapshotLastFailure?.wallMs ?? 0) / 1000,
  );
  exposition.gauge("domp_node_queued", "Requests waiting for their turn.", node.queued);
  exposition.gauge("domp_node_connections", "Connections the node knows.", node.connections);
  exposition.gauge(
    "domp_node_backlog_bytes",
    "Bytes accepted and not yet logged.",
    node.backlogBytes,
  );
  exposition.gauge("domp_node_log_segments", "Segments of the log.", node.segments);
  exposition.gauge(
    "domp_node_log_spare_segments",
    "Segments nobody needs, kept to become later ones.",
    node.spareSegments,
  );
  exposition.gauge(
    "domp_node_disk_low",
    "1 while writes are refused for want of disk.",
    Number(node.diskLow),
  );
}

/** What nodes of a cluster do for each other. */
function describeTraffic(exposition: Exposition, node: NodeStatistics): void {
  const { messages, handing, transfers } = node;
  const counter = (name: string, help: string, values: Readonly<Record<string, number>>) =>
    exposition.counter(
      `domp_cluster_${name}_total`,
      help,
      Object.entries(values).map(([what, value]) => ({ labels: { what }, value })),
    );
  counter("messages", "Messages of Raft to and from other nodes.", {
    sent: messages.sent,
    taken: messages.taken,
    senseless: messages.senseless,
    contradictions: messages.contradictions,
    without_room: messages.withoutRoom,
  });
  counter("requests", "Requests handed on between nodes.", { ...handing });
  counter("snapshots", "Snapshots between nodes.", {
    sent: transfers.sent,
    failed: transfers.failed,
    outgrown: transfers.outgrown,
    taken_in: transfers.takenIn,
    given_up: transfers.givenUp,
    installed: transfers.installed,
  });
}

/** Of a node that is alone. */
const NO_PEERS: PeerStatistics = {
  nodes: [],
  lanes: [],
  strangers: 0,
  lastStranger: null,
  refused: 0,
};

function describePeers(exposition: Exposition, peers: PeerStatistics): void {
  exposition.gauge(
    "domp_peer_reached",
    "1 where a node of the cluster is reached.",
    peers.nodes.map(({ node, reached }) => ({ labels: { peer: node }, value: Number(reached) })),
  );
  const samples = (read: (lane: LaneStatistics) => number) =>
    peers.lanes.map((lane) => ({
      labels: { peer: lane.node, lane: lane.lane },
      value: read(lane),
    }));
  const gauge = (name: string, help: string, read: (lane: LaneStatistics) => number) =>
    exposition.gauge(`domp_peer_${name}`, help, samples(read));
  const counter = (name: string, help: string, read: (lane: LaneStatistics) => number) =>
    exposition.counter(`domp_peer_${name}_total`, help, samples(read));
  gauge("connected", "1 where a lane's connections stand both ways.", (lane) =>
    Number(lane.connectedIn && lane.connectedOut),
  );
  counter("sent_frames", "Frames sent to a node.", (lane) => lane.sentFrames);
  counter("sent_bytes", "Bytes sent to a node.", (lane) => lane.sentBytes);
  counter("received_frames", "Frames that came from a node.", (lane) => lane.receivedFrames);
  counter("received_bytes", "Bytes that came from a node.", (lane) => lane.receivedBytes);
  counter(
    "dropped_frames",
    "Frames that found no connection or no room, or were lost with their connection.",
    (lane) => lane.droppedFrames,
  );
  counter("connects", "Connections to a node that stood.", (lane) => lane.connects);
  counter(
    "failures",
    "Connections to a node that ended or could not be made.",
    (lane) => lane.failures,
  );
  gauge("queue_bytes", "Bytes that wait to be sent to a node.", (lane) => lane.queueBytes);
  gauge("inbox_bytes", "Bytes of a node that wait to be taken in.", (lane) => lane.inboxBytes);
  exposition.counter(
    "domp_peer_strangers_total",
    "Connections that came and never proved to be of the cluster.",
    peers.strangers,
  );
  exposition.counter(
    "domp_peer_refused_total",
    "Connections that came from nodes and were refused.",
    peers.refused,
  );
}

function describeShards(exposition: Exposition, { shards, stopped }: NodeStatistics): void {
  const gauge = (name: string, help: string, read: (shard: ShardStatistics) => number) =>
    exposition.gauge(
      `domp_shard_${name}`,
      help,
      shards.map((shard) => ({
        labels: { group: String(shard.group), space: shard.name },
        value: read(shard),
      })),
    );
  gauge("keys", "Keys.", ({ keys }) => keys);
  gauge("bytes", "Bytes of keys and values.", ({ bytes }) => bytes);
  gauge("sessions", "Sessions kept.", ({ sessions }) => sessions);
  gauge("idempotency_keys", "Idempotency-Keys kept.", ({ idempotencyKeys }) => idempotencyKeys);
  gauge("answer_bytes", "Memory of the answers kept for both.", ({ answerBytes }) => answerBytes);
  gauge("leader", "1 where this node leads.", ({ leader }) => Number(leader));
  exposition.gauge(
    "domp_shard_damaged",
    "1 where nothing is served: it is damaged, or its log holds what can't be applied.",
    [
      ...shards.map((shard) => [shard, 0] as const),
      ...stopped.map((shard) => [shard, 1] as const),
    ].map(([{ group, name }, value]) => ({ labels: { group: String(group), space: name }, value })),
  );
  gauge("term", "Raft term.", ({ term }) => term);
  gauge("applied_index", "Index of the last entry applied.", ({ appliedIndex }) => appliedIndex);
  gauge("lease_seconds", "Lease time.", ({ leaseMs }) => leaseMs / 1000);
  gauge("log_bytes", "Log since the last snapshot.", ({ logBytes }) => logBytes);
  gauge(
    "snapshot_overlay_bytes",
    "Pre-images kept for a snapshot under way.",
    ({ overlayBytes }) => overlayBytes,
  );
}
