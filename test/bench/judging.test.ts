import assert from "node:assert/strict";
import { test } from "node:test";
import { busiestOf, GENERATOR, threadShares } from "../../bench/bottleneck.js";
import type { ThreadShare, Window } from "../../bench/load.js";
import { requirementsOf } from "../../bench/requirements.js";
import { type Row, type System, valuesRow } from "../../bench/rows.js";
import { median, medianInterval, pairedRatio, pairedSum } from "../../bench/statistics.js";
import { comparedValues, hasTurn } from "../../bench/throughput.js";
import { comparisonLimits, judge, judgeBound } from "../../bench/verdict.js";
import {
  type Bound,
  type Comparison,
  type Limit,
  limitOf,
  SATURATED,
  WORKLOADS,
} from "../../bench/workloads.js";

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

test("figures of one round are added, and only where all are there", () => {
  assert.deepEqual(
    pairedSum([
      [1, undefined, 3],
      [10, 20],
    ]),
    [11, undefined, undefined],
  );
  assert.deepEqual(pairedSum([]), []);
});

test("the table of what must be reached is the one that was agreed", () => {
  const limits = WORKLOADS.flatMap(({ name, ...workload }): (string | Limit | undefined)[][] => [
    ...(workload.kind === "throughput" ? workload.comparisons : []).map(
      ({ to, figure, must, aim }) => [name, to.join(" + "), figure, must, aim],
    ),
    ...workload.bounds.map(({ value, better, must, aim }) => [name, value, better, must, aim]),
  ]);
  const twice = { times: 2, of: "node_us", plus: 100_000 };
  const aimed = { times: 1.5, of: "node_us", plus: 60_000 };
  assert.deepEqual(limits, [
    ["get-c50-p16", "uws", "operations_per_s", 0.8, 0.9],
    ["get-c50-p16", "busiest_share", "higher", 0.9, undefined],
    ["get-c50-k16", "redis", "operations_per_s", 2, 4],
    ["get-c50-k16", "busiest_share", "higher", 0.9, undefined],
    ["put-c1", "redis", "p50_us", 1, undefined],
    ["put-c1", "disk + uws", "p50_us", undefined, 1.15],
    ["put-c50", "redis", "operations_per_s", 1.2, 1.5],
    ["put-c50-p16", "redis", "operations_per_s", 1.8, undefined],
    ["put-c50-p16", "uws", "operations_per_s", undefined, 0.85],
    ["put-c50-p16", "busiest_share", "higher", 0.9, undefined],
    ["put-c50-k64", "redis", "operations_per_s", 3.5, 4.5],
    ["put-c50-k64", "p99_per_p50", "lower", 3, undefined],
    ["put-c50-k64", "busiest_share", "higher", 0.9, undefined],
    ["transfer", "uws", "operations_per_s", 0.65, 0.8],
    ["transfer", "postgres", "operations_per_s", 250, 500],
    ["transfer", "busiest_share", "higher", 0.9, undefined],
    ["transfer-k16", "redis", "operations_per_s", 5, 8],
    ["transfer-k16", "busiest_share", "higher", 0.9, undefined],
    ["fairness", "get_p99_us", "lower", 50_000, undefined],
    ["fairness", "put_p99_share", "lower", 1, undefined],
    ["memory", "connection_bytes", "lower", 2_500, 1_500],
    ["memory", "key_overhead_bytes", "lower", 150, 90],
    ["memory", "base_rss_bytes", "lower", 110e6, 75e6],
    ["recovery", "log_records_per_put", "higher", 1.5, 3],
    ["recovery", "snapshot_keys_per_s", "higher", 2e6, undefined],
    ["recovery", "disk_bytes_per_log_byte", "lower", 1.15, undefined],
    ["snapshot", "stall_ratio", "lower", 3, 1.5],
    ["start", "first_reply_us", "lower", twice, aimed],
  ]);
});

