// The JavaScript half of the rings alone, against a reader and a writer written from the specification.

import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordKind, Rings } from "../../src/engine/rings.js";

const CONTROL_BYTES = 4096;
const RING_BYTES = 1 << 16;
const WORD = {
  inboundTail: 0,
  inboundHead: 32,
  sleeping: 64,
  inboundBlocked: 96,
  outboundTail: 128,
  outboundHead: 160,
  outboundBlocked: 192,
  wakePending: 224,
  state: 256,
  notices: 288,
} as const;
const WRAP = 255;

interface Seen {
  readonly slot: number;
  readonly generation: number;
  readonly kind: number;
  readonly body: number[];
}

/** The engine's side of both rings. */
class Other {
  readonly memory: ArrayBuffer;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly calls: string[] = [];
  readonly rings: Rings;

  constructor(cursor = 0, outboundBytes = RING_BYTES) {
    this.memory = new ArrayBuffer(CONTROL_BYTES + RING_BYTES + outboundBytes);
    this.words = new Int32Array(this.memory, 0, CONTROL_BYTES / 4);
    this.view = new DataView(this.memory);
    for (const word of [WORD.inboundTail, WORD.inboundHead, WORD.outboundTail, WORD.outboundHead]) {
      this.words[word] = cursor | 0;
    }
    this.rings = new Rings(this.memory, RING_BYTES, outboundBytes, {
      wake: () => this.calls.push("wake"),
      fetched: () => this.calls.push("fetched"),
      again: () => this.calls.push("again"),
    });
  }

  /** Reads all that was flushed. */
  read(): Seen[] {
    const seen: Seen[] = [];
    let head = (this.words[WORD.inboundHead] ?? 0) >>> 0;
    const tail = (this.words[WORD.inboundTail] ?? 0) >>> 0;
    while (head !== tail) {
      const offset = head % RING_BYTES;
      const at = CONTROL_BYTES + offset;
      const kind = this.view.getUint8(at + 12);
      if (kind === WRAP) {
        head = (head + RING_BYTES - offset) >>> 0;
        continue;
      }
      const length = this.view.getUint32(at + 8, true);
      assert.ok(offset + 16 + length <= RING_BYTES, "a record never crosses the end");
      seen.push({
        slot: this.view.getUint32(at, true),
        generation: this.view.getUint32(at + 4, true),
        kind,
        body: [...new Uint8Array(this.memory, at + 16, length)],
      });
      head = (head + 16 + Math.ceil(length / 16) * 16) >>> 0;
    }
    this.words[WORD.inboundHead] = head | 0;
    return seen;
  }

  /** Writes a record at the outbound tail; the caller knows there is room. */
  write(slot: number, generation: number, body: Uint8Array, kind = 0): void {
    const tail = (this.words[WORD.outboundTail] ?? 0) >>> 0;
    const offset = tail % RING_BYTES;
    const at = CONTROL_BYTES + RING_BYTES + offset;
    this.view.setUint32(at, slot, true);
    this.view.setUint32(at + 4, generation, true);
    this.view.setUint32(at + 8, body.length, true);
    this.view.setUint32(at + 12, kind, true);
    const bytes = kind === WRAP ? RING_BYTES - offset : 16 + Math.ceil(body.length / 16) * 16;
    new Uint8Array(this.memory, at + 16, body.length).set(body);
    this.words[WORD.outboundTail] = (tail + bytes) | 0;
  }

  /** Writes a record whose body says nothing into a ring whose end is far. */
  writeWhole(slot: number, length: number): void {
    const tail = (this.words[WORD.outboundTail] ?? 0) >>> 0;
    const at = CONTROL_BYTES + RING_BYTES + tail;
    this.view.setUint32(at, slot, true);
    this.view.setUint32(at + 8, length, true);
    this.words[WORD.outboundTail] = tail + 16 + length;
  }

  visit(): [number, number, number[]][] {
    const visited: [number, number, number[]][] = [];
    this.rings.drain((slot, generation, frames) => {
      for (const frame of frames) visited.push([slot, generation, [...frame]]);
    });
    return visited;
  }
}

const body = (length: number, fill: number) => new Uint8Array(length).fill(fill);

