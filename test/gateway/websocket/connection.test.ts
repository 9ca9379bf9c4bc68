import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { RecordKind } from "../../../src/engine/index.js";
import { Counters } from "../../../src/gateway/counters.js";
import { ClientMemory } from "../../../src/gateway/memory.js";
import { Seam, type Tenant } from "../../../src/gateway/seam.js";
import { Slots } from "../../../src/gateway/slots.js";
import { TurnedAway } from "../../../src/gateway/turned-away.js";
import { Connection, type ConnectionLimits } from "../../../src/gateway/websocket/connection.js";
import { Authenticator } from "../../../src/policy/index.js";
import { readErrorDetail } from "../../../src/protocol/error-detail.js";
import {
  buildFrame,
  buildReplies,
  type FrameItem,
  FrameKind,
  frameKind,
  readReplies,
} from "../../../src/protocol/frame.js";
import { errorRetryAfterMs } from "../../../src/protocol/generated/errors.js";
import { buildGoodbye, buildHello, readGoodbye } from "../../../src/protocol/hello.js";
import { FakeEngine, FakePeer } from "../fakes.js";

const LIMITS: ConnectionLimits = {
  helloTimeoutMs: 100,
  frameBytesMax: 4096,
  outstandingBytesMax: 1024,
  sendBufferBytesMax: 1000,
};

const SECRET = "a-secret-of-sixteen";

function setUp(
  changes: Partial<ConnectionLimits> = {},
  withToken = false,
  memoryBytesMax = 1 << 20,
) {
  const engine = new FakeEngine();
  const slots = new Slots<Tenant>();
  const counters = new Counters();
  const seam = new Seam(engine, slots, counters);
  const sha256 = createHash("sha256").update(SECRET).digest("hex");
  const authenticator = new Authenticator(
    withToken ? [{ name: "app", sha256, access: "full" }] : [],
  );
  const waiting = new Set<Connection>();
  const memory = new ClientMemory(memoryBytesMax, counters);
  const told: object[] = [];
  const log = { warn: (fields: object) => told.push(fields) };
  const world = { nowMs: 0, draining: false };
  const peer = new FakePeer();
  const connection = new Connection(
    {
      seam,
      slots,
      authenticator,
      counters,
      memory,
      turnedAway: new TurnedAway(log, () => world.nowMs),
      limits: { ...LIMITS, ...changes },
      isDraining: () => world.draining,
      now: () => world.nowMs,
      waiting,
    },
    peer,
  );
  peer.onClose = () => connection.onClosed();
  const send = (frame: Uint8Array, isBinary = true) =>
    connection.onMessage(new Uint8Array(frame).buffer, isBinary);
  const pushed = (kind: RecordKind) => engine.records.filter((record) => record.kind === kind);
  const address = () => {
    const [attach] = pushed(RecordKind.attach);
    assert.ok(attach, "the engine knows no connection");
    return { slot: attach.slot, generation: attach.generation };
  };
  const answerAll = (frames: readonly Uint8Array[]) => {
    for (const frame of frames) engine.answer(address(), frame);
    seam.drain();
  };
  const answer = (frame: Uint8Array) => answerAll([frame]);
  const farewell = () => readGoodbye(peer.sent.at(-1) ?? new Uint8Array(0));
  return {
    engine,
    slots,
    counters,
    memory,
    told,
    world,
    peer,
    connection,
    waiting,
    send,
    pushed,
    answer,
    answerAll,
    farewell,
  };
}

function open(changes: Partial<ConnectionLimits> = {}) {
  const all = setUp(changes);
  all.send(buildHello({}));
  return all;
}

const item = (sequence: number, bytes = 8): FrameItem => ({
  sequence,
  kind: "transaction",
  payload: new Uint8Array(bytes),
});
const SPACE = 7;
const submit = (...items: FrameItem[]) => buildFrame(SPACE, items, 1, 1000);
const replies = (...sequences: number[]) =>
  buildReplies(
    SPACE,
    sequences.map((sequence) => ({
      sequence,
      revision: 1n,
      code: undefined,
      retryable: false,
      outcome: undefined,
      applied: true,
      replayed: false,
      outcomeApplied: false,
      payload: new Uint8Array(0),
    })),
  );

test("hello announces the connection to the engine, with the session to resume", () => {
  const { send, pushed, waiting, counters } = setUp();
  assert.equal(waiting.size, 1);
  send(buildHello({ session: new Uint8Array(56).fill(7) }));
  const [attach] = pushed(RecordKind.attach);
  assert.deepEqual(attach?.body, new Uint8Array(56).fill(7));
  assert.equal(waiting.size, 0);
  assert.equal(counters.connectionsAttached, 1);
});

