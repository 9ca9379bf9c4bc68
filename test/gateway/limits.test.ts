/** Limits that hold whatever a socket says, or if it says nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildFrame, splitIntoParts } from "../../src/protocol/frame.js";
import { buildHello } from "../../src/protocol/hello.js";
import {
  connect,
  FULL_TOKEN,
  get,
  put,
  type RawClient,
  request,
  startTestServer,
  type TestServer,
  TOKENS,
} from "../support/harness.js";
import { open } from "./raw.js";

async function metric(server: TestServer, name: string): Promise<number> {
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  return Number(new RegExp(`^${name.replace(/[{}"]/g, "\\$&")} (\\d+)$`, "m").exec(metrics)?.[1]);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let round = 0; round < 250; round += 1) {
    if (await holds()) return;
    await sleep(20);
  }
  assert.fail(what);
}

/** The lines of the log that say who was turned away. */
const turnedAway = (server: TestServer): Record<string, unknown>[] =>
  server.logged
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === "turned away");

test("the limit counts sockets, not only WebSockets; closing them gives room again", async (t) => {
  const server = await startTestServer(t, { "clients.connections_max": "3" });
  const idle = await Promise.all([open(t, server.port), open(t, server.port)]);
  const first = await connect(t, server.url);
  await first.hello();
  await until("three sockets", async () => (await metric(server, "domp_gateway_sockets")) === 3);
  const second = await connect(t, server.url);
  assert.equal((await second.goodbye()).code, "too_many_connections");
  await second.closed;
  const key = `${server.httpUrl}/v1/spaces/default/keys/a`;
  const refused = await fetch(key);
  assert.equal(refused.status, 503);
  const { error } = (await refused.json()) as { error: { code: string } };
  assert.equal(error.code, "too_many_connections");
  for (const { socket } of idle) socket.destroy();
  await until("room", async () => (await metric(server, "domp_gateway_sockets")) === 1);
  assert.ok(await (await connect(t, server.url)).hello());
  assert.equal((await fetch(key)).status, 404);
});

test("sockets far beyond the limit are closed before they say anything", async (t) => {
  const server = await startTestServer(t, { "clients.connections_max": "10" });
  const sockets = await Promise.all(Array.from({ length: 200 }, () => open(t, server.port)));
  await until(
    "refusals",
    async () =>
      (await metric(server, 'domp_gateway_refusals_total{code="too_many_connections"}')) === 126,
  );
  assert.equal(await metric(server, "domp_gateway_sockets"), 74);
  for (const { socket } of sockets) socket.destroy();
  await until("none", async () => (await metric(server, "domp_gateway_sockets")) === 0);
  assert.ok(await (await connect(t, server.url)).hello());
  assert.equal(await metric(server, "domp_gateway_sockets_accepted_total"), 201);
  const [told, ...others] = turnedAway(server);
  assert.equal(told?.["reason"], "too_many_connections");
  assert.equal(told?.["address"], "127.0.0.1");
  assert.ok(others.length <= 10, "sampled");
});

test("whom the server turned away stands in its log, with reason, address and name", async (t) => {
  const server = await startTestServer(t, { "auth.tokens": TOKENS });
  const client = await connect(t, server.url);
  client.send(buildHello({ token: "wrong-token-of-the-tests", client: "the shop" }));
  await client.closed;
  const evil = { headers: { Origin: "https://evil.example" } };
  await assert.rejects(connect(t, server.url, evil), /status 403/);
  const http = await fetch(`${server.httpUrl}/v1/spaces/default/keys/a`);
  assert.equal(http.status, 401);
  const told = turnedAway(server);
  assert.deepEqual(
    told.map(({ reason, address, client: name }) => [reason, address, name]),
    [
      ["unauthenticated", "127.0.0.1", "the shop"],
      ["forbidden", "127.0.0.1", undefined],
    ],
  );
  await until("the sampled one", async () => turnedAway(server).length === 3);
  assert.ok(!JSON.stringify(server.logged).includes("wrong-token"), "never the secret");
});