test("records arrive as they were pushed, whatever their lengths, over many rounds", () => {
  for (const cursor of [0, 2 ** 32 - 3 * RING_BYTES]) {
    const other = new Other(cursor);
    let expected: Seen[] = [];
    let rounds = 0;
    for (let n = 0; n < 5000; n++) {
      const bytes = body((n * 37) % 1900, n & 0xff);
      const prefix = n % 3 === 0 ? body(16, 0xee) : undefined;
      const record: Seen = {
        slot: n,
        generation: 0xffffffff - n,
        kind: n % 4,
        body: [...(prefix ?? []), ...bytes],
      };
      const push = () => other.rings.push((n % 4) as RecordKind, n, 0xffffffff - n, bytes, prefix);
      if (!push()) {
        rounds += 1;
        assert.deepEqual(other.read(), expected);
        expected = [];
        if (!push()) {
          // Only the wrap marker found room.
          other.rings.flush();
          assert.deepEqual(other.read(), []);
          assert.ok(push());
        }
      }
      expected.push(record);
    }
    other.rings.flush();
    assert.deepEqual(other.read(), expected);
    assert.ok(rounds > 50);
  }
});

test("much is seen before the flush, and a sleeping engine is woken for it once", () => {
  const other = new Other();
  other.words[WORD.sleeping] = 1;
  for (let n = 0; n < 100; n++) other.rings.push(RecordKind.frame, n, 1, body(100, n));
  assert.deepEqual(other.calls, ["wake"]);
  const seen = other.read().length;
  assert.ok(seen > 50 && seen < 100, `${seen} of 100`);
  other.rings.flush();
  assert.equal(other.read().length, 100 - seen);
});

test("a little is not seen before the flush, and a sleeping engine is woken once", () => {
  const other = new Other();
  other.rings.push(RecordKind.frame, 1, 1, body(10, 1));
  assert.deepEqual(other.read(), []);
  other.words[WORD.sleeping] = 1;
  other.rings.flush();
  assert.deepEqual(other.calls, ["wake"]);
  other.rings.flush();
  other.rings.push(RecordKind.frame, 1, 1, body(10, 2));
  other.rings.flush();
  assert.deepEqual(other.calls, ["wake"], "it is awake");
  assert.equal(other.read().length, 2);
});

test("a full ring leaves a wish, shows what is in it, and takes more once there is room", () => {
  const other = new Other();
  let pushed = 0;
  while (other.rings.push(RecordKind.frame, pushed, 1, body(1000, 7))) pushed += 1;
  assert.equal(pushed, Math.floor(RING_BYTES / 1024));
  assert.equal(other.words[WORD.inboundBlocked], 1);
  assert.equal(other.read().length, pushed, "the full ring was flushed");
  assert.ok(other.rings.push(RecordKind.frame, 0, 1, body(1000, 8)));
});

test("a record of more than half the ring gets in once the engine has passed the marker", () => {
  const other = new Other();
  assert.ok(other.rings.push(RecordKind.frame, 1, 1, body(40_000, 1)));
  other.rings.flush();
  other.read();
  assert.equal(other.rings.push(RecordKind.frame, 2, 1, body(50_000, 2)), false);
  other.rings.flush();
  assert.deepEqual(other.read(), [], "only the marker");
  assert.ok(other.rings.push(RecordKind.frame, 2, 1, body(50_000, 2)));
  other.rings.flush();
  assert.equal(other.read()[0]?.body.length, 50_000);
});

test("the second half of a ring that is emptied stays untouched", () => {
  const other = new Other();
  for (let n = 0; n < 2000; n++) {
    assert.ok(other.rings.push(RecordKind.frame, n, 1, body(500, 9)));
    other.rings.flush();
    assert.equal(other.read().length, 1);
  }
  const untouched = new Uint8Array(other.memory, CONTROL_BYTES + RING_BYTES / 2 + 1024);
  assert.ok(untouched.subarray(0, RING_BYTES / 2 - 1024).every((byte) => byte === 0));
});

test("a record longer than any may be is the caller's mistake", () => {
  const other = new Other();
  assert.throws(() => other.rings.push(RecordKind.frame, 1, 1, body(RING_BYTES, 0)), RangeError);
  assert.equal(other.rings.push(RecordKind.frame, 1, 1, body(RING_BYTES - 16, 0)), true);
});

test("array buffers and views go in alike", () => {
  const other = new Other();
  const bytes = Uint8Array.from([9, 1, 2, 3, 9]).subarray(1, 4);
  other.rings.push(RecordKind.frame, 1, 1, bytes);
  other.rings.push(RecordKind.frame, 1, 1, Uint8Array.from([4, 5]).buffer);
  other.rings.flush();
  assert.deepEqual(
    other.read().map((record) => record.body),
    [
      [1, 2, 3],
      [4, 5],
    ],
  );
});

