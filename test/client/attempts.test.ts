import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "../../src/client/codecs.js";
import { connected, errorOf, watch } from "./support/connect.js";
import { firstKey, OTHER_SESSION, outcomeRequestOf, Peer, SESSION } from "./support/peer.js";

const RECONNECT_MS = 200;

test("after a break the session is resumed and what is unanswered goes out under the same ids", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const puts = ["a", "b", "c"].map((key) => watch(space.put(key, "v")));
  await environment.tick();
  const before = peer.last;
  before.reply({ sequence: 2 });
  before.drop();
  const late = watch(space.put("d", "v"));
  await environment.advance(RECONNECT_MS);
  const after = peer.last;
  assert.notEqual(after, before);
  assert.deepEqual(after.hello?.session, SESSION);
  assert.deepEqual(
    after.lastFrame.items.map((item) => [item.sequence, firstKey(item)]),
    [
      [1, "a"],
      [3, "c"],
      [4, "d"],
    ],
  );
  assert.equal(after.lastFrame.ackedBelow, 1);
  for (const [i, again] of [1, 3].entries()) {
    const first = before.items.find(({ sequence }) => sequence === again);
    assert.deepEqual(after.items[i]?.payload, first?.payload, "the same bytes under the same id");
  }
  after.reply({ sequence: 1, replayed: true }, { sequence: 3 }, { sequence: 4 });
  await environment.tick();
  for (const put of [...puts, late]) assert.equal(put.state, "resolved");
});

test("a reply that comes twice is taken once", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const first = watch(space.put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, revision: 7n }, { sequence: 1, code: "internal" });
  peer.last.reply({ sequence: 1, revision: 9n }, { sequence: 99 });
  await environment.tick();
  assert.equal(first.value?.revision, 7n);
  const second = watch(space.put("b", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 2, revision: 8n });
  await environment.tick();
  assert.equal(second.value?.revision, 8n);
});

test("a second answer to one attempt is ignored, whatever it says", async () => {
  const { client, peer, environment } = await connected();
  environment.dice = [0.5];
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "overloaded" }, { sequence: 1, revision: 5n });
  await environment.tick();
  assert.equal(put.state, "pending", "its only attempt was turned away");
  await environment.advance(50);
  assert.equal(peer.last.items.length, 2);
  peer.last.reply({ sequence: 1, revision: 6n });
  await environment.tick();
  assert.equal(put.value?.revision, 6n);
});

test("what the server turns away for now is sent again under the same id, later and later", async () => {
  const { client, peer, environment } = await connected();
  environment.dice = [0.999];
  const space = client.space("default", text);
  const put = watch(space.put("a", "v"));
  await environment.tick();
  const waits: number[] = [];
  for (let attempt = 0; attempt < 4; attempt += 1) {
    peer.last.reply({ sequence: 1, code: "overloaded" });
    const since = environment.now();
    const sent = peer.last.frames.length;
    while (peer.last.frames.length === sent) await environment.advance(1);
    waits.push(environment.now() - since);
  }
  assert.deepEqual(waits, [20, 40, 80, 160]);
  assert.ok(peer.last.items.every(({ sequence }) => sequence === 1));
  peer.last.reply({ sequence: 1, code: "overloaded", retryAfterMs: 1_000 });
  await environment.advance(990);
  assert.equal(peer.last.items.length, 5, "the server asked to wait a second");
  await environment.advance(20);
  assert.equal(peer.last.items.length, 6);
  peer.last.reply({ sequence: 1, revision: 3n });
  await environment.tick();
  assert.equal(put.value?.revision, 3n);
});

test("what is turned away until the deadline fails with the server's reason, not submitted", async () => {
  const { client, peer, environment } = await connected();
  environment.dice = [0.9];
  peer.answer = ({ sequence }) => ({ sequence, code: "unavailable", message: "no leader" });
  const put = watch(client.space("default", text).put("a", "v", { timeoutMs: 1_000 }));
  await environment.advance(1_001);
  const error = errorOf(put);
  assert.equal(error.code, "unavailable");
  assert.equal(error.outcome, "not_submitted");
  assert.equal(error.retryable, true);
  assert.match(error.message, /no leader/);
  assert.ok(peer.last.items.length > 3, "it was tried more than once");
});

