import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { connect as connectSocket } from "node:net";
import { test } from "node:test";
import { META_SPACE } from "../../../src/protocol/transaction.js";
import {
  bytes,
  connect,
  FULL_TOKEN,
  READ_TOKEN,
  request,
  startTestServer,
  type TestServer,
  TOKENS,
} from "../../support/harness.js";

interface Options {
  readonly key?: string;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

function post(server: TestServer, transaction: unknown, { key, token, headers }: Options = {}) {
  return fetch(`${server.httpUrl}/v1/transactions`, {
    method: "POST",
    body: typeof transaction === "string" ? transaction : JSON.stringify(transaction),
    headers: {
      ...(key && { "Idempotency-Key": key }),
      ...(token && { Authorization: `Bearer ${token}` }),
      ...headers,
    },
  });
}

async function errorOf(response: Response): Promise<Record<string, unknown>> {
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  return error;
}

const putA = { then: [{ put: { key: "a", value: "1" } }] };
const addN = { then: [{ add: { key: "n", number: 1 } }] };

test("a transaction is carried out and answered in JSON", async (t) => {
  const server = await startTestServer(t);
  const response = await post(server, { space: "default", ...putA }, { key: "k1" });
  assert.equal(response.status, 200);
  const answer = (await response.json()) as Record<string, unknown>;
  assert.equal(answer["applied"], true);
  assert.match(String(answer["revision"]), /^\d{15,}$/);
  const read = await post(server, { then: [{ get: { key: "a" } }] });
  const { results } = (await read.json()) as { results: { entry: { value: string } }[] };
  assert.equal(results[0]?.entry.value, "1");
});

test("a write without an Idempotency-Key is refused; a read needs none", async (t) => {
  const server = await startTestServer(t);
  const response = await post(server, putA);
  assert.equal(response.status, 400);
  assert.deepEqual(await errorOf(response), {
    code: "idempotency_key_required",
    message: "A write over HTTP needs an Idempotency-Key header.",
    retryable: false,
    outcome: "not_submitted",
  });
  assert.equal((await post(server, { then: [{ count: {} }] })).status, 200);
});

test("a retry under the same key is carried out once; another payload under it is a conflict", async (t) => {
  const server = await startTestServer(t);
  const first = await (await post(server, addN, { key: "once" })).json();
  const again = (await (await post(server, addN, { key: "once" })).json()) as Record<
    string,
    unknown
  >;
  assert.equal(again["replayed"], true);
  assert.deepEqual(
    { ...again, replayed: undefined },
    { ...(first as object), replayed: undefined },
  );
  const other = await post(server, putA, { key: "once" });
  assert.equal(other.status, 422);
  assert.equal((await errorOf(other))["code"], "request_id_conflict");
  const next = (await (await post(server, addN, { key: "twice" })).json()) as {
    results: { number: number }[];
  };
  assert.equal(next.results[0]?.number, 2);
});

test("the same key of two callers is two keys", async (t) => {
  const tokens = JSON.stringify([
    { name: "ann", token: "the-secret-token-of-ann" },
    { name: "bob", token: "the-secret-token-of-bob" },
  ]);
  const server = await startTestServer(t, { "auth.tokens": tokens });
  const sum = async (token: string) => {
    const response = await post(server, addN, { key: "same", token });
    return ((await response.json()) as { results: { number: number }[] }).results[0]?.number;
  };
  assert.equal(await sum("the-secret-token-of-ann"), 1);
  assert.equal(await sum("the-secret-token-of-bob"), 2);
  assert.equal(await sum("the-secret-token-of-ann"), 1);
});

test("retries that race are carried out once", async (t) => {
  const server = await startTestServer(t);
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const response = await post(server, addN, { key: "race" });
      assert.equal(response.status, 200, await response.clone().text());
      return (await response.json()) as { results: { number: number }[] };
    }),
  );
  assert.deepEqual(new Set(answers.map(({ results }) => results[0]?.number)), new Set([1]));
});

test("a failed guard is an answer, an aborted operation an error", async (t) => {
  const server = await startTestServer(t);
  const guarded = await post(
    server,
    { if: [{ exists: { key: "nothing" } }], ...putA },
    { key: "g" },
  );
  assert.equal(guarded.status, 200);
  const answer = (await guarded.json()) as Record<string, unknown>;
  assert.equal(answer["applied"], false);
  assert.equal(answer["failed_guard"], 0);
  await post(server, putA, { key: "p" });
  const aborted = await post(
    server,
    { then: [{ put: { key: "b", value: "x" } }, { add: { key: "a", number: 1 } }] },
    { key: "w" },
  );
  assert.equal(aborted.status, 409);
  const error = await errorOf(aborted);
  assert.equal(error["code"], "wrong_kind");
  assert.equal(error["outcome"], "not_applied");
  assert.equal((await fetch(`${server.httpUrl}/v1/spaces/default/keys/b`)).status, 404);
});

