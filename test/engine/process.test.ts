// How processes with an engine end: cleanly, whatever they were doing.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { TestGateway, testDirectory } from "./gateway.js";

const program = fileURLToPath(new URL("./process-program.js", import.meta.url));

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(mode: string, directory: string, env: NodeJS.ProcessEnv = {}): Ended {
  return spawnSync(process.execPath, [program, mode, directory], {
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
}

for (const [mode, what] of [
  ["close", "ends by itself after closing"],
  ["open", "is not kept alive by an open engine"],
  ["exit", "exits under traffic without closing"],
  ["exit-opening", "exits while the engine is opening"],
  ["throw", "dies of an exception with the engine open"],
] as const) {
  test(`a process ${what}`, async () => {
    const directory = testDirectory();
    const ended = run(mode, directory);
    assert.equal(ended.signal, null, ended.stderr);
    assert.equal(ended.status, mode === "throw" ? 1 : 0, ended.stderr);
    if (mode === "throw") assert.match(ended.stderr, /thrown on purpose/);
    else assert.equal(ended.stderr, "");
    // Nothing is held any more, and what was acknowledged is there.
    const gateway = await TestGateway.open({ directory });
    await gateway.attach(1, 1);
    const acknowledged = Number(ended.stdout.trim().split("\n").at(-1) ?? 0);
    if (acknowledged > 0) {
      assert.ok(Number(await gateway.get(1, 1, "counter")) >= acknowledged);
    } else {
      assert.match(mode, /opening/);
    }
    await gateway.engine.close();
  });
}

test("an addon that is not there is named, with what to do", () => {
  const ended = run("close", testDirectory(), { DOMP_NATIVE_PATH: "/no/such/domp.node" });
  assert.equal(ended.status, 1);
  assert.match(ended.stderr, /addon is not built.*\/no\/such\/domp\.node.*npm run build/);
});

test("an engine of a worker thread that is terminated lets its directory go", async () => {
  const directory = testDirectory();
  const worker = new Worker(program, { argv: ["worker", directory] });
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve());
    worker.once("error", reject);
  });
  await assert.rejects(TestGateway.open({ directory }), /in use/);
  await worker.terminate();
  const gateway = await TestGateway.open({ directory });
  await gateway.engine.close();
});

test("the log is printed, and a reader that stops early is no failure", async () => {
  const directory = testDirectory();
  assert.equal(run("close", directory).status, 0);
  const printed = run("log", directory);
  assert.equal(printed.status, 0, printed.stderr);
  assert.match(printed.stdout, /counter/);
  assert.ok(printed.stdout.split("\n").length > 10);
  const head = spawnSync(
    "sh",
    ["-c", `"${process.execPath}" "${program}" log "${directory}" | head -n 1`],
    { encoding: "utf8", timeout: 60_000 },
  );
  assert.equal(head.status, 0, head.stderr);
  assert.equal(head.stderr, "");
});
