import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, figure, short } from "../../bench/figures.js";
import { readOptions, UsageError } from "../../bench/options.js";
import { renderPicture } from "../../bench/picture.js";
import { type Row, skippedRow, valuesRow } from "../../bench/rows.js";
import { sumOfMetric } from "../../bench/systems/domp.js";
import { renderTable } from "../../bench/table.js";
import { WORKLOADS } from "../../bench/workloads.js";

const workloads = WORKLOADS.filter(({ name }) => name === "put-c50" || name === "memory");

const rows: readonly Row[] = [
  {
    workload: "put-c50",
    system: "domp",
    operations_per_s: 130_000,
    p50_us: 350,
    p99_us: 800,
    bottleneck: "engine thread",
    values: {
      busiest_share: 0.934,
      ratio_redis: 1.3,
      ratio_redis_min: 1.25,
      ratio_redis_max: 1.4,
      ratio_redis_figure: "operations_per_s",
      ratio_redis_must: 1.2,
      ratio_redis_aim: 1.5,
      ratio_redis_verdict: "must",
      ratio_uws: 0.4,
      ratio_uws_min: 0.39,
      ratio_uws_max: 0.41,
      ratio_uws_figure: "operations_per_s",
    },
  },
  {
    workload: "put-c50",
    system: "redis",
    operations_per_s: 101_000,
    p50_us: 480,
    p99_us: 900,
    bottleneck: "redis main thread",
    values: { busiest_share: 0.99 },
  },
  {
    workload: "put-c50",
    system: "disk",
    operations_per_s: 900_000,
    p50_us: 110,
    p99_us: 200,
    bottleneck: "disk",
    values: {},
  },
  skippedRow("put-c50", "postgres", "needs postgresql"),
  valuesRow("memory", "domp", { key_overhead_bytes: 151, connection_bytes: 1_400 }),
  valuesRow("machine", "machine", { cpu: "A Fine Processor", cores: 2 }),
];

test("the table shows figures, spread and verdict", () => {
  const text = renderTable(workloads, rows);
  for (const part of [
    /domp +130,000 +350 +800 +engine thread 93 %/,
    /redis +101,000 +480 +900 +redis main thread 99 %/,
    /ops\/s 1\.30x redis \(1\.25x to 1\.40x\): must 1\.20x, aim 1\.50x: ✓ must/,
    /ops\/s 0\.40x uws \(0\.39x to 0\.41x\)$/m,
    /postgres: skipped: needs postgresql/,
    /key_overhead_bytes 151: must 150, aim 90: ✗ short/,
    /connection_bytes 1,400: must 2,500, aim 1,500: ✓ aim/,
  ]) {
    assert.match(text, part);
  }
});

test("the table judges bounds of loads, ratios to sums, and aims without a must", () => {
  const row: Row = {
    ...valuesRow("put-c1", "domp", {
      ratio_disk_uws: 1.3,
      ratio_disk_uws_min: 1.2,
      ratio_disk_uws_max: 1.4,
      ratio_disk_uws_figure: "p50_us",
      ratio_disk_uws_aim: 1.15,
      ratio_disk_uws_verdict: "missed",
    }),
    operations_per_s: 5_000,
  };
  const k64: Row = {
    ...valuesRow("put-c50-k64", "domp", { busiest_share: 0.97, p99_per_p50: 2.5 }),
    operations_per_s: 1e6,
    bottleneck: "generator",
  };
  const start = valuesRow("start", "domp", { first_reply_us: 150_000, node_us: 40_000 });
  const recovery = valuesRow("recovery", "domp", { disk_bytes_per_log_byte: null });
  const text = renderTable(WORKLOADS, [row, k64, start, recovery]);
  for (const part of [
    /p50 1\.30x disk \+ uws \(1\.20x to 1\.40x\): aim 1\.15x: – aim missed/,
    /p99_per_p50 2\.5: must 3: ✓ must/,
    /busiest_share 0\.97: must 0\.9: ✗ short/,
    /first_reply_us 150,000: must 180,000, aim 120,000: ✓ must/,
    /disk_bytes_per_log_byte \?$/m,
  ]) {
    assert.match(text, part);
  }
});