test("what is malformed is told where", async (t) => {
  const server = await startTestServer(t);
  const cases: [string, RegExp][] = [
    ["{", /not JSON/],
    ["[]", /transaction: expected an object/],
    ['{"then":[{"putt":{"key":"a","value":"b"}}]}', /did you mean "put"/],
    ['{"then":[{"get":{}}]}', /then\[0\]\.get: key is missing/],
  ];
  for (const [body, expected] of cases) {
    const response = await post(server, body, { key: "k" });
    assert.equal(response.status, 400, body);
    const error = await errorOf(response);
    assert.equal(error["code"], "invalid_request");
    assert.match(String(error["message"]), expected);
  }
});

test("an unknown space is 404; a dropped and recreated one is found again", async (t) => {
  const server = await startTestServer(t);
  const games = { space: "games", then: [{ put: { key: "a", value: "1" } }] };
  const missing = await post(server, games, { key: "k1" });
  assert.equal(missing.status, 404);
  assert.equal((await errorOf(missing))["code"], "unknown_space");
  const client = await connect(t, server.url);
  await client.hello();
  const name = bytes("games");
  const steer = async (sequence: number, kind: "spaceCreate" | "spaceDrop") => {
    const [reply] = await client.submit([request(sequence, META_SPACE, { kind, name })]);
    assert.equal(reply?.code, undefined);
  };
  await steer(1, "spaceCreate");
  assert.equal((await post(server, games, { key: "k2" })).status, 200);
  await steer(2, "spaceDrop");
  assert.equal((await post(server, games, { key: "k3" })).status, 404);
  await steer(3, "spaceCreate");
  assert.equal((await post(server, games, { key: "k4" })).status, 200);
  await steer(4, "spaceDrop");
  await steer(5, "spaceCreate");
  // The id that was kept is of the space before; the request finds the one that is there now.
  const found = await post(server, games, { key: "k5" });
  assert.equal(found.status, 200, await found.clone().text());
});

test("a body over 64 KiB is refused, announced or not", async (t) => {
  const server = await startTestServer(t);
  const value = "v".repeat(65_536);
  const response = await post(server, { then: [{ put: { key: "a", value } }] }, { key: "k" });
  assert.equal(response.status, 413);
  assert.equal((await errorOf(response))["code"], "too_large");
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const chunked = httpRequest(
      `${server.httpUrl}/v1/transactions`,
      { method: "POST", headers: { "Transfer-Encoding": "chunked" } },
      (answer) => resolve(answer.statusCode),
    );
    chunked.on("error", reject);
    chunked.write(value);
    chunked.end("more");
  });
  assert.equal(status, 413);
  const small = "v".repeat(65_000);
  const fits = await post(server, { then: [{ put: { key: "a", value: small } }] }, { key: "l" });
  assert.equal(fits.status, 200);
});

test("tokens: none is 401, one that only reads gets 403 for a write", async (t) => {
  const server = await startTestServer(t, { "auth.tokens": TOKENS });
  const nobody = await post(server, putA, { key: "k" });
  assert.equal(nobody.status, 401);
  assert.equal(nobody.headers.get("www-authenticate"), "Bearer");
  assert.equal((await post(server, putA, { key: "k", token: FULL_TOKEN })).status, 200);
  const refused = await post(server, putA, { key: "k", token: READ_TOKEN });
  assert.equal(refused.status, 403);
  assert.equal((await errorOf(refused))["code"], "forbidden");
  const read = await fetch(`${server.httpUrl}/v1/spaces/default/keys/a`, {
    headers: { Authorization: `Bearer ${READ_TOKEN}` },
  });
  assert.equal(await read.text(), "1");
});

test("a key is read as it is, with what is known of it in headers", async (t) => {
  const server = await startTestServer(t);
  const url = `${server.httpUrl}/v1/spaces/default/keys/%C3%A4%2F1`;
  await post(server, { then: [{ put: { key: "ä/1", value: { base64: "/wAB" } } }] }, { key: "k" });
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.deepEqual([...new Uint8Array(await response.arrayBuffer())], [0xff, 0, 1]);
  assert.equal(response.headers.get("content-type"), "application/octet-stream");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  assert.equal(response.headers.get("domp-kind"), "bytes");
  assert.equal(response.headers.get("domp-version"), "1");
  const modified = response.headers.get("domp-modified") ?? "";
  assert.match(modified, /^\d{15,}$/);
  assert.equal(response.headers.get("etag"), `"${modified}"`);
  const cached = await fetch(url, { headers: { "If-None-Match": `"${modified}"` } });
  assert.equal(cached.status, 304);
  const head = await fetch(url, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.headers.get("content-length"), "3");
});

