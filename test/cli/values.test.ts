import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { domp, dompBytes, type Finished, type RunOptions } from "../support/command.js";
import { freshDirectory } from "../support/directories.js";
import { type ServerProcess, startServer } from "../support/server.js";

const cleanUps: (() => unknown)[] = [];
const scope = { after: (run: () => unknown) => void cleanUps.push(run) } as never;
let directory: string;
let server: ServerProcess;

before(async () => {
  directory = freshDirectory(scope);
  server = await startServer(scope, { data: path.join(directory, "data") });
});
after(async () => {
  for (const run of cleanUps.reverse()) await run();
});

/** `domp` against the server of this file. */
function on(words: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const environment = { DOMP_URL: server.url, ...options.environment };
  return domp(words, { ...options, environment });
}

test("text is put and got; an absent key is exit code 1 and silence", async () => {
  const put = await on(["put", "greeting", "hello, 世界"]);
  assert.match(put.stdout, /^stored at revision \d+\n$/);
  assert.equal(put.code, 0);
  assert.deepEqual(await on(["get", "greeting"]), {
    code: 0,
    stdout: "hello, 世界\n",
    stderr: "",
  });
  assert.deepEqual(await on(["get", "nobody"]), { code: 1, stdout: "", stderr: "" });
  assert.deepEqual(await on(["get", "nobody", "-o", "json"]), { code: 1, stdout: "", stderr: "" });
});

test("get as JSON tells revisions and version as text and numbers", async () => {
  await on(["put", "twice", "a"]);
  await on(["put", "twice", "b"]);
  const got = JSON.parse((await on(["get", "twice", "-o", "json"])).stdout);
  assert.equal(got.key, "twice");
  assert.equal(got.value, "b");
  assert.equal(got.version, 2);
  assert.match(got.created, /^\d+$/);
  assert.ok(BigInt(got.modified) > BigInt(got.created));
});

test("values come from an argument, standard input or a file, as text, base64 or a number", async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const file = path.join(directory, "bytes");
  writeFileSync(file, bytes);
  assert.equal((await on(["put", "from-file", "--file", file])).code, 0);
  const raw = { environment: { DOMP_URL: server.url } };
  const { stdout } = await dompBytes(["get", "from-file", "--raw"], raw);
  assert.deepEqual(new Uint8Array(stdout), bytes);

  await on(["put", "from-pipe", "-"], { input: "line one\nline two\n" });
  assert.equal((await on(["get", "from-pipe", "--raw"])).stdout, "line one\nline two\n");

  await on(["put", "from-base64", "--base64", "AAEC/w=="]);
  assert.equal((await on(["get", "from-base64", "--base64"])).stdout, "AAEC/w==\n");
  assert.equal((await on(["get", "from-base64"])).stdout, "base64:AAEC/w==\n");

  await on(["put", "from-number", "--number", "-9223372036854775808"]);
  assert.equal((await on(["get", "from-number"])).stdout, "-9223372036854775808\n");
  const negative = await on(["put", "negative", "--number", "--", "-5"]);
  assert.equal(negative.code, 0);

  await on(["put", "--base64-keys", "/wA=", "odd key"]);
  assert.equal((await on(["get", "--base64-keys", "/wA="])).stdout, "odd key\n");
  assert.match((await on(["range", "--base64-keys", "--from", "/w=="])).stdout, /\/wA= {2}odd key/);
});

