// Readers of bytes from outside: whatever comes, they answer or throw a ProtocolError, and never
// look beyond the frame.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { ProtocolError } from "../../src/protocol/error.js";
import { encodeErrorDetail, readErrorDetail } from "../../src/protocol/error-detail.js";
import {
  buildFrame,
  buildReplies,
  FrameKind,
  frameKind,
  frameSpace,
  frameVersion,
  type OwnBytes,
  PART_BYTES_MAX,
  readItems,
  readPart,
  readReplies,
  splitIntoParts,
} from "../../src/protocol/frame.js";
import {
  buildGoodbye,
  buildHello,
  readGoodbye,
  readHello,
  readWelcome,
} from "../../src/protocol/hello.js";
import { decodeResults } from "../../src/protocol/results.js";

const golden = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(path.resolve("test/golden/v2", name)));

/** Pseudo-random numbers: the same seed, the same run. */
function randomNumbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

function decodeReplies(frame: Uint8Array): void {
  for (const reply of readReplies(frame)) {
    if (reply.code === undefined) decodeResults(reply.payload);
    else readErrorDetail(reply.payload);
  }
}

const READERS: [file: string, read: (frame: Uint8Array) => unknown][] = [
  ["hello.bin", readHello],
  ["welcome.bin", readWelcome],
  ["goodbye.bin", readGoodbye],
  ["submit.bin", readItems],
  ["replies.bin", decodeReplies],
  ["part.bin", readPart],
];

/** Runs the reader; only a ProtocolError may come out of it. */
function survives(read: (frame: Uint8Array) => unknown, frame: Uint8Array): boolean {
  try {
    read(frame);
    return true;
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `not a ProtocolError: ${String(error)}`);
    return false;
  }
}

