import assert from "node:assert/strict";
import { test } from "node:test";
import { bottleneckOf, threadShares } from "../../bench/bottleneck.js";
import type { ThreadShare, Window } from "../../bench/load.js";
import { requirementsOf } from "../../bench/requirements.js";
import { type Row, valuesRow } from "../../bench/rows.js";
import { median, medianInterval, pairedRatio } from "../../bench/statistics.js";
import { judgeBound, judgeRatio } from "../../bench/verdict.js";
import { type Comparison, WORKLOADS, type Workload } from "../../bench/workloads.js";

test("the median is the middle, whatever the order", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.throws(() => median([]), RangeError);
});

test("the interval of a median is that of the sign test", () => {
  const upTo = (count: number) => Array.from({ length: count }, (_, index) => count - index);
  // Ranks as the tables of the binomial distribution have them.
  assert.deepEqual(medianInterval(upTo(15)), [4, 12]);
  assert.deepEqual(medianInterval(upTo(20)), [6, 15]);
  assert.deepEqual(medianInterval(upTo(6)), [1, 6]);
  assert.equal(medianInterval(upTo(5)), undefined, "too few to say so");
  assert.equal(medianInterval([]), undefined);
});

test("ratios pair what was measured in the same round", () => {
  // The machine was twice as slow in the second round: paired, that changes nothing.
  assert.deepEqual(pairedRatio([200, 100, 200], [100, 50, 100]), {
    median: 2,
    min: 2,
    max: 2,
    pairs: 3,
  });
  const uneven = pairedRatio([10, 10, undefined], [5, undefined, 5]);
  assert.deepEqual(uneven, { median: 2, min: 2, max: 2, pairs: 1 });
  assert.equal(pairedRatio([1], [undefined]), undefined);
});

test("the table of what must be reached is the one that was agreed", () => {
  const limits = WORKLOADS.flatMap((workload): (string | number | undefined)[][] =>
    workload.kind === "throughput"
      ? workload.comparisons.map(({ system, figure, must, aim }) => {
          return [workload.name, system, figure, must, aim];
        })
      : workload.bounds.map(({ value, better, must, aim }) => {
          return [workload.name, value, better, must, aim];
        }),
  );
  assert.deepEqual(limits, [
    ["get-c50-p16", "redis", "operations_per_s", 1.1, 1.5],
    ["put-c1", "disk", "p50_us", 1.7, 1.4],
    ["put-c50", "redis", "operations_per_s", 1.2, 1.5],
    ["put-c50-p16", "redis", "operations_per_s", 1.4, 2],
    ["put-c50-k64", "redis", "operations_per_s", 2.5, 5],
    ["transfer", "redis", "operations_per_s", 6, 10],
    ["transfer", "postgres", "operations_per_s", 200, 500],
    ["fairness", "get_p99_us", "lower", 50_000, undefined],
    ["fairness", "put_p99_share", "lower", 1, undefined],
    ["memory", "connection_bytes", "lower", 2_500, 1_500],
    ["memory", "key_overhead_bytes", "lower", 150, 90],
    ["memory", "base_rss_bytes", "lower", 110e6, 75e6],
    ["recovery", "log_records_per_s", "higher", 1e6, undefined],
    ["recovery", "snapshot_keys_per_s", "higher", 2e6, undefined],
    ["snapshot", "stall_max_us", "lower", 20_000, 5_000],
    ["start", "first_reply_us", "lower", 300_000, 150_000],
  ]);
});

test("a small ratio is good for latency, a large one for throughput", () => {
  const ratio = (value: number) => ({ median: value, min: value, max: value, pairs: 1 });
  const speed: Comparison = { system: "redis", figure: "operations_per_s", must: 1.2, aim: 1.5 };
  assert.deepEqual(
    [1.1, 1.2, 1.49, 1.5].map((value) => judgeRatio(speed, ratio(value))),
    ["short", "must", "must", "aim"],
  );
  const delay: Comparison = { system: "disk", figure: "p50_us", must: 1.7, aim: 1.4 };
  assert.deepEqual(
    [1.8, 1.7, 1.41, 1.4].map((value) => judgeRatio(delay, ratio(value))),
    ["short", "must", "must", "aim"],
  );
});

