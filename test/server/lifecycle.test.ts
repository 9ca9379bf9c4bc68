import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadConfig } from "../../src/config/index.js";
import { INSECURE_WORDS } from "../../src/policy/index.js";
import { buildFrame } from "../../src/protocol/frame.js";
import { createLogger, startServer } from "../../src/server/index.js";
import { freshDirectory } from "../support/directories.js";
import {
  connect,
  FULL_TOKEN,
  foundText,
  get,
  put,
  request,
  startTestServer,
  TOKENS,
} from "../support/harness.js";

/** A certificate for localhost, signed by itself. */
function certificate(t: TestContext): { cert: string; key: string } | undefined {
  const directory = freshDirectory(t);
  const cert = join(directory, "cert.pem");
  const key = join(directory, "key.pem");
  const subject = [
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
  ];
  const form = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  try {
    execFileSync(
      "openssl",
      [...form, "-nodes", "-days", "2", ...subject, "-keyout", key, "-out", cert],
      {
        stdio: "pipe",
      },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    t.skip("needs openssl");
    return undefined;
  }
  return { cert, key };
}

test("what was acknowledged is there after a stop and a start", async (t) => {
  const directory = join(freshDirectory(t), "data");
  const first = await startTestServer(t, { "data.directory": directory });
  const client = await connect(t, first.url);
  const { defaultSpace: space } = await client.hello();
  await client.submit([request(1, space, put("a", "kept"))]);
  await first.stop();
  const second = await startTestServer(t, { "data.directory": directory });
  const again = await connect(t, second.url);
  await again.hello();
  const [found] = await again.submit([request(1, space, get("a"))]);
  assert.equal(foundText(found), "kept");
});

test("a second server on one data directory is refused, and closes what it had opened", async (t) => {
  const first = await startTestServer(t);
  await assert.rejects(startTestServer(t, { "data.directory": first.directory }), (error: Error) =>
    /in use|lock/i.test(error.message),
  );
  const client = await connect(t, first.url);
  assert.ok(await client.hello(), "the first serves on");
});

test("a port in use stops the start and leaves the directory free", async (t) => {
  const first = await startTestServer(t);
  const directory = join(freshDirectory(t), "data");
  const settings = { "data.directory": directory, "clients.port": String(first.port) };
  await assert.rejects(startTestServer(t, settings), /can't listen on 127\.0\.0\.1 port \d+/);
  const admin = { "data.directory": directory, "admin.port": String(first.adminPort) };
  await assert.rejects(startTestServer(t, admin), /admin listener: it is in use/);
  const third = await startTestServer(t, { "data.directory": directory });
  assert.ok(await (await connect(t, third.url)).hello());
});

test("off loopback it does not start without tokens and TLS", async (t) => {
  for (const settings of [
    { "clients.host": "0.0.0.0" },
    { "clients.host": "0.0.0.0", "auth.tokens": TOKENS },
    { "clients.host": "::" },
    { "admin.host": "0.0.0.0" },
  ]) {
    const directory = freshDirectory(t);
    const { config } = loadConfig({
      environment: {},
      flags: { "data.directory": join(directory, "data"), ...settings },
    });
    const log = await createLogger({ level: "silent", format: "json" });
    await assert.rejects(
      startServer(config, { log, version: "0" }),
      /others can reach: that needs .*allow_insecure = "yes, without protection"/,
      JSON.stringify(settings),
    );
  }
});

test("told so in so many words it starts off loopback, and warns", async (t) => {
  const server = await startTestServer(t, {
    "clients.host": "0.0.0.0",
    "clients.allow_insecure": INSECURE_WORDS,
  });
  assert.ok(server.logged.some((line) => /others can reach.*without a token/.test(line)));
  const client = await connect(t, `ws://127.0.0.1:${server.port}/v1`);
  assert.ok(await client.hello());
});

test("TLS carries WebSockets and HTTP, and plain text gets nothing", async (t) => {
  const files = certificate(t);
  if (files === undefined) return;
  const server = await startTestServer(t, {
    "clients.host": "0.0.0.0",
    "clients.tls_cert": files.cert,
    "clients.tls_key": files.key,
    "auth.tokens": TOKENS,
  });
  assert.match(server.url, /^wss:/);
  const ca = readFileSync(files.cert, "utf8");
  const client = await connect(t, `wss://localhost:${server.port}/v1`, { ca });
  const { defaultSpace: space } = await client.hello({ token: FULL_TOKEN });
  const [stored] = await client.submit([request(1, space, put("a", "1"))]);
  assert.equal(stored?.code, undefined);
  await assert.rejects(connect(t, `wss://localhost:${server.port}/v1`), /self-signed/);
  await assert.rejects(connect(t, `ws://localhost:${server.port}/v1`));
});

test("draining finishes what was accepted, says goodbye, and accepts nobody", async (t) => {
  const server = await startTestServer(t);
  const busy = await connect(t, server.url);
  const idle = await connect(t, server.url);
  const { defaultSpace: space } = await busy.hello();
  await idle.hello();
  busy.send(
    buildFrame(
      space,
      Array.from({ length: 200 }, (_, index) => request(index + 1, space, put(`k${index}`, "v"))),
      1,
      5000,
    ),
  );
  // Until the server has read it: a frame that arrives while it drains is refused, not lost.
  await idle.submit([request(1, space, get("k"))]);
  const draining = server.drain();
  const replies = await busy.replies(200);
  assert.ok(replies.every(({ code }) => code === undefined));
  assert.equal((await busy.goodbye()).code, "shutting_down");
  assert.equal((await busy.closed).code, 1012);
  assert.equal((await idle.goodbye()).code, "shutting_down");
  await draining;
  const ready = await fetch(`${server.adminUrl}/readyz`);
  assert.equal(ready.status, 503);
  assert.equal((await ready.text()).trim(), "draining");
  assert.equal((await fetch(`${server.adminUrl}/livez`)).status, 200);
  await assert.rejects(connect(t, server.url));
  await server.stop();
  await assert.rejects(fetch(`${server.adminUrl}/livez`));
});

test("draining is bounded: a client that never reads does not hold the server", async (t) => {
  const server = await startTestServer(t, { "clients.drain_timeout": "300ms" });
  const stuck = await connect(t, server.url);
  const { defaultSpace: space } = await stuck.hello();
  await stuck.submit([request(1, space, put("big", "v".repeat(900_000)))]);
  stuck.socket.pause();
  for (let sequence = 2; sequence < 12; sequence += 1) {
    stuck.send(buildFrame(space, [request(sequence, space, get("big"))], 1, 5000));
  }
  const started = performance.now();
  await server.stop();
  assert.ok(performance.now() - started < 5_000);
});

test("stopping twice is stopping once", async (t) => {
  const server = await startTestServer(t);
  await Promise.all([server.stop(), server.stop(), server.drain()]);
  await server.stop();
});
