// Real nodes, real sockets, real signals: what happens to a bank whose servers are killed, stopped and
// cut off. What was told to clients must be true afterwards, and nothing may stop for good.

import assert from "node:assert/strict";
import { renameSync, rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, DompError, text } from "../../src/client/node.js";
import { domp } from "../support/command.js";
import { Bank } from "./support/bank.js";
import { Cluster, waitFor } from "./support/cluster.js";

const TEST_MS = 90_000;

/** Waits until a bank has done so much more. */
async function busy(bank: Bank, transfers = 50): Promise<void> {
  const goal = bank.acknowledged + transfers;
  await waitFor(`${transfers} transfers`, async () =>
    bank.acknowledged >= goal ? true : undefined,
  );
}

test("what one door acknowledged every door shows, and each node says who leads", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const doors = await Promise.all(cluster.urls.map((url) => connect(url)));
  for (const [at, door] of doors.entries()) {
    await door.space("default", text).put(`from/${at}`, `${at}`);
    for (const other of doors) {
      assert.equal((await other.space("default", text).get(`from/${at}`))?.value, `${at}`);
    }
  }
  const games = await doors[0]?.spaces.create("games");
  await doors[1]?.space("games", text).put("a", "b");
  assert.equal((await doors[2]?.space("games", text).get("a"))?.value, "b");
  assert.ok(games !== undefined && games.id > 1);
  await cluster.caughtUp();
  const leader = await cluster.leader();
  const views = await Promise.all([0, 1, 2].map((node) => cluster.view(node)));
  for (const view of views) {
    assert.ok(view.members.every(({ reached }) => reached));
    const space = view.spaces.find(({ name }) => name === "default");
    assert.equal(space?.leader, views[leader]?.node);
  }
  const status = await domp(["cluster", "status", "--admin", cluster.node(0).adminUrl]);
  assert.equal(status.code, 0, status.stderr);
  assert.match(status.stdout, /127\.0\.0\.1:\d+ +this node/);
  assert.match(status.stdout, /games +[0-9a-f]{16}/);
  const put = await domp(["put", "--url", cluster.urls.join(","), "greeting", "hello"]);
  assert.equal(put.code, 0, put.stderr);
  await Promise.all(doors.map((door) => door.close()));
});

test("leaders are killed under load, one after the other, and come back", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const bank = await Bank.open(cluster.urls);
  for (let round = 0; round < 3; round += 1) {
    await busy(bank);
    const leader = await cluster.leader();
    await cluster.stop(leader);
    await busy(bank);
    await cluster.startNode(leader);
  }
  await busy(bank);
  const done = await bank.stop();
  await bank.judge();
  await cluster.caughtUp();
  await bank.close();
  assert.equal(done.refused, 0, "each transfer was done in the end");
});

test("all nodes are stopped and started in turn under load, and nothing is refused", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const bank = await Bank.open(cluster.urls);
  for (const node of [0, 1, 2]) {
    await busy(bank);
    const ended = await cluster.stop(node, "SIGTERM");
    assert.deepEqual(ended, { code: 0, signal: null });
    await busy(bank);
    await cluster.startNode(node);
    await cluster.caughtUp();
  }
  const done = await bank.stop();
  await bank.judge();
  await bank.close();
  assert.equal(done.refused, 0);
});

test("a leader that is halted loses its place, and answers nothing from before when it goes on", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const leader = await cluster.leader();
  const others = [0, 1, 2].filter((node) => node !== leader);
  const bank = await Bank.open(others.map((node) => cluster.urls[node] ?? ""));
  const before = await connect(cluster.urls[leader] ?? "", { timeoutMs: 20_000 });
  const space = before.space("default", text);
  await space.put("who", "before");
  for (let round = 0; round < 2; round += 1) {
    cluster.signal(leader, "SIGSTOP");
    await cluster.leader("default", others);
    const other = await connect(cluster.urls[others[0] ?? 0] ?? "");
    await other.space("default", text).put("who", `round ${round}`);
    // Asked while it is halted, answered when it goes on: by then another has written.
    const late = space.get("who");
    await sleep(100);
    cluster.signal(leader, "SIGCONT");
    assert.equal((await late)?.value, `round ${round}`, "a read shows no state of before");
    await other.close();
    await busy(bank);
  }
  await bank.stop();
  await bank.judge();
  await before.close();
  await bank.close();
});

test("all are killed at once: what was acknowledged is there, and they find each other", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const bank = await Bank.open(cluster.urls);
  await busy(bank, 200);
  await Promise.all([0, 1, 2].map((node) => cluster.stop(node)));
  await cluster.startAll();
  await busy(bank);
  await bank.stop();
  await bank.judge();
  await bank.close();
  await cluster.caughtUp();
});

