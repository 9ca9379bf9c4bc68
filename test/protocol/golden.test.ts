// Golden frames: bytes of the past, readable for ever. See native/protocol/tests/golden.rs, which
// tells the same meanings. `DOMP_WRITE_GOLDEN=1` writes files that do not exist yet.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { ByteBuffer } from "flatbuffers";
import { readErrorDetail } from "../../src/protocol/error-detail.js";
import {
  buildFrame,
  FrameKind,
  frameCount,
  frameKind,
  frameSpace,
  frameVersion,
  readItems,
  readPart,
  readReplies,
} from "../../src/protocol/frame.js";
import {
  BatchHeader,
  BatchKind,
  EntryHeader,
  HardState,
  RecordHeader,
  RecordKind,
  SessionToken,
} from "../../src/protocol/generated/log.js";
import * as wire from "../../src/protocol/generated/wire.js";
import { readGoodbye, readHello, readWelcome } from "../../src/protocol/hello.js";
import {
  decodeKeyOutcome,
  decodeResults,
  type Entry,
  type KeyOutcome,
  type Result,
} from "../../src/protocol/results.js";
import {
  encodeOutcomeOfRequest,
  encodeOutcomeRequest,
  encodeTransaction,
  type Guard,
  type Operation,
} from "../../src/protocol/transaction.js";

// Tests run from the root, compiled or not.
const directory = path.resolve("test/golden/v2");

function golden(name: string): Uint8Array {
  // A copy at offset 0 of its own buffer would hide a reader that forgets where its bytes begin.
  const bytes = readFileSync(path.join(directory, name));
  const shifted = new Uint8Array(bytes.length + 24);
  shifted.set(bytes, 16);
  return shifted.subarray(16, 16 + bytes.length);
}

const text = (string: string): Uint8Array => new TextEncoder().encode(string);
const buffer = (payload: Uint8Array): ByteBuffer => new ByteBuffer(payload.slice());

const TOKEN = golden("session-token.bin");

const GUARDS: Guard[] = [
  { kind: "exists", key: text("a") },
  { kind: "absent", key: Uint8Array.of(0xff, 0) },
  { kind: "version", key: text("c"), version: 0 },
  { kind: "modified", key: text("d"), revision: 2n ** 64n - 1n },
  { kind: "modifiedAtMost", key: text("e"), revision: 113_246_208_000_000_000n },
  { kind: "value", key: text("f"), value: text("") },
  { kind: "value", key: text("f"), value: -(2n ** 63n) },
  { kind: "atLeast", key: text("g"), number: -3n },
  { kind: "unchanged", from: text(""), to: undefined, revision: 1n, count: 0 },
  { kind: "unchanged", from: text("h"), to: text("i"), revision: 1n, count: 4096 },
];

const OPERATIONS: Operation[] = [
  { kind: "get", key: text("a") },
  { kind: "range", from: text(""), to: undefined },
  { kind: "range", from: text("b"), to: text("c"), limit: 3, reverse: true, keysOnly: true },
  { kind: "count", from: text(""), to: text("z") },
  { kind: "put", key: text("d"), value: text("value") },
  { kind: "put", key: text("e"), value: 0n, expireAfterMs: 5 },
  { kind: "delete", key: text("f") },
  { kind: "deleteRange", from: text("g"), to: undefined },
  { kind: "add", key: text("h"), delta: -1n, floor: 0n, ceiling: 2n ** 63n - 1n },
  { kind: "add", key: text("h"), delta: 2n ** 63n - 1n },
  { kind: "append", key: text("i"), value: text("") },
];

const KEY = Uint8Array.of(...text("order/"), 0xff, 0);

function submit(): Uint8Array {
  const everything = encodeTransaction({
    space: 7,
    guards: GUARDS,
    then: OPERATIONS,
    otherwise: [{ kind: "get", key: text("k") }],
  });
  const keyed = encodeTransaction({
    space: 7,
    then: [{ kind: "delete", key: text("k") }],
    idempotencyKey: KEY,
    result: text("kept"),
  });
  const outcome = encodeOutcomeRequest({ space: 7, key: text("k"), sequence: 12, session: TOKEN });
  return buildFrame(
    7,
    [
      { sequence: 1, kind: "transaction", payload: everything },
      { sequence: 2 ** 40, kind: "transaction", payload: keyed },
      { sequence: 3, kind: "outcome", payload: outcome },
      {
        sequence: 4,
        kind: "outcome_of",
        payload: encodeOutcomeOfRequest({ space: 7, idempotencyKey: KEY }),
      },
    ],
    1,
    5000,
  );
}

