import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatDuration,
  formatSize,
  type Parsed,
  parseDuration,
  parseSize,
} from "../../src/config/units.js";

function accepted(result: Parsed<number>): number {
  assert.ok(result.ok, result.ok ? "" : result.problem);
  return result.value;
}

function problemOf(result: Parsed<number>): string {
  assert.ok(!result.ok, "was accepted");
  return result.problem;
}

test("durations are read with their unit", () => {
  assert.equal(accepted(parseDuration("5ms")), 5);
  assert.equal(accepted(parseDuration("2s")), 2_000);
  assert.equal(accepted(parseDuration("1.5m")), 90_000);
  assert.equal(accepted(parseDuration(" 1 h ")), 3_600_000);
  assert.equal(accepted(parseDuration("1d")), 86_400_000);
});

test("sizes are read with their unit, in any case", () => {
  assert.equal(accepted(parseSize("512B")), 512);
  assert.equal(accepted(parseSize("64KiB")), 65_536);
  assert.equal(accepted(parseSize("1mib")), 1_048_576);
  assert.equal(accepted(parseSize("0.5GiB")), 536_870_912);
});

test("a number without a unit is refused", () => {
  assert.match(problemOf(parseDuration("5")), /needs a unit/);
  assert.match(problemOf(parseSize("1024")), /needs a unit/);
});

test("an ambiguous or unknown unit is refused with the known ones", () => {
  assert.match(problemOf(parseSize("64kb")), /unknown unit "kb".*KiB/);
  assert.match(problemOf(parseDuration("5sec")), /unknown unit "sec".*ms, s, m/);
});

test("what is no quantity, no whole number or too large is refused", () => {
  assert.match(problemOf(parseDuration("-5s")), /not a quantity/);
  assert.match(problemOf(parseDuration("")), /not a quantity/);
  assert.match(problemOf(parseDuration("0.5ms")), /whole number of ms/);
  assert.match(problemOf(parseSize("99999999TiB")), /too large/);
});

test("formatting gives the shortest exact form, which reads back", () => {
  for (const [durationMs, text] of [
    [0, "0ms"],
    [5, "5ms"],
    [1_500, "1500ms"],
    [120_000, "2m"],
    [3_600_000, "1h"],
  ] as const) {
    assert.equal(formatDuration(durationMs), text);
    assert.equal(accepted(parseDuration(text)), durationMs);
  }
  assert.equal(formatSize(1_048_576), "1MiB");
  assert.equal(formatSize(1_048_577), "1048577B");
});
