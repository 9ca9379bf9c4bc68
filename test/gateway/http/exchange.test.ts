import assert from "node:assert/strict";
import { test } from "node:test";
import { Counters } from "../../../src/gateway/counters.js";
import { Exchange } from "../../../src/gateway/http/exchange.js";
import type { Request } from "../../../src/gateway/http/request.js";
import { STATUS_OF_ERROR } from "../../../src/gateway/http/status.js";
import { ClientMemory } from "../../../src/gateway/memory.js";
import { errorRetryAfterMs, errors } from "../../../src/protocol/generated/errors.js";
import { FakeResponse } from "../fakes.js";

const request = (changes: Partial<Request> = {}): Request => ({
  method: "POST",
  path: "/",
  host: "localhost",
  origin: "",
  authorization: "",
  idempotencyKey: "",
  accept: "",
  ifNoneMatch: "",
  contentLength: "",
  problem: undefined,
  ...changes,
});

function setUp(changes: Partial<Request> = {}, memoryBytesMax = 1 << 20) {
  const response = new FakeResponse();
  const memory = new ClientMemory(memoryBytesMax, new Counters());
  return { response, memory, exchange: new Exchange(response, request(changes), memory) };
}

test("an answer is written once; what comes later is dropped", () => {
  const { response, exchange } = setUp();
  exchange.respondJson(200, { a: 1 });
  exchange.respondJson(200, { a: 2 });
  exchange.fail({ code: "internal" });
  assert.equal(response.status, "200 OK");
  assert.deepEqual(response.json(), { a: 1 });
});

test("nothing is written to an aborted exchange, and whoever waits hears of it once", () => {
  const { response, exchange } = setUp();
  let over = 0;
  exchange.onOver(() => {
    over += 1;
  });
  response.abort();
  exchange.respondJson(200, {});
  exchange.fail({ code: "internal" });
  assert.equal(response.body, undefined);
  assert.equal(over, 1);
  exchange.onOver(() => {
    over += 1;
  });
  assert.equal(over, 2, "one that asks later is told at once");
});

test("a failure is told with its row of the table of errors", () => {
  const { response, exchange } = setUp();
  exchange.fail({
    code: "overloaded",
    message: "the disk is full",
    retryAfterMs: 1500,
    operation: 3,
    guard: 1,
    key: Uint8Array.of(0xff),
  });
  assert.equal(response.status, "503 Service Unavailable");
  assert.equal(response.headers.get("retry-after"), "2");
  assert.deepEqual(response.json().error, {
    code: "overloaded",
    message: "the disk is full",
    retryable: true,
    outcome: "not_submitted",
    operation: 3,
    guard: 1,
    key: { base64: "/w==" },
    retry_after_ms: 1500,
  });
});

test("a failure that says nothing of waiting has the hint of the table of errors", () => {
  const { response, exchange } = setUp();
  exchange.fail({ code: "overloaded" });
  assert.equal(response.json().error?.["retry_after_ms"], errorRetryAfterMs.overloaded);
  const other = setUp();
  other.exchange.fail({ code: "not_found" });
  assert.equal(other.response.json().error?.["retry_after_ms"], undefined, "no hope, no hint");
});

test("every error has a status that fits what may be done about it", () => {
  for (const [code, { retryable, outcome }] of Object.entries(errors)) {
    const status = STATUS_OF_ERROR[code as keyof typeof STATUS_OF_ERROR];
    assert.ok(status >= 400 && status < 600, code);
    if (retryable && outcome === "not_submitted") assert.equal(status, 503, code);
  }
});

test("a body comes together from its parts", async () => {
  const { response, exchange } = setUp();
  const body = exchange.readBody(10);
  response.receive("hello", false);
  response.receive("world", true);
  const read = await body;
  assert.ok(read.ok);
  assert.equal(Buffer.from(read.bytes).toString(), "helloworld");
});

test("a body that is too long is refused, whether it says so or not", async () => {
  const declared = setUp({ contentLength: "11" });
  const TOO_LARGE = { ok: false, code: "too_large" };
  assert.deepEqual(await declared.exchange.readBody(10), TOO_LARGE);
  const { response, exchange } = setUp();
  const body = exchange.readBody(10);
  response.receive("helloworld", false);
  response.receive("!", false);
  assert.deepEqual(await body, TOO_LARGE);
  response.receive("more", true);
});

test("a body whose sender goes away is none", async () => {
  const { response, exchange } = setUp();
  const body = exchange.readBody(10);
  response.receive("hel", false);
  response.abort();
  assert.deepEqual(await body, { ok: false, code: "aborted" });
});

test("HEAD gets no body", () => {
  const { response, exchange } = setUp({ method: "HEAD" });
  exchange.respondJson(200, { a: 1 });
  assert.equal(response.body, "");
});

test("what is not read yet stays on the account, and goes as it is read", () => {
  const { response, exchange, memory } = setUp();
  response.room = 10;
  exchange.respond(200, [], new Uint8Array(100));
  assert.equal(memory.bytes, 90);
  assert.equal(exchange.over, true, "nothing more can be said");
  let over = false;
  exchange.onOver(() => {
    over = true;
  });
  response.read(50);
  assert.equal(memory.bytes, 40);
  response.read(50);
  assert.equal(memory.bytes, 0);
  assert.equal(over, true);
  assert.equal(response.body?.length, 100);
});

test("where memory is short a body is refused, a large answer told so, a small one sent", async () => {
  const body = setUp({}, 10);
  const read = body.exchange.readBody(1000);
  body.response.receive("hello", false);
  body.response.receive("hello, world", true);
  assert.deepEqual(await read, { ok: false, code: "overloaded" });
  const large = setUp({}, 1000);
  large.exchange.respond(200, [], new Uint8Array(100_000));
  assert.equal(large.response.status, "503 Service Unavailable");
  assert.equal(large.response.json().error?.["code"], "overloaded");
  const small = setUp({}, 10);
  small.exchange.respond(200, [], new Uint8Array(100));
  assert.equal(small.response.status, "200 OK");
});

test("who holds the most gives way: a caller that sends hears 503, one that does not read is cut", () => {
  const sending = setUp();
  void sending.exchange.readBody(1000);
  sending.response.receive("hello", false);
  sending.exchange.shed("you hold the most");
  assert.equal(sending.response.status, "503 Service Unavailable");
  assert.equal(sending.response.json().error?.["message"], "you hold the most");
  assert.equal(sending.response.closed, true);
  assert.equal(sending.memory.bytes, 0);
  const reading = setUp();
  reading.response.room = 10;
  reading.exchange.respond(200, [], new Uint8Array(100));
  reading.exchange.shed("you hold the most");
  assert.equal(reading.response.aborted, true);
  assert.equal(reading.memory.bytes, 0);
});
