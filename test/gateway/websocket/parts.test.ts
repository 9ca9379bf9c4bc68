import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordKind } from "../../../src/engine/index.js";
import { Counters } from "../../../src/gateway/counters.js";
import { ClientMemory } from "../../../src/gateway/memory.js";
import { Seam, type Tenant } from "../../../src/gateway/seam.js";
import { Slots } from "../../../src/gateway/slots.js";
import { TurnedAway } from "../../../src/gateway/turned-away.js";
import { Connection } from "../../../src/gateway/websocket/connection.js";
import { Authenticator } from "../../../src/policy/index.js";
import {
  buildFrame,
  FrameKind,
  type OwnBytes,
  splitIntoParts,
} from "../../../src/protocol/frame.js";
import { buildHello, readGoodbye } from "../../../src/protocol/hello.js";
import { FakeEngine, FakePeer } from "../fakes.js";

const MIB = 1 << 20;

/** Connections that share an engine and a budget. */
function setUp(memoryBytesMax = 64 * MIB, frameBytesMax = 8 * MIB) {
  const engine = new FakeEngine();
  const slots = new Slots<Tenant>();
  const counters = new Counters();
  const memory = new ClientMemory(memoryBytesMax, counters);
  const context = {
    seam: new Seam(engine, slots, counters),
    slots,
    authenticator: new Authenticator([]),
    counters,
    memory,
    turnedAway: new TurnedAway({ warn: () => undefined }, () => 0),
    limits: {
      helloTimeoutMs: 100,
      frameBytesMax,
      outstandingBytesMax: 16 * MIB,
      sendBufferBytesMax: 16 * MIB,
    },
    isDraining: () => false,
    now: () => 0,
    waiting: new Set<Connection>(),
  };
  const connect = () => {
    const peer = new FakePeer();
    const connection = new Connection(context, peer);
    peer.onClose = () => connection.onClosed();
    const send = (message: Uint8Array) =>
      connection.onMessage(Uint8Array.from(message).buffer, true);
    const farewell = () => readGoodbye(peer.sent.at(-1) ?? new Uint8Array(0));
    return { peer, connection, send, farewell };
  };
  const open = () => {
    const client = connect();
    client.send(buildHello({}));
    return client;
  };
  const frames = () =>
    engine.records.filter(({ kind }) => kind === RecordKind.frame).map(({ body }) => body);
  return { engine, counters, memory, slots, connect, open, frames };
}

const frameOf = (bytes: number): OwnBytes =>
  buildFrame(
    1,
    [{ sequence: 1, kind: "transaction", payload: new Uint8Array(bytes).fill(7) }],
    1,
    1000,
  );

test("a large frame comes together from its parts, and costs the budget only until it is whole", () => {
  const { open, frames, memory } = setUp();
  const client = open();
  const frame = frameOf(300_000);
  const parts = splitIntoParts(frame);
  assert.ok(parts.length > 4);
  for (const part of parts.slice(0, -1)) client.send(part);
  assert.equal(frames().length, 0);
  assert.ok(memory.bytes > 200_000 && memory.bytes < frame.length);
  client.send(parts.at(-1) ?? frame);
  assert.deepEqual(frames(), [new Uint8Array(frame)]);
  assert.equal(memory.bytes, 0);
  client.send(frameOf(8));
  assert.equal(frames().length, 2, "and the connection goes on");
});

test("parts out of place, and frames between parts, end the connection and leave nothing kept", () => {
  const parts = splitIntoParts(frameOf(300_000));
  const other = splitIntoParts(frameOf(290_000));
  const disguised = frameOf(300_000);
  disguised[3] = FrameKind.hello;
  const [first, second, third] = parts as [OwnBytes, OwnBytes, OwnBytes];
  const cases: [string, Uint8Array[]][] = [
    ["begins in the middle", [second]],
    ["the first twice", [first, first]],
    ["one left out", [first, third]],
    ["one of another frame", [first, other[1] ?? first]],
    ["a frame between", [first, frameOf(8)]],
    ["garbage between", [first, Uint8Array.of(1, 2, 3)]],
    ["a hello in parts", splitIntoParts(disguised)],
  ];
  for (const [what, sent] of cases) {
    const { open, frames, memory, slots } = setUp();
    const client = open();
    for (const message of sent) if (client.peer.ended === undefined) client.send(message);
    assert.equal(client.farewell().code, "invalid_frame", what);
    assert.ok(client.peer.ended, what);
    assert.equal(frames().length, 0, what);
    assert.equal(memory.bytes, 0, what);
    assert.equal(slots.size, 0, what);
  }
});

test("a frame that would be too large is told so with its first part", () => {
  const { open, memory } = setUp(64 * MIB, 100_000);
  const client = open();
  client.send(splitIntoParts(frameOf(200_000))[0] ?? new Uint8Array(0));
  assert.equal(client.farewell().code, "too_large");
  assert.equal(memory.bytes, 0);
});

test("before hello there are no parts", () => {
  const { connect, memory } = setUp();
  const client = connect();
  client.send(splitIntoParts(frameOf(200_000))[0] ?? new Uint8Array(0));
  assert.equal(client.farewell().code, "invalid_frame");
  assert.equal(memory.bytes, 0);
});

test("at the budget the one that sent the most of a frame is told overloaded, the others go on", () => {
  const { open, frames, counters } = setUp(MIB);
  const greedy = open();
  const modest = open();
  for (const part of splitIntoParts(frameOf(900_000)).slice(0, -1)) greedy.send(part);
  assert.equal(frames().length, 0);
  for (const part of splitIntoParts(frameOf(400_000))) modest.send(part);
  assert.equal(greedy.farewell().code, "overloaded");
  assert.match(greedy.farewell().message, /holds the most: \d+ bytes/);
  assert.equal(greedy.peer.ended?.code, 1013);
  assert.equal(modest.peer.ended, undefined);
  assert.equal(frames().length, 1);
  assert.equal(counters.memoryShed, 1);
  // Alone it is refused too, once it would be over the budget by itself.
  const alone = open();
  const parts = splitIntoParts(frameOf(2 * MIB));
  for (const part of parts) if (alone.peer.ended === undefined) alone.send(part);
  assert.equal(alone.farewell().code, "overloaded");
});

test("at the budget the one that reads nothing is cut", () => {
  const { open, engine, memory } = setUp(MIB);
  const slow = open();
  const [attach] = engine.records;
  assert.ok(attach);
  slow.peer.reading = false;
  slow.connection.onFrames([new Uint8Array(900_000).fill(1)]);
  assert.equal(memory.bytes, 900_000);
  const modest = open();
  for (const part of splitIntoParts(frameOf(400_000))) modest.send(part);
  assert.equal(slow.peer.ended?.code, 1006, "no word would reach it");
  assert.equal(modest.peer.ended, undefined);
  assert.equal(memory.bytes, 0);
});