test("a key is read as JSON where that is asked for, a number as its digits", async (t) => {
  const server = await startTestServer(t);
  await post(server, { then: [{ add: { key: "n", number: 42 } }] }, { key: "k" });
  const url = `${server.httpUrl}/v1/spaces/default/keys/n`;
  const plain = await fetch(url);
  assert.equal(await plain.text(), "42");
  assert.equal(plain.headers.get("domp-kind"), "number");
  const json = await fetch(url, { headers: { Accept: "application/json" } });
  const entry = (await json.json()) as Record<string, unknown>;
  assert.equal(entry["value"], 42);
  assert.equal(entry["key"], "n");
  assert.equal(entry["version"], 1);
});

test("what is not there is 404, what is not allowed 405, where sockets connect 426", async (t) => {
  const server = await startTestServer(t);
  const at = async (path: string, method = "GET") => {
    const response = await fetch(`${server.httpUrl}${path}`, { method });
    return `${response.status} ${(await errorOf(response))["code"]}`;
  };
  assert.equal(await at("/v1/spaces/default/keys/none"), "404 not_found");
  assert.equal(await at("/v1/spaces/nowhere/keys/a"), "404 unknown_space");
  assert.equal(await at("/v2"), "404 not_found");
  assert.equal(await at("/"), "426 invalid_request");
  assert.equal(await at("/v1/transactions"), "405 invalid_request");
  assert.equal(await at("/v1/spaces/default/keys/a", "DELETE"), "405 invalid_request");
  assert.equal(await at("/v1"), "426 invalid_request");
  assert.equal(await at("/v1/spaces/default/keys/%zz"), "400 invalid_request");
});

test("browsers: a preflight is answered for admitted origins and refused for others", async (t) => {
  const server = await startTestServer(t, { "clients.allowed_origins": "https://app.example" });
  const url = `${server.httpUrl}/v1/transactions`;
  const preflight = (origin: string) =>
    fetch(url, {
      method: "OPTIONS",
      headers: { Origin: origin, "Access-Control-Request-Method": "POST" },
    });
  const admitted = await preflight("https://app.example");
  assert.equal(admitted.status, 204);
  assert.equal(admitted.headers.get("access-control-allow-origin"), "https://app.example");
  assert.match(admitted.headers.get("access-control-allow-headers") ?? "", /Idempotency-Key/);
  assert.match(admitted.headers.get("access-control-allow-methods") ?? "", /POST/);
  const refused = await preflight("https://evil.example");
  assert.equal(refused.status, 403);
  assert.equal(refused.headers.get("access-control-allow-origin"), null);
  const headers = { Origin: "https://app.example" };
  const answer = await post(server, { then: [{ count: {} }] }, { headers });
  assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example");
  const evil = await post(server, putA, { key: "k", headers: { Origin: "https://evil.example" } });
  assert.equal(evil.status, 403);
});

/** Writes a request by hand and resolves with the first line of the answer. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket(port, "127.0.0.1", () => socket.write(text));
    socket.once("data", (data) => {
      resolve(data.toString().split("\r\n")[0] ?? "");
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

test("a name that is not ours is refused, against DNS rebinding", async (t) => {
  const server = await startTestServer(t);
  const path = "GET /v1/spaces/default/keys/a HTTP/1.1";
  const named = (host: string) => raw(server.port, `${path}\r\nHost: ${host}\r\n\r\n`);
  assert.equal(await named("evil.example"), "HTTP/1.1 421 Misdirected Request");
  assert.equal(await named("localhost"), "HTTP/1.1 404 Not Found");
});

test("callers that go away in the middle leave nothing behind", async (t) => {
  const server = await startTestServer(t);
  for (let round = 0; round < 50; round += 1) {
    await new Promise<void>((resolve) => {
      const body = JSON.stringify(addN);
      const socket = connectSocket(server.port, "127.0.0.1", () => {
        socket.write(
          `POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: ${round}\r\n` +
            `Content-Length: ${body.length}\r\n\r\n${round % 2 === 0 ? body : body.slice(0, 9)}`,
          () => {
            socket.destroy();
            resolve();
          },
        );
      });
    });
  }
  const answer = (await (await post(server, addN, { key: "last" })).json()) as {
    results: { number: number }[];
  };
  const sum = answer.results[0]?.number ?? 0;
  assert.ok(sum >= 1 && sum <= 26, `only whole requests count, each once: ${sum}`);
});

test("more requests at a time than allowed are told overloaded", async (t) => {
  const server = await startTestServer(t, { "clients.http_requests_max": "1" });
  const blocked = connectSocket(server.port, "127.0.0.1");
  t.after(() => blocked.destroy());
  blocked.write(
    "POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf of it",
  );
  let response = await post(server, { then: [{ count: {} }] });
  for (let attempt = 0; attempt < 50 && response.status === 200; attempt += 1) {
    response = await post(server, { then: [{ count: {} }] });
  }
  assert.equal(response.status, 503);
  assert.equal((await errorOf(response))["code"], "overloaded");
  assert.ok(Number(response.headers.get("retry-after")) >= 1);
});
