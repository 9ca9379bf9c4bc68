import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { domp } from "../support/command.js";
import { freshDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

const FULL = "a-token-that-may-do-all";
const READ = "a-token-that-may-read";
const TOKENS = JSON.stringify([
  { name: "app", token: FULL, access: "full" },
  { name: "view", token: READ, access: "read" },
]);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`start says what to try next and ends cleanly on ${signal}`, async (t) => {
    const data = path.join(freshDirectory(t), "data");
    const server = await startServer(t, { data });
    assert.match(server.output(), new RegExp(`domp put --url ${server.url} greeting hello`));
    const environment = { DOMP_URL: server.url };
    assert.equal((await domp(["put", "kept", "yes"], { environment })).code, 0);
    assert.deepEqual(await server.stop(signal), { code: 0, signal: null });
    const again = await startServer(t, { data });
    const got = await domp(["get", "kept"], { environment: { DOMP_URL: again.url } });
    assert.equal(got.stdout, "yes\n");
  });
}

test("what was acknowledged survives a kill", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const server = await startServer(t, { data });
  await domp(["put", "kept", "yes"], { environment: { DOMP_URL: server.url } });
  await server.stop("SIGKILL");
  const again = await startServer(t, { data });
  const got = await domp(["get", "kept"], { environment: { DOMP_URL: again.url } });
  assert.equal(got.stdout, "yes\n");
});

test("a second server on one data directory does not start", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const server = await startServer(t, { data });
  const start = ["start", "--data", data, "--port", "0", "--admin-port", "0"];
  const second = await domp(start);
  assert.equal(second.code, 1);
  assert.match(second.stderr, /^domp: .*in use by process \d+/m);
  rmSync(path.join(data, "LOCK"));
  for (const words of [start, ["check", data], ["log", data]]) {
    const third = await domp(words);
    assert.equal(third.code, 1, words[0]);
    assert.match(third.stderr, /^domp: .*in use by another process/m, "the directory is locked");
  }
  const get = await domp(["get", "x"], { environment: { DOMP_URL: server.url } });
  assert.equal(get.code, 1, "the first serves on");
});

test("a log elsewhere is served and checked with --log-dir", async (t) => {
  const directory = freshDirectory(t);
  const [data, log] = [path.join(directory, "data"), path.join(directory, "log")];
  const server = await startServer(t, { data, words: ["--log-dir", log] });
  await domp(["put", "key", "value"], { environment: { DOMP_URL: server.url } });
  await server.stop();
  assert.ok(existsSync(path.join(log, "0000000001.log")) && !existsSync(path.join(data, "wal")));
  const checked = await domp(["check", data, "--log-dir", log]);
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  assert.match((await domp(["log", data, "--log-dir", log])).stdout, /put "key"/);
  assert.equal((await domp(["check", data])).code, 5, "there is no log here");
});

test("off loopback it refuses to start without tokens and TLS", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const words = ["start", "--data", data, "--host", "0.0.0.0", "--port", "0", "--admin-port", "0"];
  const { code, stderr } = await domp(words);
  assert.equal(code, 4);
  assert.match(stderr, /clients\.host is 0\.0\.0\.0/);
  assert.match(stderr, /token.*TLS|TLS.*token/);
  assert.equal(existsSync(data), false, "nothing of the data was touched");
});

test("tokens: none or a wrong one is refused, a read-only one only reads", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const server = await startServer(t, { data, environment: { DOMP_AUTH_TOKENS: TOKENS } });
  const withToken = (token: string): Record<string, string> => ({
    DOMP_URL: server.url,
    ...(token === "" ? {} : { DOMP_TOKEN: token }),
  });
  for (const token of ["", "wrong-but-long-enough"]) {
    const { code, stdout, stderr } = await domp(["get", "a"], { environment: withToken(token) });
    assert.equal(code, 4, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /unauthenticated/);
    assert.match(stderr, /DOMP_TOKEN/);
  }
  assert.equal((await domp(["put", "a", "v"], { environment: withToken(FULL) })).code, 0);
  assert.equal((await domp(["get", "a"], { environment: withToken(READ) })).stdout, "v\n");
  const refused = await domp(["put", "a", "w"], { environment: withToken(READ) });
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, /forbidden: The caller may not do this\./);
});

test("check and log read a directory that no server holds", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const server = await startServer(t, { data });
  const environment = { DOMP_URL: server.url };
  for (let i = 0; i < 8; i += 1)
    await domp(["put", `key/${i}`, "x".repeat(3_000)], { environment });
  const held = await domp(["check", data]);
  assert.equal(held.code, 1, "a server runs on it");
  assert.match(held.stderr, /^domp: /);
  await server.stop();

  const healthy = await domp(["check", data]);
  assert.equal(healthy.code, 0, healthy.stdout);
  assert.match(healthy.stdout, /healthy/);
  const json = JSON.parse((await domp(["check", data, "-o", "json"])).stdout);
  assert.equal(json.healthy, true);
  assert.ok(json.report.records > 8);

  const log = await domp(["log", data]);
  assert.equal(log.code, 0);
  assert.match(log.stdout, /put "key\/7"/);
  const meta = await domp(["log", data, "--group", "0"]);
  assert.match(meta.stdout, /default/);
  assert.doesNotMatch(meta.stdout, /key\/7/);

  const identity = path.join(data, "identity");
  renameSync(identity, path.join(data, "kept"));
  const nameless = await domp(["check", data]);
  assert.equal(nameless.code, 5);
  assert.match(nameless.stdout, /^damage: identity at 0: the file is missing/m);
  assert.match(nameless.stdout, /NOT healthy: one damaged place\n$/);
  assert.doesNotMatch(nameless.stdout, /^healthy/m);
  renameSync(path.join(data, "kept"), identity);

  flipBit(data, log.stdout, "key/3");
  const damaged = await domp(["check", data]);
  assert.equal(damaged.code, 5);
  assert.match(damaged.stdout, /wal\//);
  assert.equal(JSON.parse((await domp(["check", data, "-o", "json"])).stdout).healthy, false);
  for (const command of ["check", "log"]) {
    const missing = await domp([command, path.join(data, "not there")]);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /^domp: /);
  }
});

/** Flips one bit within the frame that holds a key, as `domp log` tells where that is. */
function flipBit(data: string, log: string, key: string): void {
  const before = log.slice(0, log.indexOf(`put "${key}"`));
  const frame = [...before.matchAll(/frame \d+ at (\d+)/g)].at(-1);
  const file = [...before.matchAll(/^(wal\/\S+)/gm)].at(-1)?.[1];
  assert.ok(frame !== undefined && file !== undefined, "the log tells where the key stands");
  const at = Number(frame[1]) + 1_000;
  const descriptor = openSync(path.join(data, file), "r+");
  const byte = Buffer.alloc(1);
  readSync(descriptor, byte, 0, 1, at);
  writeSync(descriptor, Buffer.of((byte[0] ?? 0) ^ 0x10), 0, 1, at);
  closeSync(descriptor);
}

test("bench refuses a file system in memory", async (t) => {
  if (!existsSync("/dev/shm")) {
    if (process.env["DOMP_NO_SKIPS"] === "1") assert.fail("needs /dev/shm");
    t.skip("needs /dev/shm");
    return;
  }
  const { code, stdout, stderr } = await domp(["bench", "--dir", "/dev/shm", "--only", "put-c1"]);
  assert.equal(code, 4);
  assert.equal(stdout, "");
  assert.match(stderr, /memory/);
});
