// The SDK against a real server in a process of its own, over real sockets.
import assert from "node:assert/strict";
import { once } from "node:events";
import path from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import {
  type AnswerInfo,
  bytes,
  type Client,
  type ConnectionState,
  type ConnectOptions,
  connect,
  DompError,
  json,
  numbers,
  op,
  text,
  when,
} from "../../src/client/node.js";
import { buildHello } from "../../src/protocol/hello.js";
import { freshDirectory } from "../support/directories.js";
import { type ServerProcess, stablePort, startServer } from "../support/server.js";
import { Line } from "./support/links.js";

const cleanUps: (() => unknown)[] = [];
const scope = { after: (run: () => unknown) => void cleanUps.push(run) } as never;
let server: ServerProcess;

before(async () => {
  const data = path.join(freshDirectory(scope), "data");
  server = await startServer(scope, { data });
});
after(async () => {
  for (const run of cleanUps.reverse()) await run();
});

/** A client of this file's server, closed with the test. */
async function open(
  t: { after(run: () => unknown): void },
  options: ConnectOptions = {},
  url = server.url,
): Promise<Client> {
  const client = await connect(url, options);
  t.after(() => client.close({ abort: true }));
  return client;
}

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

test("outcome: a lost reply was applied, a lost request never will be", async (t) => {
  const line = new Line();
  const client = await open(t, { transport: line.transport });
  const space = client.space("default", text);
  line.loseReplies = true;
  const applied = await unknown(space.add("outcome/yes", 3, { timeoutMs: 400 }));
  line.loseReplies = false;
  const yes = await space.outcome(applied, "outcome/yes");
  assert.ok(yes.outcome === "applied" && yes.applied);
  assert.equal(yes.results[0]?.number, 3n);

  line.loseRequests = true;
  const lost = await unknown(space.add("outcome/no", 1, { timeoutMs: 400 }));
  line.loseRequests = false;
  assert.deepEqual(await space.outcome(lost, "outcome/no"), { outcome: "never" });
  assert.deepEqual(await space.outcome(lost, "outcome/no"), { outcome: "never" }, "for ever");
  assert.equal(await space.get("outcome/no"), undefined);
});

test("outcome() right after a timeout is answered, though the event loop was blocked", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  const rounds = 20;
  for (let i = 0; i < rounds; i += 1) {
    const call = unknown(space.add("blocked", 1, { timeoutMs: 20 }));
    // It leaves at the end of this tick; then time passes in which nothing is read.
    await new Promise((resolve) => setImmediate(resolve));
    const until = performance.now() + 60;
    while (performance.now() < until);
    const id = await call;
    const { outcome } = await space.outcome(id, "blocked");
    assert.equal(outcome, "applied", `round ${i}`);
  }
  assert.equal((await space.as(numbers).get("blocked"))?.value, BigInt(rounds));
});

test("outcome() after timeouts under load: every unknown is found out", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  let isOver = false;
  const load = Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      while (!isOver) await space.put(`load/${i}`, "v");
    }),
  );
  load.catch(() => undefined);
  let applied = 0;
  let unknowns = 0;
  for (let i = 0; i < 200; i += 1) {
    try {
      await space.add("loaded", 1, { timeoutMs: 1 + (i % 8) });
      applied += 1;
    } catch (error) {
      assert.ok(error instanceof DompError);
      if (error.outcome !== "unknown") continue;
      unknowns += 1;
      const seen = await space.outcome(error.requestId ?? "", "loaded");
      if (seen.outcome === "applied") applied += 1;
    }
  }
  isOver = true;
  await load;
  t.diagnostic(`${unknowns} of 200 were unknown`);
  assert.equal((await space.as(numbers).get("loaded"))?.value ?? 0n, BigInt(applied));
});

test("outcome answers in another client too, by the id alone", async (t) => {
  const line = new Line();
  const client = await open(t, { transport: line.transport });
  line.loseReplies = true;
  const id = await unknown(client.space("default", text).add("elsewhere", 4, { timeoutMs: 400 }));
  const other = await open(t);
  const found = await other.space("default", text).outcome(id, "elsewhere");
  assert.ok(found.outcome === "applied");
  assert.equal(found.results[0]?.number, 4n);
});

test("a reply lost with its connection is fetched again by the same id: applied once", async (t) => {
  const line = new Line();
  const client = await open(t, { transport: line.transport });
  const space = client.space("default", numbers);
  line.loseReplies = true;
  const add = space.add("once", 1);
  await until(async () => {
    const other = await connect(server.url);
    const entry = await other.space("default", numbers).get("once");
    await other.close();
    return entry?.value === 1n;
  });
  line.loseReplies = false;
  line.cut();
  assert.equal(await add, 1n);
  assert.equal(line.resumed, true);
  assert.deepEqual(nameOf(line.sessions[0]), nameOf(line.sessions[1]));
  assert.equal((await space.get("once"))?.value, 1n);
});

