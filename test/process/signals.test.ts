/** What a signal, or the end of whoever reads the output, does to a running server. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/node.js";
import { environmentOf, MAIN } from "../support/command.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

async function serves(url: string): Promise<void> {
  const client = await connect(url, { timeoutMs: 5_000 });
  await client.space("default").put("key", "value");
  await client.close();
}

test("SIGHUP drains: what was accepted is done, and the exit code is 0", async (t) => {
  const server = await startServer(t, { data: diskDirectory(t) });
  await serves(server.url);
  assert.equal((await server.stop("SIGHUP")).code, 0, server.output());
  assert.match(server.output(), /draining/);
  assert.match(server.output(), /stopped/);
});

test("SIGUSR1 opens no inspector", async (t) => {
  const server = await startServer(t, { data: diskDirectory(t) });
  process.kill(server.pid, "SIGUSR1");
  await sleep(300);
  await serves(server.url);
  assert.doesNotMatch(server.output(), /[Dd]ebugger/);
  assert.equal((await server.stop()).code, 0);
});

test("a closed standard output and a closed standard error end nothing", async (t) => {
  const words = ["start", "--data", diskDirectory(t), "--port", "0", "--admin-port", "0"];
  const child = spawn(process.execPath, [MAIN, ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    env: environmentOf(),
  });
  const exited = once(child, "exit");
  t.after(() => child.kill("SIGKILL"));
  let output = "";
  child.stderr.resume();
  for await (const chunk of child.stdout) {
    output += String(chunk);
    if (output.includes("Ctrl-C")) break;
  }
  const url = /serves clients at (\S+)/.exec(output)?.[1] ?? "";
  child.stdout.destroy();
  child.stderr.destroy();
  await serves(url);
  // Turned away: a line for the log that nobody reads.
  for (let round = 0; round < 3; round += 1) {
    const response = await fetch(url.replace("ws:", "http:"), {
      headers: { Origin: "https://evil.example" },
    });
    assert.equal(response.status, 403);
    await sleep(1_100);
  }
  await serves(url);
  child.kill("SIGTERM");
  assert.deepEqual(await exited, [0, null]);
});