test("loads have the shapes that their names tell", () => {
  const shapes = WORKLOADS.flatMap((workload) => {
    if (workload.kind !== "throughput") return [];
    const { connections, inFlight, operations } = workload.load;
    return [[workload.name, connections, inFlight, operations]];
  });
  assert.deepEqual(shapes, [
    ["get-c50-p16", 50, 16, 1],
    ["get-c50-k16", 50, 1, 16],
    ["put-c1", 1, 1, 1],
    ["put-c50", 50, 1, 1],
    ["put-c50-p16", 50, 16, 1],
    ["put-c50-k64", 50, 1, 64],
    ["transfer", 64, 40, 1],
    ["transfer-k16", 64, 1, 16],
  ]);
});

test("gets come before anything is put", () => {
  const operations = WORKLOADS.flatMap((workload) =>
    workload.kind === "throughput" ? [workload.load.operation] : [],
  );
  assert.equal(operations.lastIndexOf("get") < operations.indexOf("put"), true);
});

test("a small ratio is good for latency, a large one for throughput", () => {
  const speed: Comparison = { to: ["redis"], figure: "operations_per_s", must: 1.2, aim: 1.5 };
  assert.deepEqual(
    [1.1, 1.2, 1.49, 1.5].map((value) => judge(comparisonLimits(speed), value)),
    ["short", "must", "must", "aim"],
  );
  const delay: Comparison = { to: ["disk"], figure: "p50_us", must: 1.7, aim: 1.4 };
  assert.deepEqual(
    [1.8, 1.7, 1.41, 1.4].map((value) => judge(comparisonLimits(delay), value)),
    ["short", "must", "must", "aim"],
  );
});

test("what must be and what is aimed at may be measured by different systems", () => {
  const must: Comparison = { to: ["redis"], figure: "operations_per_s", must: 1.8 };
  assert.deepEqual(
    [1.7, 1.8, 9].map((value) => judge(comparisonLimits(must), value)),
    ["short", "must", "must"],
  );
  const aim: Comparison = { to: ["uws"], figure: "operations_per_s", aim: 0.85 };
  assert.deepEqual(
    [0.1, 0.85].map((value) => judge(comparisonLimits(aim), value)),
    ["missed", "aim"],
  );
});

function bound(limits: Pick<Bound, "better" | "must"> & Partial<Bound>): Bound {
  return { value: "value", title: "a value", ...limits };
}

test("bounds are judged from their good side", () => {
  const row = (value: number) => valuesRow("memory", "domp", { value });
  const memory = bound({ better: "lower", must: 150, aim: 90 });
  assert.deepEqual(
    [151, 150, 90].map((value) => judgeBound(memory, row(value))),
    ["short", "must", "aim"],
  );
  const speed = bound({ better: "higher", must: 1e6 });
  assert.deepEqual(
    [9e5, 1e6, 9e9].map((value) => judgeBound(speed, row(value))),
    ["short", "must", "must"],
  );
  assert.equal(judgeBound(speed, valuesRow("memory", "domp", { value: null })), undefined);
});

test("a limit may be a multiple of what the same row measured", () => {
  const start = bound({
    better: "lower",
    must: { times: 2, of: "node_us", plus: 100_000 },
    aim: { times: 1.5, of: "node_us", plus: 60_000 },
  });
  assert.equal(limitOf(start.must, { node_us: 40_000 }), 180_000);
  const row = (value: number) => valuesRow("start", "domp", { value, node_us: 40_000 });
  assert.deepEqual(
    [180_001, 180_000, 120_001, 120_000].map((value) => judgeBound(start, row(value))),
    ["short", "must", "must", "aim"],
  );
  assert.equal(judgeBound(start, valuesRow("start", "domp", { value: 1 })), undefined);
});