test("frames are visited in order, across wrap markers and the end of the cursors", () => {
  const other = new Other(2 ** 32 - RING_BYTES);
  const expected: [number, number, number[]][] = [];
  let written = 0;
  for (let n = 0; n < 300; n++) {
    const bytes = body((n * 53) % 3000, n & 0xff);
    const tail = (other.words[WORD.outboundTail] ?? 0) >>> 0;
    const left = RING_BYTES - (tail % RING_BYTES);
    if (left < bytes.length + 32) other.write(0, 0, body(0, 0), WRAP);
    other.write(n, n * 7, bytes);
    expected.push([n, n * 7, [...bytes]]);
    written += 1;
    if (written === 15) {
      assert.deepEqual(other.visit(), expected);
      expected.length = 0;
      written = 0;
      assert.equal(other.words[WORD.outboundHead], other.words[WORD.outboundTail]);
    }
  }
});

test("one drain visits about a MiB, and the rest is asked for again", () => {
  const other = new Other(0, 1 << 22);
  const length = (1 << 16) - 16;
  const records = (other.memory.byteLength - CONTROL_BYTES - RING_BYTES) / (1 << 16);
  for (let n = 0; n < records - 1; n++) other.writeWhole(n, length);
  const visited: number[] = [];
  for (let drains = 1; visited.length < records - 1; drains++) {
    assert.ok(drains <= 4, "it comes to an end");
    const before = visited.length;
    other.rings.drain((slot, _generation, frames) => {
      assert.deepEqual(
        frames.map((frame) => frame.length),
        [length],
      );
      visited.push(slot);
    });
    const more = visited.length < records - 1;
    assert.equal(visited.length - before, more ? 16 : records - 1 - before);
    assert.equal(other.calls.length, more ? drains : drains - 1);
  }
  assert.deepEqual(
    visited,
    Array.from({ length: records - 1 }, (_, n) => n),
  );
  assert.deepEqual(new Set(other.calls), new Set(["again"]));
});

test("the wake-up is taken as served before the tail is read", () => {
  const other = new Other();
  other.words[WORD.wakePending] = 1;
  other.write(1, 1, body(8, 1));
  other.rings.drain(() => assert.equal(other.words[WORD.wakePending], 0));
});

test("an engine that waits for room is told once there is", () => {
  const other = new Other();
  other.write(1, 1, body(8, 1));
  other.words[WORD.outboundBlocked] = 1;
  other.visit();
  assert.deepEqual(other.calls, ["fetched"]);
  other.visit();
  assert.deepEqual(other.calls, ["fetched"]);
});

test("what there is for one address is visited at once, in its order", () => {
  const other = new Other();
  for (const [n, [slot, generation]] of [
    [1, 1],
    [2, 1],
    [1, 1],
    [1, 2],
    [2, 1],
    [1, 2],
    [1, 1],
  ].entries()) {
    other.write(slot ?? 0, generation ?? 0, body(8, n));
  }
  const visits: [number, number, number[]][] = [];
  other.rings.drain((slot, generation, frames) =>
    visits.push([slot, generation, frames.map((frame) => frame[0] ?? -1)]),
  );
  // A slot's earlier owner is gone: that the last frame comes apart from its first ones harms nobody.
  assert.deepEqual(visits, [
    [1, 1, [0, 2]],
    [2, 1, [1, 4]],
    [1, 2, [3, 5]],
    [1, 1, [6]],
  ]);
  other.write(1, 1, body(8, 7));
  assert.deepEqual(other.visit(), [[1, 1, [...body(8, 7)]]], "nothing of before is kept");
});

test("a visitor that throws loses its own frames only", () => {
  const other = new Other();
  for (let n = 0; n < 3; n++) other.write(n, 1, body(8, n));
  const visited: number[] = [];
  assert.throws(
    () =>
      other.rings.drain((slot) => {
        visited.push(slot);
        if (slot < 2) throw new Error(`of visitor ${slot}`);
      }),
    /of visitor 0/,
  );
  assert.deepEqual(visited, [0, 1, 2]);
  assert.equal(other.words[WORD.outboundHead], other.words[WORD.outboundTail]);
  assert.deepEqual(other.visit(), []);
  assert.throws(
    () => other.write(3, 1, body(8, 3)) ?? other.rings.drain(() => other.rings.drain(() => {})),
    /within drain/,
  );
});

test("a failed engine is seen", () => {
  const other = new Other();
  assert.equal(other.rings.hasFailed(), false);
  other.words[WORD.state] = 3;
  assert.equal(other.rings.hasFailed(), true);
});

test("that there are notices is told once", () => {
  const other = new Other();
  assert.equal(other.rings.takeNotices(), false);
  other.words[WORD.notices] = 1;
  assert.equal(other.rings.takeNotices(), true);
  assert.equal(other.rings.takeNotices(), false);
});
