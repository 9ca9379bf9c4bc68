// The SDK against a real server in a process of its own, over real sockets.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { bytes, DompError, json, numbers, op, text, when } from "../../src/client/node.js";
import { freshDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";
import { sharedServer, until } from "./support/shared-server.js";

const shared = sharedServer();
const { open } = shared;

test("every operation does on the server what it says", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  const { revision } = await space.put("ops/a", "one");
  const entry = await space.get("ops/a");
  assert.equal(entry?.value, "one");
  assert.equal(entry?.modified, revision);
  assert.equal(entry?.version, 1);
  assert.equal(await space.get("ops/none"), undefined);
  assert.equal(await space.append("ops/a", " and two"), 11);
  assert.equal((await space.get("ops/a"))?.value, "one and two");
  assert.equal((await space.get("ops/a"))?.version, 2);
  assert.equal(await space.add("ops/n", 5), 5n);
  assert.equal(await space.add("ops/n", -7n, { floor: -2 }), -2n);
  await assert.rejects(space.add("ops/n", -1, { floor: -2 }), {
    code: "out_of_bounds",
    outcome: "not_applied",
  });
  await assert.rejects(space.add("ops/a", 1), { code: "wrong_kind" });
  assert.equal((await space.as(numbers).get("ops/n"))?.value, -2n);
  assert.equal(await space.delete("ops/a"), true);
  assert.equal(await space.delete("ops/a"), false);
  const raw = client.space("default", bytes);
  const odd = Uint8Array.of(0, 255, 0);
  await raw.put(odd, Uint8Array.of(1, 2, 3));
  assert.deepEqual((await raw.get(odd))?.value, Uint8Array.of(1, 2, 3));
  assert.deepEqual((await raw.get(odd))?.keyBytes, odd);
});

test("values up to a mebibyte and keys up to a kibibyte fit", async (t) => {
  const client = await open(t);
  const space = client.space("default", bytes);
  const key = "k".repeat(1_024);
  const value = new Uint8Array(1_048_576).map((_, i) => i * 31);
  await space.put(key, value);
  assert.deepEqual((await space.get(key))?.value, value);
  await assert.rejects(space.append(key, "x"), DompError);
  await space.delete(key);
});

test("ranges, counts and deletes follow the order of bytes and their bounds", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  const keys = Array.from({ length: 300 }, (_, i) => `rng/${String(i).padStart(4, "0")}`);
  await Promise.all(keys.map((key) => space.put(key, `value of ${key}`)));
  const all = await space.range({ prefix: "rng/" }).toArray();
  assert.deepEqual(
    all.map((entry) => entry.key),
    keys,
  );
  assert.equal(all[7]?.value, "value of rng/0007");
  const last = await space.range({ prefix: "rng/", reverse: true, limit: 3 }).toArray();
  assert.deepEqual(
    last.map((entry) => entry.key),
    keys.slice(-3).reverse(),
  );
  const page = await space.range({ prefix: "rng/", limit: 10, keysOnly: true }).page();
  assert.equal(page.entries.length, 10);
  assert.equal(page.entries[0]?.value, undefined);
  assert.ok(page.next !== undefined);
  const next = await space.range(page.next).page();
  assert.equal(next.entries[0]?.key, keys[10]);
  assert.equal(await space.count({ prefix: "rng/" }), 300);
  assert.equal(await space.count({ from: "rng/0100", to: "rng/0110" }), 10);
  assert.equal(await space.deleteRange({ from: "rng/0000", to: "rng/0010" }), 10);
  const left = await space.submit({
    if: [when.unchanged(next)],
    then: [op.deleteRange({ prefix: "rng/" })],
  });
  assert.equal(left.applied, true, "the second page is as it was read");
  assert.deepEqual(left.results, [290]);
});

test("a submit runs the branch that its guards choose", async (t) => {
  const client = await open(t);
  const space = client.space("default", json<{ owner: string }>());
  const take = (owner: string) =>
    space.submit({
      if: [when.absent("sub/name")],
      then: [op.put("sub/name", { owner }), op.add("sub/taken", 1)],
      else: [op.get("sub/name"), op.get("sub/taken", numbers)],
    });
  const first = await take("ada");
  assert.deepEqual([first.applied, first.results], [true, [undefined, 1n]]);
  const second = await take("bob");
  assert.ok(!second.applied);
  assert.equal(second.failedGuard, 0);
  assert.equal(second.results[0]?.value.owner, "ada");
  assert.equal(second.results[1]?.value, 1n);
  const entry = second.results[0];
  assert.ok(entry !== undefined);
  const guards = [
    when.exists("sub/name"),
    when.version("sub/name", 1),
    when.modified("sub/name", entry.modified),
    when.modifiedAtMost("sub/name", entry.modified),
    when.equals("sub/name", { owner: "ada" }),
    when.equals("sub/taken", 1n, numbers),
    when.atLeast("sub/taken", 1),
    when.version("sub/none", 0),
  ];
  assert.equal((await space.submit({ if: guards, then: [] })).applied, true);
  const failing = [
    when.absent("sub/name"),
    when.version("sub/name", 2),
    when.modified("sub/name", entry.modified - 1n),
    when.equals("sub/name", { owner: "bob" }),
    when.atLeast("sub/taken", 2),
  ];
  for (const [i, guard] of failing.entries()) {
    const answer = await space.submit({ if: [when.exists("sub/name"), guard], then: [] });
    assert.ok(!answer.applied, `guard ${i}`);
    assert.equal(answer.failedGuard, 1);
  }
});

