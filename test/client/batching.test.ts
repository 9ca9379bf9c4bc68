import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "../../src/client/codecs.js";
import { systemEnvironment } from "../../src/client/environment.js";
import { connected, errorOf, watch } from "./support/connect.js";
import { firstKey, Peer, transactionOf } from "./support/peer.js";

test("what is issued in one tick leaves in one frame, in its order", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  for (let i = 0; i < 100; i += 1) watch(space.put(`key/${i}`, "v"));
  assert.equal(peer.last.frames.length, 0, "nothing leaves before the tick is over");
  await environment.tick();
  assert.equal(peer.last.frames.length, 1);
  const { items } = peer.last.lastFrame;
  assert.deepEqual(
    items.map(firstKey),
    Array.from({ length: 100 }, (_, i) => `key/${i}`),
  );
  assert.deepEqual(
    items.map(({ sequence }) => sequence),
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
});

test("what continuations issue after one frame of replies leaves in one frame", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const chain = async (name: string, hops: number): Promise<void> => {
    await space.put(`${name}/first`, "v");
    for (let hop = 0; hop < hops; hop += 1) await Promise.resolve();
    await space.put(`${name}/second`, "v");
  };
  for (let i = 0; i < 8; i += 1) watch(chain(`chain${i}`, i));
  await environment.tick();
  const [first] = peer.last.frames;
  peer.last.reply(...(first?.items ?? []).map(({ sequence }) => ({ sequence })));
  await environment.tick();
  assert.equal(peer.last.frames.length, 2);
  assert.equal(peer.last.lastFrame.items.length, 8);
});

test("a frame carries the longest time-out of its items and what is acknowledged", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  watch(space.get("a", { timeoutMs: 500 }));
  watch(space.get("b", { timeoutMs: 2_500 }));
  await environment.tick();
  assert.equal(peer.last.lastFrame.timeoutMs, 2_500);
  assert.equal(peer.last.lastFrame.ackedBelow, 1);
  peer.last.reply({ sequence: 1 });
  watch(space.get("c"));
  await environment.tick();
  assert.equal(peer.last.lastFrame.ackedBelow, 2, "2 has no answer yet");
  peer.last.reply({ sequence: 2 }, { sequence: 3 });
  watch(space.get("d"));
  await environment.tick();
  assert.equal(peer.last.lastFrame.ackedBelow, 4);
});

test("a frame stays within the server's limit, what is over goes into the next", async () => {
  const peer = new Peer();
  peer.autoWelcome = () => ({ frameBytesMax: 4_096 });
  const { client, environment } = await connected({}, peer);
  const space = client.space("default", text);
  for (let i = 0; i < 20; i += 1) watch(space.put(`key/${i}`, "x".repeat(500)));
  await environment.tick();
  assert.ok(peer.last.frames.length > 1);
  for (const frame of peer.last.frames) assert.ok(frame.byteLength <= 4_096, "a frame too large");
  assert.deepEqual(
    peer.last.items.map(firstKey),
    Array.from({ length: 20 }, (_, i) => `key/${i}`),
  );
});

test("no more than the window is outstanding; answers open it", async () => {
  const peer = new Peer();
  peer.autoWelcome = () => ({ window: 4 });
  const { client, environment } = await connected({}, peer);
  const space = client.space("default", text);
  for (let i = 0; i < 10; i += 1) watch(space.put(`key/${i}`, "v"));
  await environment.tick();
  assert.equal(peer.last.items.length, 3, "the last quarter is kept for questions");
  peer.last.reply({ sequence: 2 }, { sequence: 3 });
  await environment.tick();
  assert.equal(peer.last.items.length, 3, "1 is unanswered and holds the window");
  peer.last.reply({ sequence: 1 });
  await environment.tick();
  assert.equal(peer.last.items.length, 6);
  assert.equal(peer.last.lastFrame.ackedBelow, 4);
});

test("no more bytes are outstanding than the server allows; what alone is more is refused", async () => {
  const peer = new Peer();
  peer.autoWelcome = () => ({ outstandingBytesMax: 2_000 });
  const { client, environment } = await connected({}, peer);
  const space = client.space("default", text);
  const large = watch(space.put("large", "x".repeat(1_800)));
  const over = watch(space.put("over", "x".repeat(2_001)));
  for (let i = 0; i < 5; i += 1) watch(space.put(`key/${i}`, "x".repeat(700)));
  await environment.tick();
  assert.deepEqual(peer.last.items.map(firstKey), ["large"]);
  peer.last.reply({ sequence: 1 });
  await environment.tick();
  assert.equal(large.state, "resolved");
  assert.equal(errorOf(over).code, "too_large");
  assert.equal(errorOf(over).outcome, "not_submitted");
  assert.deepEqual(peer.last.items.map(firstKey), ["large", "key/0", "key/1"]);
});

test("beyond the bounds of the queue calls fail at once with queue_full", async () => {
  const { client, peer, environment } = await connected({
    queue: { requestsMax: 3, bytesMax: 10_000 },
  });
  const space = client.space("default", text);
  const puts = [1, 2, 3, 4].map((i) => watch(space.put(`key/${i}`, "v")));
  await environment.tick();
  const last = puts[3];
  assert.ok(last !== undefined);
  const error = errorOf(last);
  assert.equal(error.code, "queue_full");
  assert.equal(error.outcome, "not_submitted");
  assert.equal(error.retryable, true);
  assert.equal(peer.last.items.length, 3);
  peer.last.reply({ sequence: 1 }, { sequence: 2 }, { sequence: 3 });
  const large = watch(space.put("large", "x".repeat(10_000)));
  const small = watch(space.put("small", "v"));
  await environment.tick();
  assert.equal(errorOf(large).code, "queue_full");
  assert.equal(small.state, "pending", "there is room again");
});

test("a transaction leaves with its guards and both branches, in one space", async () => {
  const { client, peer, environment } = await connected();
  const { op, when } = await import("../../src/client/operations.js");
  const space = client.space("default", text);
  watch(
    space.submit({
      if: [when.absent("a"), when.atLeast("gold", 10)],
      then: [op.put("a", "1", { expireAfterMs: 5_000 }), op.add("gold", -10, { floor: 0 })],
      else: [op.get("a"), op.range({ prefix: "p/", limit: 7, reverse: true })],
    }),
  );
  await environment.tick();
  const [item] = peer.last.items;
  assert.ok(item !== undefined);
  const transaction = transactionOf(item);
  assert.equal(transaction.space(), 1);
  assert.equal(transaction.guardsLength(), 2);
  assert.equal(transaction.guards(1)?.number(), 10n);
  assert.equal(transaction.then(0)?.expireAfterMs(), 5_000n);
  assert.equal(transaction.then(1)?.number(), -10n);
  assert.equal(transaction.then(1)?.floor(), 0n);
  assert.equal(transaction.otherwise(1)?.limit(), 7);
  assert.equal(transaction.otherwise(1)?.flags(), 1);
  assert.deepEqual(
    new TextDecoder().decode(transaction.otherwise(1)?.toArray() ?? undefined),
    "p0",
  );
});

test("a tick ends behind every continuation that is ready, however many awaits deep", async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    systemEnvironment().defer(() => {
      order.push("end");
      resolve();
    });
    void (async () => {
      for (let hop = 0; hop < 100; hop += 1) await undefined;
      order.push("continuation");
    })();
  });
  assert.deepEqual(order, ["continuation", "end"]);
});