test("a right token comes in, a wrong or missing one hears why it doesn't", () => {
  const right = setUp({}, true);
  right.send(buildHello({ token: SECRET }));
  assert.equal(right.pushed(RecordKind.attach).length, 1);
  for (const token of ["wrong", undefined]) {
    const wrong = setUp({}, true);
    wrong.send(buildHello({ token }));
    assert.equal(wrong.farewell().code, "unauthenticated");
    assert.equal(wrong.peer.ended?.code, 1008);
    assert.deepEqual(wrong.engine.records, []);
    assert.equal(wrong.slots.size, 0);
  }
});

test("what is no hello ends the connection with the fitting error", () => {
  const otherVersion = buildHello({});
  otherVersion[2] = 9;
  const badSession = buildHello({ session: new Uint8Array(3) });
  const cases: [string, Uint8Array, string, boolean?][] = [
    ["garbage", Uint8Array.of(1, 2, 3), "invalid_frame"],
    ["an empty message", new Uint8Array(0), "invalid_frame"],
    ["a submit", submit(item(1)), "invalid_frame"],
    ["a truncated hello", buildHello({ token: "abcdefgh" }).subarray(0, 40), "invalid_frame"],
    ["another version", otherVersion, "unsupported_version"],
    ["a session that is none", badSession, "session_refused"],
    ["a text message", buildHello({}), "invalid_frame", false],
    ["a token too long", buildHello({ token: "x".repeat(4100) }), "too_large"],
  ];
  for (const [name, frame, code, isBinary] of cases) {
    const { send, farewell, peer, engine } = setUp({ frameBytesMax: 8192 });
    send(frame, isBinary ?? true);
    assert.equal(farewell().code, code, name);
    assert.ok(peer.ended, name);
    assert.deepEqual(engine.records, [], name);
  }
});

test("a connection that says nothing is closed in time", () => {
  const { connection, world, farewell, peer } = setUp();
  world.nowMs = 99;
  connection.onSweep(world.nowMs);
  assert.equal(peer.ended, undefined);
  world.nowMs = 100;
  connection.onSweep(world.nowMs);
  assert.equal(farewell().code, "unauthenticated");
});

test("a second hello, and anything but a submit, ends the connection", () => {
  for (const frame of [buildHello({}), replies(1), Uint8Array.of(5)]) {
    const { send, farewell, pushed } = open();
    send(frame);
    assert.equal(farewell().code, "invalid_frame");
    assert.equal(pushed(RecordKind.detach).length, 1);
    assert.equal(pushed(RecordKind.frame).length, 0);
  }
});

test("a frame over the limit ends the connection", () => {
  const { send, farewell, peer } = open();
  send(submit(item(1, 5000)));
  assert.equal(farewell().code, "too_large");
  assert.equal(peer.ended?.code, 1009);
});

test("frames go to the engine as they came", () => {
  const { send, pushed } = open();
  const frame = submit(item(1), item(2));
  send(frame);
  assert.deepEqual(pushed(RecordKind.frame)[0]?.body, new Uint8Array(frame));
});

test("the engine's frames go to the client as they are", () => {
  const { answer, peer } = open();
  const frame = replies(1, 2);
  answer(frame);
  assert.deepEqual(peer.sent[0], new Uint8Array(frame));
});

test("requests beyond the credit are answered overloaded, each of them; replies give room again", () => {
  const { send, answer, peer, pushed, counters } = open();
  send(submit(item(1, 200), item(2, 200), item(3, 200)));
  send(submit(item(4, 200), item(5, 200)));
  assert.equal(pushed(RecordKind.frame).length, 1);
  const refused = readReplies(peer.sent[0] ?? new Uint8Array(0));
  assert.deepEqual(
    refused.map(({ sequence, code }) => [sequence, code]),
    [
      [4, "overloaded"],
      [5, "overloaded"],
    ],
  );
  const { retryAfterMs } = readErrorDetail(refused[0]?.payload ?? new Uint8Array(0));
  assert.equal(retryAfterMs, errorRetryAfterMs.overloaded);
  assert.equal(counters.refusals.get("overloaded"), 2);
  answer(replies(2));
  send(submit(item(4, 200), item(5, 200)));
  assert.equal(pushed(RecordKind.frame).length, 2);
});

test("credit is bytes, however many requests and spaces: the engine counts each space's sequences", () => {
  const { send, pushed, peer } = open();
  const items = Array.from({ length: 8 }, (_, at) => item(at + 1));
  for (const space of [1, 2, 3]) send(buildFrame(space, items, 1, 1000));
  assert.equal(pushed(RecordKind.frame).length, 3);
  assert.equal(peer.sent.length, 0);
});