test("the picture is an SVG with every system, the machine and its limits", () => {
  const svg = renderPicture(workloads, rows) ?? "";
  assert.match(svg, /^<svg[\s\S]*<\/svg>\s*$/);
  for (const text of [
    "Durable puts, 50 clients",
    "130k/s   1.3 × Redis",
    "350 µs, 99 %: 800 µs",
    "Redis",
    "A Fine Processor",
    "Durable puts, 50 clients / Redis",
    "✓ 1.3 ×   (must 1.2 ×, aim 1.5 ×)",
    "✗ 151 B   (must 150 B, aim 90 B)",
    // Nine times what the servers reach: told, but not drawn to scale.
    "→ bare disk 900k",
  ]) {
    assert.ok(svg.includes(text), `"${text}" is missing`);
  }
  assert.ok(!svg.includes("PostgreSQL<"), "what was skipped is not drawn");
});

test("figures are told in few digits and the unit that fits", () => {
  assert.deepEqual([short(1_204_000), short(66_800), short(456)], ["1.2M", "66.8k", "456"]);
  assert.deepEqual(
    [duration(72.32), duration(3_019), duration(1.1e6)],
    ["72.3 µs", "3.02 ms", "1.1 s"],
  );
  assert.deepEqual(
    [figure("key_bytes", 1_500), figure("base_bytes", 76.2e6), figure("keys_per_s", 2e6)],
    ["1,500 B", "76.2 MB", "2M/s"],
  );
  assert.deepEqual([figure("busiest_share", 0.934), figure("stall_ratio", 2.5)], ["93 %", "2.5 ×"]);
});

test("nothing is drawn where nothing was measured", () => {
  assert.equal(renderPicture([], rows), undefined);
});

test("the command line is read", () => {
  const options = readOptions([
    ...["--only", "memory,put-c50", "--json", "out.json", "--seconds", "0.5", "--rounds", "3"],
    ...["--set", "log.mode=threaded", "--set", "log.segment_size=64MiB"],
  ]);
  // In the order of the table, not of the command line.
  assert.deepEqual(
    options?.workloads.map(({ name }) => name),
    ["put-c50", "memory"],
  );
  assert.deepEqual(
    [options?.json, options?.seconds, options?.rounds, options?.keys],
    ["out.json", 0.5, 3, 1_000_000],
  );
  assert.deepEqual(options?.settings, { "log.mode": "threaded", "log.segment_size": "64MiB" });
  assert.equal(readOptions([])?.rounds, 5);
  const compared = readOptions(["--against", "../other"]);
  assert.deepEqual([compared?.against, compared?.rounds], ["../other", 15]);
  assert.equal(readOptions(["--help"]), undefined);
});

test("a mistake on the command line is told, not ignored", () => {
  for (const words of [
    ["--only", "put-c51"],
    ["--seconds", "soon"],
    ["--seconds", ""],
    ["--rounds", "0"],
    ["--rounds", "1.5"],
    ["--sekonds", "1"],
    ["put-c50"],
    ["--set", "threaded"],
    ["--name", "../sample"],
    ["--systems", "oracle"],
  ]) {
    assert.throws(() => readOptions(words), UsageError, words.join(" "));
  }
});

test("a metric is the sum of its samples", () => {
  const text = [
    "# HELP domp_node_snapshots_total Snapshots finished.",
    "# TYPE domp_node_snapshots_total counter",
    "domp_node_snapshots_total 3",
    'domp_shard_keys{group="1",space="a b"} 10',
    'domp_shard_keys{group="2",space="c"} 5',
    "domp_shard_keys_other 7",
  ].join("\n");
  assert.equal(sumOfMetric(text, "domp_node_snapshots_total"), 3);
  assert.equal(sumOfMetric(text, "domp_shard_keys"), 15);
  assert.equal(sumOfMetric(text, "domp_shard"), undefined);
});
