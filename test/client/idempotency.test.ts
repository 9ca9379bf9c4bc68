// Idempotency keys: what the SDK sends, keeps and hands out, against a peer with the server's rules.
import assert from "node:assert/strict";
import { test } from "node:test";
import { numbers, text } from "../../src/client/codecs.js";
import { decodeKept, encodeKept } from "../../src/client/kept.js";
import { op, when } from "../../src/client/operations.js";
import type { Space } from "../../src/client/space.js";
import { connected, errorOf, type World, watch } from "./support/connect.js";
import { Peer, transactionOf } from "./support/peer.js";
import { Store } from "./support/store.js";

/** A client whose peer keeps this store. */
async function over(store: Store): Promise<World & { readonly space: Space<string> }> {
  const peer = new Peer();
  peer.answer = (item) => store.answer(item);
  const world = await connected({}, peer);
  return { ...world, space: world.client.space("default", text) };
}

test("every write takes an idempotency key, and reads send none", async () => {
  const { space, peer, environment } = await over(new Store());
  const idempotencyKey = "order-17";
  const bytes = Uint8Array.of(0, 255);
  watch(space.put("a", "v", { idempotencyKey }));
  watch(space.append("b", "v", { idempotencyKey: bytes }));
  watch(space.as(numbers).add("c", 1, { idempotencyKey: "add" }));
  watch(space.delete("d", { idempotencyKey: "delete" }));
  watch(space.deleteRange({ prefix: "d" }, { idempotencyKey: "deleteRange" }));
  watch(space.submit({ then: [op.put("e", "v")] }, { idempotencyKey: "ü" }));
  watch(space.get("a"));
  await environment.tick();
  const keys = peer.last.items.map((item) => transactionOf(item).idempotencyKeyArray());
  const encoder = new TextEncoder();
  const said = ["add", "delete", "deleteRange", "ü"].map((key) => encoder.encode(key));
  assert.deepEqual(keys, [encoder.encode(idempotencyKey), bytes, ...said, null]);
  assert.ok(peer.last.items.every((item) => transactionOf(item).resultArray() === null));
});

test("a key has 1 to 255 bytes, of whatever text", async () => {
  const { space, peer, environment } = await over(new Store());
  const wrong = ["", "x".repeat(256), "ü".repeat(128), "\ud800", new Uint8Array(0), 7 as never];
  for (const idempotencyKey of wrong) {
    const calls = [
      space.put("a", "v", { idempotencyKey }),
      space.submit({ then: [op.put("a", "v")] }, { idempotencyKey }),
      space.transact((tx) => tx.put("a", "v"), { idempotencyKey }),
      space.outcomeOf(idempotencyKey),
    ].map((call: Promise<unknown>) => watch(call));
    await environment.tick();
    for (const call of calls) assert.equal(errorOf(call).code, "invalid_argument");
  }
  assert.equal(peer.last.items.length, 0, "nothing was sent");
});

test("the same write again, from whichever client, does nothing and is told the first answer", async () => {
  const store = new Store();
  const one = await over(store);
  const other = await over(store);
  const options = { idempotencyKey: "once" };
  const heard: boolean[] = [];
  const sums: unknown[] = [];
  for (const { space, environment } of [one, other, one]) {
    const sum = watch(
      space.add("n", 5, { ...options, onAnswer: ({ replayed }) => heard.push(replayed) }),
    );
    await environment.tick();
    sums.push(sum.value);
  }
  assert.deepEqual(sums, [5n, 5n, 5n]);
  assert.deepEqual(heard, [false, true, true]);
  const another = watch(other.space.add("n", 6, options));
  await other.environment.tick();
  assert.equal(errorOf(another).code, "request_id_conflict");
  assert.equal(store.get("n")?.value, 5n);
});

test("outcomeOf: applied, refused for good, not seen; a guard that failed leaves the key free", async () => {
  const store = new Store();
  store.put("text", "no number");
  const { space, environment } = await over(store);
  const tick = async <T>(call: Promise<T>) => {
    const watched = watch(call);
    await environment.tick();
    return watched;
  };
  assert.deepEqual((await tick(space.outcomeOf("a"))).value, { state: "not_seen" });
  const free = { if: [when.modified("none", 1n)], then: [op.put("x", "v")] };
  const failed = await tick(space.submit(free, { idempotencyKey: "a" }));
  assert.equal(failed.value?.applied, false);
  assert.deepEqual((await tick(space.outcomeOf("a"))).value, { state: "not_seen" });
  await tick(space.add("n", 3, { idempotencyKey: "a" }));
  const seen = (await tick(space.outcomeOf("a"))).value;
  assert.ok(seen?.state === "applied" && seen.applied);
  assert.equal(seen.result, undefined);
  assert.equal(seen.results[0]?.number, 3n);
  assert.equal(seen.revision, store.get("n")?.modified);
  await tick(space.add("text", 3, { idempotencyKey: "b" }));
  assert.deepEqual((await tick(space.outcomeOf("b"))).value, {
    state: "not_applied",
    code: "wrong_kind",
  });
});

