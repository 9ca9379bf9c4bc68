// The engine as the server uses it: through the addon and its rings.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { callerPrefix, EngineError, offline, RecordKind } from "../../src/engine/index.js";
import { buildFrame, FrameKind, frameKind, readReplies } from "../../src/protocol/frame.js";
import { bytes, found, get, put, SPACE, TestGateway, testDirectory } from "./gateway.js";

for (const logMode of ["auto", "inline", "threaded"] as const) {
  test(`a put is answered and read back after a restart (${logMode})`, async () => {
    const directory = testDirectory();
    const gateway = await TestGateway.open({ directory, logMode });
    assert.equal(gateway.engine.report.ready, true);
    assert.equal(gateway.engine.report.logMode, logMode);
    await gateway.attach(3, 1);
    await gateway.submit(3, 1, 1, put("key", "value"));
    const [reply] = await gateway.replies(3, 1, 1);
    assert.ok(reply?.applied && reply.revision > 0n);
    assert.deepEqual(await gateway.engine.close(), { drained: true });

    const again = await TestGateway.open({ directory, logMode });
    assert.equal(again.engine.report.node, gateway.engine.report.node, "the same identity");
    await again.attach(0, 1);
    assert.equal(await again.get(0, 1, "key"), "value");
    assert.equal(await again.get(0, 2, "absent"), undefined);
    await again.engine.close();
  });
}

test("a resumed session's retry is answered, not repeated", async () => {
  const directory = testDirectory();
  const first = await TestGateway.open({ directory });
  const welcome = await first.attach(1, 1);
  await first.submit(1, 1, 1, put("once", "1"));
  const [before] = await first.replies(1, 1, 1);
  await first.engine.close();
  const second = await TestGateway.open({ directory });
  const resumed = await second.attach(8, 3, welcome.session);
  assert.ok(resumed.resumed && resumed.epoch > welcome.epoch);
  await second.submit(8, 3, 1, put("once", "1"));
  const [after] = await second.replies(8, 3, 1);
  assert.ok(after?.replayed);
  assert.equal(after.revision, before?.revision);
  await second.engine.close();
});

test("a stateless write takes effect once under its key", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  const framed = (payload: Uint8Array): Uint8Array =>
    buildFrame(SPACE, [{ sequence: 1, kind: "transaction", payload }], 1, 10_000);
  const frame = framed(put("stateless", "1", bytes("once")));
  const revisions: (bigint | undefined)[] = [];
  for (const generation of [1, 2]) {
    const prefix = callerPrefix(7n, false);
    await gateway.push(RecordKind.stateless, 40, generation, frame, prefix);
    gateway.engine.flush();
    const [reply] = await gateway.replies(40, generation, 1);
    assert.equal(reply?.code, undefined);
    revisions.push(reply?.revision);
  }
  assert.equal(revisions[0], revisions[1]);
  const without = framed(put("stateless", "1"));
  await gateway.push(RecordKind.stateless, 40, 3, without, callerPrefix(7n, false));
  gateway.engine.flush();
  const [refused] = await gateway.replies(40, 3, 1);
  assert.equal(refused?.code, "idempotency_key_required");
  await gateway.engine.close();
});

test("a later generation of a slot never sees the earlier one's replies", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  for (let generation = 1; generation <= 150; generation++) {
    await gateway.attach(5, generation);
    // The tag tells whose reply it is: each generation writes, then reads back, its own key.
    const key = `of-${generation}`;
    await gateway.submit(5, generation, 1, put(key, key), get(key));
    // Every third waits for its replies; the others are gone before theirs come.
    if (generation % 3 === 0) {
      await gateway.replies(5, generation, 2);
      await gateway.submit(5, generation, 3, get(key));
      const [reply] = await gateway.replies(5, generation, 1);
      assert.equal(reply && found(reply), key);
    }
    await gateway.push(RecordKind.detach, 5, generation, new Uint8Array(0));
  }
  await gateway.engine.close();
  for (const [address, frames] of gateway.frames) {
    for (const frame of frames) {
      for (const reply of readReplies(frame)) {
        const held = reply.sequence === 2 ? found(reply) : undefined;
        if (held !== undefined) assert.equal(`5/${held.slice(3)}`, address);
      }
    }
  }
});

