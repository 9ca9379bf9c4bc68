/** A space whose log is damaged: the others are served, and whoever asks is told. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { connect, DompError } from "../../src/client/node.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

test("a stopped space is named by /readyz, which stays 200 for the others", {
  timeout: 60_000,
}, async (t) => {
  const data = diskDirectory(t);
  const node = await startServer(t, { data });
  const client = await connect(node.url, { timeoutMs: 10_000 });
  await client.spaces.create("orders");
  const log = path.join(data, "wal", "0000000001.log");
  const before = readFileSync(log);
  await client.space("orders").put("order", "x".repeat(200_000));
  const after = readFileSync(log);
  const first = after.findIndex((byte, at) => byte !== before[at]);
  // Later commits: what is damaged is then not the end of the log, which a crash could have cut.
  for (let at = 0; at < 5; at += 1) await client.space("default").put("key", String(at));
  await client.close();
  await node.stop("SIGKILL");

  const damaged = readFileSync(log);
  // In the middle of the value: a block of that frame, and of no other.
  damaged[first + 100_000] = (damaged[first + 100_000] ?? 0) ^ 0xff;
  writeFileSync(log, damaged);

  const again = await startServer(t, { data });
  const response = await fetch(`${again.adminUrl}/readyz`);
  assert.equal(response.status, 200);
  assert.match(await response.text(), /^ready; stopped: (?:orders \()?group \d+\)?\n$/);
  const reader = await connect(again.url, { timeoutMs: 5_000 });
  assert.equal((await reader.space("default").get("key"))?.value, "4");
  await reader.space("default").put("key", "5");
  await assert.rejects(
    reader.space("orders").get("order"),
    (error) => error instanceof DompError && error.code === "shard_damaged",
  );
  await reader.close();
  await again.stop("SIGKILL");
});
