import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  ConfigError,
  describeConfig,
  type LoadOptions,
  loadConfig,
  SETTINGS,
} from "../../src/config/index.js";

const directory = mkdtempSync(join(tmpdir(), "domp-config-"));
after(() => rmSync(directory, { recursive: true }));

let files = 0;
function file(content: string): string {
  files += 1;
  const path = join(directory, `${files}.toml`);
  writeFileSync(path, content);
  return path;
}

function load(options: LoadOptions) {
  return loadConfig({ cwd: directory, environment: {}, ...options });
}

function problems(options: LoadOptions): readonly string[] {
  try {
    load(options);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  assert.fail("was accepted");
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

test("without anything the defaults hold", () => {
  const { config, origins, file: read } = load({});
  assert.equal(config.clients.host, "127.0.0.1");
  assert.equal(config.clients.port, 7400);
  assert.equal(config.admin.port, 7401);
  assert.equal(config.data.directory, join(directory, "domp-data"));
  assert.deepEqual(config.auth.tokens, []);
  assert.equal(read, undefined);
  assert.deepEqual(origins.get("clients.port"), { from: "default", name: "" });
});

test("flags win over environment, environment over file, file over defaults", () => {
  const path = file(
    '[clients]\nport = 1\nidle_timeout = "9s"\n[log]\nmode = "threaded"\n[admin]\nport = 2',
  );
  const { config, origins } = load({
    file: path,
    environment: { DOMP_CLIENTS_PORT: "11", DOMP_ADMIN_PORT: "12", HOME: "/nowhere" },
    flags: { "clients.port": "21", "clients.host": undefined },
  });
  assert.equal(config.clients.port, 21);
  assert.equal(config.admin.port, 12);
  assert.equal(config.log.mode, "threaded");
  assert.equal(config.clients.idle_timeout, 9_000);
  assert.deepEqual(origins.get("clients.port"), { from: "flag", name: "--clients-port" });
  assert.deepEqual(origins.get("admin.port"), { from: "environment", name: "DOMP_ADMIN_PORT" });
  assert.deepEqual(origins.get("log.mode"), { from: "file", name: path });
  assert.equal(origins.get("clients.host")?.from, "default");
});

test("domp.toml of the directory is read, a named file must exist", () => {
  const path = join(directory, "domp.toml");
  writeFileSync(path, "[clients]\nport = 4000");
  try {
    const { config, file: read } = load({});
    assert.equal(config.clients.port, 4000);
    assert.equal(read, path);
  } finally {
    rmSync(path);
  }
  assert.match(problems({ file: "missing.toml" })[0] ?? "", /missing\.toml: there is no such file/);
  assert.match(problems({ environment: { DOMP_CONFIG: "gone.toml" } })[0] ?? "", /gone\.toml/);
});

test("an unknown key is an error with the nearest name, wherever it stands", () => {
  assert.match(
    problems({ file: file("[clients]\nprot = 1") })[0] ?? "",
    /unknown setting "clients\.prot"; did you mean "clients\.port"\?/,
  );
  assert.match(
    problems({ file: file("[client]\nport = 1") })[0] ?? "",
    /"client\.port"; did you mean "clients\.port"/,
  );
  assert.match(
    problems({ file: file('directory = "x"') })[0] ?? "",
    /"directory"; did you mean "data\.directory"/,
  );
  assert.match(
    problems({ environment: { DOMP_CLIENT_PORT: "1" } })[0] ?? "",
    /"DOMP_CLIENT_PORT"; did you mean "DOMP_CLIENTS_PORT"/,
  );
  assert.match(
    problems({ flags: { "clients.hosts": "x" } })[0] ?? "",
    /"clients\.hosts"; did you mean "clients\.host"/,
  );
  assert.match(problems({ file: file("qqqqqqqqq = 1") })[0] ?? "", /unknown setting "qqqqqqqqq"$/);
});

test("variables of the client's commands are no settings", () => {
  load({ environment: { DOMP_URL: "ws://x", DOMP_TOKEN: "t", DOMP_TEST_SEED: "1" } });
});

test("a plain number is refused where a unit is needed", () => {
  assert.match(
    problems({ file: file("[clients]\nidle_timeout = 120") })[0] ?? "",
    /clients\.idle_timeout needs a unit; write it like "2m"/,
  );
  assert.match(
    problems({ environment: { DOMP_CLIENTS_FRAME_MAX: "65536" } })[0] ?? "",
    /DOMP_CLIENTS_FRAME_MAX needs a unit/,
  );
});

test("kinds and bounds are checked", () => {
  const cases: [string, RegExp][] = [
    ['[clients]\nport = "7400"', /clients\.port must be a whole number, without quotes/],
    ["[clients]\nport = 70000", /clients\.port must be from 0 to 65535/],
    ["[clients]\nport = 1.5", /clients\.port must be a whole number/],
    ["[clients]\nhost = 1", /clients\.host must be text, in quotes/],
    ['[clients]\nframe_max = "1GiB"', /clients\.frame_max must be from 4KiB to 8MiB/],
    ['[clients]\nallowed_hosts = "x"', /clients\.allowed_hosts must be a list of texts/],
    ['[log]\nmode = "both"', /log\.mode must be one of auto, inline, threaded/],
    ['[clients]\nhost = ""', /clients\.host must not be empty/],
    ["clients = 5", /unknown setting "clients"/],
  ];
  for (const [content, expected] of cases) {
    assert.match(problems({ file: file(content) })[0] ?? "", expected, content);
  }
});

test("every problem is told at once", () => {
  const all = problems({
    file: file('[clients]\nport = 70000\nidle_timeout = "x"'),
    environment: { DOMP_LOG_MODE: "both" },
  });
  assert.equal(all.length, 3, all.join("\n"));
});

test("broken TOML names its line", () => {
  const path = file("[clients]\nport = = 1");
  assert.match(problems({ file: path })[0] ?? "", new RegExp(`^${path}:2:\\d+: `));
});

test("contradictory values are refused", () => {
  assert.match(
    problems({ flags: { "clients.tls_cert": "cert.pem" } })[0] ?? "",
    /tls_cert and tls_key must both be set/,
  );
  assert.match(
    problems({ flags: { "admin.port": "7400" } })[0] ?? "",
    /clients\.port and admin\.port are both 7400/,
  );
});

test("paths start from the file they stand in, or from the working directory", () => {
  const path = file('[data]\ndirectory = "here"');
  assert.equal(
    loadConfig({ cwd: "/", file: path, environment: {} }).config.data.directory,
    join(directory, "here"),
  );
  const flagged = load({ flags: { "data.directory": "there" } });
  assert.equal(flagged.config.data.directory, join(directory, "there"));
});

test("lists come from TOML lists or are parted by commas", () => {
  const fromFile = load({ file: file('[clients]\nallowed_hosts = ["a", "b"]') });
  assert.deepEqual(fromFile.config.clients.allowed_hosts, ["a", "b"]);
  const fromEnvironment = load({ environment: { DOMP_CLIENTS_ALLOWED_HOSTS: " a, b ,," } });
  assert.deepEqual(fromEnvironment.config.clients.allowed_hosts, ["a", "b"]);
});

test("tokens are hashed as they are read, from any of three places", () => {
  writeFileSync(join(directory, "secret"), "the-secret-of-the-reader\n");
  const hash = sha256("a-third-secret-of-someone").toUpperCase();
  const { config } = load({
    file: file(`
      [[auth.tokens]]
      name = "app"
      token = "a-long-enough-secret"
      [[auth.tokens]]
      name = "reader"
      token_file = "secret"
      access = "read"
      [[auth.tokens]]
      name = "third"
      sha256 = "${hash}"
    `),
  });
  assert.deepEqual(config.auth.tokens, [
    { name: "app", access: "full", sha256: sha256("a-long-enough-secret") },
    { name: "reader", access: "read", sha256: sha256("the-secret-of-the-reader") },
    { name: "third", access: "full", sha256: hash.toLowerCase() },
  ]);
});

test("tokens come as JSON from the environment", () => {
  const { config } = load({
    environment: { DOMP_AUTH_TOKENS: '[{"name":"app","token":"a-long-enough-secret"}]' },
  });
  assert.equal(config.auth.tokens[0]?.sha256, sha256("a-long-enough-secret"));
  assert.match(problems({ environment: { DOMP_AUTH_TOKENS: "app" } })[0] ?? "", /must be JSON/);
});

test("bad tokens are refused and never printed", () => {
  const cases: [string, RegExp][] = [
    ['[{"name":"a"}]', /entry 1 \("a"\) needs exactly one of/],
    ['[{"name":"a","token":"short-one"}]', /token of fewer than 16 characters/],
    ['[{"name":"a b","token":"0123456789abcdef"}]', /entry 1 needs a name/],
    ['[{"name":"a","token":"0123456789abcdef","acces":"read"}]', /did you mean "access"/],
    ['[{"name":"a","token":"0123456789abcdef","access":"write"}]', /neither "full" nor "read"/],
    ['[{"name":"a","sha256":"12"}]', /not 64 hexadecimal digits/],
    ['[{"name":"a","token_file":"/nowhere/at/all"}]', /can't be read/],
    ["[5]", /entry 1 must be a table/],
    ["{}", /must be a list of tables/],
    [
      '[{"name":"a","token":"0123456789abcdef"},{"name":"b","token":"0123456789abcdef"}]',
      /gives "a" and "b" the same token/,
    ],
    [
      '[{"name":"a","token":"0123456789abcdef"},{"name":"a","token":"0123456789abcdeg","access":"read"}]',
      /gives "a" two kinds of access/,
    ],
  ];
  for (const [json, expected] of cases) {
    const [problem = ""] = problems({ environment: { DOMP_AUTH_TOKENS: json } });
    assert.match(problem, expected, json);
    assert.doesNotMatch(problem, /0123456789abcde|short-one/);
  }
});

test("the description lists every setting with value and origin, and no secret", () => {
  const loaded = load({
    environment: { DOMP_AUTH_TOKENS: '[{"name":"app","token":"a-long-enough-secret"}]' },
    flags: { "clients.idle_timeout": "90s" },
  });
  const rows = describeConfig(loaded);
  assert.deepEqual(
    rows.map(({ name }) => name),
    SETTINGS.map(({ name }) => name),
  );
  const row = (name: string) => rows.find((candidate) => candidate.name === name);
  assert.equal(row("clients.idle_timeout")?.value, "90s");
  assert.equal(row("clients.idle_timeout")?.origin, "flag --clients-idle-timeout");
  assert.equal(row("clients.frame_max")?.value, "8MiB");
  assert.equal(row("auth.tokens")?.value, "app (full)");
  assert.equal(row("auth.tokens")?.origin, "environment DOMP_AUTH_TOKENS");
  assert.doesNotMatch(JSON.stringify(rows), /long-enough/);
  assert.ok(!JSON.stringify(rows).includes(sha256("a-long-enough-secret")));
});

test("every setting has a default within its own bounds, and says what it means", () => {
  for (const { name, setting } of SETTINGS) {
    assert.ok(setting.meaning.length > 10, name);
    if ("min" in setting) {
      assert.ok(setting.fallback >= setting.min && setting.fallback <= setting.max, name);
    }
  }
});