/** What the stock accessors read of a guard, in the form of ours. */
function plainGuard(guard: wire.Guard): unknown {
  const kinds = ["exists", "absent", "version", "modified", "modifiedAtMost"];
  const kind = [...kinds, "value", "atLeast", "unchanged"][guard.kind() - 1];
  const key = guard.keyArray() ?? text("");
  switch (kind) {
    case "exists":
    case "absent":
      return { kind, key };
    case "version":
      return { kind, key, version: Number(guard.revision()) };
    case "value":
      return { kind, key, value: guard.number() ?? guard.valueArray() };
    case "atLeast":
      return { kind, key, number: guard.number() };
    case "unchanged":
      return {
        kind,
        from: key,
        to: guard.toArray() ?? undefined,
        revision: guard.revision(),
        count: Number(guard.count()),
      };
    default:
      return { kind, key, revision: guard.revision() };
  }
}

/** The same of an operation; what is absent is left out. */
function plainOperation(operation: wire.Operation): unknown {
  const key = operation.keyArray() ?? text("");
  const to = operation.toArray() ?? undefined;
  const expireAfterMs = operation.expireAfterMs();
  const flags = operation.flags();
  switch (operation.kind()) {
    case wire.OperationKind.get:
      return { kind: "get", key };
    case wire.OperationKind.range: {
      const limit = operation.limit();
      return {
        kind: "range",
        from: key,
        to,
        ...(limit !== null && { limit }),
        ...(flags & 1 && { reverse: true }),
        ...(flags & 2 && { keysOnly: true }),
      };
    }
    case wire.OperationKind.count:
      return { kind: "count", from: key, to };
    case wire.OperationKind.put:
      return {
        kind: "put",
        key,
        value: operation.number() ?? operation.valueArray(),
        ...(expireAfterMs !== null && { expireAfterMs: Number(expireAfterMs) }),
      };
    case wire.OperationKind.delete_:
      return { kind: "delete", key };
    case wire.OperationKind.delete_range:
      return { kind: "deleteRange", from: key, to };
    case wire.OperationKind.add: {
      const floor = operation.floor();
      const ceiling = operation.ceiling();
      return {
        kind: "add",
        key,
        delta: operation.number(),
        ...(floor !== null && { floor }),
        ...(ceiling !== null && { ceiling }),
      };
    }
    case wire.OperationKind.append:
      return { kind: "append", key, value: operation.valueArray() ?? text("") };
    case wire.OperationKind.space_create:
      return { kind: "spaceCreate", name: key };
    case wire.OperationKind.space_drop:
      return { kind: "spaceDrop", name: key };
    default:
      return assert.fail(`operation ${operation.kind()}`);
  }
}

function list<T>(length: number, at: (index: number) => T | null): T[] {
  return Array.from({ length }, (_, index) => {
    const item = at(index);
    assert.ok(item !== null);
    return item;
  });
}

function checkSubmit(frame: Uint8Array): void {
  assert.equal(frameKind(frame), FrameKind.submit);
  assert.equal(frameVersion(frame), 2);
  assert.equal(frameCount(frame), 4);
  assert.equal(frameSpace(frame), 7);
  const header = new wire.FrameHeader().__init(0, buffer(frame));
  assert.equal(header.ackedBelow(), 1n);
  assert.equal(header.timeoutMs(), 5000);
  const items = readItems(frame);
  assert.deepEqual(
    items.map(({ sequence, kind }) => [sequence, kind]),
    [
      [1, "transaction"],
      [2 ** 40, "transaction"],
      [3, "outcome"],
      [4, "outcome_of"],
    ],
  );
  const [first, second, third, fourth] = items.map((item) => buffer(item.payload));
  assert.ok(first && second && third && fourth);

  const everything = wire.Transaction.getRootAsTransaction(first);
  assert.equal(everything.space(), 7);
  const guards = list(everything.guardsLength(), (index) => everything.guards(index));
  assert.deepEqual(guards.map(plainGuard), GUARDS);
  const then = list(everything.thenLength(), (index) => everything.then(index));
  assert.deepEqual(then.map(plainOperation), OPERATIONS);
  const otherwise = list(everything.otherwiseLength(), (index) => everything.otherwise(index));
  assert.deepEqual(otherwise.map(plainOperation), [{ kind: "get", key: text("k") }]);

  assert.equal(everything.idempotencyKeyArray(), null);

  const keyed = wire.Transaction.getRootAsTransaction(second);
  assert.deepEqual(list(keyed.thenLength(), (index) => keyed.then(index)).map(plainOperation), [
    { kind: "delete", key: text("k") },
  ]);
  assert.deepEqual(keyed.idempotencyKeyArray(), KEY);
  assert.deepEqual(keyed.resultArray(), text("kept"));

  const outcome = wire.OutcomeRequest.getRootAsOutcomeRequest(third);
  assert.equal(outcome.space(), 7);
  assert.deepEqual(outcome.keyArray(), text("k"));
  assert.equal(outcome.sequence(), 12n);
  assert.deepEqual(outcome.sessionArray(), TOKEN.slice());

  const outcomeOf = wire.OutcomeOfRequest.getRootAsOutcomeOfRequest(fourth);
  assert.equal(outcomeOf.space(), 7);
  assert.deepEqual(outcomeOf.idempotencyKeyArray(), KEY);
}