test("values that make no sense are usage errors", async () => {
  const wrong: string[][] = [
    ["put", "k"],
    ["put", "k", "v", "--file", "x"],
    ["put", "k", "--file", path.join(directory, "not there")],
    ["put", "k", "12x", "--number"],
    ["put", "k", "9223372036854775808", "--number"],
    ["put", "k", "***", "--base64"],
    ["put", "k", "v", "--expire", "5"],
    ["put", "k", "v", "--expire", "5 parsecs"],
    ["put", "", "v"],
    ["put", "x".repeat(1025), "v"],
    ["get", "k", "--timeout", "0s"],
  ];
  for (const words of wrong) {
    const { code, stdout, stderr } = await on(words);
    const shown = words.join(" ").slice(0, 60);
    assert.ok(
      code === 2 || (code === 4 && /too_large/.test(stderr)),
      `${shown}: ${code} ${stderr}`,
    );
    assert.equal(stdout, "");
    assert.match(stderr, /^domp: /, shown);
  }
});

test("an expiring key vanishes", async () => {
  await on(["put", "brief", "v", "--expire", "300ms"]);
  const entry = JSON.parse((await on(["get", "brief", "-o", "json"])).stdout || "null");
  assert.ok(entry === null || entry.expires_in_ms <= 300);
  const deadline = performance.now() + 20_000;
  while ((await on(["get", "brief"])).code === 0) {
    assert.ok(performance.now() < deadline, "it is still there");
  }
});

test("delete removes a key or a range, and exit code 1 says there was nothing", async () => {
  for (const key of ["del/a", "del/b", "del/c", "other"]) await on(["put", key, "v"]);
  assert.deepEqual(await on(["delete", "other"]), {
    code: 0,
    stdout: "deleted 1 key\n",
    stderr: "",
  });
  assert.deepEqual(await on(["delete", "other"]), { code: 1, stdout: "", stderr: "" });
  const json = await on(["delete", "--prefix", "del/", "-o", "json"]);
  assert.deepEqual(JSON.parse(json.stdout), { deleted: 3 });
  assert.equal((await on(["delete", "--from", "del/", "--to", "del0"])).code, 1);
  assert.equal((await on(["delete"])).code, 2);
  assert.equal((await on(["delete", "a", "--prefix", "b"])).code, 2);
});

test("range prints keys in order as a table or as one JSON array", async () => {
  for (const [key, value] of [
    ["r/1", "one"],
    ["r/2", "two\nlines"],
    ["r/3", "three"],
  ]) {
    await on(["put", key ?? "", value ?? ""]);
  }
  const table = await on(["range", "r/"]);
  assert.equal(table.stdout, 'KEY  VALUE\nr/1  one\nr/2  "two\\nlines"\nr/3  three\n');
  const json = JSON.parse((await on(["range", "r/", "-o", "json"])).stdout);
  assert.deepEqual(
    json.map(({ key, value }: { key: string; value: string }) => [key, value]),
    [
      ["r/1", "one"],
      ["r/2", "two\nlines"],
      ["r/3", "three"],
    ],
  );
  const last = await on(["range", "--prefix", "r/", "--reverse", "--limit", "1", "--keys"]);
  assert.equal(last.stdout, "KEY\nr/3\n");
  assert.equal((await on(["range", "r/", "--count"])).stdout, "3\n");
  assert.deepEqual(
    JSON.parse(
      (await on(["range", "--from", "r/2", "--count", "-o", "json", "--to", "r/3"])).stdout,
    ),
    { count: 1 },
  );
  assert.deepEqual(await on(["range", "nothing/"]), { code: 0, stdout: "", stderr: "" });
  assert.equal((await on(["range", "nothing/", "-o", "json"])).stdout, "[]\n");
  assert.equal((await on(["range", "--limit", "0"])).code, 2);
  assert.equal((await on(["range", "a", "--prefix", "b"])).code, 2);
  assert.equal((await on(["range", "--prefix", "a", "--from", "b"])).code, 2);
});

