import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ByteBuffer } from "flatbuffers";
import * as wire from "../../src/protocol/generated/wire.js";
import {
  encodeOutcomeRequest,
  encodeTransaction,
  isWrite,
  type Operation,
} from "../../src/protocol/transaction.js";

const key = Uint8Array.of(107);

const read = (payload: Uint8Array): wire.Transaction =>
  wire.Transaction.getRootAsTransaction(new ByteBuffer(payload));

describe("an encoded transaction", () => {
  it("is the same after a large one, which leaves a larger builder behind", () => {
    const small = { space: 1, then: [{ kind: "put" as const, key, value: Uint8Array.of(1) }] };
    const before = encodeTransaction(small);
    const value = new Uint8Array(1 << 20).fill(7);
    const large = read(encodeTransaction({ space: 1, then: [{ kind: "put", key, value }] }));
    assert.deepEqual(large.then(0)?.valueArray(), value);
    assert.deepEqual(encodeTransaction(small), before);
  });

  it("is not spoilt by one that failed half way", () => {
    const good = { space: 1, then: [{ kind: "put" as const, key, value: 1n }] };
    const before = encodeTransaction(good);
    const bad = { space: 1, then: [{ kind: "put" as const, key, value: 2n ** 63n }] };
    assert.throws(() => encodeTransaction(bad), { name: "ProtocolError" });
    assert.deepEqual(encodeTransaction(good), before);
  });

  it("owns its memory", () => {
    const first = encodeTransaction({ space: 1, then: [{ kind: "get", key }] });
    const copy = first.slice();
    encodeTransaction({ space: 2, then: [{ kind: "delete", key: Uint8Array.of(1, 2, 3) }] });
    assert.deepEqual(first, copy);
  });

  it("tells an empty else branch from none", () => {
    assert.equal(read(encodeTransaction({ space: 1, otherwise: [] })).otherwiseLength(), 0);
    const place = (payload: Uint8Array): number =>
      new ByteBuffer(payload).__offset(new DataView(payload.buffer).getUint32(0, true), 10);
    assert.notEqual(place(encodeTransaction({ space: 1, otherwise: [] })), 0);
    assert.equal(place(encodeTransaction({ space: 1 })), 0);
  });

  const out: [what: string, operation: Operation][] = [
    ["a number over 63 bits", { kind: "put", key, value: 2n ** 63n }],
    ["a delta under 63 bits", { kind: "add", key, delta: -(2n ** 63n) - 1n }],
    ["a floor over 63 bits", { kind: "add", key, delta: 0n, floor: 2n ** 63n }],
    ["a negative expiry", { kind: "put", key, value: 0n, expireAfterMs: -1 }],
    ["half a millisecond", { kind: "put", key, value: 0n, expireAfterMs: 0.5 }],
    ["an endless expiry", { kind: "put", key, value: 0n, expireAfterMs: Infinity }],
    ["a limit over 32 bits", { kind: "range", from: key, to: undefined, limit: 2 ** 32 }],
    ["a limit that is no number", { kind: "range", from: key, to: undefined, limit: NaN }],
  ];
  for (const [what, operation] of out) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => encodeTransaction({ space: 1, then: [operation] }), {
        name: "ProtocolError",
        code: "invalid_argument",
      });
    });
  }

  it("is refused with a space or revision out of range", () => {
    const refused = { code: "invalid_argument" };
    assert.throws(() => encodeTransaction({ space: -1 }), refused);
    for (const revision of [-1n, 2n ** 64n]) {
      const guards = [{ kind: "modified" as const, key, revision }];
      assert.throws(() => encodeTransaction({ space: 1, guards }), refused);
    }
    assert.throws(() => encodeOutcomeRequest({ space: 1, key, sequence: 2 ** 53 }), refused);
  });

  it("knows what writes", () => {
    assert.ok(!isWrite({ kind: "get", key }));
    assert.ok(!isWrite({ kind: "count", from: key, to: undefined }));
    assert.ok(isWrite({ kind: "delete", key }));
    assert.ok(isWrite({ kind: "spaceDrop", name: key }));
  });
});