describe("golden frames", () => {
  it("hello", () => {
    assert.deepEqual(readHello(golden("hello.bin")), {
      token: "secret-token",
      session: TOKEN.slice(),
      client: "golden/1.0",
    });
    const nothing = { token: undefined, session: undefined, client: undefined };
    assert.deepEqual(readHello(golden("hello-least.bin")), nothing);
  });

  it("welcome", () => {
    assert.deepEqual(readWelcome(golden("welcome.bin")), {
      version: 2,
      versions: { min: 2, max: 3 },
      session: TOKEN.slice(),
      resumed: true,
      epoch: 3n,
      serverTimeMs: 1_728_000_000_000,
      node: 0xfedc_ba98_7654_3210n,
      limits: {
        frameBytesMax: 1,
        transactionBytesMax: 2,
        keyBytesMax: 3,
        valueBytesMax: 4,
        operationsMax: 5,
        guardsMax: 6,
        window: 7,
        outstandingBytesMax: 8,
        sessionTtlMs: 9,
      },
      defaultSpace: 1,
    });
  });

  it("goodbye", () => {
    const expected = {
      code: "shutting_down",
      message: "adieu",
      retryAfterMs: 250,
      retryable: true,
      outcome: "not_submitted",
    };
    assert.deepEqual(readGoodbye(golden("goodbye.bin")), expected);
  });

  it("submit, of either language", () => {
    checkSubmit(golden("submit.bin"));
    const written = path.join(directory, "submit-typescript.bin");
    if (!existsSync(written) && process.env["DOMP_WRITE_GOLDEN"] !== undefined) {
      writeFileSync(written, submit());
    }
    checkSubmit(golden("submit-typescript.bin"));
    // And what is written today is read as well.
    checkSubmit(submit());
  });

  it("submit, about spaces", () => {
    const frame = golden("submit-spaces.bin");
    assert.equal(frameSpace(frame), 0);
    const [item] = readItems(frame);
    assert.ok(item);
    const spaces = wire.Transaction.getRootAsTransaction(buffer(item.payload));
    assert.equal(spaces.space(), 0);
    assert.deepEqual(list(spaces.thenLength(), (index) => spaces.then(index)).map(plainOperation), [
      { kind: "spaceCreate", name: text("games") },
      { kind: "spaceDrop", name: text("old") },
    ]);
  });

  it("part of a frame", () => {
    const { frameBytes, offset, bytes } = readPart(golden("part.bin"));
    assert.deepEqual([frameBytes, offset, bytes.length], [70_000, 65_496, 4_504]);
    assert.ok(bytes.every((byte, index) => byte === ((offset + index) & 0xff)));
  });

  it("key outcomes", () => {
    const { results, ...rest } = decodeKeyOutcome(golden("key-outcome.bin")) as Extract<
      KeyOutcome,
      { state: "applied" }
    >;
    const kept = text("kept");
    assert.deepEqual(rest, { state: "applied", revision: 113_246_208_000_000_001n, kept });
    assert.equal(results.results[0]?.number, 5n);
    const refused = { state: "not_applied", code: "out_of_bounds" };
    assert.deepEqual(decodeKeyOutcome(golden("key-outcome-refused.bin")), refused);
  });

  it("replies with every result", () => {
    const frame = golden("replies.bin");
    assert.equal(frameSpace(frame), 7);
    const replies = readReplies(frame);
    const head = {
      sequence: 1,
      revision: 113_246_208_000_000_001n,
      code: undefined,
      retryable: false,
      outcome: undefined,
      applied: true,
      replayed: false,
      outcomeApplied: false,
    };
    const nothing: Result = {
      entry: undefined,
      entries: [],
      more: false,
      count: 0,
      number: undefined,
    };
    const bytes: Entry = {
      key: text("player/1"),
      value: text("value"),
      created: 1n,
      modified: 2n ** 64n - 1n,
      version: 3,
      expiresInMs: undefined,
    };
    const number: Entry = { ...bytes, value: -5n, expiresInMs: 60_000 };
    const expected = [
      { ...head, results: [{ ...nothing, entry: bytes }] },
      { ...head, results: [{ ...nothing, entry: number }] },
      { ...head, results: [nothing] },
      {
        ...head,
        applied: false,
        replayed: true,
        outcomeApplied: true,
        failedGuard: 2,
        results: [
          nothing,
          { ...nothing, entry: bytes },
          { ...nothing, entries: [number, { ...bytes, value: undefined }], more: true },
          { ...nothing, count: 2 ** 40 },
          { ...nothing, number: -(2n ** 63n) },
        ],
      },
      { ...head, results: [] },
    ];
    const decoded = replies.slice(0, 5).map(({ payload, ...rest }) => {
      const { results, failedGuard } = decodeResults(payload);
      return { ...rest, ...(failedGuard !== undefined && { failedGuard }), results };
    });
    assert.deepEqual(decoded, expected);

    const refused = replies[5];
    assert.ok(refused !== undefined && replies.length === 7);
    const { payload, ...rest } = refused;
    const refusedHead = {
      sequence: 9,
      revision: 0n,
      code: "out_of_bounds",
      outcome: "not_applied",
      applied: false,
    };
    assert.deepEqual(rest, { ...head, ...refusedHead });
    const detail = {
      message: "below the floor",
      operation: 1,
      guard: undefined,
      key: text("n/1"),
      retryAfterMs: 50,
    };
    assert.deepEqual(readErrorDetail(payload), detail);

    const fromKey = replies[6];
    assert.ok(fromKey?.replayed);
    const { results, kept } = decodeResults(fromKey.payload);
    assert.deepEqual(results, [
      { ...nothing, count: 3 },
      { ...nothing, entry: number },
    ]);
    assert.deepEqual(kept, text(""));
  });

  it("a record with an entry of two batches", () => {
    const bytes = golden("record.bin");
    const at = buffer(bytes);
    const header = new RecordHeader().__init(0, at);
    assert.deepEqual([header.group(), header.replica()], [7n, 6n]);
    assert.deepEqual([header.index(), header.term()], [8n, 9n]);
    assert.deepEqual([header.length(), header.crc32c()], [bytes.length - 48, 0x12345678]);
    assert.equal(header.kind(), RecordKind.entry);
    const entry = new EntryHeader().__init(48, at);
    assert.deepEqual([entry.revision(), entry.leaseMs()], [113_246_208_000_000_000n, 5000n]);
    assert.deepEqual([entry.applyVersion(), entry.batches(), entry.items()], [1, 2, 3]);
    const session = new BatchHeader().__init(104, at);
    assert.deepEqual([session.principal(), session.epoch(), session.ackedBelow()], [42n, 3n, 1n]);
    assert.deepEqual([session.items(), session.kind()], [2, BatchKind.session]);
    const once = new BatchHeader().__init(104 + 56 + session.bytes(), at);
    assert.deepEqual([once.sessionBirth(), once.sessionNonce()], [0n, 0n]);
    assert.deepEqual([once.items(), once.kind()], [1, BatchKind.stateless]);
    assert.equal(bytes.length, 104 + 56 + session.bytes() + 56 + once.bytes());
  });

  it("hard state and session token", () => {
    const state = new HardState().__init(0, buffer(golden("hard-state.bin")));
    assert.deepEqual([state.term(), state.vote(), state.commit()], [1n, 2n, 2n ** 64n - 1n]);
    assert.deepEqual([state.snapshotIndex(), state.snapshotTerm()], [4n, 5n]);
    assert.deepEqual([state.snapshotDigestLow(), state.snapshotDigestHigh()], [6n, 7n]);
    assert.deepEqual([state.startIndex(), state.startTerm()], [8n, 9n]);
    const token = new SessionToken().__init(0, buffer(TOKEN));
    assert.deepEqual([token.birth(), token.principal()], [113_246_208_000_000_000n, 42n]);
    assert.equal(token.nonce(), 0x0123_4567_89ab_cdefn);
    assert.deepEqual([token.epoch(), token.key()], [113_246_208_000_000_007n, 3n]);
    assert.equal(TOKEN.length, 56);
  });
});
