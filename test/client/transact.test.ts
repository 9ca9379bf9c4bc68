import assert from "node:assert/strict";
import { test } from "node:test";
import { json, numbers, text } from "../../src/client/codecs.js";
import type { Space } from "../../src/client/space.js";
import { connected, errorOf, type World, watch } from "./support/connect.js";
import { Peer, transactionOf } from "./support/peer.js";
import { Store } from "./support/store.js";

interface StoreWorld extends World {
  readonly store: Store;
  readonly space: Space<string>;
}

/** A client whose peer keeps a small store. */
async function withStore(entries: Record<string, string | bigint> = {}): Promise<StoreWorld> {
  const store = new Store();
  for (const [key, value] of Object.entries(entries)) store.put(key, value);
  const peer = new Peer();
  peer.answer = (item) => store.answer(item);
  const world = await connected({}, peer);
  return { ...world, store, space: world.client.space("default", text) };
}

test("reads are guarded, writes are kept back until the commit, the result is handed out", async () => {
  const { space, peer, environment, store } = await withStore({ ada: "10", bob: "1" });
  const done = watch(
    space.transact(async (tx) => {
      const ada = await tx.get("ada");
      const nobody = await tx.get("nobody");
      tx.put("bob", `had ${ada?.value}`);
      tx.delete("ada");
      assert.equal(nobody, undefined);
      assert.equal(store.get("bob")?.value, "1", "nothing is written yet");
      return 42;
    }),
  );
  await environment.tick();
  assert.equal(done.value, 42);
  assert.equal(store.get("bob")?.value, "had 10");
  assert.equal(store.get("ada"), undefined);
  const commit = transactionOf(peer.last.items.at(-1) ?? assert.fail());
  assert.equal(commit.guardsLength(), 2);
  assert.equal(commit.guards(0)?.kind(), 4, "modified = for what was there");
  assert.equal(commit.guards(1)?.kind(), 2, "absent for what was not");
});

test("a conflict runs the function again with fresh reads, under a new request id", async () => {
  const { space, peer, environment, store } = await withStore({ counter: "1" });
  const seen: (string | undefined)[] = [];
  const attempts: number[] = [];
  const done = watch(
    space.transact(async (tx) => {
      const counter = await tx.get("counter");
      seen.push(counter?.value);
      attempts.push(tx.attempt);
      if (seen.length <= 2) store.put("counter", `${seen.length + 1}`);
      tx.put("counter", `${counter?.value} + 1`);
    }),
  );
  await environment.advance(100);
  assert.equal(done.state, "resolved");
  assert.deepEqual(seen, ["1", "2", "3"]);
  assert.deepEqual(attempts, [1, 2, 3]);
  assert.equal(store.get("counter")?.value, "3 + 1");
  const sequences = peer.last.items.map(({ sequence }) => sequence);
  assert.equal(new Set(sequences).size, sequences.length);
});

test("a key deleted and made anew with the same version is a conflict", async () => {
  const { space, environment, store } = await withStore({ a: "old" });
  let runs = 0;
  const done = watch(
    space.transact(async (tx) => {
      runs += 1;
      const entry = await tx.get("a");
      if (runs === 1) {
        store.delete("a");
        store.put("a", "new");
        assert.equal(store.get("a")?.version, 1n);
      }
      tx.put("b", entry?.value ?? "");
    }),
  );
  await environment.advance(100);
  assert.equal(done.state, "resolved");
  assert.equal(runs, 2);
  assert.equal(store.get("b")?.value, "new");
});

test("a phantom in a range that was read is a conflict", async () => {
  const { space, environment, store } = await withStore({ "q/1": "a", "q/3": "c" });
  let runs = 0;
  const done = watch(
    space.transact(async (tx) => {
      runs += 1;
      const count = await tx.count({ prefix: "q/" });
      if (runs === 1) store.put("q/2", "b");
      tx.put("count", `${count}`);
    }),
  );
  await environment.advance(100);
  assert.equal(done.state, "resolved");
  assert.equal(runs, 2);
  assert.equal(store.get("count")?.value, "3");
});