const RESULTS: readonly unknown[] = [
  undefined,
  null,
  true,
  "text ü \ud83d\ude00",
  "$bigint",
  0,
  -0,
  1.5,
  Number.NaN,
  Number.NEGATIVE_INFINITY,
  12345678901234567890n,
  -1n,
  new Uint8Array(0),
  Uint8Array.of(0, 127, 128, 255),
  [],
  [undefined, [null, 1n]],
  {},
  { a: undefined, b: { c: [new Uint8Array(2)] } },
  { $bigint: "7" },
  { $$bigint: "7", $: 1 },
  { "": 1, ["__proto__"]: 2 },
];

test("results survive being kept, whatever they hold", () => {
  for (const result of RESULTS) assert.deepEqual(decodeKept(encodeKept(result)), result);
});

test("what can't be kept is refused, and so is what is too large", () => {
  class Point {}
  const ring: unknown[] = [];
  ring.push(ring);
  const sparse = new Date(0);
  for (const wrong of [() => 1, Symbol("s"), new Point(), new Map(), sparse, ring, [new Set()]]) {
    assert.throws(() => encodeKept(wrong), { code: "invalid_argument" }, String(typeof wrong));
  }
  assert.equal(encodeKept("x".repeat(1022)).length, 1024);
  assert.throws(() => encodeKept("x".repeat(1023)), {
    code: "result_too_large",
    outcome: "not_applied",
    message: /1024 bytes, not 1025/,
  });
});

/** Sells something for 60, once under its key. */
function buy(space: Space<string>, idempotencyKey = "order-17"): Promise<{ left: bigint }> {
  return space.transact(
    async (tx) => {
      const gold = (await tx.as(numbers).get("gold"))?.value ?? 0n;
      if (gold < 60n) throw new Error("not enough gold");
      tx.as(numbers).put("gold", gold - 60n);
      return { left: gold - 60n };
    },
    { idempotencyKey },
  );
}

test("a transact under a key is done once; its result is given back, also to another client", async () => {
  const store = new Store();
  store.put("gold", 100n);
  const one = await over(store);
  const other = await over(store);
  const first = watch(buy(one.space));
  await one.environment.tick();
  assert.deepEqual(first.value, { left: 40n });
  // Now there is too little gold: the function throws, which is not what became of the order.
  const again = watch(buy(other.space));
  await other.environment.tick();
  assert.deepEqual(again.value, { left: 40n });
  store.put("gold", 500n);
  const third = watch(buy(one.space));
  await one.environment.tick();
  assert.deepEqual(third.value, { left: 40n }, "its writes did nothing");
  assert.equal(store.get("gold")?.value, 500n);
  const seen = watch(other.space.outcomeOf<{ left: bigint }>("order-17"));
  await other.environment.tick();
  assert.ok(seen.value?.state === "applied");
  assert.deepEqual(seen.value.result, { left: 40n });
  store.forgetKeys();
  const anew = watch(buy(other.space));
  await other.environment.tick();
  assert.deepEqual(anew.value, { left: 440n }, "a key that is forgotten protects from nothing");
});

test("what the function throws is believed where the key is not bound", async () => {
  const store = new Store();
  store.put("gold", 10n);
  const { space, environment } = await over(store);
  const poor = watch(buy(space));
  await environment.tick();
  assert.match(String(poor.error), /not enough gold/);
  store.put("gold", 60n);
  const rich = watch(buy(space));
  await environment.tick();
  assert.deepEqual(rich.value, { left: 0n });
});

test("a function that finds it has nothing to write gets the result of the time it had", async () => {
  const { space, environment } = await over(new Store());
  const enter = () =>
    space.transact(
      async (tx) => {
        if ((await tx.get("member")) !== undefined) return "was in already";
        tx.put("member", "ada");
        return "came in";
      },
      { idempotencyKey: "enter" },
    );
  for (let i = 0; i < 2; i += 1) {
    const entered = watch(enter());
    await environment.tick();
    assert.equal(entered.value, "came in");
  }
});

test("a conflict under a key binds nothing, and the result is that of the attempt that counts", async () => {
  const store = new Store();
  store.put("n", 1n);
  const { space, environment } = await over(store);
  let runs = 0;
  const done = watch(
    space.transact(
      async (tx) => {
        runs += 1;
        const n = (await tx.as(numbers).get("n"))?.value ?? 0n;
        if (runs === 1) store.put("n", 10n);
        tx.as(numbers).put("n", n + 1n);
        return n;
      },
      { idempotencyKey: "k" },
    ),
  );
  await environment.advance(100);
  assert.equal(done.value, 10n);
  const seen = watch(space.outcomeOf("k"));
  await environment.tick();
  assert.equal(seen.value?.state === "applied" && seen.value.result, 10n);
});

test("a result that can't be kept is refused before anything is written", async () => {
  const store = new Store();
  const { space, peer, environment } = await over(store);
  const results: [unknown, string][] = [
    ["x".repeat(2_000), "result_too_large"],
    [new Date(0), "invalid_argument"],
  ];
  for (const [result, code] of results) {
    const run = (tx: { put(key: string, value: string): void }): unknown => {
      tx.put("a", "v");
      return result;
    };
    const done = watch(space.transact(run, { idempotencyKey: "k" }));
    await environment.tick();
    assert.equal(errorOf(done).code, code);
    assert.equal(store.get("a"), undefined);
    const plain = watch(space.transact(run));
    await environment.tick();
    assert.equal(plain.value, result, "without a key anything may be returned");
    store.delete("a");
  }
  assert.ok(peer.last.items.every((item) => transactionOf(item).idempotencyKeyArray() === null));
});