test("a key with an expiry vanishes and says when", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  await space.put("expiring", "v", { expireAfterMs: 400 });
  const entry = await space.get("expiring");
  assert.ok(entry === undefined || (entry.expiresInMs ?? 0) <= 400);
  await until(async () => (await space.get("expiring")) === undefined);
});

test("spaces come and go while handles on them stay", async (t) => {
  const client = await open(t);
  const other = await open(t);
  const space = client.space("games", text);
  await assert.rejects(space.get("a"), { code: "unknown_space" });
  const first = await client.spaces.create("games");
  await assert.rejects(client.spaces.create("games"), { code: "space_exists" });
  await space.put("a", "1");
  await other.spaces.drop("games");
  const second = await other.spaces.create("games");
  assert.ok(second.id > first.id, "ids are never used again");
  assert.equal(await space.get("a"), undefined, "the new space is empty");
  await space.put("a", "2");
  assert.equal((await other.space("games", text).get("a"))?.value, "2");
  const listed = await client.spaces.list();
  assert.deepEqual(
    listed.map(({ name }) => name),
    ["default", "games"],
  );
  await client.spaces.drop("games");
  await assert.rejects(client.spaces.drop("games"), { code: "space_not_found" });
});

test("transactions of eight clients on one counter lose nothing", async (t) => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => open(t)));
  const rounds = 12;
  await Promise.all(
    clients.map(async (client) => {
      const space = client.space("default", json<number>());
      for (let i = 0; i < rounds; i += 1) {
        await space.transact(
          async (tx) => tx.put("counter", ((await tx.get("counter"))?.value ?? 0) + 1),
          { attemptsMax: 1_000, timeoutMs: 60_000 },
        );
      }
    }),
  );
  const [client] = clients;
  const entry = await client?.space("default", json<number>()).get("counter");
  assert.equal(entry?.value, 8 * rounds);
});

test("200 transactions at once on one key from one client all succeed", async (t) => {
  const client = await open(t);
  const space = client.space("default", json<number>());
  const started = performance.now();
  await Promise.all(
    Array.from({ length: 200 }, () =>
      space.transact(async (tx) => tx.put("hot/one", ((await tx.get("hot/one"))?.value ?? 0) + 1), {
        timeoutMs: 60_000,
      }),
    ),
  );
  t.diagnostic(`${Math.round(performance.now() - started)} ms`);
  assert.equal((await space.get("hot/one"))?.value, 200);
});

test("200 transactions at once on one key from as many clients all succeed", async (t) => {
  const clients = await Promise.all(Array.from({ length: 200 }, () => open(t)));
  const started = performance.now();
  await Promise.all(
    clients.map((client) =>
      client
        .space("default", json<number>())
        .transact(async (tx) => tx.put("hot/many", ((await tx.get("hot/many"))?.value ?? 0) + 1), {
          timeoutMs: 60_000,
        }),
    ),
  );
  t.diagnostic(`${Math.round(performance.now() - started)} ms`);
  const entry = await clients[0]?.space("default", json<number>()).get("hot/many");
  assert.equal(entry?.value, 200);
});

test("the space `default` is dropped and created like any other", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const own = await startServer(t, { data });
  const client = await open(t, {}, own.url);
  const other = await open(t, {}, own.url);
  const space = client.space("default", text);
  await space.put("a", "1");
  await other.spaces.drop("default");
  await assert.rejects(space.get("a"), { code: "unknown_space" });
  const late = await open(t, {}, own.url);
  await assert.rejects(late.space("default", text).get("a"), { code: "unknown_space" });
  await other.spaces.create("default");
  await Promise.all([
    space.put("a", "2"),
    space.put("b", "2"),
    late.space("default", text).get("a"),
  ]);
  assert.equal((await other.space("default", text).get("a"))?.value, "2");
});

test("errors name the caller, the operation and the key", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  await space.put("named", "text");
  const theCaller = async (): Promise<void> => {
    await space.add("named", 1);
  };
  const error = await theCaller().catch((reason: unknown) => reason);
  assert.ok(error instanceof DompError);
  assert.equal(error.code, "wrong_kind");
  assert.equal(error.operation, 0);
  assert.deepEqual(error.key, new TextEncoder().encode("named"));
  assert.match(error.stack ?? "", /theCaller/);
});

test("a transaction that counted a range meets the phantom", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  let runs = 0;
  const seen = await space.transact(async (tx) => {
    runs += 1;
    const count = await tx.count({ prefix: "phantom/" });
    if (runs === 1) await space.put("phantom/1", "boo");
    tx.put("phantoms", `${count}`);
    return count;
  });
  assert.deepEqual([runs, seen], [2, 1]);
});

test("ten thousand puts issued in one tick all come back", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  const puts = Array.from({ length: 10_000 }, (_, i) => space.put(`many/${i % 500}`, `${i}`));
  const revisions = new Set((await Promise.all(puts)).map(({ revision }) => revision));
  assert.equal(revisions.size, 10_000, "each has a revision of its own");
  assert.equal(client.pending, 0);
});
