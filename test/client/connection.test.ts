import assert from "node:assert/strict";
import { test } from "node:test";
import { fullJitterMs } from "../../src/client/backoff.js";
import { text } from "../../src/client/codecs.js";
import type { ConnectionState } from "../../src/client/connection.js";
import { op, when } from "../../src/client/operations.js";
import { connected, errorOf, newWorld, watch } from "./support/connect.js";
import { OTHER_SESSION, Peer } from "./support/peer.js";

test("backoff has full jitter: even from zero to a bound that doubles up to a limit", () => {
  const limits = { firstMs: 100, mostMs: 1_000 };
  assert.equal(fullJitterMs(limits, 0, 0), 0);
  assert.equal(fullJitterMs(limits, 0, 0.5), 50);
  assert.equal(fullJitterMs(limits, 3, 0.5), 400);
  assert.equal(fullJitterMs(limits, 4, 0.5), 500);
  assert.equal(fullJitterMs(limits, 1_000_000, 0.5), 500);
});

test("connecting again waits longer and longer, and begins anew after a good while", async () => {
  const states: ConnectionState[] = [];
  const { peer, environment, client } = await connected({
    onState: (state) => states.push(state),
  });
  environment.dice = [0.5];
  peer.isUp = false;
  await environment.advance(5_000);
  peer.last.drop();
  await environment.advance(30_000);
  const waits = states.flatMap((state) => (state.state === "disconnected" ? state.retryInMs : []));
  assert.deepEqual(waits.slice(0, 8), [50, 100, 200, 400, 800, 1_600, 2_500, 2_500]);
  peer.isUp = true;
  await environment.advance(5_000);
  assert.equal(client.state.state, "connected");
  await environment.advance(2_000);
  peer.last.drop();
  assert.deepEqual(client.state, { state: "disconnected", reason: "dropped", retryInMs: 50 });
});

test("a server that drops every connection at once does not make us spin", async () => {
  const { peer, environment } = await connected();
  environment.dice = [0.5];
  peer.autoWelcome = () => {
    queueMicrotask(() => peer.last.drop());
    return { resumed: true };
  };
  peer.last.drop();
  await environment.advance(60_000);
  const made = peer.connections.length;
  assert.ok(made > 20 && made < 40, `${made} connections in a minute`);
});

test("the server's wish to wait is honoured", async () => {
  const { client, peer, environment } = await connected();
  peer.last.goodbye("too_many_connections", "full", 7_000);
  assert.deepEqual(client.state, {
    state: "disconnected",
    reason: "too_many_connections: full",
    code: "too_many_connections",
    retryInMs: 7_000,
  });
  await environment.advance(6_900);
  assert.equal(peer.connections.length, 1);
  await environment.advance(200);
  assert.equal(peer.connections.length, 2);
});

test("connect fails with unreachable when nothing answers in time", async () => {
  const { client, peer, environment } = newWorld({ timeoutMs: 2_000 });
  peer.isUp = false;
  const opened = watch(client.open(undefined));
  await environment.advance(2_001);
  const error = errorOf(opened);
  assert.equal(error.code, "unreachable");
  assert.equal(error.outcome, "not_submitted");
  assert.equal(error.retryable, true);
  assert.match(error.message, /connection refused/);
  assert.equal(client.state.state, "closed");
  assert.equal(environment.timerCount, 0, "nothing goes on behind our back");
});

test("a server that accepts but never says welcome is tried again", async () => {
  const { client, peer, environment } = newWorld({ timeoutMs: 30_000 });
  peer.autoWelcome = undefined;
  const opened = watch(client.open(undefined));
  await environment.advance(5_200);
  assert.equal(peer.connections.length, 2);
  assert.equal(peer.connections[0]?.isOpen, false);
  peer.autoWelcome = () => ({});
  await environment.advance(6_000);
  assert.equal(opened.state, "resolved");
});

test("connect can be given up by a signal", async () => {
  const controller = new AbortController();
  const { client, peer, environment } = newWorld();
  peer.isUp = false;
  const opened = watch(client.open(controller.signal));
  await environment.advance(100);
  controller.abort();
  await environment.tick();
  assert.equal(errorOf(opened).code, "aborted");
  assert.equal(environment.timerCount, 0);
});

