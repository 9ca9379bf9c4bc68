/**
 * The two rings that JavaScript and the engine share: the JavaScript half. The layout is specified in
 * native/engine/src/rings. Numbers are little endian, as on every machine the addon is built for.
 */

import { FRAME_BYTES_MAX } from "../protocol/generated/limits.js";

/** Kinds of records that `Engine.push` takes. */
export const RecordKind = {
  /** The body is a client's frame. */
  frame: 0,
  /** A connection was authenticated and takes the slot: `callerPrefix`, then the token to resume. */
  attach: 1,
  /** The slot's connection is gone; no body. */
  detach: 2,
  /** `callerPrefix`, then a submit frame of one transaction. */
  stateless: 3,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** The other side of the rings, as far as it must be told something. */
export interface RingWorker {
  /** It said that it sleeps, and there is something for it. */
  wake(): void;
  /** It said that it waits for room, and there is room. */
  fetched(): void;
  /** A drain did not visit all there is: drain again, from the event loop. */
  again(): void;
}

const CONTROL_BYTES = 4096;
/** Words of the control page, as indices of 32-bit words: one in each 128 bytes. */
const Word = {
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
const STATE_FAILED = 3;

const HEADER_BYTES = 16;
const KIND_WRAP = 255;
const BODY_BYTES_MAX = FRAME_BYTES_MAX + 64;

function stride(length: number): number {
  return HEADER_BYTES + ((length + 15) & ~15);
}

/**
 * So many bytes are shown to the engine at once, although the turn of the event loop goes on: it
 * works on the first requests while the rest is read from the sockets. The few that come together
 * when little is under way stay together, and share a commit.
 */
const PUBLISH_BYTES = 4096;

/**
 * So many bytes are visited by one drain. To pass them on takes about a millisecond; then the event
 * loop looks at its sockets, so that no client's requests wait for the answers of all others.
 */
const DRAIN_BYTES = 1024 * 1024;

/** Called with all frames that one drain has for an address, in their order. All valid only during the call. */
export type Visit = (slot: number, generation: number, frames: readonly Uint8Array[]) => void;

const NONE = -1;

/** Records of one drain, chained by address; chains in the order of their first record. */
class Chains {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  /** By record: where its header stands. */
  readonly #offsets: number[] = [];
  /** By record: the next of the same address. */
  readonly #next: number[] = [];
  /** The first record of each chain. */
  readonly #firsts: number[] = [];
  /** By slot: its last record so far. */
  readonly #last: number[] = [];

  /** Over a ring. */
  constructor(words: Uint32Array, bytes: Uint8Array) {
    this.#words = words;
    this.#bytes = bytes;
  }

  /** Adds the record whose header stands at `offset`. */
  add(offset: number): void {
    const record = this.#offsets.length;
    this.#offsets.push(offset);
    this.#next.push(NONE);
    const slot = this.#slot(offset);
    const last = this.#last[slot] ?? NONE;
    if (last !== NONE && this.#generation(this.#offsetOf(last)) === this.#generation(offset)) {
      this.#next[last] = record;
    } else {
      this.#firsts.push(record);
    }
    this.#last[slot] = record;
  }

  /** Visits all, and forgets them. If a visit throws, the others are made all the same. */
  visit(visit: Visit): void {
    for (const offset of this.#offsets) this.#last[this.#slot(offset)] = NONE;
    let failure: { readonly cause: unknown } | undefined;
    for (const first of this.#firsts) {
      const offset = this.#offsetOf(first);
      try {
        visit(this.#slot(offset), this.#generation(offset), this.#frames(first));
      } catch (cause) {
        failure ??= { cause };
      }
    }
    this.#offsets.length = 0;
    this.#next.length = 0;
    this.#firsts.length = 0;
    if (failure !== undefined) throw failure.cause;
  }

  /** The bodies of a chain. */
  #frames(first: number): readonly Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let record = first; record !== NONE; record = this.#next[record] ?? NONE) {
      const offset = this.#offsetOf(record);
      const start = offset + HEADER_BYTES;
      frames.push(this.#bytes.subarray(start, start + (this.#words[(offset >>> 2) + 2] ?? 0)));
    }
    return frames;
  }

  #offsetOf(record: number): number {
    return this.#offsets[record] ?? 0;
  }

  #slot(offset: number): number {
    return this.#words[offset >>> 2] ?? 0;
  }

  #generation(offset: number): number {
    return this.#words[(offset >>> 2) + 1] ?? 0;
  }
}