test("a key beyond what a limited range showed is no conflict", async () => {
  const { space, environment, store } = await withStore({ "q/1": "a", "q/2": "b", "q/3": "c" });
  let runs = 0;
  const done = watch(
    space.transact(async (tx) => {
      runs += 1;
      const [first] = await tx.range({ prefix: "q/", limit: 1 });
      store.put("q/9", "z");
      tx.put("first", first?.key ?? "");
    }),
  );
  await environment.tick();
  assert.equal(done.state, "resolved");
  assert.equal(runs, 1);
  assert.equal(store.get("first")?.value, "q/1");
});

test("conflict in every attempt ends with conflict, not applied and worth retrying", async () => {
  const { space, environment, store } = await withStore({ a: "0" });
  let runs = 0;
  const done = watch(
    space.transact(
      async (tx) => {
        runs += 1;
        await tx.get("a");
        store.put("a", `${runs}`);
        tx.put("b", "x");
      },
      { attemptsMax: 5 },
    ),
  );
  await environment.advance(9_000);
  const error = errorOf(done);
  assert.equal(error.code, "conflict");
  assert.equal(error.outcome, "not_applied");
  assert.equal(error.retryable, true);
  assert.equal(runs, 5);
  assert.equal(store.get("b"), undefined);
});

test("attempts wait with full jitter, and end with the deadline", async () => {
  const { space, environment, store } = await withStore({ a: "0" });
  environment.dice = [0.5];
  const starts: number[] = [];
  const done = watch(
    space.transact(
      async (tx) => {
        starts.push(environment.now());
        await tx.get("a");
        store.put("a", `${starts.length}`);
        tx.put("b", "x");
      },
      { timeoutMs: 100 },
    ),
  );
  await environment.advance(101);
  assert.equal(errorOf(done).code, "conflict");
  const waits = starts.slice(1).map((at, i) => at - (starts[i] ?? 0));
  assert.deepEqual(waits.slice(0, 5), [2, 4, 8, 16, 32]);
  // Half of what is left, again and again: the last chance is not slept through.
  assert.deepEqual(waits.slice(5, 8), [19, 9.5, 4.75]);
  assert.ok((starts.at(-1) ?? 0) - (starts[0] ?? 0) > 98);
});

test("transactions of one client on one key stand in line; those on others do not wait", async () => {
  const { space, environment, store, peer } = await withStore({ a: "0", z: "0" });
  const count = (key: string, options = {}) =>
    space.transact(async (tx) => {
      runs += 1;
      tx.put(key, `${Number((await tx.get(key))?.value) + 1}`);
      return tx.attempt;
    }, options);
  let runs = 0;
  // The answers take their time, so that what is not kept apart is under way together.
  const { answer } = peer;
  peer.answer = (item, connection) => {
    const said = answer?.(item, connection);
    environment.setTimer(() => said && connection.reply({ ...said, space: item.space }), 1);
    return undefined;
  };
  const all = watch(Promise.all(Array.from({ length: 20 }, () => count("a"))));
  const other = watch(count("z"));
  await environment.advance(2);
  assert.equal(other.value, 1);
  await environment.advance(100);
  assert.equal(store.get("a")?.value, "20");
  assert.deepEqual(all.value, [1, ...Array.from({ length: 19 }, () => 2)]);
  assert.equal(runs, 1 + 1 + 19 * 2, "each conflicts at most once");

  const controller = new AbortController();
  const first = watch(Promise.all([count("a"), count("a", { timeoutMs: 500 })]));
  const patient = watch(count("a", { signal: controller.signal }));
  await environment.tick();
  // The one whose turn it is hears nothing: those behind it end by themselves.
  peer.answer = () => undefined;
  await environment.advance(100);
  controller.abort();
  await environment.tick();
  assert.equal(errorOf(patient).code, "aborted");
  await environment.advance(400);
  assert.ok(first.state === "rejected");
  peer.answer = answer;
});

test("what the function throws ends it, and nothing is written", async () => {
  const { space, peer, environment, store } = await withStore({ gold: "3" });
  const poor = new Error("not enough gold");
  const done = watch(
    space.transact(async (tx) => {
      tx.put("gold", "-7");
      await tx.get("gold");
      throw poor;
    }),
  );
  await environment.tick();
  assert.equal(done.state, "rejected");
  assert.equal(done.error, poor);
  assert.equal(store.get("gold")?.value, "3");
  assert.ok(
    peer.last.items.every(
      (item) => transactionOf(item).thenLength() === 0 || transactionOf(item).then(0)?.kind() === 1,
    ),
  );
});