test("a session taken over elsewhere ends here, and work goes on in a new one", async (t) => {
  const line = new Line();
  const client = await open(t, { transport: line.transport });
  const space = client.space("default", text);
  await space.put("takeover", "1");
  const thief = new WebSocket(server.url);
  t.after(() => thief.terminate());
  await once(thief, "open");
  const welcomed = once(thief, "message");
  thief.send(buildHello({ session: line.sessions[0] }));
  await welcomed;
  await space.put("takeover", "2");
  assert.equal((await space.get("takeover"))?.value, "2");
});

test("a session that everybody forgot is replaced without a word", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const short = await startServer(t, { data, environment: { DOMP_SESSIONS_TTL: "1s" } });
  const line = new Line();
  const states: ConnectionState[] = [];
  const onState = (state: ConnectionState): void => void states.push(state);
  const client = await open(t, { transport: line.transport, onState }, short.url);
  const space = client.space("default", text);
  await space.put("a", "1");
  const other = await open(t, {}, short.url);
  for (let i = 0; i < 8; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await other.space("default", text).put("tick", `${i}`);
  }
  await space.put("a", "2");
  assert.equal((await space.get("a"))?.value, "2");
  assert.equal(line.sessions.length, 2);
  assert.deepEqual(client.state, {
    state: "connected",
    resumed: false,
    sessionLost: "session_expired",
  });
  assert.ok(
    states.some((each) => each.state === "disconnected" && each.code === "session_expired"),
  );
  assert.notDeepEqual(nameOf(line.sessions[0]), nameOf(line.sessions[1]));
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`a restart by ${signal} under load: the session is resumed, nothing is lost or doubled`, async (t) => {
    const data = path.join(freshDirectory(t), "data");
    const first = await startServer(t, { data, port: await stablePort() });
    const line = new Line();
    const client = await open(t, { transport: line.transport, timeoutMs: 60_000 }, first.url);
    const space = client.space("default", numbers);
    let isOver = false;
    let acknowledged = 0;
    const work = async (): Promise<void> => {
      while (!isOver) {
        await space.add("total", 1);
        acknowledged += 1;
      }
    };
    const workers = Promise.all(Array.from({ length: 24 }, work));
    // Told below, or lost with the test if it ends before.
    workers.catch(() => undefined);
    await until(async () => acknowledged > 300);
    await first.stop(signal);
    const before = acknowledged;
    await startServer(t, { data, port: first.port });
    await until(async () => acknowledged > before + 300);
    isOver = true;
    await workers;
    assert.equal(line.resumed, true);
    assert.equal((await space.get("total"))?.value, BigInt(acknowledged));
  });
}

test("a server with other data knows nothing of the session: a new one begins", async (t) => {
  const directory = freshDirectory(t);
  const port = await stablePort();
  const first = await startServer(t, { data: path.join(directory, "one"), port });
  const line = new Line();
  const client = await open(t, { transport: line.transport, timeoutMs: 30_000 }, first.url);
  const space = client.space("default", text);
  await space.put("a", "1");
  await first.stop();
  await startServer(t, { data: path.join(directory, "two"), port });
  assert.equal(await space.get("a"), undefined);
  await space.put("a", "2");
  assert.equal(line.resumed, false);
  assert.notDeepEqual(nameOf(line.sessions.at(-1)), nameOf(line.sessions[0]));
});

test("a client without a server: calls end at their deadlines, and it comes back by itself", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const first = await startServer(t, { data, port: await stablePort() });
  const client = await open(t, {}, first.url);
  const space = client.space("default", text);
  await first.stop();
  const started = performance.now();
  await assert.rejects(space.put("a", "v", { timeoutMs: 700 }), {
    code: "unreachable",
    outcome: "not_submitted",
  });
  const tookMs = performance.now() - started;
  assert.ok(tookMs > 600 && tookMs < 10_000, `${tookMs} ms`);
  const put = space.put("a", "v", { timeoutMs: 60_000 });
  await startServer(t, { data, port: first.port });
  await put;
  assert.equal((await space.get("a"))?.value, "v");
});

/** Skips a test where the server takes no idempotency keys from sessions. */
async function needsKeys(t: TestContext, client: Client): Promise<boolean> {
  const seen = client.space("default", text).outcomeOf("is there such a thing?");
  const isThere = await seen.then(
    () => true,
    (error: unknown) => !(error instanceof DompError && error.code === "unsupported_operation"),
  );
  if (!isThere) t.skip("needs a server that takes idempotency keys from sessions");
  return isThere;
}

