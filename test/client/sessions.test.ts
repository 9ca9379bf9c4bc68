// Sessions of the SDK against a real server: what becomes of requests whose answers are lost, through
// timeouts, cuts and restarts.
import assert from "node:assert/strict";
import { once } from "node:events";
import path from "node:path";
import { test } from "node:test";
import { WebSocket } from "ws";
import { type ConnectionState, connect, DompError, numbers, text } from "../../src/client/node.js";
import { buildHello } from "../../src/protocol/hello.js";
import { freshDirectory } from "../support/directories.js";
import { stablePort, startServer } from "../support/server.js";
import { Line } from "./support/links.js";
import { sharedServer, until } from "./support/shared-server.js";

const shared = sharedServer();
const { open } = shared;

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
    const other = await connect(shared.url());
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
  const thief = new WebSocket(shared.url());
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
