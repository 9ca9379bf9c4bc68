import assert from "node:assert/strict";
import { test } from "node:test";
import { Exchange, type Request } from "../../../src/gateway/http/exchange.js";
import { STATUS_OF_ERROR } from "../../../src/gateway/http/status.js";
import { errors } from "../../../src/protocol/generated/errors.js";
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
  ...changes,
});

function setUp(changes: Partial<Request> = {}) {
  const response = new FakeResponse();
  return { response, exchange: new Exchange(response, request(changes)) };
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
  });
  assert.equal(response.status, "503 Service Unavailable");
  assert.equal(response.headers.get("retry-after"), "2");
  assert.deepEqual(response.json().error, {
    code: "overloaded",
    message: "the disk is full",
    retryable: true,
    outcome: "not_submitted",
    operation: 3,
    retry_after_ms: 1500,
  });
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
  assert.equal(Buffer.from((await body) ?? []).toString(), "helloworld");
});

test("a body that is too long is refused, whether it says so or not", async () => {
  const declared = setUp({ contentLength: "11" });
  assert.equal(await declared.exchange.readBody(10), undefined);
  const { response, exchange } = setUp();
  const body = exchange.readBody(10);
  response.receive("helloworld", false);
  response.receive("!", false);
  assert.equal(await body, undefined);
  response.receive("more", true);
});

test("a body whose sender goes away is none", async () => {
  const { response, exchange } = setUp();
  const body = exchange.readBody(10);
  response.receive("hel", false);
  response.abort();
  assert.equal(await body, undefined);
});

test("HEAD gets no body", () => {
  const { response, exchange } = setUp({ method: "HEAD" });
  exchange.respondJson(200, { a: 1 });
  assert.equal(response.body, "");
});
