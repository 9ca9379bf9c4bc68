/** A node under a limit of open files, and more sockets than that. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { connect as connectSocket, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/node.js";
import { MAIN } from "../support/command.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

/** Runs a program with so many open files allowed, softly and firmly. */
const limited = (files: number): string[] => ["sh", "-c", `ulimit -n ${files}; exec "$@"`, "sh"];

test("more idle sockets than open files end nothing, and health and clients are answered", {
  timeout: 60_000,
}, async (t) => {
  const node = await startServer(t, { data: diskDirectory(t), under: limited(1024) });
  assert.match(node.output(), /may open 1024 files, so it takes 704 connections instead of 50000/);
  const client = await connect(node.url, { timeoutMs: 10_000 });
  await client.space("default").put("before", "1");
  const port = Number(new URL(node.url).port);
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (let batch = 0; batch < 11; batch += 1) {
    for (let count = 0; count < 100; count += 1) {
      const socket = connectSocket(port, "127.0.0.1");
      socket.on("error", () => undefined);
      sockets.push(socket);
    }
    await sleep(50);
  }
  assert.equal((await fetch(`${node.adminUrl}/livez`)).status, 200);
  assert.equal((await fetch(`${node.adminUrl}/readyz`)).status, 200);
  const metrics = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const open = Number(/^domp_gateway_sockets (\d+)$/m.exec(metrics)?.[1]);
  assert.ok(open > 700 && open <= 704 + 64, `${open} sockets`);
  await client.space("default").put("while", "1");
  for (const socket of sockets) socket.destroy();
  await sleep(200);
  const other = await connect(node.url, { timeoutMs: 10_000 });
  assert.equal((await other.space("default").get("while"))?.value, "1");
  await other.close();
  await client.close();
  assert.equal((await node.stop()).code, 0);
});

test("a limit that leaves next to nothing for clients is refused in plain words", (t) => {
  const [program = "", ...rest] = limited(350);
  const started = spawnSync(
    program,
    [...rest, process.execPath, MAIN, "start", "--data", diskDirectory(t), "--port", "0"],
    { encoding: "utf8", timeout: 20_000 },
  );
  assert.equal(started.status, 1);
  assert.match(started.stderr, /this process may open 350 files.*ulimit -n/);
});
