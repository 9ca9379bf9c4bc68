// The tables of the documentation say what the program says: settings, limits, metrics, statuses.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { loadConfig } from "../../src/config/index.js";
import { showNumber } from "../../src/config/read.js";
import { SETTINGS, type Setting } from "../../src/config/schema.js";
import { formatDuration, formatSize } from "../../src/config/units.js";
import { STATUS_OF_ERROR } from "../../src/gateway/http/status.js";
import type { ErrorName } from "../../src/protocol/generated/errors.js";
import { parseTransaction } from "../../src/protocol/json.js";
import { freshDirectory } from "../support/directories.js";
import { startTestServer } from "../support/harness.js";
import { root } from "../support/root.js";
import { anchors, fences, links, names, PAGES, readPage, rows } from "./support/markdown.js";

const operations = readPage("docs/operations.md");

function defaultOf(setting: Setting): string {
  switch (setting.kind) {
    case "count":
    case "duration":
    case "size":
      return `\`${showNumber(setting, setting.fallback)}\``;
    case "list":
    case "tokens":
      return "none";
    default:
      return setting.fallback === "" ? "none" : `\`${setting.fallback}\``;
  }
}

function boundsOf(setting: Setting): string {
  if (setting.kind === "choice") return setting.choices.join(", ");
  return "min" in setting
    ? `${showNumber(setting, setting.min)} – ${showNumber(setting, setting.max)}`
    : "";
}

test("every setting stands in the guide with its default and bounds, and no other", () => {
  const documented = rows(operations).filter(([name]) => /^`[a-z]+\.[a-z_]+`$/.test(name ?? ""));
  assert.deepEqual(
    documented.map((cells) => cells.slice(0, 3)),
    SETTINGS.map(({ name, setting }) => [`\`${name}\``, defaultOf(setting), boundsOf(setting)]),
  );
  for (const [name, , , meaning] of documented) assert.ok(meaning, `${name} without a meaning`);
});

test("the configuration that the guide shows is one", (t) => {
  const [document = ""] = fences(operations, "toml");
  const directory = freshDirectory(t);
  mkdirSync(path.join(directory, "tokens"));
  writeFileSync(path.join(directory, "tokens/app"), "a-token-of-the-application\n");
  writeFileSync(path.join(directory, "tokens/dashboard"), "a-token-of-the-dashboard\n");
  writeFileSync(path.join(directory, "domp.toml"), document);
  const { config } = loadConfig({ cwd: directory, environment: {} });
  assert.deepEqual(
    config.auth.tokens.map(({ name, access }) => [name, access]),
    [
      ["app", "full"],
      ["dashboard", "read"],
    ],
  );
});

interface Limit {
  readonly name: string;
  readonly value: number;
  readonly meaning: string;
}

function showLimit({ name, value }: Limit): string {
  if (/_bytes(?:_max|_min)?$/.test(name)) return formatSize(value);
  return /_ms(?:_max)?$/.test(name) ? formatDuration(value) : String(value);
}

test("every limit stands in the guide with its value", () => {
  const table = readFileSync(path.join(root, "schemas/limits.json"), "utf8");
  const { limits } = JSON.parse(table) as { limits: readonly Limit[] };
  const section = operations.slice(operations.indexOf("\n## Limits\n"));
  assert.deepEqual(
    rows(section).slice(2),
    limits.map((limit) => [`\`${limit.name}\``, showLimit(limit), limit.meaning]),
  );
});

test("every metric family stands in the guide, and no other", async (t) => {
  const server = await startTestServer(t);
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const families = [...metrics.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1] ?? "");
  assert.ok(families.includes("domp_shard_damaged"), "the engine answered");
  const [before = ""] = operations.split("\n### What to alert on\n");
  const documented = rows(before)
    .flatMap(([metric]) => names(metric ?? ""))
    .filter((name) => /^(?:domp|process)_\w+$/.test(name));
  assert.deepEqual(documented.sort(), families.sort());
});

test("every error that HTTP may answer stands in the guide under its status, and once", () => {
  const statusOf = new Map<string, number>();
  for (const [status = "", codes = ""] of rows(readPage("docs/http.md"))) {
    if (!/^\d{3}$/.test(status)) continue;
    for (const code of names(codes)) {
      assert.ok(!statusOf.has(code), `${code} stands there twice`);
      statusOf.set(code, Number(status));
    }
  }
  const table = readFileSync(path.join(root, "schemas/errors.json"), "utf8");
  const { errors } = JSON.parse(table) as { errors: { name: ErrorName; number: number }[] };
  for (const { name, number } of errors) {
    // Those of the SDK never travel, but for the one that the gateway raises too.
    if (number >= 64 && name !== "timeout") continue;
    assert.equal(statusOf.get(name), STATUS_OF_ERROR[name], name);
    statusOf.delete(name);
  }
  assert.deepEqual([...statusOf.keys()], [], "no other codes");
});

test("the page on JSON transactions names every guard and operation, and its example is one", () => {
  const page = readPage("docs/json-transactions.md");
  const documented = rows(page).flatMap(([name]) => names(name ?? ""));
  for (const [part, form] of [
    ["guard", '{"if": [{}]}'],
    ["operation", '{"then": [{}]}'],
  ] as const) {
    let message = "";
    assert.throws(
      () => parseTransaction(form),
      (error: Error) => {
        message = error.message;
        return true;
      },
    );
    const known = /exactly one of (.*)$/.exec(message)?.[1]?.split(", ") ?? [];
    assert.ok(known.length > 5, message);
    for (const name of known) assert.ok(documented.includes(name), `${part} ${name}`);
  }
  const [example = ""] = fences(page, "json");
  assert.equal(parseTransaction(example).then.length, 2);
});

for (const page of PAGES) {
  test(`the links of ${page} lead somewhere`, () => {
    const text = readPage(page);
    for (const link of links(text)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? page : path.join(path.dirname(page), file);
      assert.ok(existsSync(path.join(root, target)), `${link}: there is no ${target}`);
      if (anchor !== undefined) assert.ok(anchors(readPage(target)).has(anchor), link);
    }
  });
}