test("frames up to the largest go through, however they fall in the ring", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  let sequence = 1;
  for (let round = 0; round < 12; round++) {
    // 7 MiB in one frame, then odd small ones, so that wrap markers come at changing places.
    const large = Array.from({ length: 7 }, (_, n) =>
      put(`large-${n}`, new Uint8Array(1 << 20).fill(round)),
    );
    await gateway.submit(1, 1, sequence, ...large);
    sequence += large.length;
    for (let n = 0; n < round * 5; n++) {
      await gateway.submit(1, 1, sequence, put(`small-${n}`, "x".repeat(n * 37)));
      sequence += 1;
    }
    const replies = await gateway.replies(1, 1, large.length + round * 5);
    assert.ok(replies.every((reply) => reply.applied));
  }
  await gateway.submit(1, 1, sequence, get("large-6"));
  const [reply] = await gateway.replies(1, 1, 1);
  assert.equal(reply && found(reply)?.length, 1 << 20);
  assert.throws(() => gateway.engine.push(RecordKind.frame, 1, 1, new Uint8Array(9 << 20)), {
    name: "RangeError",
  });
  await gateway.engine.close();
});

test("a full ring refuses, and a wake-up tells when there is room", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  const { engine } = gateway;
  const value = new Uint8Array(900_000);
  await gateway.submit(1, 1, 1, put("large", value));
  await gateway.replies(1, 1, 1);
  // Replies that nobody fetches fill the other ring, too.
  gateway.deaf = true;
  const READS = 40;
  for (let sequence = 2; sequence < 2 + READS; sequence++) {
    await gateway.submit(1, 1, sequence, get("large"));
  }
  let sequence = 2 + READS;
  const payload = put("key", value);
  const write = () => buildFrame(SPACE, [{ sequence, kind: "transaction", payload }], 1, 60_000);
  // Built beforehand: the engine, which has reads to answer, can't take them in as fast as they come.
  const first = sequence;
  const frames = Array.from({ length: 200 }, (_, n) =>
    buildFrame(SPACE, [{ sequence: first + n, kind: "transaction", payload }], 1, 60_000),
  );
  for (const frame of frames) {
    if (!engine.push(RecordKind.frame, 1, 1, frame)) break;
    sequence += 1;
  }
  assert.ok(sequence < first + frames.length, "the ring takes no end");
  gateway.deaf = false;
  gateway.drain();
  const before = gateway.wakeUps;
  const deadline = Date.now() + 30_000;
  while (gateway.wakeUps === before || !engine.push(RecordKind.frame, 1, 1, write())) {
    assert.ok(Date.now() < deadline, "no room came, or nobody said so");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  engine.flush();
  const replies = await gateway.replies(1, 1, sequence - 1);
  assert.deepEqual(
    replies.map((reply) => reply.sequence).sort((one, two) => one - two),
    Array.from({ length: sequence - 1 }, (_, n) => n + 2),
  );
  await engine.close();
});

test("a second engine on the directory is refused with a clear message", async () => {
  const directory = testDirectory();
  const gateway = await TestGateway.open({ directory });
  await assert.rejects(TestGateway.open({ directory }), (error) => {
    assert.ok(error instanceof EngineError);
    assert.match(error.message, new RegExp(`in use by process ${process.pid}`));
    return true;
  });
  await assert.rejects(offline({ kind: "check", directory }), /in use by process/);
  await gateway.engine.close();
});

test("records that make no sense are counted and harm nobody", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  const { engine } = gateway;
  await gateway.attach(1, 1);
  const unknown = 77 as RecordKind;
  const garbage = Uint8Array.from({ length: 5000 }, (_, n) => (n * 73) & 0xff);
  engine.push(unknown, 1, 1, garbage);
  engine.push(RecordKind.attach, 2, 1, garbage.subarray(0, 15));
  engine.push(RecordKind.stateless, 2, 1, garbage.subarray(0, 15));
  engine.push(RecordKind.stateless, 2, 1, garbage);
  engine.push(RecordKind.frame, 0xffffffff, 0xffffffff, garbage);
  engine.push(RecordKind.frame, 9, 9, garbage);
  engine.push(RecordKind.detach, 12345, 1, garbage);
  await gateway.submit(1, 1, 1, put("still", "here"));
  await gateway.replies(1, 1, 1);
  const { work } = await engine.control("statistics");
  assert.equal(work.inboundMalformed, 3);
  assert.equal(work.inboundFaults, 0);
  // A connection that sends garbage is told goodbye.
  engine.push(RecordKind.frame, 1, 1, garbage);
  engine.flush();
  assert.equal(frameKind(await gateway.frame(1, 1)), FrameKind.goodbye);
  await engine.close();
});

