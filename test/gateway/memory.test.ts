import assert from "node:assert/strict";
import { test } from "node:test";
import { Counters } from "../../src/gateway/counters.js";
import { ClientMemory, type Holder } from "../../src/gateway/memory.js";

function setUp(bytesMax: number) {
  const counters = new Counters();
  const memory = new ClientMemory(bytesMax, counters);
  const shed: string[] = [];
  const holder = (name: string): Holder => ({ shed: () => shed.push(name) });
  return { counters, memory, shed, holder };
}

test("within the budget everybody holds what they hold", () => {
  const { memory, holder, shed, counters } = setUp(100);
  const [a, b] = [holder("a"), holder("b")];
  assert.ok(memory.hold(a, 60));
  assert.ok(memory.hold(b, 40));
  assert.ok(memory.hold(a, 10));
  assert.ok(memory.hold(b, 90));
  assert.equal(memory.bytes, 100);
  assert.equal(counters.memoryBytes, 100);
  memory.release(b);
  memory.release(b);
  assert.equal(memory.bytes, 10);
  assert.deepEqual(shed, []);
});

test("at the budget whoever holds the most gives way, be it another", () => {
  const { memory, holder, shed, counters } = setUp(100);
  const [small, large, modest] = [holder("small"), holder("large"), holder("modest")];
  memory.hold(small, 10);
  memory.hold(large, 80);
  assert.ok(memory.hold(modest, 20), "80 bytes of another go first");
  assert.deepEqual(shed, ["large"]);
  assert.equal(memory.bytes, 30);
  assert.equal(counters.memoryShed, 1);
});

test("or be it the one that asks: it is refused, and its account stays", () => {
  const { memory, holder, shed } = setUp(100);
  const [small, greedy] = [holder("small"), holder("greedy")];
  memory.hold(small, 50);
  memory.hold(greedy, 40);
  assert.equal(memory.hold(greedy, 60), false);
  assert.deepEqual(shed, []);
  assert.equal(memory.bytes, 90);
  assert.ok(memory.hold(small, 50), "who asks for no more is never refused");
});

test("several give way where one is not enough, and less is always admitted", () => {
  const { memory, holder, shed } = setUp(100);
  const [a, b, c] = [holder("a"), holder("b"), holder("c")];
  memory.hold(a, 50);
  memory.hold(b, 45);
  assert.ok(memory.hold(c, 44));
  assert.deepEqual(shed, ["a"]);
  assert.equal(memory.hold(c, 101), false, "b holds less than c would");
  assert.ok(memory.hold(c, 1));
  assert.equal(memory.bytes, 46);
});