test("bytes beyond the credit are answered overloaded, and credited again in shares", () => {
  const { send, answer, pushed, peer } = open();
  send(submit(item(1, 400), item(2, 400)));
  send(submit(item(3, 400)));
  assert.equal(pushed(RecordKind.frame).length, 1);
  answer(replies(1));
  send(submit(item(3, 400)));
  assert.equal(pushed(RecordKind.frame).length, 2);
  answer(replies(2, 3));
  send(submit(item(4, 900)));
  assert.equal(pushed(RecordKind.frame).length, 3, "an idle connection has all its credit");
  assert.equal(peer.ended, undefined);
});

test("a frame that could never fit is told so", () => {
  const { send, peer } = open();
  send(submit(item(1, 600), item(2, 600)));
  assert.deepEqual(
    readReplies(peer.sent[0] ?? new Uint8Array(0)).map(({ code }) => code),
    ["too_large", "too_large"],
  );
});

test("a full ring answers overloaded and costs no credit", () => {
  const { engine, send, pushed, peer } = open();
  engine.room = 0;
  for (let sequence = 1; sequence <= 10; sequence += 1) send(submit(item(sequence, 96)));
  assert.equal(peer.sent.length, 10);
  engine.room = 100;
  send(submit(item(11), item(12), item(13), item(14)));
  assert.equal(pushed(RecordKind.frame).length, 1);
});

test("a refused frame whose items do not fit together ends the connection", () => {
  const { engine, send, farewell } = open();
  engine.room = 0;
  const frame = submit(item(1), item(2));
  new DataView(frame.buffer).setUint32(4, 3, true);
  send(frame);
  assert.equal(farewell().code, "invalid_frame");
});

test("a frame that says it has no items, or far too many, ends the connection", () => {
  for (const count of [0, 65_537, 0xffff_ffff]) {
    const { send, farewell } = open();
    const frame = submit(item(1));
    new DataView(frame.buffer).setUint32(4, count, true);
    send(frame);
    assert.equal(farewell().code, "invalid_frame", String(count));
  }
});

test("the engine's goodbye is sent, then the connection closes with the code of that error", () => {
  const { answer, farewell, peer, pushed } = open();
  answer(buildGoodbye("unavailable", "no space is served"));
  assert.equal(farewell().code, "unavailable");
  assert.deepEqual(peer.ended, { code: 1013, reason: "unavailable" });
  assert.equal(pushed(RecordKind.detach).length, 1);
});

test("a goodbye waits until the client has read what came before it, but not for ever", () => {
  const { answer, peer, connection, world, waiting } = open();
  peer.reading = false;
  answer(buildGoodbye("session_superseded", ""));
  assert.equal(peer.ended, undefined);
  assert.equal(waiting.size, 1);
  connection.onDrained();
  assert.equal(peer.ended, undefined, "something still waits");
  peer.buffered = 0;
  connection.onDrained();
  assert.ok(peer.ended);

  const stuck = open();
  stuck.peer.reading = false;
  stuck.answer(buildGoodbye("session_superseded", ""));
  world.nowMs = 0;
  stuck.world.nowMs = 5_000;
  stuck.connection.onSweep(stuck.world.nowMs);
  assert.ok(stuck.peer.ended);
});

test("a client that does not read is cut once too much waits for it", () => {
  const { answer, peer, counters, pushed, slots } = open();
  peer.reading = false;
  for (let sequence = 1; peer.ended === undefined && sequence < 100; sequence += 1) {
    answer(replies(sequence));
  }
  assert.equal(peer.ended?.code, 1006, "no word would come through before what waits");
  assert.ok(peer.buffered <= LIMITS.sendBufferBytesMax + replies(1).length);
  assert.equal(counters.refusals.get("slow_consumer"), 1);
  assert.equal(pushed(RecordKind.detach).length, 1);
  assert.equal(slots.size, 0);
});

test("replies that come together go to the socket in one piece", () => {
  const { answer, answerAll, peer } = open();
  answer(replies(1));
  assert.equal(peer.corks, 0);
  const three = [replies(2), replies(3, 4), replies(5)];
  answerAll(three);
  assert.equal(peer.corks, 1);
  assert.deepEqual(peer.sent.slice(-3), three);
});