test("closing under traffic keeps what was acknowledged", async () => {
  const directory = testDirectory();
  const gateway = await TestGateway.open({ directory });
  await gateway.attach(1, 1);
  for (let sequence = 1; sequence <= 500; sequence++) {
    await gateway.submit(1, 1, sequence, put("counter", `${sequence}`));
  }
  const closed = await gateway.engine.close();
  assert.deepEqual(closed, { drained: true });
  assert.equal(await gateway.engine.close(), closed, "closing again is the same");
  let acknowledged = 0;
  for (const frame of gateway.frames.get("1/1") ?? []) {
    for (const reply of readReplies(frame)) {
      if (reply.applied) acknowledged = Math.max(acknowledged, reply.sequence);
    }
  }
  assert.equal(gateway.engine.push(RecordKind.frame, 1, 1, put("late", "x")), false);
  gateway.engine.flush();
  await assert.rejects(gateway.engine.control("statistics"), /closed/);
  const again = await TestGateway.open({ directory });
  await again.attach(1, 1);
  assert.ok(Number(await again.get(1, 1, "counter")) >= acknowledged);
  await again.engine.close();
});

test("statistics tell what was done", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  for (let sequence = 1; sequence <= 20; sequence++) {
    await gateway.submit(1, 1, sequence, put(`key-${sequence}`, "value"));
    await gateway.replies(1, 1, 1);
  }
  const { engine, work, node } = await gateway.engine.control("statistics");
  assert.equal(engine.node, gateway.engine.report.node);
  assert.ok(["O_DIRECT", "buffered"].some((word) => engine.flush.method.startsWith(word)));
  assert.equal(work.outboundReplies, 20);
  assert.ok(work.logWriteNs.count >= 20 && work.logWriteNs.p50 > 0);
  assert.ok(work.requestNs.count >= 10 && work.requestNs.p50 >= work.logWriteNs.min);
  assert.equal(node.connections, 1);
  const shard = node.shards.find(({ name }) => name === "default");
  assert.equal(shard?.keys, 20);
  assert.deepEqual(node.stopped, []);
  assert.ok(Number.isSafeInteger(work.clockSkewMs));
  await gateway.engine.close();
});

test("a drain refuses new requests", async () => {
  const gateway = await TestGateway.open({ directory: testDirectory() });
  await gateway.attach(1, 1);
  await gateway.engine.control("drain");
  await gateway.submit(1, 1, 1, put("late", "x"));
  const [reply] = await gateway.replies(1, 1, 1);
  assert.equal(reply?.code, "shutting_down");
  await gateway.engine.close();
});

test("a snapshot is restored and a check finds the directory healthy", async () => {
  const directory = testDirectory();
  const gateway = await TestGateway.open({ directory });
  await gateway.attach(1, 1);
  for (let sequence = 1; sequence <= 100; sequence++) {
    await gateway.submit(1, 1, sequence, put(`key-${sequence}`, "x".repeat(1000)));
  }
  await gateway.replies(1, 1, 100);
  const { taken } = await gateway.engine.control("snapshot");
  assert.deepEqual(
    taken.map(({ group }) => group),
    [0, 1],
  );
  const { node } = await gateway.engine.control("statistics");
  assert.equal(node.snapshotsFailed, 0);
  assert.equal(node.snapshotLastFailure, null);
  assert.deepEqual(await gateway.engine.control("notices"), { notices: [], forgotten: 0 });
  await gateway.engine.close();
  const report = await offline({ kind: "check", directory });
  assert.equal(report.healthy, true, report.text);
  assert.match(report.text, /healthy/);
  const again = await TestGateway.open({ directory });
  await again.attach(1, 1);
  assert.equal((await again.get(1, 1, "key-77"))?.length, 1000);
  await again.engine.close();
});