test("a refusal is final and says which operation", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "wrong_kind", operation: 0, message: "a number is there" });
  await environment.advance(5_000);
  const error = errorOf(put);
  assert.equal(error.code, "wrong_kind");
  assert.equal(error.outcome, "not_applied");
  assert.equal(error.retryable, false);
  assert.equal(error.operation, 0);
  assert.equal(peer.last.items.length, 1, "it is not tried again");
});

test("Promise 4: a later attempt turned away does not make an earlier one undone", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.drop();
  await environment.advance(RECONNECT_MS);
  assert.equal(peer.last.items.length, 1);
  peer.last.reply({ sequence: 1, code: "forbidden" });
  await environment.tick();
  const error = errorOf(put);
  assert.equal(error.code, "forbidden");
  assert.equal(error.outcome, "unknown", "the first attempt may have taken effect");
  assert.equal(error.retryable, false);
  assert.ok(error.requestId !== undefined);
});

test("Promise 4: the same refusal of the only attempt is not submitted", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "forbidden" });
  await environment.tick();
  assert.equal(errorOf(put).outcome, "not_submitted");
});

test("Promise 4: unknown outlasts refusals until the deadline, and ends with an answer", async () => {
  const { client, peer, environment } = await connected();
  environment.dice = [0.9];
  const space = client.space("default", text);
  const lost = watch(space.put("a", "v", { timeoutMs: 2_000 }));
  const found = watch(space.put("b", "v", { timeoutMs: 2_000 }));
  await environment.tick();
  peer.last.drop();
  await environment.advance(RECONNECT_MS);
  peer.last.reply({ sequence: 1, code: "overloaded" }, { sequence: 2, code: "overloaded" });
  await environment.advance(100);
  peer.last.reply({ sequence: 2, code: "out_of_bounds" });
  await environment.tick();
  assert.equal(errorOf(found).outcome, "not_applied", "this answer speaks for all attempts");
  peer.answer = ({ sequence }) => ({ sequence, code: "overloaded" });
  await environment.advance(2_000);
  assert.equal(errorOf(lost).outcome, "unknown");
});

test("a lost reply leaves unknown; outcome() finds what became of it, and it is released", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v", { timeoutMs: 300 }));
  await environment.advance(301);
  const error = errorOf(put);
  assert.equal(error.code, "timeout");
  assert.equal(error.outcome, "unknown");
  assert.ok(error.requestId !== undefined);

  const asked = watch(space.outcome(error.requestId, "a"));
  await environment.tick();
  const { items, ackedBelow } = peer.last.lastFrame;
  assert.equal(ackedBelow, 1, "the server is to remember 1 until its fate is known");
  const [item] = items;
  assert.ok(item !== undefined && item.kind === "outcome");
  const request = outcomeRequestOf(item);
  assert.equal(request.sequence(), 1n);
  assert.deepEqual(request.sessionArray(), SESSION);
  peer.last.reply({ sequence: 2, revision: 5n, outcomeApplied: true, applied: true });
  await environment.tick();
  assert.deepEqual(asked.value, { outcome: "applied", revision: 5n, applied: true, results: [] });
  watch(space.get("b"));
  await environment.tick();
  assert.equal(peer.last.lastFrame.ackedBelow, 3);
});

test("outcome() says never when the server fenced the request", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v", { timeoutMs: 300 }));
  await environment.advance(301);
  const asked = watch(space.outcome(errorOf(put).requestId ?? "", "a"));
  await environment.tick();
  peer.last.reply({ sequence: 2, outcomeApplied: false });
  await environment.tick();
  assert.deepEqual(asked.value, { outcome: "never" });
});

test("an answer that comes after the caller was told unknown answers outcome() without asking", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const applied = watch(space.add("a", 1, { timeoutMs: 300 }));
  const refused = watch(space.add("b", 1, { timeoutMs: 300 }));
  await environment.advance(301);
  peer.last.reply({ sequence: 1, revision: 4n, results: [{ number: 12n }] });
  peer.last.reply({ sequence: 2, code: "out_of_bounds" });
  const yes = watch(space.outcome(errorOf(applied).requestId ?? "", "a"));
  const no = watch(space.outcome(errorOf(refused).requestId ?? "", "b"));
  await environment.tick();
  assert.equal(peer.last.items.length, 2, "nobody had to be asked");
  assert.equal(yes.value?.outcome, "applied");
  assert.equal(yes.value?.outcome === "applied" && yes.value.results[0]?.number, 12n);
  assert.deepEqual(no.value, { outcome: "never" });
});

