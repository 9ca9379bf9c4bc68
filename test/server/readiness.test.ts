import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Controls, OpenReport, Statistics } from "../../src/engine/index.js";
import type { ProbeResult } from "../../src/gateway/index.js";
import type { ErrorName } from "../../src/protocol/generated/errors.js";
import { ReadinessCheck } from "../../src/server/readiness.js";
import { connect, put, request, startTestServer, type TestServer } from "../support/harness.js";

interface Shard {
  readonly group: number;
  readonly name: string;
  readonly damage: string | null;
}
const META: Shard = { group: 0, name: "", damage: null };
const DEFAULT: Shard = { group: 1, name: "default", damage: null };

const OK = { ok: true } as ProbeResult["write"];
const failed = (code: ErrorName, message = ""): ProbeResult["write"] => ({
  ok: false,
  failure: { code, message },
});

/** A check of an engine with these shards that answers an attempt so. */
function setUp(
  result: ProbeResult,
  shards: readonly Shard[] = [META, DEFAULT],
  diskLow = false,
  found = 1,
) {
  const world = { statistics: 0, attempts: [] as number[], progressMs: Number.NEGATIVE_INFINITY };
  const engine = {
    report: {
      recovery: { damagedShards: [{ group: 9, why: "damaged" }].slice(found) },
    } as unknown as OpenReport,
    control: <Kind extends keyof Controls>() => {
      world.statistics += 1;
      return Promise.resolve({ node: { shards, diskLow } } as Statistics as Controls[Kind]);
    },
  };
  const gateway = {
    get progressMs() {
      return world.progressMs;
    },
    probe: (space: number) => {
      world.attempts.push(space);
      return Promise.resolve(result);
    },
  };
  return { world, check: new ReadinessCheck(engine, gateway) };
}

test("a write and a read that succeed are ready, once a second", async () => {
  const { world, check } = setUp({ write: OK, read: OK });
  const answers = await Promise.all(Array.from({ length: 50 }, () => check.ask()));
  for (const answer of answers) assert.deepEqual(answer, { ready: true, text: "ready" });
  assert.deepEqual(world.attempts, [0]);
  await sleep(1_010);
  await check.ask();
  assert.deepEqual(world.attempts, [0, 0]);
});

test("while clients' writes succeed nothing is attempted", async () => {
  const { world, check } = setUp({ write: OK, read: OK });
  world.progressMs = performance.now();
  assert.deepEqual(await check.ask(), { ready: true, text: "ready" });
  assert.deepEqual(world.attempts, []);
});

test("a failed write or read is told; at a full disk reads are served", async () => {
  const timeout = failed("timeout", "no answer came in time");
  const cases: [ProbeResult, boolean, boolean, RegExp][] = [
    [{ write: timeout, read: OK }, false, false, /^unavailable: a write failed: timeout \(no ans/],
    [{ write: OK, read: timeout }, false, false, /^unavailable: a read failed: timeout/],
    [{ write: failed("overloaded"), read: OK }, false, false, /a write failed: overloaded$/],
    [{ write: failed("overloaded"), read: OK }, true, true, /^ready for reads; the disk is full/],
    [{ write: failed("overloaded"), read: timeout }, true, false, /a read failed/],
    [{ write: failed("sessions_full"), read: OK }, false, true, /^ready$/],
  ];
  for (const [result, diskLow, ready, text] of cases) {
    const answer = await setUp(result, [META, DEFAULT], diskLow).check.ask();
    assert.equal(answer.ready, ready, String(text));
    assert.match(answer.text, text);
  }
});

test("stopped spaces are named, and the attempt goes to one that serves", async () => {
  const stopped: Shard = { group: 7, name: "orders", damage: "its log is damaged" };
  const one = setUp({ write: OK, read: OK }, [META, DEFAULT, stopped]);
  assert.deepEqual(await one.check.ask(), {
    ready: true,
    text: "ready; stopped: orders (group 7)",
  });
  const names = { ...META, damage: "its log is damaged" };
  const other = setUp({ write: OK, read: OK }, [names, DEFAULT, stopped]);
  assert.equal(
    (await other.check.ask()).text,
    "ready; stopped: the names of spaces (group 0), orders (group 7)",
  );
  assert.deepEqual(other.world.attempts, [1]);
  const found = setUp({ write: OK, read: OK }, [META, DEFAULT, stopped], false, 0);
  assert.equal(
    (await found.check.ask()).text,
    "ready; stopped: orders (group 7), group 9",
    "one that only the start told of",
  );
  const none = setUp({ write: OK, read: OK }, [names, stopped]);
  const answer = await none.check.ask();
  assert.equal(answer.ready, false);
  assert.match(answer.text, /^unavailable: every space is stopped: the names/);
});

async function figures(server: TestServer) {
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const of = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
  return {
    proposed: of("domp_node_proposed_total"),
    reads: of("domp_node_reads_total"),
    writes: of("domp_node_log_writes_total"),
    keys: of('domp_shard_keys\\{group="1",space="default"\\}'),
    spaces: of('domp_shard_keys\\{group="0",space=""\\}'),
  };
}

test("the attempt really is written and read, changes nothing, and spares a busy server", async (t) => {
  const server = await startTestServer(t);
  const ask = async () => {
    const response = await fetch(`${server.adminUrl}/readyz`);
    return `${response.status} ${(await response.text()).trim()}`;
  };
  const before = await figures(server);
  assert.equal(await ask(), "200 ready");
  const after = await figures(server);
  assert.equal(after.proposed, before.proposed + 1);
  assert.equal(after.reads, before.reads + 1);
  assert.ok(after.writes > before.writes);
  assert.equal(after.keys, before.keys);
  assert.equal(after.spaces, before.spaces);
  await sleep(1_010);
  assert.equal(await ask(), "200 ready");
  const again = await figures(server);
  assert.equal(again.proposed, after.proposed + 1);
  assert.ok(again.writes > after.writes, "written again, not answered from a table");

  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  await sleep(1_010);
  for (let sequence = 1; sequence <= 3; sequence += 1) {
    await client.submit([request(sequence, space, put("k", String(sequence)))]);
    const { proposed } = await figures(server);
    assert.equal(await ask(), "200 ready");
    assert.equal((await figures(server)).proposed, proposed, "a client's write stands for it");
    await sleep(1_010);
  }
});
