/** What a signal, or the end of whoever reads the output, does to a running node. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { connect } from "../../src/client/node.js";
import { diskDirectory, type NodeProcess, sleep, startNode } from "./node.js";

async function serves(node: NodeProcess): Promise<void> {
  const client = await connect(node.url, { timeoutMs: 5_000 });
  await client.space("default").put("key", "value");
  await client.close();
}

test("SIGHUP drains: what was accepted is done, and the exit code is 0", async (t) => {
  const node = await startNode(t, { data: diskDirectory(t) });
  await serves(node);
  assert.equal(await node.end("SIGHUP"), 0, node.output());
  assert.match(node.output(), /draining/);
  assert.match(node.output(), /stopped/);
});

test("SIGUSR1 opens no inspector", async (t) => {
  const node = await startNode(t, { data: diskDirectory(t) });
  node.child.kill("SIGUSR1");
  await sleep(300);
  await serves(node);
  assert.doesNotMatch(node.output(), /[Dd]ebugger/);
  assert.equal(await node.end("SIGTERM"), 0);
});

test("a closed standard output and a closed standard error end nothing", async (t) => {
  const node = await startNode(t, {
    data: diskDirectory(t),
    flags: ["--logging-level", "trace"],
  });
  node.child.stdout?.destroy();
  node.child.stderr?.destroy();
  await Promise.all([node.child.stdout, node.child.stderr].map((end) => end && once(end, "close")));
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
  const ended = once(node.child, "exit");
  node.child.kill("SIGTERM");
  assert.deepEqual(await ended, [0, null]);
});
