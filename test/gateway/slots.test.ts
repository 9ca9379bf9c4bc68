import assert from "node:assert/strict";
import { test } from "node:test";
import { Slots } from "../../src/gateway/slots.js";

const tenant = (name: string) => ({ name });

test("a tenant is found at its address and nowhere else", () => {
  const slots = new Slots<{ name: string }>();
  const a = tenant("a");
  const b = tenant("b");
  const atA = slots.take(a);
  const atB = slots.take(b);
  assert.notEqual(atA.slot, atB.slot);
  assert.equal(slots.at(atA.slot, atA.generation), a);
  assert.equal(slots.at(atB.slot, atB.generation), b);
  assert.equal(slots.at(atA.slot, atA.generation + 1), undefined);
  assert.equal(slots.at(99, 1), undefined);
  assert.equal(slots.size, 2);
});

test("a slot is used again under another generation, and the old address stays void", () => {
  const slots = new Slots<{ name: string }>();
  const old = slots.take(tenant("old"));
  slots.release(old);
  assert.equal(slots.at(old.slot, old.generation), undefined);
  const next = tenant("next");
  const now = slots.take(next);
  assert.equal(now.slot, old.slot);
  assert.notEqual(now.generation, old.generation);
  assert.equal(slots.at(old.slot, old.generation), undefined);
  assert.equal(slots.at(now.slot, now.generation), next);
});

test("releasing twice, or by an old address, moves nobody out", () => {
  const slots = new Slots<{ name: string }>();
  const old = slots.take(tenant("old"));
  slots.release(old);
  const next = tenant("next");
  const now = slots.take(next);
  slots.release(old);
  assert.equal(slots.at(now.slot, now.generation), next);
  assert.equal(slots.size, 1);
  slots.release(now);
  slots.release(now);
  assert.equal(slots.size, 0);
  const first = slots.take(tenant("x"));
  const second = slots.take(tenant("y"));
  assert.notEqual(first.slot, second.slot, "a slot released twice was handed out twice");
});

test("a slot whose generations are used up is never used again", () => {
  const slots = new Slots<{ name: string }>(2);
  const seen = new Set<string>();
  for (let round = 0; round < 6; round += 1) {
    const address = slots.take(tenant("t"));
    const name = `${address.slot}/${address.generation}`;
    assert.ok(!seen.has(name), `address ${name} was given twice`);
    assert.ok(address.generation <= 2);
    seen.add(name);
    slots.release(address);
  }
});