test("without a majority nothing is acknowledged, reads neither; with it again all goes on", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const client = await connect(cluster.urls[0] ?? "", { timeoutMs: 3_000 });
  const space = client.space("default", text);
  await space.put("a", "1");
  await Promise.all([1, 2].map((node) => cluster.stop(node)));
  await assert.rejects(space.put("a", "2"), DompError);
  await assert.rejects(space.get("a"), DompError);
  const health = await fetch(`${cluster.node(0).adminUrl}/readyz`);
  assert.equal(health.status, 503, await health.text());
  const status = await domp(["cluster", "status", "--admin", cluster.node(0).adminUrl]);
  assert.match(status.stdout, /no majority/);
  await cluster.startNode(2);
  await space.put("a", "3", { timeoutMs: 20_000 });
  assert.equal((await space.get("a"))?.value, "3");
  await client.close();
});

test("a leader cut off from both others is followed by another; one cut way is no endless election", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t, { proxied: true });
  const network = cluster.network;
  assert.ok(network);
  const bank = await Bank.open(cluster.urls);
  await busy(bank);
  const first = await cluster.leader();
  network.isolate(first);
  const others = [0, 1, 2].filter((node) => node !== first);
  const second = await cluster.leader("default", others);
  await busy(bank);
  network.heal();
  await cluster.caughtUp();
  // The leader and one of the others don't hear each other; the third hears both.
  const third = others.find((node) => node !== second) ?? first;
  network.cut(second, third);
  network.cut(third, second);
  await busy(bank);
  network.heal();
  // What the leader says does not reach one of them, what that one says does.
  const leader = await cluster.leader();
  const deaf = [0, 1, 2].find((node) => node !== leader) ?? 0;
  network.cut(leader, deaf);
  await busy(bank);
  network.heal();
  await busy(bank);
  await bank.stop();
  await bank.judge();
  await cluster.caughtUp();
  await bank.close();
});

test("a node that was away for long is brought up by a snapshot, and then counts", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t, { words: ["--log-snapshot-after", "1MiB"] });
  const away = ((await cluster.leader()) + 1) % 3;
  await cluster.stop(away);
  const client = await connect(cluster.urls, { timeoutMs: 20_000 });
  const space = client.space("default", text);
  // Much more than a leader keeps in memory for those behind.
  const value = "v".repeat(100_000);
  for (let batch = 0; batch < 20; batch += 1) {
    const puts = Array.from({ length: 10 }, (_, at) => space.put(`k/${batch}/${at}`, value));
    await Promise.all(puts);
  }
  await cluster.startNode(away);
  await cluster.caughtUp();
  const view = await cluster.view(away);
  assert.equal(view.spaces.find(({ name }) => name === "default")?.keys, 200);
  const metrics = await (await fetch(`${cluster.node(away).adminUrl}/metrics`)).text();
  assert.match(metrics, /^domp_cluster_snapshots_total\{what="installed"\} [1-9]/m);
  // With it and one of the others there is a majority again, which has everything.
  await cluster.stop((away + 1) % 3);
  assert.equal((await space.get("k/0/0"))?.value, value);
  await space.put("k/0/0", "after");
  assert.equal((await space.get("k/19/9"))?.value, value);
  await client.close();
});

test("a node whose data is gone is not founded again, and the others go on", {
  timeout: TEST_MS,
}, async (t) => {
  const cluster = await Cluster.start(t);
  const client = await connect(cluster.urls.slice(1), { timeoutMs: 20_000 });
  await client.space("default", text).put("a", "1");
  await cluster.stop(0);
  const data = cluster.directories[0] ?? "";
  const words = ["start", "--data", data, "--port", "0", "--admin-port", "0"];
  // Without the folder that says who the others are it does not take itself for a node that is alone.
  renameSync(path.join(data, "cluster"), path.join(data, "elsewhere"));
  const lone = await domp(words);
  assert.equal(lone.code, 1);
  assert.match(lone.stderr, /its folder `cluster`.* is gone: put it back/);
  renameSync(path.join(data, "elsewhere"), path.join(data, "cluster"));
  for (const name of ["wal", "snap", "identity"]) {
    rmSync(path.join(data, name), { recursive: true, force: true });
  }
  const started = await domp(words);
  assert.equal(started.code, 1);
  assert.match(started.stderr, /the data of node [0-9a-f]{16} is gone/);
  await client.space("default", text).put("a", "2");
  assert.equal((await client.space("default", text).get("a"))?.value, "2");
  await client.close();
});
