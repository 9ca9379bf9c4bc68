/** The table of workloads: what is done, and what must be reached. */

import type { System } from "./rows.js";

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

/** What is compared: the figure of domp divided by that of the other system. */
export interface Comparison {
  readonly system: System;
  readonly figure: "operations_per_s" | "p50_us";
  readonly must: number;
  readonly aim: number;
}

/** A bound on one of `values`. */
export interface Bound {
  readonly value: string;
  /** Which side of the bound is good. */
  readonly better: "lower" | "higher";
  readonly must: number;
  /** Absent where the aim is a limit that is measured, not a number. */
  readonly aim?: number;
}

export interface ThroughputWorkload {
  readonly name: string;
  readonly kind: "throughput";
  readonly title: string;
  readonly load: Load;
  readonly comparisons: readonly Comparison[];
}

export interface MeasureWorkload {
  readonly name: "fairness" | "memory" | "recovery" | "snapshot" | "start" | "javascript";
  readonly kind: "measure";
  readonly title: string;
  readonly bounds: readonly Bound[];
}

export type Workload = ThroughputWorkload | MeasureWorkload;

function put(
  name: string,
  title: string,
  [connections, inFlight, operations]: readonly [number, number, number],
  comparison: Comparison,
): ThroughputWorkload {
  return {
    name,
    kind: "throughput",
    title,
    load: {
      operation: "put",
      dataset: "entries",
      connections,
      inFlight,
      operations,
      durable: true,
    },
    comparisons: [comparison],
  };
}

const atLeast = (system: System, must: number, aim: number): Comparison => ({
  system,
  figure: "operations_per_s",
  must,
  aim,
});

/**
 * In the order they run. Gets come first: they check that every value is the one preloaded, which
 * holds only until something is put.
 */
export const WORKLOADS: readonly Workload[] = [
  {
    name: "get-c50-p16",
    kind: "throughput",
    title: "50 clients, 16 gets in flight each",
    load: {
      operation: "get",
      dataset: "entries",
      connections: 50,
      inFlight: 16,
      operations: 1,
      durable: false,
    },
    comparisons: [atLeast("redis", 1.1, 1.5)],
  },
  put("put-c1", "one client, one durable put in flight", [1, 1, 1], {
    system: "disk",
    figure: "p50_us",
    must: 1.7,
    aim: 1.4,
  }),
  put("put-c50", "50 clients, one put in flight each", [50, 1, 1], atLeast("redis", 1.2, 1.5)),
  put("put-c50-p16", "50 clients, 16 puts in flight each", [50, 16, 1], atLeast("redis", 1.4, 2)),
  put("put-c50-k64", "50 clients, frames of 64 puts", [50, 1, 64], atLeast("redis", 2.5, 5)),
  {
    name: "transfer",
    kind: "throughput",
    title: "64 clients, 40 guarded two-key transfers in flight each, Zipf 1.5",
    load: {
      operation: "transfer",
      dataset: "accounts",
      connections: 64,
      inFlight: 40,
      operations: 1,
      durable: true,
    },
    comparisons: [atLeast("redis", 6, 10), atLeast("postgres", 200, 500)],
  },
  {
    name: "fairness",
    kind: "measure",
    title: "one client beside eight that send 600 KB frames of range reads",
    bounds: [
      { value: "get_p99_us", better: "lower", must: 50_000 },
      // Of the larger of 50 ms and three times the undisturbed value.
      { value: "put_p99_share", better: "lower", must: 1 },
    ],
  },
  {
    name: "memory",
    kind: "measure",
    title: "what a connection, a key and an empty server take",
    bounds: [
      { value: "connection_bytes", better: "lower", must: 2_500, aim: 1_500 },
      { value: "key_overhead_bytes", better: "lower", must: 150, aim: 90 },
      { value: "base_rss_bytes", better: "lower", must: 110e6, aim: 75e6 },
    ],
  },
  {
    name: "recovery",
    kind: "measure",
    title: "starting on a log, and on a snapshot",
    bounds: [
      { value: "log_records_per_s", better: "higher", must: 1e6 },
      { value: "snapshot_keys_per_s", better: "higher", must: 2e6 },
    ],
  },
  {
    name: "snapshot",
    kind: "measure",
    title: "longest stall of puts while all keys are snapshotted",
    bounds: [{ value: "stall_max_us", better: "lower", must: 20_000, aim: 5_000 }],
  },
  {
    name: "start",
    kind: "measure",
    title: "from starting the server on an empty directory to its first reply",
    bounds: [{ value: "first_reply_us", better: "lower", must: 300_000, aim: 150_000 }],
  },
  {
    name: "javascript",
    kind: "measure",
    title: "what is JavaScript: encoding, decoding, the seam to the engine",
    bounds: [],
  },
];

/** Whether a figure passes a limit: ratios of latency should be small, all others large. */
export function reaches(comparison: Comparison, ratio: number, limit: number): boolean {
  return comparison.figure === "p50_us" ? ratio <= limit : ratio >= limit;
}