for (const code of ["unauthenticated", "unsupported_version", "forbidden"] as const) {
  test(`${code} ends the client: trying again would not help`, async () => {
    const peer = new Peer();
    peer.autoWelcome = undefined;
    const { client, environment } = newWorld({ token: "wrong" }, peer);
    const opened = watch(client.open(undefined));
    await environment.tick();
    assert.equal(peer.last.hello?.token, "wrong");
    peer.last.goodbye(code, "no");
    await environment.tick();
    assert.equal(errorOf(opened).code, code);
    assert.equal(client.state.state, "closed");
    const later = watch(client.space("default", text).get("a"));
    await environment.tick();
    assert.equal(errorOf(later).code, code, "later calls say why");
    assert.equal(environment.timerCount, 0);
  });
}

test("a client whose token is refused after a break tells everyone, unknown where it may be", async () => {
  const { client, peer, environment } = await connected({ token: "good once" });
  const space = client.space("default", text);
  const left = watch(space.put("left", "v"));
  const read = watch(space.get("read"));
  await environment.tick();
  peer.last.drop();
  const queued = watch(space.put("queued", "v"));
  peer.autoWelcome = undefined;
  await environment.advance(200);
  peer.last.goodbye("unauthenticated", "the token was revoked");
  await environment.tick();
  assert.equal(errorOf(left).code, "unauthenticated");
  assert.equal(errorOf(left).outcome, "unknown");
  assert.equal(errorOf(read).outcome, "not_submitted");
  assert.equal(errorOf(queued).outcome, "not_submitted");
});

test("a token function is asked for each connection; its failure is no end", async () => {
  let calls = 0;
  const { peer, environment } = await connected({
    token: () => {
      calls += 1;
      if (calls === 2) throw new Error("identity provider is down");
      return `token ${calls}`;
    },
  });
  assert.equal(peer.last.hello?.token, "token 1");
  peer.last.drop();
  await environment.advance(1_000);
  assert.equal(calls, 3);
  assert.equal(peer.last.hello?.token, "token 3");
});

test("silence is probed, and a connection that stays silent is given up", async () => {
  const { client, peer, environment } = await connected({ heartbeatMs: 10_000 });
  const first = peer.last;
  await environment.advance(9_999);
  assert.equal(first.items.length, 0);
  await environment.advance(5_001);
  assert.equal(first.items.length, 1, "one small question");
  first.reply({ sequence: 1 });
  await environment.advance(9_000);
  assert.equal(first.items.length, 1, "an answer is a sign of life");
  await environment.advance(20_000);
  assert.equal(first.isOpen, false);
  assert.notEqual(peer.last, first);
  assert.equal(client.state.state, "connected");
});

test("bytes that are no frame break the connection, not the client", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.raw(new Uint8Array([1, 2, 3]));
  await environment.advance(200);
  peer.last.raw(new Uint8Array(64).fill(0xff));
  await environment.advance(400);
  assert.equal(peer.connections.length, 3);
  peer.last.reply({ sequence: 1, revision: 2n });
  await environment.tick();
  assert.equal(put.value?.revision, 2n);
});

test("a deadline before the request left: unreachable without connection, and nothing was done", async () => {
  const { client, peer, environment } = await connected();
  peer.isUp = false;
  peer.last.drop();
  const put = watch(client.space("default", text).put("a", "v", { timeoutMs: 700 }));
  await environment.advance(699);
  assert.equal(put.state, "pending");
  await environment.advance(2);
  const error = errorOf(put);
  assert.equal(error.code, "unreachable");
  assert.equal(error.outcome, "not_submitted");
  assert.equal(error.requestId, undefined);
  assert.equal(client.pending, 0);
});

test("a read that times out has done nothing and may be tried again", async () => {
  const { client, environment } = await connected();
  const get = watch(client.space("default", text).get("a", { timeoutMs: 50 }));
  await environment.advance(51);
  const error = errorOf(get);
  assert.equal(error.code, "timeout");
  assert.equal(error.outcome, "not_applied");
  assert.equal(error.retryable, true);
});

test("deadlines of many requests each hold, whatever their order", async () => {
  const { client, environment } = await connected();
  const space = client.space("default", text);
  const timeouts = [400, 100, 300, 200, 100];
  const puts = timeouts.map((timeoutMs) => watch(space.put("a", "v", { timeoutMs })));
  for (const now of [100, 200, 300, 400]) {
    await environment.advance(100);
    for (const [i, put] of puts.entries()) {
      assert.equal(put.state !== "pending", (timeouts[i] ?? 0) <= now, `put ${i} at ${now} ms`);
    }
  }
  assert.equal(client.pending, 0);
});

