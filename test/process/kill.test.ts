/** Promise 1 and 2 with real processes: SIGKILL in a loop while clients go on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, DompError, text } from "../../src/client/node.js";
import { diskDirectory } from "../support/directories.js";
import { stablePort, startServer } from "../support/server.js";

const ROUNDS = 10;
const CLIENTS = 4;
const PIPELINE = 8;

for (const mode of ["auto", "inline", "threaded"] as const) {
  test(`acked is kept and nothing counts twice through ${ROUNDS} kills, log ${mode}`, {
    timeout: 120_000,
  }, async (t) => {
    const data = diskDirectory(t);
    const port = await stablePort();
    const words = ["--log-mode", mode];
    let server = await startServer(t, { data, port, words });
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () =>
        connect(server.url, { timeoutMs: 30_000, reconnect: { firstMs: 10, mostMs: 100 } }),
      ),
    );
    let running = true;
    /** By key, the last value that was acknowledged. */
    const acked = new Map<string, string>();
    let added = 0;
    let refused = 0;
    let unknown = 0;

    const work = clients.flatMap((client, at) =>
      Array.from({ length: PIPELINE }, async (_, lane) => {
        const space = client.space("default", text);
        for (let round = 0; running; round += 1) {
          const key = `kill/${at}/${lane}`;
          try {
            await space.put(key, String(round));
            acked.set(key, String(round));
            await space.add("kill/count", 1);
            added += 1;
          } catch (error) {
            if (!(error instanceof DompError)) throw error;
            if (error.outcome === "unknown") unknown += 1;
            else refused += 1;
          }
        }
      }),
    );
    for (let round = 0; round < ROUNDS; round += 1) {
      await sleep(60 + ((round * 97) % 300));
      await server.stop("SIGKILL");
      server = await startServer(t, { data, port, words });
    }
    await sleep(300);
    running = false;
    await Promise.all(work);
    const space = clients[0]?.space("default", text);
    assert.ok(space);
    const count = await clients[0]?.space("default").add("kill/count", 0);
    for (const [key, value] of acked) {
      const entry = await space.get(key);
      assert.ok(entry, `${key} was acknowledged and is gone`);
      // A later put whose answer was lost may stand there instead.
      assert.ok(Number(entry.value) >= Number(value), `${key}: ${entry.value} after ${value}`);
    }
    t.diagnostic(`${added} additions acknowledged, ${unknown} unknown, ${refused} refused`);
    assert.ok(added > ROUNDS, "the clients got through between the kills");
    assert.equal(unknown, 0, "every request was resolved under its own id");
    assert.equal(Number(count), added, "each acknowledged addition counts once");
    await Promise.all(clients.map((client) => client.close()));
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
  });
}

test("SIGTERM drains: what was accepted is answered, then the process ends with 0", async (t) => {
  const data = diskDirectory(t);
  const server = await startServer(t, { data });
  const client = await connect(server.url, { timeoutMs: 5_000 });
  const space = client.space("default", text);
  await space.put("drain/first", "x");
  const answers = Array.from({ length: 500 }, (_, at) =>
    space.put(`drain/${at}`, String(at)).then(
      () => at,
      () => undefined,
    ),
  );
  await sleep(1);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  const again = await startServer(t, { data });
  const second = await connect(again.url);
  void client.close({ abort: true });
  const kept = (await Promise.all(answers)).filter((at) => at !== undefined);
  for (const at of kept) {
    const entry = await second.space("default", text).get(`drain/${at}`);
    assert.equal(entry?.value, String(at));
  }
  assert.match(server.output(), /drain|stop/i);
  await second.close();
});

test("a second process on one data directory refuses, and says why", async (t) => {
  const data = diskDirectory(t);
  const server = await startServer(t, { data });
  await assert.rejects(startServer(t, { data }), /in use|locked|another process|already/i);
  const client = await connect(server.url);
  await client.space("default", text).put("still", "here");
  await client.close();
});