test("a long range comes page by page and stops when its reader has enough", async () => {
  const then = Array.from({ length: 4_096 }, (_, i) => ({ put: { key: `long/${i}`, value: "v" } }));
  for (const part of [0, 1]) {
    const renamed = then.map(({ put }) => ({ put: { ...put, key: `${put.key}/${part}` } }));
    const { code, stderr } = await on(["tx", "-"], { input: JSON.stringify({ then: renamed }) });
    assert.equal(code, 0, stderr);
  }
  const all = JSON.parse((await on(["range", "long/", "-o", "json"])).stdout);
  assert.equal(all.length, 8_192);
  assert.equal(new Set(all.map(({ key }: { key: string }) => key)).size, 8_192);
  await on(["delete", "--from", "long/", "--to", "long/4"]);
});

test("tx submits a transaction in JSON from a file or a pipe", async () => {
  const file = path.join(directory, "transfer.json");
  const transfer = {
    if: [{ exists: { key: "gold/bob" } }],
    then: [
      { add: { key: "gold/ada", number: -10, floor: 0 } },
      { add: { key: "gold/bob", number: 10 } },
    ],
    else: [{ get: { key: "gold/ada" } }],
  };
  writeFileSync(file, JSON.stringify(transfer));
  await on(["put", "gold/ada", "15", "--number"]);
  const refused = await on(["tx", file, "-o", "json"]);
  assert.equal(refused.code, 1, "a guard failed");
  const answer = JSON.parse(refused.stdout);
  assert.equal(answer.applied, false);
  assert.equal(answer.failed_guard, 0);
  assert.equal(answer.results[0].entry.value, 15);

  await on(["put", "gold/bob", "0", "--number"]);
  const done = await on(["tx", file, "-o", "json"]);
  assert.equal(done.code, 0);
  assert.deepEqual(JSON.parse(done.stdout).results, [{ number: 5 }, { number: 10 }]);

  const poor = await on(["tx", "-"], { input: JSON.stringify(transfer) });
  assert.equal(poor.code, 1);
  assert.match(poor.stderr, /out_of_bounds/);
  assert.equal(poor.stdout, "");
  assert.equal((await on(["get", "gold/ada"])).stdout, "5\n", "nothing of it was done");

  const table = await on(["tx", "-"], { input: '{"then": [{"get": {"key": "gold/bob"}}]}' });
  assert.match(table.stdout, /^applied at revision \d+\nOPERATION {2}RESULT\nget {8}\{"entry"/);
});

test("a transaction that makes no sense is a usage error that says where", async () => {
  const { code, stderr } = await on(["tx", "-"], { input: '{"then": [{"putt": {"key": "a"}}]}' });
  assert.equal(code, 2);
  assert.match(stderr, /then\[0\].*did you mean "put"/);
  assert.equal((await on(["tx", "-"], { input: "{" })).code, 2);
  assert.equal((await on(["tx", "/not/there"])).code, 2);
});

test("spaces are created, used, listed and dropped", async () => {
  assert.match((await on(["space", "create", "games"])).stdout, /^created games with id \d+\n$/);
  const again = await on(["space", "create", "games"]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /space_exists/);
  assert.equal((await on(["put", "-s", "games", "a", "in games"])).code, 0);
  assert.equal((await on(["get", "--space", "games", "a"])).stdout, "in games\n");
  assert.equal((await on(["get", "a"])).code, 1, "another space, another key");
  const listed = JSON.parse((await on(["space", "list", "-o", "json"])).stdout);
  assert.deepEqual(
    listed.map(({ name }: { name: string }) => name),
    ["default", "games"],
  );
  assert.match((await on(["space", "list"])).stdout, /^NAME {5}ID\ndefault {2}1\n/);
  assert.equal((await on(["space", "drop", "games"])).stdout, "dropped games\n");
  const dropped = await on(["space", "drop", "games"]);
  assert.equal(dropped.code, 1);
  assert.match(dropped.stderr, /space_not_found/);
  const gone = await on(["get", "-s", "games", "a"]);
  assert.equal(gone.code, 4);
  assert.match(gone.stderr, /unknown_space/);
  assert.equal((await on(["space", "create", "a b"])).code, 2);
  assert.equal((await on(["space"])).code, 2);
});