test("where the generator was the limit, nothing of the server was saturated", () => {
  const row = (bottleneck: string, share: number): Row => ({
    ...valuesRow("transfer", "domp", { busiest_share: share }),
    bottleneck,
  });
  assert.equal(judgeBound(SATURATED, row("engine thread", 0.9)), "must");
  assert.equal(judgeBound(SATURATED, row("engine thread", 0.89)), "short");
  assert.equal(judgeBound(SATURATED, row(GENERATOR, 0.99)), "short");
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

test("ratios are of the same round, to one system or to the sum of several", () => {
  const shown = (system: System, p50s: readonly (number | undefined)[]) => ({
    system,
    windows: p50s.map((p50_us) => (p50_us === undefined ? undefined : { ...quiet, p50_us })),
  });
  const domp = shown("domp", [200, 400, 300]);
  const all = [
    ...[domp, shown("redis", [200, 200, 300]), shown("disk", [100, 100, 100])],
    ...[shown("uws", [100, 300, undefined]), shown("postgres", [1, 1, 1])],
  ];
  const comparisons: readonly Comparison[] = [
    { to: ["redis"], figure: "p50_us", must: 1 },
    { to: ["disk", "uws"], figure: "p50_us", aim: 1.15 },
  ];
  const values = comparedValues(comparisons, domp, all);
  const some = (name: string) => ["", "_min", "_max", "_verdict"].map((end) => values[name + end]);
  assert.deepEqual(some("ratio_redis"), [1, 1, 2, "must"]);
  // The third round has no echo, and so no sum.
  assert.deepEqual(some("ratio_disk_uws"), [1, 1, 1, "aim"]);
  assert.deepEqual(some("ratio_postgres"), [1, 1, 1, undefined], "told, and not judged");
  const without = comparedValues(
    comparisons,
    domp,
    all.filter(({ system }) => system !== "uws"),
  );
  assert.ok(!("ratio_disk_uws" in without), "one of the two is no sum");
});

test("every system has a turn, and who is judged has all of them", () => {
  const never = () => false;
  assert.deepEqual(
    [0, 1, 2].map((round) => hasTurn(round, false, never)),
    [true, true, false],
  );
  assert.ok(hasTurn(4, true, never));
  assert.ok(hasTurn(4, false, () => true));
});

const TWO_CORES = 2;

test("what was busiest is named, with the share of the time that it was", () => {
  const of = (system: Parameters<typeof busiestOf>[0], window: Partial<Window>) => {
    const busiest = busiestOf(system, [{ ...quiet, ...window }], TWO_CORES);
    return [busiest?.name, Number(busiest?.share.toFixed(3))];
  };
  assert.deepEqual(of("domp", { threads: [thread("node", 0.97, true)] }), ["event loop", 0.97]);
  // Nothing was saturated: it is told all the same, and not called a limit by anybody.
  assert.deepEqual(of("domp", { threads: [thread("domp-worker", 0.5)] }), ["engine thread", 0.5]);
  const redis = [thread("redis-server", 0.99, true)];
  assert.deepEqual(of("redis", { threads: redis }), ["redis main thread", 0.99]);
  assert.deepEqual(of("postgres", { disk_share: 0.97 }), ["disk", 0.97]);
  assert.deepEqual(of("disk", { disk_share: 0.7, generator_share: 0.99 }), ["disk", 0.7]);
  assert.equal(busiestOf("domp", []), undefined);
});

test("looking for work is no work", () => {
  const threads = [thread("domp-worker", 0.95), thread("node", 0.6, true)];
  const window = { ...quiet, threads, server_share: 1.6 };
  const of = (poll_share: number | null) =>
    busiestOf("domp", [{ ...window, poll_share }], TWO_CORES);
  assert.deepEqual(of(0), { name: "engine thread", share: 0.95 });
  assert.equal(of(0.2)?.name, "all cores");
  assert.equal(of(0.4)?.name, "all cores");
  // Of the 1.8 cores that the generator left.
  assert.equal(of(0.4)?.share.toFixed(3), "0.667");
  assert.deepEqual(
    of(null),
    { name: "event loop", share: 0.6 },
    "what can't be told is not claimed",
  );
});

test("the generator's share of the cores is not the system's", () => {
  const window = { ...quiet, generator_share: 0.5, server_share: 1.44, poll_share: 0 };
  const busiest = busiestOf("domp", [window], TWO_CORES);
  assert.deepEqual([busiest?.name, busiest?.share.toFixed(2)], ["all cores", "0.96"]);
  // Cores that somebody else kept busy say nothing of the system.
  const beside = busiestOf("domp", [{ ...quiet, cores_share: 1 }], TWO_CORES);
  assert.deepEqual(beside, { name: "disk", share: 0.1 });
});

test("a generator that was busy all the time is named, whatever else was busy", () => {
  const threads = [thread("node", 0.99, true)];
  const of = (generator_share: number) =>
    busiestOf("domp", [{ ...quiet, threads, generator_share }], TWO_CORES)?.name;
  assert.equal(of(0.9), GENERATOR);
  assert.equal(of(0.89), "event loop");
});

test("the shares of threads are told under people's names", () => {
  const threads = [thread("node", 0.6, true), thread("domp-worker", 0.75), thread("node", 0.01)];
  const shares = threadShares("domp", [{ ...quiet, threads, poll_share: 0.3 }]);
  assert.deepEqual(shares, { share_event_loop: 0.6, share_engine_thread: 0.75 });
});

test("one odd window does not name what was busiest", () => {
  const odd = { ...quiet, generator_share: 1 };
  assert.equal(busiestOf("domp", [quiet, odd, quiet], TWO_CORES)?.name, "disk");
});

function named(name: string): typeof WORKLOADS {
  return WORKLOADS.filter((workload) => workload.name === name);
}

test("who is faster than his peer stands above 1, in throughput and in latency", () => {
  const values = {
    ratio_redis: 0.8,
    ratio_redis_min: 0.5,
    ratio_redis_max: 1,
    ratio_disk_uws: 1.25,
    ratio_disk_uws_min: 1,
    ratio_disk_uws_max: 2,
  };
  const [peer, limit, ...others] = requirementsOf(named("put-c1"), [
    valuesRow("put-c1", "domp", values),
  ]);
  assert.deepEqual(others, []);
  assert.deepEqual(
    [peer?.scale, peer?.reached, peer?.must, peer?.aim],
    ["peers", 1.25, 1, undefined],
  );
  assert.deepEqual([peer?.spread, peer?.verdict], [[1, 2], "must"]);
  // The share of the fastest possible: 1 is all of it.
  assert.deepEqual([limit?.scale, limit?.reached, limit?.verdict], ["limits", 0.8, "missed"]);
  assert.equal(limit?.words, "80 %   (aim 87 %)");

  const [faster] = requirementsOf(named("put-c50-p16"), [
    valuesRow("put-c50-p16", "domp", { ratio_redis: 1.7 }),
  ]);
  assert.deepEqual([faster?.reached, faster?.must, faster?.verdict], [1.7, 1.8, "short"]);
});

test("bounds are shares of what is allowed", () => {
  const rows = [
    valuesRow("memory", "domp", { key_overhead_bytes: 75 }),
    valuesRow("memory", "redis", { key_overhead_bytes: 1 }),
    valuesRow("start", "domp", { first_reply_us: 90_000, node_us: 40_000 }),
  ];
  const [key, ...others] = requirementsOf(named("memory"), rows);
  assert.deepEqual(others, []);
  assert.deepEqual([key?.scale, key?.reached, key?.aim], ["bounds", 0.5, 0.6]);
  const [first] = requirementsOf(named("start"), rows);
  assert.deepEqual([first?.reached, first?.words], [0.5, "90 ms   (must 180 ms, aim 120 ms)"]);
  // Where more is better, twice of what must be reached takes half of what is allowed.
  const [records] = requirementsOf(named("recovery"), [
    valuesRow("recovery", "domp", { log_records_per_put: 3 }),
  ]);
  assert.deepEqual([records?.reached, records?.aim, records?.verdict], [0.5, 0.5, "aim"]);
});