const MIB = 1 << 20;

test("half frames: at the budget the one that sent the most hears so, the others are served", async (t) => {
  const server = await startTestServer(t, { "clients.memory_max": "16MiB" });
  const frame = (mib: number) =>
    splitIntoParts(
      buildFrame(
        1,
        Array.from({ length: 2 * mib }, (_, at) =>
          request(at + 1, 1, put(`k${at}`, "v".repeat(500_000))),
        ),
        1,
        5_000,
      ),
    ).slice(0, -1);
  // One after the other, the greediest first; the last does not fit beside the others.
  const clients: RawClient[] = [];
  let expected = 0;
  for (const mib of [7, 6, 5]) {
    const client = await connect(t, server.url);
    await client.hello();
    for (const part of frame(mib)) client.socket.send(part);
    clients.push(client);
    expected += mib * 1_000_000 - 70_000;
    if (expected > 16 * MIB) break;
    await until(
      `${mib} MB of half a frame`,
      async () => (await metric(server, "domp_gateway_client_memory_bytes")) >= expected,
    );
  }
  const [greedy] = clients;
  const goodbye = await greedy?.goodbye();
  assert.equal(goodbye?.code, "overloaded");
  assert.match(goodbye?.message ?? "", /holds the most: \d{7} bytes/);
  assert.ok((goodbye?.retryAfterMs ?? 0) > 0);
  assert.equal((await greedy?.closed)?.code, 1013);
  assert.equal(await metric(server, "domp_gateway_client_memory_shed_total"), 1);
  assert.ok((await metric(server, "domp_gateway_client_memory_bytes")) <= 16 * MIB);
  const other = await connect(t, server.url);
  const { defaultSpace: space } = await other.hello();
  assert.ok((await other.submit([request(1, space, put("a", "1"))]))[0]?.applied);
  for (const client of clients) client.socket.terminate();
  await until(
    "all given back",
    async () => (await metric(server, "domp_gateway_client_memory_bytes")) === 0,
  );
});

test("unread replies: at the budget the one that reads least is cut, the others are served", async (t) => {
  const server = await startTestServer(t, {
    "clients.memory_max": "16MiB",
    "clients.send_buffer_max": "256MiB",
  });
  const slow = await connect(t, server.url);
  const { defaultSpace: space } = await slow.hello();
  await slow.submit([request(1, space, put("big", "v".repeat(900_000)))]);
  slow.socket.pause();
  const ask = (sequence: number) =>
    buildFrame(space, [request(sequence, space, get("big"))], 1, 5_000);
  for (let sequence = 2; sequence < 60; sequence += 1) slow.send(ask(sequence));
  await until(
    "the cut",
    async () => (await metric(server, 'domp_gateway_refusals_total{code="overloaded"}')) === 1,
  );
  await until(
    "all given back",
    async () => (await metric(server, "domp_gateway_client_memory_bytes")) === 0,
  );
  const [told] = turnedAway(server);
  assert.equal(told?.["reason"], "overloaded");
  assert.match(String(told?.["detail"]), /holds the most/);
  slow.socket.resume();
  assert.equal((await slow.closed).code, 1006);
  const other = await connect(t, server.url);
  await other.hello();
  assert.ok((await other.submit([request(1, space, get("big"))]))[0]?.payload.length);
});

test("a token is needed before anything larger than a message is kept", async (t) => {
  const server = await startTestServer(t, { "auth.tokens": TOKENS });
  const client = await connect(t, server.url);
  const frame = buildFrame(1, [request(1, 1, put("k", "v".repeat(200_000)))], 1, 5_000);
  client.send(frame);
  assert.equal((await client.goodbye()).code, "invalid_frame");
  assert.equal(await metric(server, "domp_gateway_client_memory_bytes"), 0);
  const known = await connect(t, server.url);
  await known.hello({ token: FULL_TOKEN });
  known.send(frame);
  assert.ok((await known.replies(1))[0]);
});