describe("readers of foreign bytes", () => {
  for (const [file, read] of READERS) {
    it(`refuse ${file} cut anywhere`, () => {
      const frame = golden(file);
      read(frame);
      for (let length = 0; length < frame.length; length += 1) {
        assert.ok(!survives(read, frame.subarray(0, length)), `${length} bytes`);
      }
    });

    it(`survive ${file} with any byte changed`, () => {
      const random = randomNumbers(1);
      let refused = 0;
      for (let round = 0; round < 20_000; round += 1) {
        const frame = golden(file).slice();
        for (let changes = 1 + random(3); changes > 0; changes -= 1) {
          frame[random(frame.length)] = random(256);
        }
        if (!survives(read, frame)) refused += 1;
      }
      // Most bytes of a part are its frame's, which is not looked into.
      assert.ok(refused > (file === "part.bin" ? 100 : 500), `${refused} were refused`);
    });

    it(`take no other frame for ${file}`, () => {
      for (const [other] of READERS) {
        if (other !== file) assert.ok(!survives(read, golden(other)), other);
      }
    });
  }

  it("do not look into the bytes behind the frame", () => {
    // The hello's token is made longer; what follows in memory is another frame's secret.
    const hello = buildHello({ token: "a" });
    const memory = new Uint8Array(hello.length + 64).fill(0x73);
    memory.set(hello);
    const frame = memory.subarray(0, hello.length);
    const at = hello.indexOf(0x61) - 4;
    frame[at] = 40;
    assert.throws(() => readHello(frame), { code: "invalid_frame" });
  });

  it("refuse a hello that is not in order, with the right error", () => {
    const refusal = (frame: Uint8Array): unknown => {
      try {
        return readHello(frame);
      } catch (error) {
        return error instanceof ProtocolError ? error.code : error;
      }
    };
    assert.equal(refusal(buildHello({ token: "x".repeat(4097) })), "too_large");
    assert.equal(refusal(buildHello({ client: "x".repeat(257) })), "too_large");
    assert.equal(refusal(buildHello({ session: new Uint8Array(40) })), "session_refused");
    assert.equal(refusal(buildGoodbye("internal", "")), "invalid_frame");
    const badText = buildHello({ token: "abc" });
    badText[badText.indexOf(0x61)] = 0xff;
    assert.equal(refusal(badText), "invalid_frame");
    // The last 2 behind both headers is the lowest version, the one before it the highest.
    const speaking = (min: number, max: number): Uint8Array => {
      const frame = buildHello({});
      const at = frame.lastIndexOf(2);
      assert.equal(frame.lastIndexOf(2, at - 1), at - 2);
      frame[at] = min;
      frame[at - 2] = max;
      return frame;
    };
    assert.ok(readHello(speaking(1, 9)));
    assert.equal(refusal(speaking(1, 1)), "unsupported_version");
    assert.equal(refusal(speaking(3, 9)), "unsupported_version");
  });

  it("refuse results that stand for far more than their bytes", () => {
    // Many offsets to one result, and in it as many to one entry; all lead forward.
    const offsets = 20_000;
    const vector = 4 + 4 * offsets;
    const root = 16;
    const results = root + 8;
    const result = results + vector + 8;
    const entries = result + 8;
    const entry = entries + vector + 4;
    const view = new DataView(new ArrayBuffer(entry + 4));
    /** A table of one field behind its vtable, which may have a slot left empty before. */
    const table = (at: number, slots: number[], to: number): void => {
      const vtable = at - 4 - 2 * slots.length;
      view.setUint16(vtable, 4 + 2 * slots.length, true);
      for (const [slot, offset] of slots.entries()) {
        view.setUint16(vtable + 4 + 2 * slot, offset, true);
      }
      view.setInt32(at, at - vtable, true);
      view.setUint32(at + 4, to - at - 4, true);
    };
    const fill = (at: number, to: number): void => {
      view.setUint32(at, offsets, true);
      for (let next = at + 4; next < at + vector; next += 4) view.setUint32(next, to - next, true);
    };
    view.setUint32(0, root, true);
    table(root, [4], results);
    fill(results, result);
    table(result, [0, 4], entries);
    fill(entries, entry);
    view.setUint16(entry - 4, 4, true);
    view.setInt32(entry, 4, true);
    assert.throws(
      () => decodeResults(new Uint8Array(view.buffer)),
      (error: unknown) =>
        error instanceof ProtocolError && /in each other's place/.test(String(error.cause)),
    );
  });

  it("tell a frame of another version from no frame", () => {
    const frame = buildHello({});
    frame[2] = 1;
    assert.deepEqual([frameKind(frame), frameVersion(frame)], [undefined, 1]);
    frame[0] = 0;
    assert.deepEqual([frameKind(frame), frameVersion(frame)], [undefined, undefined]);
    assert.equal(frameVersion(new Uint8Array(23)), undefined);
  });
});

