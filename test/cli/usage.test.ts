import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { domp } from "../support/command.js";
import { freshDirectory } from "../support/directories.js";

const COMMANDS = [
  "start",
  "get",
  "put",
  "delete",
  "range",
  "tx",
  "space",
  "bench",
  "check",
  "log",
  "config",
  "version",
];

test("the help names every command, and each command's help has examples", async () => {
  const { code, stdout } = await domp(["--help"]);
  assert.equal(code, 0);
  for (const name of COMMANDS) {
    assert.match(stdout, new RegExp(`^ {2}${name} `, "m"));
    const help = await domp([name, "--help"]);
    assert.equal(help.code, 0, name);
    assert.match(help.stdout, new RegExp(`Examples?:\\n {2}\\$ (DOMP_\\S+ )?domp ${name}`), name);
    assert.equal(help.stderr, "");
  }
  const sub = await domp(["space", "create", "--help"]);
  assert.match(sub.stdout, /\$ domp space create/);
  assert.match((await domp(["help", "get"])).stdout, /\$ domp get/);
});

test("a command line that makes no sense is exit code 2, on standard error, with a way out", async () => {
  const wrong: [string[], RegExp][] = [
    [[], /Usage: domp/],
    [["gett", "x"], /Did you mean get/],
    [["get"], /missing required argument 'key'/],
    [["get", "x", "--ouput", "json"], /Did you mean --output/],
    [["get", "x", "-o", "yaml"], /table, json/],
    [["get", "x", "y"], /too many arguments/],
    [["get", "x", "--timeout", "soon"], /--timeout .*5ms/],
    [["get", "x", "--url", "ftp://example"], /ws:/],
    [["get", "x", "--token-file", "/not/there"], /can't be read/],
    [["log", "x", "--group", "many"], /--group/],
  ];
  for (const [words, message] of wrong) {
    const { code, stdout, stderr } = await domp(words);
    assert.equal(code, 2, words.join(" "));
    assert.equal(stdout, "", words.join(" "));
    assert.match(stderr, message, words.join(" "));
  }
});

test("no server is exit code 3, soon, and says what to do", async () => {
  for (const words of [
    ["get", "x"],
    ["put", "x", "y"],
    ["range"],
    ["delete", "x"],
    ["space", "list"],
  ]) {
    const started = performance.now();
    const { code, stdout, stderr } = await domp([
      ...words,
      "--url",
      "ws://127.0.0.1:1",
      "--timeout",
      "500ms",
    ]);
    assert.equal(code, 3, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /unreachable.*ws:\/\/127\.0\.0\.1:1.*domp start/s);
    assert.ok(performance.now() - started < 20_000);
  }
});

test("version names program, protocol and Node", async () => {
  assert.match(
    (await domp(["version"])).stdout,
    /^domp \d+\.\d+\.\d+ \(protocol 2, apply 1, Node /,
  );
  assert.equal((await domp(["--version"])).stdout, (await domp(["version"])).stdout);
  const json = JSON.parse((await domp(["version", "-o", "json"])).stdout);
  assert.equal(json.protocol_version, 2);
  assert.match(json.version, /^\d+\.\d+\.\d+$/);
});

test("config shows each value with its origin: default, file, environment, flag", async (t) => {
  const cwd = freshDirectory(t);
  const file = path.join(cwd, "domp.toml");
  writeFileSync(
    file,
    '[clients]\nport = 7500\nidle_timeout = "30s"\n[log]\nsegment_size = "64MiB"\n',
  );
  const { code, stdout } = await domp(["config", "-o", "json", "--clients-host", "localhost"], {
    cwd,
    environment: { DOMP_CLIENTS_PORT: "7600", DOMP_LOGGING_LEVEL: "warn" },
  });
  assert.equal(code, 0);
  const settings = new Map(
    (JSON.parse(stdout) as { name: string; value: string; origin: string }[]).map((row) => [
      row.name,
      [row.value, row.origin],
    ]),
  );
  assert.deepEqual(settings.get("clients.host"), ["localhost", "flag --clients-host"]);
  assert.deepEqual(settings.get("clients.port"), ["7600", "environment DOMP_CLIENTS_PORT"]);
  assert.deepEqual(settings.get("clients.idle_timeout"), ["30s", `file ${file}`]);
  assert.deepEqual(settings.get("log.segment_size"), ["64MiB", `file ${file}`]);
  assert.deepEqual(settings.get("admin.port"), ["7401", "default"]);
  const table = await domp(["config", "--port", "1"], { cwd });
  assert.match(table.stdout, /^SETTING +VALUE +ORIGIN\n/);
  assert.match(table.stdout, /^clients\.port +1 +flag --clients-port$/m);
  assert.match(table.stdout, /^data\.directory /m);
  assert.equal((await domp(["config", "--port", "1", "--clients-port", "2"], { cwd })).code, 2);
});

test("an unknown setting is an error with the nearest name, wherever it stands", async (t) => {
  const cwd = freshDirectory(t);
  writeFileSync(path.join(cwd, "wrong.toml"), "[clients]\nprot = 7500\n");
  const file = await domp(["config", "--config", "wrong.toml"], { cwd });
  assert.equal(file.code, 2);
  assert.match(file.stderr, /clients\.prot.*did you mean "clients\.port"/);
  const environment = await domp(["start"], { cwd, environment: { DOMP_CLIENTS_PROT: "1" } });
  assert.equal(environment.code, 2);
  assert.match(environment.stderr, /DOMP_CLIENTS_PORT/);
  const flag = await domp(["config", "--clients-prot", "1"], { cwd });
  assert.equal(flag.code, 2);
  assert.match(flag.stderr, /--clients-port/);
  const missing = await domp(["config", "--config", "not-there.toml"], { cwd });
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /no such file/);
});
