/** What strangers can make a node keep. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { messageHead, open, UPGRADE } from "../gateway/raw.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

const CONNECTIONS = 150;
const CLAIMED_BYTES = 8 << 20;
const MIB = 1 << 20;

test("150 connections without a token hold little, whatever they send", {
  timeout: 60_000,
}, async (t) => {
  const tokens = JSON.stringify([{ name: "app", token: "the-token-of-the-test" }]);
  const node = await startServer(t, {
    data: diskDirectory(t),
    words: ["--auth-tokens", tokens, "--clients-hello-timeout", "1m"],
  });
  const resident = async (): Promise<number> => {
    const metrics = await (await fetch(`${node.adminUrl}/metrics`)).text();
    return Number(/^process_resident_memory_bytes (\d+)$/m.exec(metrics)?.[1]);
  };
  const port = Number(new URL(node.url).port);
  const before = await resident();
  const chunk = Buffer.alloc(64 * 1024 - 64);
  const connections = await Promise.all(
    Array.from({ length: 2 * CONNECTIONS }, async (_, at) => {
      const raw = await open(t, port, UPGRADE);
      for (let round = 0; round < 200 && !raw.received().includes("101"); round += 1)
        await sleep(20);
      assert.match(raw.received(), /^HTTP\/1\.1 101 /);
      // Half of them claim a message as large as they like, the others the largest that may be.
      const isLarge = at < CONNECTIONS;
      raw.socket.write(messageHead(isLarge ? CLAIMED_BYTES : 64 * 1024));
      const chunks = isLarge ? CLAIMED_BYTES / (64 * 1024) - 1 : 1;
      for (let sent = 0; sent < chunks && raw.socket.writable; sent += 1) raw.socket.write(chunk);
      return raw;
    }),
  );
  await sleep(1_500);
  const grown = (await resident()) - before;
  assert.ok(grown < 100 * MIB, `${Math.round(grown / MIB)} MiB`);
  const closed = connections.slice(0, CONNECTIONS).filter(({ socket }) => socket.closed).length;
  assert.equal(closed, CONNECTIONS, "whoever claims too much is closed");
  const open150 = connections.slice(CONNECTIONS).filter(({ socket }) => !socket.closed).length;
  assert.equal(open150, CONNECTIONS, "whoever claims what may be is waited for");
  await node.stop("SIGKILL");
});
