/** The table of workloads: what is done, and what must be reached. */

import type { System, Value } from "./rows.js";

/** What a load works on. Systems are loaded once for all workloads of a data set. */
export type Dataset = "entries" | "accounts";

/** A load in a closed loop. */
export interface Load {
  readonly operation: "put" | "get" | "transfer";
  readonly dataset: Dataset;
  readonly connections: number;
  /** Messages each connection keeps outstanding. */
  readonly inFlight: number;
  /** Operations in a message. */
  readonly operations: number;
  /** Whether the disk is a limit of it. */
  readonly durable: boolean;
}

/**
 * What is compared: the figure of domp divided by that of others in the same round. What must be
 * reached and what is aimed at may be measured by different systems: then each is a comparison.
 */
export interface Comparison {
  /** The figures of several are added, as those of waits that follow each other. */
  readonly to: readonly System[];
  readonly figure: "operations_per_s" | "p50_us";
  readonly must?: number;
  readonly aim?: number;
}

/** A limit: a number, or so many times another of the row's values and something more. */
export type Limit = number | { readonly times: number; readonly of: string; readonly plus: number };

/** A bound on one of `values`. */
export interface Bound {
  readonly value: string;
  /** What it is, for people. */
  readonly title: string;
  /** Which side of the bound is good. */
  readonly better: "lower" | "higher";
  readonly must: Limit;
  readonly aim?: Limit;
}

export interface ThroughputWorkload {
  readonly name: string;
  readonly kind: "throughput";
  readonly title: string;
  readonly load: Load;
  readonly comparisons: readonly Comparison[];
  readonly bounds: readonly Bound[];
}

export interface MeasureWorkload {
  readonly name: "fairness" | "memory" | "recovery" | "snapshot" | "start" | "javascript";
  readonly kind: "measure";
  readonly title: string;
  readonly bounds: readonly Bound[];
}

export type Workload = ThroughputWorkload | MeasureWorkload;

/** How much of the time whatever is the limit must be at work: else something makes it wait. */
export const SATURATED: Bound = {
  value: "busiest_share",
  title: "the busiest part at work",
  better: "higher",
  must: 0.9,
};

/** Connections, messages in flight on each, operations in a message. */
type Shape = readonly [connections: number, inFlight: number, operations: number];

const DATASETS = { put: "entries", get: "entries", transfer: "accounts" } as const;

function throughput(
  name: string,
  title: string,
  operation: Load["operation"],
  [connections, inFlight, operations]: Shape,
  comparisons: readonly Comparison[],
  bounds: readonly Bound[],
): ThroughputWorkload {
  const dataset = DATASETS[operation];
  const durable = operation !== "get";
  const load = { operation, dataset, connections, inFlight, operations, durable };
  return { name, kind: "throughput", title, load, comparisons, bounds };
}

const faster = (system: System, limits: { must?: number; aim?: number }): Comparison => ({
  to: [system],
  figure: "operations_per_s",
  ...limits,
});

const sooner = (to: readonly System[], limits: { must?: number; aim?: number }): Comparison => ({
  to,
  figure: "p50_us",
  ...limits,
});

/** These two are loads of other rows too. */
export const PUT_C50 = throughput(
  "put-c50",
  "Durable puts, 50 clients",
  "put",
  [50, 1, 1],
  [faster("redis", { must: 1.2, aim: 1.5 })],
  [],
);
export const PUT_C50_K64 = throughput(
  "put-c50-k64",
  "Durable puts, 50 clients, 64 in a frame",
  "put",
  [50, 1, 64],
  [faster("redis", { must: 3.5, aim: 4.5 })],
  [
    {
      value: "p99_per_p50",
      title: "99th percentile over median, 50 clients, 64 puts in a frame",
      better: "lower",
      must: 3,
    },
    SATURATED,
  ],
);

/**
 * In the order they run. Gets come first: they check that every value is the one preloaded, which
 * holds only until something is put.
 */
