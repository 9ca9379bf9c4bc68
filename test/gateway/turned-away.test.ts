import assert from "node:assert/strict";
import { test } from "node:test";
import { TurnedAway } from "../../src/gateway/turned-away.js";

function setUp() {
  const lines: object[] = [];
  const world = { nowMs: 0 };
  const log = { warn: (fields: object) => lines.push(fields) };
  return { lines, world, turnedAway: new TurnedAway(log, () => world.nowMs) };
}

test("the first is told at once, with reason, address and name", () => {
  const { turnedAway, lines } = setUp();
  turnedAway.note("unauthenticated", "no valid token", "192.0.2.1", "shop");
  turnedAway.note("forbidden", "not this page", "192.0.2.2");
  assert.deepEqual(lines, [
    { reason: "unauthenticated", detail: "no valid token", address: "192.0.2.1", client: "shop" },
    { reason: "forbidden", detail: "not this page", address: "192.0.2.2" },
  ]);
});

test("of a flood one a second is told, with the number left out, its last too", () => {
  const { turnedAway, lines, world } = setUp();
  for (let count = 0; count < 1_000; count += 1) {
    world.nowMs = count * 2;
    turnedAway.note("unauthenticated", "no valid token", `192.0.2.${count % 250}`);
  }
  assert.equal(lines.length, 2, "at 0 and at 1,000 ms");
  assert.deepEqual(lines[1], {
    reason: "unauthenticated",
    detail: "no valid token",
    address: "192.0.2.0",
    omitted: 499,
  });
  world.nowMs = 2_500;
  turnedAway.sweep();
  turnedAway.sweep();
  assert.equal(lines.length, 3);
  assert.deepEqual(lines[2], {
    reason: "unauthenticated",
    detail: "no valid token",
    address: "192.0.2.249",
    omitted: 498,
  });
});

test("a stopping server is no refusal, and a name can't write to a terminal", () => {
  const { turnedAway, lines } = setUp();
  turnedAway.note("shutting_down", "", "192.0.2.1");
  turnedAway.note("too_large", "", "192.0.2.1", `\u001b[2J${"x".repeat(100)}`);
  assert.equal(lines.length, 1);
  assert.equal((lines[0] as { client: string }).client, `?[2J${"x".repeat(60)}`);
});