test("what it throws for a state that never was is not believed", async () => {
  const { space, environment, store } = await withStore({ a: "5", b: "5" });
  let runs = 0;
  const done = watch(
    space.transact(async (tx) => {
      runs += 1;
      const a = Number((await tx.get("a"))?.value);
      if (runs === 1) {
        // Another client moves 5 from b to a between our two reads.
        store.put("a", "10");
        store.put("b", "0");
      }
      const b = Number((await tx.get("b"))?.value);
      if (a + b !== 10) throw new Error("money vanished");
      return a;
    }),
  );
  await environment.advance(100);
  assert.equal(done.value, 10);
  assert.equal(runs, 2);
});

test("reading twice without writing is checked too; one read needs no check", async () => {
  const { space, peer, environment } = await withStore({ a: "1", b: "2" });
  watch(space.transact((tx) => tx.get("a")));
  await environment.tick();
  assert.equal(peer.last.items.length, 1);
  watch(space.transact(async (tx) => [await tx.get("a"), await tx.get("b"), await tx.get("a")]));
  await environment.tick();
  assert.equal(peer.last.items.length, 4, "two reads and their check; a is read once");
});

test("reads see the writes of their own transaction", async () => {
  const { space, environment, store } = await withStore({ a: "stored", n: 5n, log: "x" });
  const done = watch(
    space.transact(async (tx) => {
      const gold = tx.as(numbers);
      tx.put("a", "mine");
      assert.equal((await tx.get("a"))?.value, "mine");
      assert.equal((await tx.get("a"))?.version, 0, "it is not committed");
      tx.delete("a");
      assert.equal(await tx.get("a"), undefined);
      tx.append("a", "new");
      tx.append("a", "er");
      assert.equal((await tx.get("a"))?.value, "newer");
      gold.add("n", 3);
      assert.equal((await gold.get("n"))?.value, 8n);
      gold.add("fresh", -2);
      assert.equal((await gold.get("fresh"))?.value, -2n);
      tx.append("log", "yz");
      assert.equal((await tx.get("log"))?.value, "xyz");
      tx.deleteRange({ from: "l", to: "m" });
      assert.equal(await tx.get("log"), undefined);
      assert.equal(await tx.get("lost"), undefined);
    }),
  );
  await environment.tick();
  if (done.state === "rejected") throw done.error;
  assert.equal(done.state, "resolved");
  assert.equal(store.get("a")?.value, "newer");
  assert.equal(store.get("n")?.value, 8n);
  assert.equal(store.get("log"), undefined);
});

test("ranges see the writes of their own transaction, in order, both ways, within limits", async () => {
  const { space, environment } = await withStore({
    "k/1": "1",
    "k/3": "3",
    "k/5": "5",
    "k/7": "7",
    "k/9": "9",
  });
  const done = watch(
    space.transact(async (tx) => {
      tx.put("k/4", "four");
      tx.delete("k/3");
      tx.deleteRange({ from: "k/7", to: "k/8" });
      tx.append("k/5", "!");
      tx.put("k/0", "zero");
      tx.put("z", "outside");
      const keys = async (options: Parameters<typeof tx.range>[0]): Promise<string[]> =>
        (await tx.range(options)).map(({ key }) => key.slice(2));
      assert.deepEqual(await keys({ prefix: "k/" }), ["0", "1", "4", "5", "9"]);
      assert.deepEqual(await keys({ prefix: "k/", reverse: true }), ["9", "5", "4", "1", "0"]);
      assert.deepEqual(await keys({ prefix: "k/", limit: 3 }), ["0", "1", "4"]);
      assert.deepEqual(await keys({ prefix: "k/", limit: 2, reverse: true }), ["9", "5"]);
      assert.deepEqual(await keys({ from: "k/1", to: "k/5" }), ["1", "4"]);
      assert.equal(await tx.count({ prefix: "k/" }), 5);
      const values = (await tx.range({ prefix: "k/" })).map(({ value }) => value);
      assert.deepEqual(values, ["zero", "1", "four", "5!", "9"]);
      const bare = await tx.range({ prefix: "k/", keysOnly: true });
      assert.ok(bare.every(({ value }) => value === undefined));
    }),
  );
  await environment.tick();
  if (done.state === "rejected") throw done.error;
  assert.equal(done.state, "resolved");
});

