import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectSdk, text } from "../../../src/client/node.js";
import { buildFrame, FrameKind, readReplies } from "../../../src/protocol/frame.js";
import { buildHello, SESSION_TOKEN_BYTES } from "../../../src/protocol/hello.js";
import {
  bytes,
  connect,
  FULL_TOKEN,
  foundText,
  get,
  put,
  READ_TOKEN,
  request,
  startTestServer,
  TOKENS,
} from "../../support/harness.js";

test("hello is welcomed with a session, limits and the default space; a put is read back", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  const welcome = await client.hello();
  assert.equal(welcome.session.length, SESSION_TOKEN_BYTES);
  assert.equal(welcome.resumed, false);
  assert.equal(welcome.defaultSpace, 1);
  assert.ok(welcome.limits.window > 0);
  const space = welcome.defaultSpace;
  const [stored] = await client.submit([request(1, space, put("a", "1"))]);
  assert.equal(stored?.code, undefined);
  assert.ok(stored?.applied);
  assert.ok((stored?.revision ?? 0n) > 0n);
  const [found] = await client.submit([request(2, space, get("a"))]);
  assert.equal(foundText(found), "1");
});

test("a session is resumed on another connection, and the older one hears that it was superseded", async (t) => {
  const server = await startTestServer(t);
  const first = await connect(t, server.url);
  const { session, defaultSpace, epoch } = await first.hello();
  const put1 = request(1, defaultSpace, put("a", "1"));
  const [stored] = await first.submit([put1]);
  const second = await connect(t, server.url);
  const welcome = await second.hello({ session });
  assert.equal(welcome.resumed, true);
  assert.ok(welcome.epoch > epoch);
  const [again] = await second.submit([put1]);
  assert.equal(again?.replayed, true);
  assert.equal(again?.revision, stored?.revision);
});

test("tokens: a right one comes in, a wrong or none is told unauthenticated", async (t) => {
  const server = await startTestServer(t, { "auth.tokens": TOKENS });
  const right = await connect(t, server.url);
  assert.ok((await right.hello({ token: FULL_TOKEN })).defaultSpace);
  for (const token of ["wrong-token-of-the-tests", undefined]) {
    const client = await connect(t, server.url);
    client.send(buildHello({ token }));
    assert.equal((await client.goodbye()).code, "unauthenticated");
    assert.equal((await client.closed).code, 1008);
  }
});

test("a read-only token reads and may not write", async (t) => {
  const server = await startTestServer(t, { "auth.tokens": TOKENS });
  const writer = await connect(t, server.url);
  const { defaultSpace } = await writer.hello({ token: FULL_TOKEN });
  await writer.submit([request(1, defaultSpace, put("a", "1"))]);
  const reader = await connect(t, server.url);
  await reader.hello({ token: READ_TOKEN });
  const [found, refused] = await reader.submit([
    request(1, defaultSpace, get("a")),
    request(2, defaultSpace, put("a", "2")),
  ]);
  assert.equal(foundText(found), "1");
  assert.equal(refused?.code, "forbidden");
});

test("pages of other origins and names that are not ours are refused before the upgrade", async (t) => {
  const server = await startTestServer(t);
  const evil = { headers: { Origin: "https://evil.example" } };
  await assert.rejects(connect(t, server.url, evil), /status 403/);
  const rebound = { headers: { Host: "evil.example" } };
  await assert.rejects(connect(t, server.url, rebound), /status 421/);
  const local = await connect(t, server.url, { headers: { Origin: "http://localhost:3000" } });
  assert.ok(await local.hello());
});

test("an allow-list lets its origins in and no others", async (t) => {
  const server = await startTestServer(t, { "clients.allowed_origins": "https://app.example" });
  const app = await connect(t, server.url, { headers: { Origin: "https://app.example" } });
  assert.ok(await app.hello());
  const other = { headers: { Origin: "http://localhost:3000" } };
  await assert.rejects(connect(t, server.url, other), /status 403/);
});

test("text, garbage, truncated frames and a second hello end the connection with invalid_frame", async (t) => {
  const server = await startTestServer(t);
  const submit = buildFrame(1, [request(1, 1, put("a", "1"))], 1, 1000);
  const misfit = Uint8Array.from(submit);
  misfit[24 + 8] = 255;
  const cases: [string, Uint8Array | string][] = [
    ["text", "hello"],
    ["garbage", new Uint8Array(100).fill(0x5a)],
    ["an empty message", new Uint8Array(0)],
    ["a truncated frame", submit.subarray(0, submit.length - 8)],
    ["a header only", submit.subarray(0, 24)],
    ["an item longer than its frame", misfit],
    ["a second hello", buildHello({})],
  ];
  for (const [name, message] of cases) {
    const client = await connect(t, server.url);
    await client.hello();
    client.socket.send(message);
    assert.equal((await client.goodbye()).code, "invalid_frame", name);
    await client.closed;
  }
  const client = await connect(t, server.url);
  assert.ok(await client.hello(), "the server serves on");
});

