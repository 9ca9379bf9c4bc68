/** What a signal, or the end of whoever reads the output, does to a running node. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/node.js";
import { diskDirectory } from "../support/directories.js";
import { type ServerProcess, startServer } from "../support/server.js";

async function serves(node: ServerProcess): Promise<void> {
  const client = await connect(node.url, { timeoutMs: 5_000 });
  await client.space("default").put("key", "value");
  await client.close();
}

test("SIGHUP drains: what was accepted is done, and the exit code is 0", async (t) => {
  const node = await startServer(t, { data: diskDirectory(t) });
  await serves(node);
  assert.equal((await node.stop("SIGHUP")).code, 0, node.output());
  assert.match(node.output(), /draining/);
  assert.match(node.output(), /stopped/);
});

test("SIGUSR1 opens no inspector", async (t) => {
  const node = await startServer(t, { data: diskDirectory(t) });
  process.kill(node.pid, "SIGUSR1");
  await sleep(300);
  await serves(node);
  assert.doesNotMatch(node.output(), /[Dd]ebugger/);
  assert.equal((await node.stop("SIGTERM")).code, 0);
});

test("a closed standard output and a closed standard error end nothing", async (t) => {
  const node = await startServer(t, {
    data: diskDirectory(t),
    words: ["--logging-level", "trace"],
  });
  await node.closeOutput();
  await serves(node);
  // Turned away: a line for the log that nobody reads.
  for (let round = 0; round < 3; round += 1) {
    const response = await fetch(node.url.replace("ws:", "http:"), {
      headers: { Origin: "https://evil.example" },
    });
    assert.equal(response.status, 403);
    await sleep(1_100);
  }
  await serves(node);
  assert.deepEqual(await node.stop("SIGTERM"), { code: 0, signal: null });
});