test("what the socket did not take of a piece is counted, and is cut where it is too much", () => {
  const { answerAll, peer, memory, counters } = open();
  peer.reading = false;
  const two = [replies(1), replies(2)];
  const bytes = replies(1).length + replies(2).length;
  answerAll(two);
  assert.equal(memory.bytes, bytes);
  for (let n = 2; peer.ended === undefined && n < 100; n += 1) answerAll(two);
  assert.equal(peer.ended?.code, 1006);
  assert.ok(peer.buffered <= LIMITS.sendBufferBytesMax + bytes);
  assert.equal(counters.refusals.get("slow_consumer"), 1);
  assert.equal(memory.bytes, 0);
});

test("a goodbye behind replies is no part of a piece: it waits until they are read", () => {
  const { answerAll, peer } = open();
  peer.reading = false;
  answerAll([replies(1), replies(2), buildGoodbye("session_superseded", "")]);
  assert.equal(peer.corks, 0);
  assert.equal(peer.ended, undefined);
  // Nor when the connection leaves as soon as all is answered.
  const leaving = open();
  leaving.send(submit(item(1), item(2)));
  leaving.connection.leave();
  leaving.peer.reading = false;
  leaving.answerAll([replies(1), replies(2)]);
  assert.equal(leaving.peer.corks, 0);
  assert.equal(leaving.peer.ended, undefined);
});

test("after the end nothing is sent, whatever still arrives", () => {
  const { send, answer, connection, peer, pushed } = open();
  peer.end(1006, "");
  const sent = peer.sent.length;
  send(submit(item(1)));
  answer(replies(1));
  connection.onClosed();
  connection.onSweep(1e9);
  connection.goodbye("shutting_down", "");
  connection.leave();
  assert.equal(peer.sent.length, sent);
  assert.equal(pushed(RecordKind.detach).length, 1);
  assert.equal(pushed(RecordKind.frame).length, 0);
});

test("a draining server refuses new requests and lets the connection finish the accepted ones", () => {
  const { send, answer, connection, world, peer, farewell } = open();
  send(submit(item(1)));
  world.draining = true;
  connection.leave();
  assert.ok(!peer.ended);
  send(submit(item(2)));
  assert.equal(readReplies(peer.sent[0] ?? new Uint8Array(0))[0]?.code, "shutting_down");
  answer(replies(1));
  assert.equal(frameKind(peer.sent[1] ?? new Uint8Array(0)), FrameKind.replies);
  assert.equal(farewell().code, "shutting_down");
  assert.deepEqual(peer.ended, { code: 1012, reason: "shutting_down" });
});

test("an idle connection leaves a draining server at once, a slow one when it has read all", () => {
  const idle = open();
  idle.connection.leave();
  assert.equal(idle.farewell().code, "shutting_down");
  assert.equal(idle.farewell().retryAfterMs, errorRetryAfterMs.shutting_down);
  const slow = open();
  slow.send(submit(item(1)));
  slow.peer.reading = false;
  slow.connection.leave();
  slow.answer(replies(1));
  assert.equal(slow.peer.ended, undefined);
  slow.peer.reading = true;
  slow.peer.buffered = 0;
  slow.connection.onDrained();
  assert.equal(slow.farewell().code, "shutting_down");
});

/** Numbers from a seed: the same run each time. */
function* numbers(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state >>> 8;
  }
}

test("hostile frames never throw, and never reach the engine as anything but submits", () => {
  const random = numbers(20);
  const pick = (below: number) => random.next().value % below;
  const originals = [
    buildHello({ token: "t".repeat(20), session: new Uint8Array(56), client: "fuzz" }),
    submit(item(1), item(2, 100)),
    replies(1, 2),
    buildGoodbye("internal", "x"),
  ];
  let ended = 0;
  let forwarded = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const all = pick(2) === 0 ? open() : setUp();
    // With no credit each frame is walked for its items, the deepest the gateway looks.
    if (pick(2) === 0) all.engine.room = 0;
    for (let count = 0; count < 3 && all.peer.ended === undefined; count += 1) {
      const original = originals[pick(originals.length)] ?? new Uint8Array(0);
      const frame = original.slice(0, pick(4) === 0 ? pick(original.length + 1) : original.length);
      for (let edits = pick(4); edits > 0 && frame.length > 0; edits -= 1) {
        frame[pick(frame.length)] = pick(3) === 0 ? 0xff : pick(256);
      }
      all.send(frame, pick(20) !== 0);
    }
    for (const { body } of all.pushed(RecordKind.frame)) {
      assert.equal(frameKind(body), FrameKind.submit);
      forwarded += 1;
    }
    if (all.peer.ended !== undefined) {
      ended += 1;
      assert.equal(all.slots.size, 0);
    }
  }
  assert.ok(ended > 1_000 && forwarded > 1_000, `ended ${ended}, forwarded ${forwarded}`);
});