test("a check tells of a damaged identity, and what is no data directory", async () => {
  const directory = testDirectory();
  await assert.rejects(offline({ kind: "check", directory }), /no data directory/);
  await assert.rejects(offline({ kind: "check", directory: `${directory}/absent` }), EngineError);
  await (await TestGateway.open({ directory })).engine.close();
  writeFileSync(path.join(directory, "identity"), "domp identity 3\nnode 1\n");
  const report = await offline({ kind: "check", directory });
  assert.equal(report.healthy, false);
  assert.match(report.text, /^damage: identity at 0: who this node is can't be read/m);
  assert.deepEqual(
    report.report.findings
      .filter(({ severity }) => severity === "damage")
      .map(({ file, groups }) => [file, groups]),
    [["identity", "all"]],
  );
  await assert.rejects(TestGateway.open({ directory }), /identity/);
});

test("a check refuses a directory of an older format, as a start does", async () => {
  const directory = testDirectory();
  writeFileSync(path.join(directory, "identity"), "domp identity 2\nnode 1\n");
  const older = /identity has format version 2; this program reads version 3/;
  await assert.rejects(offline({ kind: "check", directory }), older);
  await assert.rejects(TestGateway.open({ directory }), older);
});

test("a log in a directory of its own is checked there", async () => {
  const directory = testDirectory();
  const logDirectory = testDirectory();
  const gateway = await TestGateway.open({ directory, logDirectory });
  assert.equal(gateway.engine.report.logDirectory, logDirectory);
  await gateway.attach(1, 1);
  await gateway.submit(1, 1, 1, put("key", "value"));
  await gateway.replies(1, 1, 1);
  await assert.rejects(offline({ kind: "check", directory, logDirectory }), /in use/);
  await gateway.engine.close();
  const found = await offline({ kind: "check", directory, logDirectory });
  assert.equal(found.healthy, true, found.text);
  assert.ok(found.report.records > 1);
  const without = await offline({ kind: "check", directory });
  assert.equal(without.healthy, false, "the log is not where it should be");
  assert.match(without.text, /there is an identity, but no log/);
  const other = testDirectory();
  await (await TestGateway.open({ directory: other })).engine.close();
  await assert.rejects(
    offline({ kind: "check", directory: other, logDirectory }),
    /has a log in/,
    "the log would be in two places",
  );
});

test("options that make no sense are refused", async () => {
  const directory = testDirectory();
  for (const [options, message] of [
    [{ logMode: "sideways" as "inline" }, /logMode/],
    [{ sessionWindow: -1 }, /sessionWindow/],
    [{ inboundRingBytes: 4096 }, /ring/],
    [{ outboundRingBytes: 3 << 23 }, /power of two/],
    [{ segmentBytes: 5000 }, /4096/],
  ] as const) {
    await assert.rejects(TestGateway.open({ directory, ...options }), (error) => {
      assert.ok(error instanceof EngineError);
      assert.match(error.message, message);
      return true;
    });
  }
  await assert.rejects(TestGateway.open({ directory: "/proc/no/such" }), EngineError);
});

test("a log that can't be written ends the engine, once and with a reason", async () => {
  const directory = testDirectory();
  const gateway = await TestGateway.open({ directory });
  await gateway.attach(1, 1);
  await gateway.submit(1, 1, 1, put("key", "kept"));
  await gateway.replies(1, 1, 1);
  // The next segment can't be made, and the present one fills.
  rmSync(path.join(directory, "wal"), { recursive: true });
  writeFileSync(path.join(directory, "wal"), "no directory any more");
  const value = new Uint8Array(900_000);
  let sequence = 2;
  await assert.rejects(async () => {
    for (;;) {
      await gateway.submit(1, 1, sequence, put("key", value));
      sequence += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (gateway.failure !== undefined) throw gateway.failure;
    }
  }, EngineError);
  assert.notEqual(gateway.failure?.message, "");
  await assert.rejects(gateway.engine.control("statistics"), EngineError);
  assert.equal(gateway.engine.push(RecordKind.frame, 1, 1, bytes("late")), false);
  assert.deepEqual(await gateway.engine.close(), { drained: false });
});