test("a late refusal of a later attempt says nothing of an earlier one", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v", { timeoutMs: 300 }));
  await environment.tick();
  peer.last.drop();
  await environment.advance(250);
  assert.equal(peer.last.items.length, 1, "the second attempt is out");
  await environment.advance(51);
  peer.last.reply({ sequence: 1, code: "forbidden" });
  const asked = watch(space.outcome(errorOf(put).requestId ?? "", "a"));
  await environment.tick();
  assert.equal(peer.last.lastFrame.items[0]?.kind, "outcome", "the server has to be asked");
  assert.equal(asked.state, "pending");
});

test("an answer that leaves it open leaves it open: the server is to remember", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "internal" });
  watch(space.get("b"));
  await environment.tick();
  assert.equal(errorOf(put).outcome, "unknown");
  assert.equal(peer.last.lastFrame.ackedBelow, 1);
});

test("near the window's end the server is asked after requests nobody waits for", async () => {
  const peer = new Peer();
  peer.autoWelcome = (connection) => ({ window: 8, resumed: connection.hello?.session !== null });
  const { client, environment } = await connected({}, peer);
  const space = client.space("default", text);
  const lost = Array.from({ length: 6 }, (_, i) =>
    watch(space.put(`lost/${i}`, "v", { timeoutMs: 100 })),
  );
  await environment.advance(101);
  const ids = lost.map((put) => errorOf(put).requestId ?? "");
  const puts = Array.from({ length: 3 }, (_, i) => watch(space.put(`next/${i}`, "v")));
  await environment.tick();
  const asked = peer.last.lastFrame;
  assert.deepEqual(
    asked.items.map((item) => [item.sequence, item.kind, outcomeRequestOf(item).sequence()]),
    [
      [7, "outcome", 1n],
      [8, "outcome", 2n],
    ],
    "the last sequences are kept for questions",
  );
  assert.equal(asked.ackedBelow, 1, "nothing is acknowledged before it is known");
  assert.equal(
    new TextDecoder().decode(outcomeRequestOf(asked.items[1] as never).keyArray() ?? undefined),
    "lost/1",
  );
  peer.last.reply(
    { sequence: 7, revision: 5n, outcomeApplied: true },
    { sequence: 8, outcomeApplied: false },
  );
  await environment.tick();
  // What was learnt made room for two more, of which one goes to the next question.
  assert.equal(peer.last.lastFrame.ackedBelow, 3);
  peer.answer = (item) =>
    item.kind === "outcome"
      ? { sequence: item.sequence, outcomeApplied: false }
      : { sequence: item.sequence, revision: 9n };
  for (const { sequence, kind } of peer.last.lastFrame.items) {
    peer.last.reply({ sequence, ...(kind === "outcome" ? { outcomeApplied: false } : {}) });
  }
  await environment.tick();
  for (const put of puts) assert.equal(put.state, "resolved");
  const sent = peer.last.items.length;
  const known = watch(Promise.all(ids.slice(0, 2).map((id) => space.outcome(id, "lost/0"))));
  await environment.tick();
  assert.equal(known.value?.[0]?.outcome, "applied");
  assert.deepEqual(known.value?.[1], { outcome: "never" });
  assert.equal(peer.last.items.length, sent, "what was told is kept");
  assert.equal(client.pending, 0);
});

test("a question of the client's own that finds nothing out does not block the window", async () => {
  const peer = new Peer();
  peer.autoWelcome = (connection) => ({ window: 4, resumed: connection.hello?.session !== null });
  const { client, environment } = await connected({}, peer);
  const space = client.space("default", text);
  for (let i = 0; i < 3; i += 1) watch(space.put(`lost/${i}`, "v", { timeoutMs: 100 }));
  await environment.advance(101);
  const codes = ["unavailable", "session_expired"] as const;
  let questions = 0;
  peer.answer = ({ sequence, kind }) =>
    kind === "outcome"
      ? { sequence, code: codes[questions++] ?? "request_id_stale" }
      : { sequence };
  const puts = Array.from({ length: 8 }, () => watch(space.put("next", "v")));
  await environment.advance(5_000);
  for (const put of puts) assert.equal(put.state, "resolved");
  assert.ok(questions >= 4, "the one that was turned away was asked again");
});