describe("what is built", () => {
  it("is read back: items", () => {
    const payload = Uint8Array.of(1, 2, 3);
    const items = [
      { sequence: Number.MAX_SAFE_INTEGER, kind: "transaction" as const, payload },
      { sequence: 1, kind: "outcome" as const, payload: new Uint8Array(0) },
      { sequence: 2, kind: "outcome_of" as const, payload },
    ];
    assert.deepEqual(readItems(buildFrame(5, items, 2 ** 40, 1)), items);
  });

  it("is read back: replies and what is behind an error", () => {
    const reply = {
      sequence: 2 ** 33,
      revision: 2n ** 64n - 1n,
      code: "overloaded" as const,
      retryable: true,
      outcome: "not_submitted" as const,
      applied: false,
      replayed: true,
      outcomeApplied: false,
      payload: encodeErrorDetail("the queue is full", 50),
    };
    const [read, ...others] = readReplies(buildReplies(5, [reply]));
    assert.deepEqual([read, others], [reply, []]);
    const detail = {
      message: "the queue is full",
      operation: undefined,
      guard: undefined,
      key: undefined,
      retryAfterMs: 50,
    };
    assert.deepEqual(readErrorDetail(reply.payload), detail);
    const nothing = {
      message: "",
      operation: undefined,
      guard: undefined,
      key: undefined,
      retryAfterMs: undefined,
    };
    assert.deepEqual(readErrorDetail(encodeErrorDetail("")), nothing);
    assert.deepEqual(readErrorDetail(new Uint8Array(0)), nothing);
  });

  it("says of which space it is", () => {
    assert.equal(frameSpace(buildFrame(2 ** 32 - 1, [], 1, 1)), 2 ** 32 - 1);
    assert.equal(frameSpace(buildReplies(7, [])), 7);
  });

  it("travels whole up to a message's length, and in parts beyond", () => {
    for (const length of [0, 65_536 - 24 - 16, 65_536, 200_001]) {
      const payload = new Uint8Array(length).map((_, at) => at);
      const frame = buildFrame(7, [{ sequence: 1, kind: "transaction", payload }], 1, 1);
      const messages = splitIntoParts(frame);
      assert.ok(messages.every((message) => message.length <= 65_536));
      if (frame.length <= 65_536) {
        assert.deepEqual(messages, [frame]);
        continue;
      }
      const whole = new Uint8Array(frame.length);
      let at = 0;
      for (const message of messages) {
        const { frameBytes, offset, bytes } = readPart(message);
        assert.deepEqual([frameBytes, offset], [frame.length, at]);
        whole.set(bytes, offset);
        at += bytes.length;
      }
      assert.deepEqual([at, whole], [frame.length, frame]);
    }
  });

  const part = (): OwnBytes => {
    const payload = new Uint8Array(70_000);
    const frame = buildFrame(7, [{ sequence: 1, kind: "transaction", payload }], 1, 1);
    return splitIntoParts(frame)[1] ?? assert.fail("it has two parts");
  };
  const bad: [what: string, at: number, word: number, code: string][] = [
    ["two items", 4, 2, "invalid_frame"],
    ["an acknowledgement", 8, 1, "invalid_frame"],
    ["a timeout", 16, 1, "invalid_frame"],
    ["a space", 20, 1, "invalid_frame"],
    ["a frame shorter than its offset", 24, PART_BYTES_MAX, "invalid_frame"],
    ["a frame over the limit", 24, (8 << 20) + 1, "too_large"],
    ["an offset beyond the frame", 28, 70_040, "invalid_frame"],
    ["an offset of 4 GiB", 28, 2 ** 32 - 1, "invalid_frame"],
    ["no bytes", 32, 0, "invalid_frame"],
    ["other bytes than are there", 32, 8, "invalid_frame"],
    ["a reserved word", 36, 1, "invalid_frame"],
  ];
  for (const [what, at, word, code] of bad) {
    it(`is no part with ${what}`, () => {
      const message = part();
      assert.ok(readPart(message));
      new DataView(message.buffer).setUint32(at, word, true);
      assert.throws(() => readPart(message), { code });
    });
  }

  it("is no frame where its kind is of a later time", () => {
    for (let kind = 7; kind <= 11; kind += 1) {
      const frame = buildHello({});
      frame[3] = kind;
      assert.equal(frameKind(frame), undefined);
    }
    assert.equal(frameKind(part()), FrameKind.part);
  });

  it("holds an error of a newer server as a fault of the server, but for what is said of it", () => {
    const frame = golden("replies.bin").slice();
    // The sixth reply bears out_of_bounds, number 25.
    const view = new DataView(frame.buffer);
    let at = frame.length - 8;
    while (view.getUint16(at + 4, true) !== 25 || view.getUint32(at, true) === 0) at -= 8;
    view.setUint16(at + 4, 999, true);
    const flags = view.getUint8(at + 6);
    const read = (): unknown[] => {
      const { code, retryable, outcome } = readReplies(frame)[5] ?? assert.fail("there are seven");
      return [code, retryable, outcome];
    };
    assert.deepEqual(read(), ["internal", false, "not_applied"]);
    view.setUint8(at + 6, (flags & 7) | 8 | (1 << 4));
    assert.deepEqual(read(), ["internal", true, "not_submitted"]);
    view.setUint8(at + 6, flags & 7);
    assert.throws(read, { code: "invalid_frame" });
  });
});
