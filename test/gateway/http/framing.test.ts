/** Requests that can be read in two ways, said byte by byte. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startTestServer } from "../../support/harness.js";
import { open } from "../raw.js";

const BODY = '{"then":[{"count":{}}]}';
const LENGTH = `Content-Length: ${BODY.length}`;
const post = (...headers: string[]) =>
  `POST /v1/transactions HTTP/1.1\r\n${headers.map((header) => `${header}\r\n`).join("")}\r\n`;
const CHUNKED = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;
const HIDDEN = "GET /v1/spaces/default/keys/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

test("what can be read in two ways is refused, and the connection closed", async (t) => {
  const server = await startTestServer(t);
  const cases: [string, string, RegExp][] = [
    ["two lengths", post("Host: localhost", LENGTH, "content-LENGTH: 3"), /content-length stands/],
    ["one length twice", post("Host: localhost", LENGTH, LENGTH), /content-length stands twice/],
    [
      "length and coding",
      post("Host: localhost", LENGTH, "Transfer-Encoding: chunked"),
      /400 Bad Request/,
    ],
    [
      "coding and length",
      post("Host: localhost", "Transfer-Encoding: chunked", LENGTH),
      /400 Bad Request/,
    ],
    [
      "another coding",
      post("Host: localhost", "Transfer-Encoding: gzip, chunked"),
      /transfer-encoding is known as chunked only/,
    ],
    [
      "two codings",
      post("Host: localhost", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
      /transfer-encoding stands twice/,
    ],
    ["an empty length", post("Host: localhost", "Content-Length:"), /not a number of bytes/],
    ["a signed length", post("Host: localhost", `Content-Length: +${BODY.length}`), /400 Bad/],
    ["two lengths in one", post("Host: localhost", "Content-Length: 3, 3"), /400 Bad/],
    ["two hosts", post("Host: localhost", "Host: evil.example", LENGTH), /host stands twice/],
    [
      "two keys",
      post("Host: localhost", "Idempotency-Key: a", "Idempotency-Key: b", LENGTH),
      /idempotency-key stands twice/,
    ],
    [
      "two tokens",
      post("Host: localhost", "Authorization: Bearer a", "Authorization: Bearer b", LENGTH),
      /authorization stands twice/,
    ],
    [
      "two hosts of a WebSocket",
      "GET /v1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nUpgrade: websocket\r\n" +
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
      /host stands twice/,
    ],
  ];
  for (const [name, head, expected] of cases) {
    const body = /chunked|gzip/.test(head) ? CHUNKED : BODY;
    const raw = await open(t, server.port, head + body);
    await raw.closed;
    assert.match(raw.received(), /^HTTP\/1\.1 400 /, name);
    assert.match(raw.received(), expected, name);
    assert.equal(raw.received().split("HTTP/1.1 ").length, 2, `${name}: one answer, then the end`);
    // What stands behind it may be its body to one reader and a request to another.
    const smuggling = await open(t, server.port, head + body + HIDDEN);
    await smuggling.closed;
    assert.doesNotMatch(smuggling.received(), /HTTP\/1\.1 (?!400)/, `${name}: the hidden one`);
  }
  const fine = await open(t, server.port, post("Host: localhost", LENGTH) + BODY);
  for (let round = 0; round < 100 && !fine.received().includes("count"); round += 1)
    await sleep(20);
  assert.match(fine.received(), /^HTTP\/1\.1 200 /);
  const chunked = await open(
    t,
    server.port,
    post("Host: localhost", "Transfer-Encoding: chunked") + CHUNKED,
  );
  for (let round = 0; round < 100 && !chunked.received().includes("count"); round += 1)
    await sleep(20);
  assert.match(chunked.received(), /^HTTP\/1\.1 200 /);
});

test("a malformed or unfinished head ends within 12 s, and is counted", async (t) => {
  const server = await startTestServer(t);
  const heads = [
    "",
    "GET / HT",
    "GET / HTTP/1.1\r\nHost: localh",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\u0000b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length : 3\r\n\r\nabc",
    "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "\u0016\u0003\u0001\u0002\u0000\r\n\r\n",
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"a".repeat(20_000)}\r\n\r\n`,
  ];
  const quiet = await Promise.all(heads.map((head) => open(t, server.port, head)));
  // The same, with a byte each second that finishes nothing.
  const trickling = await Promise.all(heads.map((head) => open(t, server.port, head)));
  const trickle = setInterval(() => {
    for (const { socket } of trickling) if (socket.writable) socket.write("a");
  }, 1_000);
  t.after(() => clearInterval(trickle));
  const all = Promise.all([...quiet, ...trickling].map(({ closed }) => closed)).then(
    () => "closed",
  );
  // The transport's clock ticks every four seconds; a loaded machine is late.
  assert.equal(await Promise.race([all, sleep(16_000, "open")]), "closed");
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const counted = Number(/^domp_gateway_heads_incomplete_total (\d+)$/m.exec(metrics)?.[1]);
  assert.equal(counted, 2 * heads.length);
  assert.match(metrics, /^domp_gateway_sockets 0$/m);
});

test("a large answer reaches a slow reader whole, and a second request does not come on top", async (t) => {
  const server = await startTestServer(t);
  const key = "/v1/spaces/default/keys/big";
  const put = (value: string) =>
    fetch(`${server.httpUrl}/v1/transactions`, {
      method: "POST",
      headers: { "Idempotency-Key": "big" },
      body: JSON.stringify({ then: [{ put: { key: "big", value } }] }),
    });
  assert.equal((await put("v".repeat(60_000))).status, 200);
  const raw = await open(t, server.port);
  raw.socket.pause();
  raw.socket.write(`GET ${key} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await sleep(200);
  raw.socket.resume();
  for (let round = 0; round < 200 && raw.received().length < 60_000; round += 1) await sleep(20);
  assert.ok(raw.received().endsWith("v".repeat(60_000)));
});