test("a write under an idempotency key is done once, from whichever client", async (t) => {
  const [one, other] = await Promise.all([open(t), open(t)]);
  if (!(await needsKeys(t, one))) return;
  const spaces = [one, other].map((client) => client.space("default", text));
  const replays: boolean[] = [];
  const onAnswer = ({ replayed }: AnswerInfo): void => void replays.push(replayed);
  for (const space of [...spaces, ...spaces]) {
    const options = { idempotencyKey: "add-once", onAnswer };
    assert.equal(await space.add("keyed/n", 5, options), 5n);
    const put = { idempotencyKey: Uint8Array.of(0, 255, 1) };
    await space.put("keyed/a", "first", put);
    assert.equal(await space.append("keyed/log", "x", { idempotencyKey: "append-once" }), 1);
    assert.equal(await space.delete("keyed/none", { idempotencyKey: "delete-once" }), false);
  }
  assert.deepEqual(replays, [false, true, true, true]);
  const [first, second] = spaces;
  assert.ok(first !== undefined && second !== undefined);
  await assert.rejects(second.add("keyed/n", 6, { idempotencyKey: "add-once" }));
  const seen = await second.outcomeOf("add-once");
  assert.ok(seen.state === "applied" && seen.applied);
  assert.equal(seen.results[0]?.number, 5n);
  const refused = { idempotencyKey: "refused" };
  await assert.rejects(first.add("keyed/a", 1, refused), { code: "wrong_kind" });
  await first.put("keyed/a", "second");
  await assert.rejects(second.add("keyed/a", 1, refused), { code: "wrong_kind" });
  assert.deepEqual(await first.outcomeOf("refused"), { state: "not_applied", code: "wrong_kind" });
  assert.deepEqual(await first.outcomeOf("never sent"), { state: "not_seen" });
});

test("guards that fail with nothing else to do leave an idempotency key free", async (t) => {
  const client = await open(t);
  if (!(await needsKeys(t, client))) return;
  const space = client.space("default", text);
  const request = { if: [when.exists("keyed/door")], then: [op.put("keyed/in", "yes")] };
  const options = { idempotencyKey: "guarded" };
  assert.equal((await space.submit(request, options)).applied, false);
  assert.deepEqual(await space.outcomeOf("guarded"), { state: "not_seen" });
  await space.put("keyed/door", "open");
  assert.equal((await space.submit(request, options)).applied, true);
});

test("the result of a transact is kept with its idempotency key, for other clients too", async (t) => {
  const [one, other] = await Promise.all([open(t), open(t)]);
  if (!(await needsKeys(t, one))) return;
  await one.space("default", numbers).put("keyed/gold", 100n);
  const buy = (client: Client) =>
    client.space("default", numbers).transact(
      async (tx) => {
        const gold = (await tx.get("keyed/gold"))?.value ?? 0n;
        if (gold < 60n) throw new Error("not enough gold");
        tx.put("keyed/gold", gold - 60n);
        return { left: gold - 60n, receipt: Uint8Array.of(1, 2), note: undefined };
      },
      { idempotencyKey: "order-17" },
    );
  const bought = await Promise.all([buy(one), buy(other), buy(one), buy(other)]);
  const expected = { left: 40n, receipt: Uint8Array.of(1, 2), note: undefined };
  for (const each of bought) assert.deepEqual(each, expected);
  assert.equal((await other.space("default", numbers).get("keyed/gold"))?.value, 40n);
  const seen = await other.space("default", numbers).outcomeOf("order-17");
  assert.ok(seen.state === "applied");
  assert.deepEqual(seen.result, expected);
  await assert.rejects(
    one.space("default", text).transact(
      (tx) => {
        tx.put("keyed/large", "v");
        return "x".repeat(2_000);
      },
      { idempotencyKey: "large" },
    ),
    { code: "result_too_large" },
  );
  assert.equal(await one.space("default", text).get("keyed/large"), undefined);
});

test("a key outlives its session, and is forgotten after its lifetime", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const environment = { DOMP_SESSIONS_TTL: "1s", DOMP_SESSIONS_IDEMPOTENCY_TTL: "4s" };
  const short = await startServer(t, { data, environment });
  const client = await open(t, {}, short.url);
  if (!(await needsKeys(t, client))) return;
  const idempotencyKey = "outlives";
  await client.space("default", numbers).add("n", 1, { idempotencyKey });
  await client.close();
  const other = (await open(t, {}, short.url)).space("default", numbers);
  assert.equal(await other.add("n", 1, { idempotencyKey }), 1n);
  await until(async () => {
    await other.put("tick", 1n);
    const { state } = await other.outcomeOf(idempotencyKey);
    assert.ok(["applied", "expired", "not_seen"].includes(state), state);
    return state !== "applied";
  });
  assert.equal((await other.get("n"))?.value, 1n);
});

/** What stays of a session's token when it is resumed: birth, nonce, principal. */
function nameOf(session: Uint8Array | undefined): Uint8Array | undefined {
  return session?.subarray(0, 24);
}

/** The request id of a call whose outcome is unknown. */
async function unknown(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => assert.fail("it should have had no answer"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof DompError, String(error));
  assert.equal(error.outcome, "unknown");
  assert.ok(error.requestId !== undefined);
  return error.requestId;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 40_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, "it never came to hold");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