test("an answer that comes while outcome() is being asked leaves the question answerable", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const put = watch(space.put("a", "v", { timeoutMs: 300 }));
  await environment.advance(301);
  const asked = watch(space.outcome(errorOf(put).requestId ?? "", "a"));
  // A blocked event loop: the answer was there all the time, and is read only now.
  peer.last.reply({ sequence: 1, revision: 4n });
  await environment.tick();
  const [item] = peer.last.lastFrame.items;
  assert.equal(item?.kind, "outcome");
  assert.equal(peer.last.lastFrame.ackedBelow, 1, "the server has not been told to forget it");
  peer.last.reply({ sequence: 2, revision: 4n, outcomeApplied: true });
  await environment.tick();
  assert.equal(asked.value?.outcome, "applied");
});

test("what came late is not acknowledged before the window needs it: others may ask too", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  watch(space.put("a", "v", { timeoutMs: 300 }));
  await environment.advance(301);
  peer.last.reply({ sequence: 1, revision: 4n });
  watch(space.get("b"));
  await environment.tick();
  assert.equal(peer.last.lastFrame.ackedBelow, 1);
});

test("a session that is not resumed: what had left is unknown, what had not goes on anew", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const left = watch(space.put("left", "v"));
  const read = watch(space.get("read"));
  await environment.tick();
  peer.last.drop();
  const fresh = watch(space.put("fresh", "v"));
  peer.autoWelcome = () => ({ session: OTHER_SESSION, resumed: false });
  await environment.advance(RECONNECT_MS);
  const error = errorOf(left);
  assert.equal(error.code, "session_expired");
  assert.equal(error.outcome, "unknown");
  assert.deepEqual(
    peer.last.items.map((item) => [item.sequence, firstKey(item)]),
    [
      [1, "read"],
      [2, "fresh"],
    ],
  );
  peer.last.reply({ sequence: 1 }, { sequence: 2 });
  await environment.tick();
  assert.equal(read.state, "resolved");
  assert.equal(fresh.state, "resolved");
  // The lost one can still be asked for, by its own session.
  const asked = watch(space.outcome(error.requestId ?? "", "left"));
  await environment.tick();
  const [item] = peer.last.lastFrame.items;
  assert.ok(item !== undefined);
  assert.deepEqual(outcomeRequestOf(item).sessionArray(), SESSION);
  peer.last.reply({ sequence: 3, code: "session_expired" });
  await environment.tick();
  assert.equal(errorOf(asked).outcome, "unknown");
});

for (const code of ["session_expired", "session_refused", "session_superseded"] as const) {
  test(`goodbye ${code}: outstanding writes are unknown, a new session follows`, async () => {
    const { client, peer, environment } = await connected();
    const space = client.space("default", text);
    const left = watch(space.put("left", "v"));
    await environment.tick();
    peer.last.drop();
    peer.autoWelcome = undefined;
    await environment.advance(RECONNECT_MS);
    peer.last.goodbye(code);
    await environment.tick();
    assert.equal(errorOf(left).outcome, "unknown");
    assert.equal(errorOf(left).code, code);
    peer.autoWelcome = () => ({ session: OTHER_SESSION });
    await environment.advance(RECONNECT_MS * 2);
    assert.equal(peer.last.hello?.session, null, "the lost session is not presented again");
    const put = watch(space.put("next", "v"));
    await environment.tick();
    peer.last.reply({ sequence: 1, revision: 2n });
    await environment.tick();
    assert.equal(put.value?.revision, 2n);
  });
}

test("a shard that forgot the session: the request is issued again in a new session", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const other = watch(space.put("other", "v"));
  const put = watch(space.put("a", "v"));
  await environment.tick();
  const before = peer.last;
  before.reply({ sequence: 2, code: "session_expired" });
  await environment.tick();
  assert.equal(before.isOpen, true, "another request is still under way in it");
  peer.autoWelcome = () => ({ session: OTHER_SESSION });
  before.reply({ sequence: 1, revision: 1n });
  await environment.advance(1);
  assert.equal(other.state, "resolved");
  assert.notEqual(peer.last, before);
  assert.equal(peer.last.hello?.session, null);
  assert.deepEqual(peer.last.items.map(firstKey), ["a"]);
  peer.last.reply({ sequence: 1, revision: 6n });
  await environment.tick();
  assert.equal(put.value?.revision, 6n);
});
