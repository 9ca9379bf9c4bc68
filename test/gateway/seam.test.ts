import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { RecordKind } from "../../src/engine/index.js";
import { Counters } from "../../src/gateway/counters.js";
import { Seam, type Tenant } from "../../src/gateway/seam.js";
import { Slots } from "../../src/gateway/slots.js";
import { FakeEngine } from "./fakes.js";

function setUp() {
  const engine = new FakeEngine();
  const slots = new Slots<Tenant>();
  const counters = new Counters();
  return { engine, slots, counters, seam: new Seam(engine, slots, counters) };
}

const full = { id: 7n, access: "full" } as const;
const frame = Uint8Array.of(1, 2, 3);

test("what is pushed in one turn is flushed once, at its end", async () => {
  const { engine, slots, seam } = setUp();
  const address = slots.take({ onFrames: () => undefined });
  seam.attach(address, full, new Uint8Array(0));
  seam.frame(address, frame);
  seam.frame(address, frame);
  assert.equal(engine.flushes, 0);
  await turn();
  await turn();
  assert.equal(engine.flushes, 1);
  assert.equal(engine.records.length, 3);
  seam.frame(address, frame);
  await turn();
  await turn();
  assert.equal(engine.flushes, 2);
});

test("an attach bears principal, rights and the session to resume", () => {
  const { engine, slots, seam } = setUp();
  const address = slots.take({ onFrames: () => undefined });
  seam.attach(address, { id: 0x0102n, access: "read" }, new Uint8Array(40).fill(9));
  const [record] = engine.records;
  assert.equal(record?.kind, RecordKind.attach);
  assert.equal(record?.slot, address.slot);
  assert.equal(record?.generation, address.generation);
  assert.deepEqual([...(record?.prefix ?? [])].slice(0, 10), [2, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
  assert.deepEqual(record?.body, new Uint8Array(40).fill(9));
});

test("a stateless record says who asks, and whether they may write", () => {
  const { engine, slots, seam } = setUp();
  const address = slots.take({ onFrames: () => undefined });
  seam.stateless(address, full, frame);
  seam.stateless(address, { id: 1n, access: "read" }, frame);
  const [writer, reader] = engine.records;
  assert.equal(writer?.prefix?.[8], 0);
  assert.equal(reader?.prefix?.[8], 1);
  assert.deepEqual([reader?.prefix?.[0], reader?.prefix?.length], [1, 16]);
});

test("frames reach the tenant of their address; those of one that left reach nobody", () => {
  const { engine, slots, counters, seam } = setUp();
  const got: string[] = [];
  const a = slots.take({ onFrames: ([bytes]) => got.push(`a${bytes?.[0]}`) });
  engine.answer(a, Uint8Array.of(1));
  seam.drain();
  seam.detach(a);
  const b = slots.take({ onFrames: ([bytes]) => got.push(`b${bytes?.[0]}`) });
  assert.equal(b.slot, a.slot);
  engine.answer(a, Uint8Array.of(2));
  engine.answer(b, Uint8Array.of(3));
  seam.drain();
  assert.deepEqual(got, ["a1", "b3"]);
  assert.equal(counters.repliesStale, 1);
});

test("a detach that finds the ring full is sent before anything else once there is room", async () => {
  const { engine, slots, seam } = setUp();
  const gone = slots.take({ onFrames: () => undefined });
  engine.room = 0;
  seam.detach(gone);
  const next = slots.take({ onFrames: () => undefined });
  assert.equal(seam.attach(next, full, new Uint8Array(0)), false);
  assert.deepEqual(engine.records, []);
  engine.room = 10;
  assert.equal(seam.attach(next, full, new Uint8Array(0)), true);
  assert.deepEqual(
    engine.records.map(({ kind, generation }) => [kind, generation]),
    [
      [RecordKind.detach, gone.generation],
      [RecordKind.attach, next.generation],
    ],
  );
});

test("a waiting detach is also sent when the engine wakes the gateway", async () => {
  const { engine, slots, seam } = setUp();
  const gone = slots.take({ onFrames: () => undefined });
  engine.room = 0;
  seam.detach(gone);
  await turn();
  await turn();
  const { flushes } = engine;
  engine.room = 10;
  seam.drain();
  assert.equal(engine.records[0]?.kind, RecordKind.detach);
  await turn();
  await turn();
  assert.ok(engine.flushes > flushes);
});