test("what comes before hello is refused", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  client.send(buildFrame(1, [request(1, 1, put("a", "1"))], 1, 1000));
  assert.equal((await client.goodbye()).code, "invalid_frame");
});

test("a connection that says no hello is closed in time", async (t) => {
  const server = await startTestServer(t, { "clients.hello_timeout": "100ms" });
  const client = await connect(t, server.url);
  assert.equal((await client.goodbye()).code, "unauthenticated");
});

test("a frame over the limit is told too_large; a message over 64 KiB cuts the connection", async (t) => {
  const server = await startTestServer(t, { "clients.frame_max": "100KiB" });
  const client = await connect(t, server.url);
  await client.hello();
  client.send(new Uint8Array(101 * 1024));
  assert.equal((await client.goodbye()).code, "too_large");
  assert.equal((await client.closed).code, 1009);
  const huge = await connect(t, server.url);
  await huge.hello();
  huge.socket.send(new Uint8Array(64 * 1024 + 1));
  assert.equal((await huge.closed).code, 1006);
});

test("a large frame travels in parts", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  const value = "v".repeat(1_000_000);
  const [stored] = await client.submit([request(1, space, put("big", value))]);
  assert.ok(stored?.applied);
  const [found] = await client.submit([request(2, space, get("big"))]);
  assert.equal(foundText(found), value);
});

test("connections beyond the limit are told so, and room is given again", async (t) => {
  const server = await startTestServer(t, { "clients.connections_max": "2" });
  const first = await connect(t, server.url);
  const second = await connect(t, server.url);
  await Promise.all([first.hello(), second.hello()]);
  const third = await connect(t, server.url);
  const goodbye = await third.goodbye();
  assert.equal(goodbye.code, "too_many_connections");
  assert.ok((goodbye.retryAfterMs ?? 0) > 0);
  assert.equal((await third.closed).code, 1013);
  await first.close();
  const fourth = await connect(t, server.url);
  assert.ok(await fourth.hello());
});

test("a slot that is used again gets none of its former tenant's replies", async (t) => {
  const server = await startTestServer(t);
  const { defaultSpace: space } = await (await connect(t, server.url)).hello();
  for (let round = 0; round < 30; round += 1) {
    const leaving = await connect(t, server.url);
    await leaving.hello();
    // Its replies are under way when the next one moves into its slot.
    leaving.send(
      buildFrame(
        space,
        Array.from({ length: 50 }, (_, index) => request(1000 + index, space, put("x", "old"))),
        1,
        5000,
      ),
    );
    leaving.socket.terminate();
    const next = await connect(t, server.url);
    await next.hello();
    const replies = await next.submit([request(7, space, put(`k${round}`, "new"))]);
    assert.deepEqual(
      replies.map(({ sequence }) => sequence),
      [7],
    );
    await next.close();
  }
});

test("requests beyond a space's window are refused, and those within are carried out", async (t) => {
  const server = await startTestServer(t, { "sessions.window": "8" });
  const client = await connect(t, server.url);
  const { defaultSpace: space, limits } = await client.hello();
  assert.equal(limits.window, 8);
  const frame = (from: number) =>
    buildFrame(
      space,
      Array.from({ length: 8 }, (_, index) => request(from + index, space, put("k", "v"))),
      1,
      5000,
    );
  client.send(frame(1));
  client.send(frame(9));
  const replies = await client.replies(16);
  for (const { sequence, code } of replies) {
    assert.equal(code, sequence <= 8 ? undefined : "window_exceeded", String(sequence));
  }
});

test("clients are told the settings that bound their frames, and stay within them", async (t) => {
  const server = await startTestServer(t, {
    "clients.frame_max": "4KiB",
    "clients.outstanding_max": "64KiB",
  });
  const { limits } = await (await connect(t, server.url)).hello();
  assert.equal(limits.frameBytesMax, 4096);
  assert.equal(limits.outstandingBytesMax, 65_536);
  const client = await connectSdk(server.url, { timeoutMs: 60_000 });
  t.after(() => client.close({ abort: true }));
  const space = client.space("default", text);
  const value = "v".repeat(1_000);
  await Promise.all(Array.from({ length: 200 }, (_, at) => space.put(`k/${at}`, value)));
  assert.equal(await space.count({ prefix: "k/" }), 200);
});

