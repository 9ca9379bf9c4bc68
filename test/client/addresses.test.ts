// A client that is told of several servers of one cluster.
import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "../../src/client/codecs.js";
import type { ConnectionState } from "../../src/client/connection.js";
import { webSocketUrls } from "../../src/client/transport.js";
import { connected, errorOf, newWorld, watch } from "./support/connect.js";
import { Peer } from "./support/peer.js";

const URLS = ["ws://a.test/v1", "ws://b.test/v1", "ws://c.test/v1"];

test("a client begins at any of its addresses, so that many spread over all", () => {
  const first = (dice: number): string | undefined => {
    const { client, peer } = newWorld({}, new Peer(), URLS, [dice]);
    void client.open(undefined).catch(() => undefined);
    return peer.connections[0]?.url;
  };
  assert.deepEqual([0, 0.34, 0.999].map(first), URLS);
});

test("where one does not answer the next is tried at once, and a longer pause comes behind all", async () => {
  const states: ConnectionState[] = [];
  const world = newWorld({ onState: (state) => states.push(state) }, new Peer(), URLS);
  const { client, peer, environment } = world;
  peer.isUp = false;
  const opened = watch(client.open(undefined));
  await environment.advance(500);
  const urls = peer.connections.map(({ url }) => url);
  assert.deepEqual(urls.slice(0, 4), [URLS[1], URLS[2], URLS[0], URLS[1]]);
  const waits = states.flatMap((state) => (state.state === "disconnected" ? state.retryInMs : []));
  assert.deepEqual(waits.slice(0, 3), [10, 10, 200], "half of 20 ms, twice; then the usual pause");
  peer.isUp = true;
  await environment.advance(2_000);
  assert.equal(opened.state, "resolved");
});

test("a lost server's session goes on at another, and what was open is sent again there", async () => {
  const { client, peer, environment } = await connected({}, new Peer(), URLS);
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  const before = peer.last;
  before.drop();
  peer.autoWelcome = () => ({ resumed: true });
  await environment.advance(11);
  assert.notEqual(peer.last.url, before.url);
  assert.ok(peer.last.hello?.session, "it asks for its session");
  assert.deepEqual(
    peer.last.items.map(({ sequence }) => sequence),
    [1],
  );
  peer.last.reply({ sequence: 1, revision: 9n });
  await environment.tick();
  assert.equal(put.value?.revision, 9n);
});

test("a server that stops and asks to wait is left for another at once", async () => {
  const { peer, environment } = await connected({}, new Peer(), URLS);
  peer.last.goodbye("shutting_down", "stops", 5_000);
  await environment.advance(11);
  assert.equal(peer.connections.length, 2);
});

test("what a lost leader left open is sent again under the same id until it is known", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "leader_changed" });
  await environment.advance(20);
  assert.equal(put.state, "pending");
  assert.deepEqual(
    peer.last.items.map(({ sequence }) => sequence),
    [1, 1],
  );
  // The new leader had it already.
  peer.last.reply({ sequence: 1, revision: 4n, replayed: true });
  await environment.tick();
  assert.equal(put.value?.revision, 4n);
});

test("Promise 4: behind a lost leader a refusal leaves it unknown, to the deadline", async () => {
  const { client, peer, environment } = await connected();
  const put = watch(client.space("default", text).put("a", "v", { timeoutMs: 1_000 }));
  await environment.tick();
  peer.last.reply({ sequence: 1, code: "leader_changed" });
  peer.answer = ({ sequence }) => ({ sequence, code: "unavailable" });
  await environment.advance(1_001);
  const error = errorOf(put);
  assert.equal(error.outcome, "unknown");
  assert.equal(error.retryable, false);
  assert.ok(error.requestId, "its outcome can be asked for");
});

test("a read is asked again, and was never in doubt", async () => {
  const { client, peer, environment } = await connected();
  const get = watch(client.space("default", text).get("a", { timeoutMs: 1_000 }));
  await environment.tick();
  peer.answer = ({ sequence }) => ({ sequence, code: "leader_changed" });
  peer.last.reply({ sequence: 1, code: "leader_changed" });
  await environment.advance(1_001);
  assert.notEqual(errorOf(get).outcome, "unknown");
});

test("addresses are one or many, each once, each a WebSocket's", () => {
  assert.deepEqual(webSocketUrls("http://a:1"), ["ws://a:1/v1"]);
  assert.deepEqual(webSocketUrls(["ws://a:1", new URL("ws://b:1/x"), "http://a:1"]), [
    "ws://a:1/v1",
    "ws://b:1/x",
  ]);
  assert.throws(() => webSocketUrls([]), /one to 64/);
  assert.throws(() => webSocketUrls(["ftp://a"]), /ws: or wss:/);
});
