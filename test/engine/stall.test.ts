// The event loop stands still for seconds: the engine goes on, and nothing is lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { found, get, put, TestGateway, testDirectory } from "./gateway.js";

/** Holds the event loop, as a long computation would. */
function stall(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test("requests sent before a stall are done during it and answered after it", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  const COUNT = 1000;
  for (let sequence = 1; sequence <= COUNT; sequence++) {
    await gateway.submit(1, 1, sequence, put(`key-${sequence}`, `value-${sequence}`));
  }
  stall(3000);
  const begun = performance.now();
  const replies = await gateway.replies(1, 1, COUNT);
  const tookMs = performance.now() - begun;
  assert.deepEqual(
    replies.map((reply) => [reply.sequence, reply.applied]),
    Array.from({ length: COUNT }, (_, n) => [n + 1, true]),
  );
  assert.ok(tookMs < 1500, `they were waiting: ${tookMs} ms`);
  await gateway.engine.close();
});

test("more replies than the ring holds wait through a stall", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  const value = "v".repeat(512 * 1024);
  await gateway.submit(1, 1, 1, put("large", value));
  await gateway.replies(1, 1, 1);
  gateway.deaf = true;
  const COUNT = 100;
  for (let sequence = 2; sequence < 2 + COUNT; sequence++) {
    await gateway.submit(1, 1, sequence, get("large"));
  }
  stall(2000);
  gateway.deaf = false;
  gateway.drain();
  const replies = await gateway.replies(1, 1, COUNT);
  assert.deepEqual(
    replies.map((reply) => reply.sequence),
    Array.from({ length: COUNT }, (_, n) => n + 2),
  );
  assert.ok(replies.every((reply) => found(reply) === value));
  await gateway.engine.close();
});

test("many messages in one turn cost one wake-up of each side", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  for (let slot = 0; slot < 50; slot++) await gateway.attach(slot, 1);
  const before = (await gateway.engine.control("statistics")).work;
  const wakeUps = gateway.wakeUps;
  const ROUNDS = 20;
  for (let round = 1; round <= ROUNDS; round++) {
    for (let slot = 0; slot < 50; slot++) {
      await gateway.submit(slot, 1, round, put(`${slot}`, `${round}`));
    }
    for (let slot = 0; slot < 50; slot++) await gateway.replies(slot, 1, 1);
  }
  const after = (await gateway.engine.control("statistics")).work;
  assert.equal(after.outboundReplies - before.outboundReplies, 50 * ROUNDS);
  assert.ok(gateway.wakeUps - wakeUps < (50 * ROUNDS) / 2, `${gateway.wakeUps - wakeUps} wake-ups`);
  await gateway.engine.close();
});

test("a visitor that throws loses nothing but its own frames", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  for (let slot = 0; slot < 3; slot++) await gateway.attach(slot, 1);
  gateway.deaf = true;
  for (let slot = 0; slot < 3; slot++) await gateway.submit(slot, 1, 1, put(`${slot}`, "x"));
  stall(500);
  const visited: number[] = [];
  assert.throws(
    () =>
      gateway.engine.drain((slot) => {
        visited.push(slot);
        if (slot === 0) throw new Error("of the visitor");
      }),
    /of the visitor/,
  );
  assert.deepEqual(visited, [0, 1, 2]);
  gateway.deaf = false;
  // The engine goes on as if nothing was.
  await gateway.submit(1, 1, 2, put("1", "y"));
  await gateway.replies(1, 1, 1);
  await gateway.engine.close();
});