test("a frame larger than the whole credit is told too_large", async (t) => {
  const server = await startTestServer(t, { "clients.outstanding_max": "64KiB" });
  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  const value = "v".repeat(70_000);
  const [refused] = await client.submit([request(1, space, put("k", value))]);
  assert.equal(refused?.code, "too_large");
});

for (const [what, bytes, count] of [
  ["large answers", 900_000, 38],
  ["small answers, many in one piece", 20_000, 1_700],
] as const) {
  test(`a client that never reads ${what} is cut, and the others are served on`, async (t) => {
    const server = await startTestServer(t, { "clients.send_buffer_max": "64KiB" });
    const slow = await connect(t, server.url);
    const { defaultSpace: space } = await slow.hello();
    await slow.submit([request(1, space, put("big", "v".repeat(bytes)))]);
    slow.socket.pause();
    const frame = (sequence: number) =>
      buildFrame(space, [request(sequence, space, get("big"))], 1, 5000);
    for (let sequence = 2; sequence < 2 + count; sequence += 1) slow.send(frame(sequence));
    const other = await connect(t, server.url);
    await other.hello();
    const [found] = await other.submit([request(1, space, get("big"))]);
    assert.equal(foundText(found)?.length, bytes);
    let metrics = "";
    for (let attempt = 0; attempt < 50 && !metrics.includes("slow_consumer"); attempt += 1) {
      await sleep(50);
      metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    }
    assert.match(metrics, /domp_gateway_refusals_total\{code="slow_consumer"\} 1\n/);
    assert.match(metrics, /domp_gateway_connections 1\n/);
    slow.socket.resume();
    await slow.closed;
  });
}

test("many clients with several frames in flight get their own answers, all of them", async (t) => {
  const server = await startTestServer(t);
  const CLIENTS = 20;
  const FRAMES = 20;
  const ITEMS = 5;
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, who) => {
      const client = await connect(t, server.url);
      const { defaultSpace: space } = await client.hello();
      let sequence = 0;
      for (let frame = 0; frame < FRAMES; frame += 1) {
        const items = Array.from({ length: ITEMS }, () => {
          sequence += 1;
          return request(sequence, space, put(`${who}/${sequence}`, `${who}:${sequence}`));
        });
        client.send(buildFrame(space, items, 1, 5000));
      }
      const replies = await client.replies(FRAMES * ITEMS);
      assert.deepEqual(
        replies.map((reply) => reply.sequence),
        Array.from({ length: FRAMES * ITEMS }, (_, index) => index + 1),
      );
      assert.ok(replies.every(({ code }) => code === undefined));
      const [found] = await client.submit([request(sequence + 1, space, get(`${who}/7`))]);
      assert.equal(foundText(found), `${who}:7`);
    }),
  );
});

test("over IPv6", async (t) => {
  const server = await startTestServer(t, { "clients.host": "::1" });
  assert.match(server.url, /^ws:\/\/\[::1\]:\d+\/v1$/);
  const client = await connect(t, server.url);
  assert.ok(await client.hello());
});

test("a malformed transaction is refused alone, the others of its frame are carried out", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  const broken = { sequence: 2, kind: "transaction", payload: bytes("not a flatbuffer") } as const;
  client.send(
    buildFrame(
      space,
      [request(1, space, put("a", "1")), broken, request(3, space, put("b", "2"))],
      1,
      5000,
    ),
  );
  const replies = await client.replies(3);
  assert.deepEqual(
    replies.map(({ code }) => code),
    [undefined, "invalid_request", undefined],
  );
});

test("replies that arrive together are read as frames of replies", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  client.send(buildFrame(space, [request(1, space, get("nothing"))], 1, 5000));
  const frame = await client.nextOf(FrameKind.replies);
  assert.equal(readReplies(frame)[0]?.sequence, 1);
});

test("a silent connection lives as long as it answers pings, and not without", async (t) => {
  const server = await startTestServer(t, { "clients.idle_timeout": "8s" });
  const alive = await connect(t, server.url);
  const dead = await connect(t, server.url, { autoPong: false });
  const { defaultSpace: space } = await alive.hello();
  await dead.hello();
  assert.equal((await dead.closed).code, 1006);
  await sleep(3_000);
  const [found] = await alive.submit([request(1, space, get("a"))]);
  assert.equal(found?.code, undefined);
});
