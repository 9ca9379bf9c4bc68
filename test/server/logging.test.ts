import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger, formatForPeople } from "../../src/server/logging.js";

function target(isTTY: boolean) {
  const lines: string[] = [];
  return { lines, isTTY, write: (line: string) => lines.push(line) };
}

test("machines get JSON", async () => {
  const out = target(false);
  const log = await createLogger({ level: "info", format: "auto" }, out);
  log.info({ port: 7400 }, "listening");
  log.debug("not this");
  assert.equal(out.lines.length, 1);
  const line = JSON.parse(out.lines[0] ?? "");
  assert.equal(line.msg, "listening");
  assert.equal(line.port, 7400);
  assert.match(line.time, /^\d{4}-\d\d-\d\dT/);
});

test("people on a terminal get one short line", async () => {
  const out = target(true);
  const log = await createLogger({ level: "info", format: "auto" }, out);
  log.warn({ port: 7400, host: "a b" }, "listening");
  assert.match(
    out.lines[0] ?? "",
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colour of the level
    /^\d\d:\d\d:\d\d\.\d{3} \u001b\[33mWARN \u001b\[0m listening {2}port=7400 {2}host="a b"\n$/,
  );
});

test("the format can be forced, and colours stay out of files", async () => {
  const out = target(false);
  const log = await createLogger({ level: "info", format: "human" }, out);
  log.error({ err: new Error("it broke") }, "failed");
  assert.match(out.lines[0] ?? "", /^\d\d:\d\d:\d\d\.\d{3} ERROR failed\nError: it broke\n {4}at /);
  const json = target(true);
  (await createLogger({ level: "info", format: "json" }, json)).info("x");
  assert.equal(JSON.parse(json.lines[0] ?? "").msg, "x");
});

test("an unknown level is shown as it came", () => {
  const line = '{"level":35,"time":"2026-01-02T03:04:05.678Z","msg":"odd"}';
  assert.equal(formatForPeople(line, false), "03:04:05.678 35    odd\n");
});

test("fields of fields are told by dotted names, and what is nothing is left out", () => {
  const fields = '"flush":{"method":"O_DSYNC","took":{"us":7}},"torn":null,"damage":[],"bad":[1,2]';
  const line = `{"level":30,"time":"2026-01-02T03:04:05.678Z",${fields},"msg":"recovered"}`;
  assert.equal(
    formatForPeople(line, false),
    "03:04:05.678 info  recovered  flush.method=O_DSYNC  flush.took.us=7  bad=[1,2]\n",
  );
});