export const WORKLOADS: readonly Workload[] = [
  throughput(
    "get-c50-p16",
    "Gets, 50 clients, 16 in flight each",
    "get",
    [50, 16, 1],
    [faster("uws", { must: 0.8, aim: 0.9 })],
    [SATURATED],
  ),
  throughput(
    "get-c50-k16",
    "Gets, 50 clients, 16 in a frame",
    "get",
    [50, 1, 16],
    [faster("redis", { must: 2, aim: 4 })],
    [SATURATED],
  ),
  throughput(
    "put-c1",
    "Durable puts, one client",
    "put",
    [1, 1, 1],
    // A put passes the transport and the disk, one after the other.
    [sooner(["redis"], { must: 1 }), sooner(["disk", "uws"], { aim: 1.15 })],
    [],
  ),
  PUT_C50,
  throughput(
    "put-c50-p16",
    "Durable puts, 50 clients, 16 in flight each",
    "put",
    [50, 16, 1],
    [faster("redis", { must: 1.8 }), faster("uws", { aim: 0.85 })],
    [SATURATED],
  ),
  PUT_C50_K64,
  throughput(
    "transfer",
    "Durable transfers, 64 clients, 40 in flight each",
    "transfer",
    [64, 40, 1],
    [faster("uws", { must: 0.65, aim: 0.8 }), faster("postgres", { must: 250, aim: 500 })],
    [SATURATED],
  ),
  // One frame in flight: more of them would be a longer pipeline to Redis, which knows no frames.
  throughput(
    "transfer-k16",
    "Durable transfers, 64 clients, 16 in a frame",
    "transfer",
    [64, 1, 16],
    [faster("redis", { must: 5, aim: 8 })],
    [SATURATED],
  ),
  {
    name: "fairness",
    kind: "measure",
    title: "one client beside eight that send 600 KB frames of range reads",
    bounds: [
      {
        value: "get_p99_us",
        title: "99th percentile of gets beside a crowd",
        better: "lower",
        must: 50_000,
      },
      // Of the larger of 50 ms and three times the undisturbed value.
      {
        value: "put_p99_share",
        title: "99th percentile of puts beside a crowd",
        better: "lower",
        must: 1,
      },
    ],
  },
  {
    name: "memory",
    kind: "measure",
    title: "what a connection, a key and an empty server take",
    bounds: [
      {
        value: "connection_bytes",
        title: "memory of an idle connection",
        better: "lower",
        must: 2_500,
        aim: 1_500,
      },
      {
        value: "key_overhead_bytes",
        title: "memory of a key, beyond key and value",
        better: "lower",
        must: 150,
        aim: 90,
      },
      {
        value: "base_rss_bytes",
        title: "memory of an empty server",
        better: "lower",
        must: 110e6,
        aim: 75e6,
      },
    ],
  },
  {
    name: "recovery",
    kind: "measure",
    title: "starting on a log, and on a snapshot; what the log writes",
    bounds: [
      {
        value: "log_records_per_put",
        title: "records read from the log in the time of a put",
        better: "higher",
        must: 1.5,
        aim: 3,
      },
      {
        value: "snapshot_keys_per_s",
        title: "keys a second read from a snapshot",
        better: "higher",
        must: 2e6,
      },
      {
        value: "disk_bytes_per_log_byte",
        title: "bytes written to the disk for a byte of log",
        better: "lower",
        must: 1.15,
      },
    ],
  },
  {
    name: "snapshot",
    kind: "measure",
    title: "longest stall of puts while all keys are snapshotted",
    bounds: [
      {
        value: "stall_ratio",
        title: "longest stall with a snapshot over one without",
        better: "lower",
        must: 3,
        aim: 1.5,
      },
    ],
  },
  {
    name: "start",
    kind: "measure",
    title: "from starting the server on an empty directory to its first reply",
    bounds: [
      {
        value: "first_reply_us",
        title: "start on an empty directory",
        better: "lower",
        // Node itself has to start, and ends before it could do anything.
        must: { times: 2, of: "node_us", plus: 100_000 },
        aim: { times: 1.5, of: "node_us", plus: 60_000 },
      },
    ],
  },
  {
    name: "javascript",
    kind: "measure",
    title: "what is JavaScript: encoding, decoding, the seam to the engine",
    bounds: [],
  },
];

/** The name of a comparison's ratio among a row's values. */
export function ratioName({ to }: Pick<Comparison, "to">): string {
  return `ratio_${to.join("_")}`;
}

/** A limit as a number; undefined where the row lacks the value that it is a multiple of. */
export function limitOf(
  limit: Limit | undefined,
  values: Readonly<Record<string, Value>>,
): number | undefined {
  if (limit === undefined || typeof limit === "number") return limit;
  const base = values[limit.of];
  return typeof base === "number" ? limit.times * base + limit.plus : undefined;
}