test("a write that would be refused shows when it is read", async () => {
  const { space, environment } = await withStore({ gold: 5n, name: "Ada", most: 2n ** 63n - 1n });
  const outcomes: unknown[] = [];
  const tries: [string, number, { floor?: number; ceiling?: number }?][] = [
    ["name", 1],
    ["gold", -6, { floor: 0 }],
    ["gold", 6, { ceiling: 10 }],
    ["most", 1],
  ];
  for (const [key, delta, bounds] of tries) {
    const done = watch(
      space.transact(async (tx) => {
        tx.add(key, delta, bounds);
        await tx.get(key);
      }),
    );
    await environment.tick();
    outcomes.push(errorOf(done).code);
  }
  assert.deepEqual(outcomes, ["wrong_kind", "out_of_bounds", "out_of_bounds", "number_overflow"]);
});

test("counting keys does not judge numbers whose values were not read", async () => {
  const { space, environment } = await withStore({ "n/1": 5n });
  const done = watch(
    space.transact(async (tx) => {
      tx.add("n/1", -5, { floor: 0 });
      return tx.count({ prefix: "n/" });
    }),
  );
  await environment.tick();
  assert.equal(done.value, 1);
});

test("a transaction that is over takes nothing more", async () => {
  const { space, environment, store } = await withStore();
  let kept: Parameters<Parameters<Space<string>["transact"]>[0]>[0] | undefined;
  watch(
    space.transact((tx) => {
      kept = tx;
    }),
  );
  await environment.tick();
  assert.throws(() => kept?.put("a", "late"), { code: "invalid_argument" });
  const read = watch(kept?.get("a") ?? Promise.resolve(undefined));
  await environment.tick();
  assert.equal(errorOf(read).code, "invalid_argument");
  assert.equal(store.get("a"), undefined);
});

test("a function that never ends is given up at the deadline or by the signal", async () => {
  const { space, environment } = await withStore();
  const controller = new AbortController();
  const forever = watch(space.transact(() => new Promise<void>(() => {}), { timeoutMs: 1_000 }));
  const stopped = watch(
    space.transact(() => new Promise<void>(() => {}), { signal: controller.signal }),
  );
  await environment.advance(500);
  controller.abort();
  await environment.advance(501);
  assert.equal(errorOf(forever).code, "timeout");
  assert.equal(errorOf(forever).outcome, "not_submitted");
  assert.equal(errorOf(stopped).code, "aborted");
  assert.equal(environment.timerCount, 1, "only the heartbeat is left");
});

test("a commit whose reply is lost is unknown and names its request", async () => {
  const { space, peer, environment } = await withStore({ a: "1" });
  const { answer } = peer;
  peer.answer = (item, connection) =>
    transactionOf(item).guardsLength() > 0 ? undefined : answer?.(item, connection);
  const done = watch(
    space.transact(
      async (tx) => {
        await tx.get("a");
        tx.put("a", "2");
      },
      { timeoutMs: 500 },
    ),
  );
  await environment.advance(501);
  const error = errorOf(done);
  assert.equal(error.code, "timeout");
  assert.equal(error.outcome, "unknown");
  assert.ok(error.requestId !== undefined);
});

test("writes of several codecs share one transaction", async () => {
  const { space, environment, store } = await withStore();
  const done = watch(
    space.transact((tx) => {
      tx.as(json<{ hp: number }>()).put("player", { hp: 3 });
      tx.as(numbers).put("gold", 7n);
      tx.put("name", "Ada", { expireAfterMs: 5 });
    }),
  );
  await environment.tick();
  assert.equal(done.state, "resolved");
  assert.equal(store.get("player")?.value, '{"hp":3}');
  assert.equal(store.get("gold")?.value, 7n);
  assert.equal(store.get("name")?.value, "Ada");
});