test("a signal gives up: not submitted before it left, unknown after", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const reason = new Error("the user left the page");
  const before = new AbortController();
  const after = new AbortController();
  const early = watch(space.put("early", "v", { signal: before.signal }));
  const late = watch(space.put("late", "v", { signal: after.signal }));
  before.abort(reason);
  await environment.tick();
  after.abort(reason);
  const never = watch(space.put("never", "v", { signal: after.signal }));
  await environment.tick();
  assert.equal(errorOf(early).code, "aborted");
  assert.equal(errorOf(early).outcome, "not_submitted");
  assert.equal(errorOf(early).cause, reason);
  assert.equal(errorOf(late).outcome, "unknown");
  assert.ok(errorOf(late).requestId !== undefined);
  assert.equal(errorOf(never).outcome, "not_submitted");
  assert.equal(peer.last.items.length, 1, "only one had left");
});

test("close waits for what is under way and refuses what is new", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v"));
  await environment.tick();
  const closed = watch(client.close());
  const late = watch(space.put("b", "v"));
  await environment.tick();
  assert.equal(closed.state, "pending");
  assert.equal(errorOf(late).code, "closed");
  assert.equal(errorOf(late).outcome, "not_submitted");
  assert.equal(errorOf(late).retryable, false);
  peer.last.reply({ sequence: 1 });
  await environment.tick();
  assert.equal(put.state, "resolved");
  assert.equal(closed.state, "resolved");
  assert.equal(peer.last.isOpen, false);
  assert.equal(environment.timerCount, 0);
});

test("close with abort ends at once; what had left is unknown", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const left = watch(space.put("left", "v"));
  await environment.tick();
  const queued = watch(space.put("queued", "v"));
  const closed = watch(client.close({ abort: true }));
  await environment.tick();
  assert.equal(errorOf(left).code, "closed");
  assert.equal(errorOf(left).outcome, "unknown");
  assert.equal(errorOf(queued).outcome, "not_submitted");
  assert.equal(closed.state, "resolved");
  assert.equal(peer.last.isOpen, false);
  assert.equal(environment.timerCount, 0);
  const again = watch(client.close());
  await environment.tick();
  assert.equal(again.state, "resolved");
});

test("a session that has expired says so when it is not resumed", async () => {
  const { client, peer, environment } = await connected();
  assert.deepEqual(client.state, { state: "connected", resumed: false });
  peer.last.drop();
  await environment.advance(1_000);
  assert.deepEqual(client.state, { state: "connected", resumed: true });
  peer.autoWelcome = () => ({ session: OTHER_SESSION, resumed: false });
  peer.last.drop();
  await environment.advance(1_000);
  const state = { state: "connected", resumed: false };
  assert.deepEqual(client.state, { ...state, sessionLost: "session_expired" });
  peer.last.goodbye("session_superseded");
  await environment.advance(5_000);
  assert.deepEqual(client.state, { ...state, sessionLost: "session_superseded" });
  peer.last.drop();
  await environment.advance(5_000);
});

test("await using closes the client at the end of its block", async () => {
  const { client, peer, environment } = await connected();
  const left = watch(
    (async () => {
      await using db = client;
      assert.equal(db.state.state, "connected");
    })(),
  );
  await environment.tick();
  assert.equal(left.state, "resolved");
  assert.equal(client.state.state, "closed");
  assert.equal(peer.last.isOpen, false);
});

test("errors name the function that waits, and the operation and key or guard they are about", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const theCaller = async (): Promise<void> => {
    await space.put("a", "v");
  };
  const put = watch(theCaller());
  const many = watch(
    space.submit({
      if: [when.exists("x"), when.atLeast("y", 1)],
      then: [op.put("a", "v"), op.add("b", 1)],
    }),
  );
  const guarded = watch(space.submit({ if: [when.atLeast("y", 1)], then: [op.put("c", "v")] }));
  const told = watch(space.submit({ then: [op.add("d", 1)], else: [op.add("e", 1)] }));
  await environment.tick();
  const key = (name: string): Uint8Array => new TextEncoder().encode(name);
  peer.last.reply(
    { sequence: 1, code: "wrong_kind" },
    { sequence: 2, code: "wrong_kind", operation: 1 },
    { sequence: 3, code: "wrong_kind", guard: 0 },
    { sequence: 4, code: "wrong_kind", operation: 0, key: key("e") },
  );
  await environment.tick();
  assert.match(errorOf(put).stack ?? "", /theCaller/);
  assert.match(errorOf(put).stack ?? "", /^DompError: wrong_kind: /);
  const where = [put, many, guarded, told]
    .map(errorOf)
    .map(({ operation, guard, key: at }) => [operation, guard, at]);
  assert.deepEqual(where, [
    [0, undefined, key("a")],
    [1, undefined, key("b")],
    [undefined, 0, key("y")],
    [0, undefined, key("e")],
  ]);
});