test("bounds are judged from their good side", () => {
  const memory = { value: "bytes", better: "lower", must: 150, aim: 90 } as const;
  assert.deepEqual(
    [151, 150, 90].map((value) => judgeBound(memory, value)),
    ["short", "must", "aim"],
  );
  const speed = { value: "per_s", better: "higher", must: 1e6 } as const;
  assert.deepEqual(
    [9e5, 1e6, 9e9].map((value) => judgeBound(speed, value)),
    ["short", "must", "must"],
  );
});

const quiet: Window = {
  operations: 1_000,
  operations_per_s: 1_000,
  p50_us: 100,
  p99_us: 200,
  max_us: 300,
  gap_max_us: 300,
  elapsed_s: 1,
  generator_share: 0.2,
  generator_bound: false,
  puts: 1_000,
  hits: 0,
  applied: 0,
  refused: 0,
  echoes: 0,
  threads: [],
  server_share: 0,
  cores_share: 0.5,
  disk_share: 0.1,
};

function thread(name: string, share: number, main = false): ThreadShare {
  return { name, main, count: 1, share, share_max: share };
}

test("the bottleneck is what was saturated", () => {
  const of = (system: Parameters<typeof bottleneckOf>[0], window: Partial<Window>) =>
    bottleneckOf(system, [{ ...quiet, ...window }]);
  assert.equal(of("domp", {}), "latency");
  assert.equal(of("domp", { generator_share: 0.96 }), "generator");
  assert.equal(of("domp", { threads: [thread("node", 0.97, true)] }), "event loop");
  assert.equal(of("domp", { threads: [thread("domp-worker", 0.97)] }), "engine thread");
  assert.equal(of("redis", { threads: [thread("redis-server", 0.99, true)] }), "redis main thread");
  assert.equal(of("postgres", { cores_share: 0.99 }), "all cores");
  assert.equal(of("postgres", { disk_share: 0.97 }), "disk");
  assert.equal(of("disk", {}), "disk");
  const waiting = { threads: [thread("domp-worker", 0.4)], disk_share: 0.58 };
  assert.equal(of("domp", waiting), "engine thread and disk");
});

test("the shares of threads are told under people's names", () => {
  const threads = [thread("node", 0.6, true), thread("domp-worker", 0.75), thread("node", 0.01)];
  const shares = threadShares("domp", [{ ...quiet, threads }]);
  assert.deepEqual(shares, { share_event_loop: 0.6, share_engine_thread: 0.75 });
});

test("one odd window does not name the bottleneck", () => {
  const odd = { ...quiet, generator_share: 1 };
  assert.equal(bottleneckOf("domp", [quiet, odd, quiet]), "latency");
});

test("requirements are multiples of what must be reached, above 1 is good", () => {
  const workloads = WORKLOADS.filter(({ name }) => name === "put-c1" || name === "memory");
  const rows: Row[] = [
    {
      ...valuesRow("put-c1", "domp", { ratio_disk: 3.4, ratio_disk_min: 1.7, ratio_disk_max: 6.8 }),
      p50_us: 300,
    },
    valuesRow("memory", "domp", { key_overhead_bytes: 75 }),
    valuesRow("memory", "redis", { key_overhead_bytes: 1 }),
  ];
  const [latency, memory, ...others] = requirementsOf(workloads as readonly Workload[], rows);
  assert.deepEqual(others, []);
  assert.equal(latency?.reached, 0.5);
  assert.deepEqual(latency?.spread, [0.25, 1]);
  assert.deepEqual([memory?.reached, memory?.aim], [2, 150 / 90]);
});
