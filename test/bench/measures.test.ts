import assert from "node:assert/strict";
import { test } from "node:test";
import { lapValues, logBytes } from "../../bench/measures/lap.js";
import { pairStalls } from "../../bench/measures/stalls.js";

const MIB = 2 ** 20;

function metrics(frames: number, disk?: number): string {
  return [
    "# TYPE domp_node_log_written_bytes_total counter",
    `domp_node_log_written_bytes_total ${frames}`,
    ...(disk === undefined ? [] : [`domp_node_log_disk_bytes_total ${disk}`]),
    "domp_node_log_segments 5",
  ].join("\n");
}

test("bytes on the disk are divided by bytes of frames, of the time after the first lap", () => {
  const lap = logBytes(metrics(1_500 * MIB, 2_400 * MIB));
  const end = logBytes(metrics(2_300 * MIB, 3_280 * MIB));
  assert.deepEqual(lapValues(lap, end), {
    disk_bytes_per_log_byte: 1.1,
    lap_log_bytes: 800 * MIB,
    first_disk_bytes_per_log_byte: 1.6,
  });
});

test("a server that does not tell what it wrote gets a reason, and no figure", () => {
  const lap = logBytes(metrics(1_500 * MIB));
  const end = logBytes(metrics(2_300 * MIB));
  assert.deepEqual(lapValues(lap, end), {
    disk_bytes_per_log_byte: null,
    disk_bytes_reason: "the server does not tell domp_node_log_disk_bytes_total",
  });
});

test("a log that did not come round gets a reason, and no figure", () => {
  const lap = logBytes(metrics(1_500 * MIB, 2_400 * MIB));
  const soon = logBytes(metrics(1_600 * MIB, 2_400 * MIB));
  for (const first of [undefined, lap]) {
    const values = lapValues(first, soon);
    assert.equal(values["disk_bytes_per_log_byte"], null);
    assert.equal(values["disk_bytes_reason"], "the log did not come round in time");
  }
});

test("a stall with a snapshot stands beside as many windows before it", () => {
  const quiet = (stallUs: number) => ({ stallUs, snapshot: false });
  const during = (stallUs: number) => ({ stallUs, snapshot: true });
  const windows = [
    // Nothing before it to be compared with.
    ...[during(99), quiet(9), quiet(2), quiet(3)],
    // Two windows: the stall of 9 before them lies too far back.
    ...[during(10), during(12), quiet(4)],
    // More windows than there are before: those that there are.
    ...[during(20), during(5), quiet(6)],
    // Has not ended.
    during(50),
  ];
  assert.deepEqual(pairStalls(windows), [
    { duringUs: 12, quietUs: 3 },
    { duringUs: 20, quietUs: 4 },
  ]);
  assert.deepEqual(pairStalls([]), []);
});