/** The gateway's side of both rings. Cursors are unsigned 32-bit: bytes since the beginning. */
export class Rings {
  readonly #worker: RingWorker;
  /** The control page, for atomics. */
  readonly #control: Int32Array;
  readonly #inboundBytes: number;
  readonly #inboundWords: Uint32Array;
  readonly #inbound: Uint8Array;
  readonly #outboundBytes: number;
  readonly #outboundWords: Uint32Array;
  /** Where the next record is written, and what of it the engine can see. */
  #tail = 0;
  #published = 0;
  /** How far the engine had read when last looked at. */
  #headSeen = 0;
  /** How far replies were visited. */
  #outboundHead = 0;
  #draining = false;
  readonly #chains: Chains;

  constructor(
    memory: ArrayBuffer,
    inboundBytes: number,
    outboundBytes: number,
    worker: RingWorker,
  ) {
    this.#worker = worker;
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.#inboundBytes = inboundBytes;
    this.#inboundWords = new Uint32Array(memory, CONTROL_BYTES, inboundBytes / 4);
    this.#inbound = new Uint8Array(memory, CONTROL_BYTES, inboundBytes);
    this.#outboundBytes = outboundBytes;
    this.#outboundWords = new Uint32Array(memory, CONTROL_BYTES + inboundBytes, outboundBytes / 4);
    this.#chains = new Chains(
      this.#outboundWords,
      new Uint8Array(memory, CONTROL_BYTES + inboundBytes, outboundBytes),
    );
    this.#tail = Atomics.load(this.#control, Word.inboundTail) >>> 0;
    this.#published = this.#tail;
    this.#outboundHead = Atomics.load(this.#control, Word.outboundHead) >>> 0;
    this.#look();
  }

  /** Whether the engine has ended by a failure. */
  hasFailed(): boolean {
    return Atomics.load(this.#control, Word.state) === STATE_FAILED;
  }

  /** Whether the engine has notices that nobody asked for yet; asking is the caller's from here on. */
  takeNotices(): boolean {
    return this.#takeFlag(Word.notices);
  }

  /** See `Engine.push`. */
  push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array | ArrayBuffer,
    prefix?: Uint8Array,
  ): boolean {
    const prefixBytes = prefix === undefined ? 0 : prefix.length;
    const length = prefixBytes + body.byteLength;
    if (length > BODY_BYTES_MAX || stride(length) > this.#inboundBytes) {
      throw new RangeError(`a record of ${length} bytes is longer than any may be`);
    }
    const need = stride(length);
    let offset = this.#reserve(need);
    if (offset < 0) {
      if (!this.#waitForRoom()) return false;
      offset = this.#reserve(need);
      if (offset < 0) return false;
    }
    const words = this.#inboundWords;
    const at = offset >>> 2;
    words[at] = slot;
    words[at + 1] = generation;
    words[at + 2] = length;
    words[at + 3] = kind;
    const start = offset + HEADER_BYTES;
    if (prefix !== undefined) this.#inbound.set(prefix, start);
    const bytes = body instanceof Uint8Array ? body : new Uint8Array(body);
    this.#inbound.set(bytes, start + prefixBytes);
    this.#tail = (this.#tail + need) >>> 0;
    if ((this.#tail - this.#published) >>> 0 >= PUBLISH_BYTES) this.flush();
    return true;
  }

  /** See `Engine.flush`. */
  flush(): void {
    if (this.#published === this.#tail) return;
    this.#published = this.#tail;
    Atomics.store(this.#control, Word.inboundTail, this.#tail | 0);
    if (this.#takeFlag(Word.sleeping)) this.#worker.wake();
  }

  /** See `Engine.drain`. */
  drain(visit: Visit): void {
    if (this.#draining) throw new Error("drain was called from within drain");
    this.#draining = true;
    // First, so that what comes from here on wakes again: nothing is missed between.
    Atomics.store(this.#control, Word.wakePending, 0);
    let all = false;
    try {
      all = this.#visit(visit);
    } finally {
      this.#draining = false;
      Atomics.store(this.#control, Word.outboundHead, this.#outboundHead | 0);
      if (this.#takeFlag(Word.outboundBlocked)) this.#worker.fetched();
      // It was enough for now, or a visit threw: the engine believes its wake-up served, so the
      // rest needs one of ours.
      if (!all) this.#worker.again();
    }
  }

  /** Visits as much as one drain may; true if that was all. */
  #visit(visit: Visit): boolean {
    const mask = this.#outboundBytes - 1;
    const words = this.#outboundWords;
    const tail = Atomics.load(this.#control, Word.outboundTail) >>> 0;
    const begin = this.#outboundHead;
    while (this.#outboundHead !== tail) {
      if ((this.#outboundHead - begin) >>> 0 >= DRAIN_BYTES) break;
      const offset = (this.#outboundHead & mask) >>> 0;
      const at = offset >>> 2;
      // The indices are inside the ring: a header never crosses its end.
      if (((words[at + 3] ?? 0) & 0xff) === KIND_WRAP) {
        this.#outboundHead = (this.#outboundHead + this.#outboundBytes - offset) >>> 0;
        continue;
      }
      const length = words[at + 2] ?? 0;
      this.#outboundHead = (this.#outboundHead + stride(length)) >>> 0;
      this.#chains.add(offset);
    }
    this.#chains.visit(visit);
    return this.#outboundHead === tail;
  }

  /** Finds room for a record; -1: there is none. Writes a wrap marker where one is needed. */
  #reserve(need: number): number {
    if (this.#free() < need) this.#look();
    let offset = (this.#tail & (this.#inboundBytes - 1)) >>> 0;
    const toEnd = this.#inboundBytes - offset;
    if (need > toEnd || this.#canRestart(offset, need)) {
      if (this.#free() < toEnd) return -1;
      this.#inboundWords[(offset >>> 2) + 3] = KIND_WRAP;
      this.#tail = (this.#tail + toEnd) >>> 0;
      offset = 0;
    }
    return this.#free() < need ? -1 : offset;
  }

  /**
   * Whether the ring is empty and its second half can be left untouched. Not before the middle: what
   * is skipped counts as used until the engine has passed it.
   */
  #canRestart(offset: number, need: number): boolean {
    if (offset < this.#inboundBytes / 2 || need > offset || this.#published !== this.#tail)
      return false;
    this.#look();
    return this.#headSeen === this.#tail;
  }

  #free(): number {
    return this.#inboundBytes - ((this.#tail - this.#headSeen) >>> 0);
  }

  #look(): void {
    this.#headSeen = Atomics.load(this.#control, Word.inboundHead) >>> 0;
  }

  /** Asks to be woken when there is room, shows the engine what is there, and looks once more. */
  #waitForRoom(): boolean {
    Atomics.store(this.#control, Word.inboundBlocked, 1);
    this.flush();
    const before = this.#headSeen;
    this.#look();
    return this.#headSeen !== before;
  }

  #takeFlag(flag: number): boolean {
    return (
      Atomics.load(this.#control, flag) !== 0 && Atomics.exchange(this.#control, flag, 0) !== 0
    );
  }
}
