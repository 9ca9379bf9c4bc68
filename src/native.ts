/**
 * The typed face of the native addon, and the only file that loads it.
 *
 * Frames do not pass through native calls: both sides read and write one block of memory with two
 * rings in it. Its layout is specified in native/engine/src/rings; what is here is its other half.
 */

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { FRAME_BYTES_MAX } from "./protocol/generated/limits.js";

/** Kinds of records that `Engine.push` takes. */
export const RecordKind = {
  /** The body is a client's frame. */
  frame: 0,
  /** A connection was authenticated and takes the slot: `attachPrefix`, then the token to resume. */
  attach: 1,
  /** The slot's connection is gone; no body. */
  detach: 2,
  /** `statelessPrefix`, then a submit frame of one transaction. */
  stateless: 3,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** What `openEngine` is told. Absent: the default. Times are milliseconds, sizes bytes. */
export interface EngineOptions {
  /** The data directory; made where it is missing. One engine at a time may hold it. */
  readonly directory: string;
  /** Whether the worker writes the log itself, or a thread of its own does. Default `inline`. */
  readonly logMode?: "inline" | "threaded";
  /** Length of a log segment after the first; a multiple of 4096. */
  readonly segmentBytes?: number;
  /** A shard is snapshotted after this much log. */
  readonly snapshotAfterBytes?: number;
  /** Lease time a session lives after its last use. */
  readonly sessionTtlMs?: number;
  /** Sequences a session may have outstanding. */
  readonly sessionWindow?: number;
  /** Sessions a shard keeps. */
  readonly sessionsMax?: number;
  /** Lease time an idempotency key is remembered after its first use. */
  readonly idempotencyTtlMs?: number;
  /** Idempotency keys a shard keeps. */
  readonly idempotencyKeysMax?: number;
  /** The longest that `close` waits for what was accepted. Default 10,000. */
  readonly drainTimeoutMs?: number;
  /** Capacity of the ring to the engine: a power of two that holds the longest frame. */
  readonly inboundRingBytes?: number;
  /** Capacity of the ring from the engine, likewise. */
  readonly outboundRingBytes?: number;
}

/** What an engine says once it serves. */
export interface OpenReport {
  /** The node's identity, in hexadecimal. */
  readonly node: string;
  readonly directory: string;
  /** What the directory stands on. */
  readonly fileSystem: "disk" | "memory" | "overlay" | "network";
  readonly logMode: "inline" | "threaded";
  /** How writes are made durable, and the medians of 4 KiB writes that decided it. */
  readonly flush: {
    readonly method: string;
    readonly fdatasyncNs: number;
    readonly dsyncNs: number;
  };
  /** False: the node goes on trying to serve, `control` statistics tell more. */
  readonly ready: boolean;
  /** From the call of `openEngine` to serving. */
  readonly tookUs: number;
  /** What recovery found. */
  readonly recovery: RecoveryReport;
  /** What an operator must be told, a sentence each. */
  readonly warnings: readonly string[];
}

/** What recovery read and found. */
export interface RecoveryReport {
  readonly [field: string]: unknown;
}

/** A distribution: quantiles to two digits. */
export interface Distribution {
  readonly count: number;
  readonly sum: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Counters since start and distributions of the engine's work; names end in units. */
export interface WorkStatistics {
  /** Turns of the node, and times the worker had nothing to do. */
  readonly turns: number;
  readonly parks: number;
  /** Wake-ups of the JavaScript thread. */
  readonly wakeUps: number;
  readonly inboundRecords: number;
  readonly inboundBytes: number;
  /** Records that made no sense, and times the ring was unreadable: faults of the gateway's. */
  readonly inboundMalformed: number;
  readonly inboundFaults: number;
  readonly outboundReplies: number;
  readonly outboundFrames: number;
  readonly outboundBytes: number;
  /** Frames that had to wait for room in the ring. */
  readonly outboundBlocked: number;
  /** Background jobs, and those that failed. */
  readonly jobs: number;
  readonly jobsFailed: number;
  /** A turn without the log's write. */
  readonly turnNs: Distribution;
  /** A log write with its flush. */
  readonly logWriteNs: Distribution;
  readonly logWriteBytes: Distribution;
  /** Replies that one log write released. */
  readonly batchReplies: Distribution;
  /** Bytes waiting in the rings. */
  readonly inboundFillBytes: Distribution;
  readonly outboundFillBytes: Distribution;
  /** From a frame's arrival in the ring to its first reply's departure; sampled. */
  readonly requestNs: Distribution;
}

/** One shard. Revisions are decimal strings: they pass 2^53. */
export interface ShardStatistics {
  readonly group: number;
  /** The space's name; empty for the meta group. */
  readonly name: string;
  readonly leader: boolean;
  /** Why it serves nothing, or null. */
  readonly damage: string | null;
  readonly term: number;
  readonly appliedIndex: number;
  readonly revision: string;
  readonly leaseMs: number;
  readonly logBytes: number;
  readonly snapshotIndex: number;
  readonly keys: number;
  readonly bytes: number;
  readonly sessions: number;
  readonly idempotencyKeys: number;
  readonly overlayBytes: number;
}

/** The node, since start. */
export interface NodeStatistics {
  readonly node: string;
  readonly connections: number;
  readonly frames: number;
  readonly proposed: number;
  readonly reads: number;
  readonly refused: number;
  readonly entries: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly backlogBytes: number;
  readonly snapshots: number;
  readonly segments: number;
  readonly diskLow: boolean;
  readonly draining: boolean;
  readonly shards: readonly ShardStatistics[];
}

/** The answer to `statistics`. */
export interface Statistics {
  readonly engine: {
    readonly node: string;
    readonly directory: string;
    readonly fileSystem: OpenReport["fileSystem"];
    readonly logMode: OpenReport["logMode"];
    readonly flush: OpenReport["flush"];
  };
  readonly work: WorkStatistics;
  readonly node: NodeStatistics;
}

/** What an open engine can be asked, and what it answers. */
export interface Controls {
  statistics: Statistics;
  /** Snapshots what has changed; answered when it is on disk. */
  snapshot: Readonly<Record<string, never>>;
  /** Refuses new requests and finishes the accepted ones; answered when that is done. */
  drain: Readonly<Record<string, never>>;
}

/** What becomes of an engine that is closed. */
export interface CloseReport {
  /** False: what was accepted was not finished in time, or the engine had failed before. */
  readonly drained: boolean;
}

/** An open engine. */
export interface Engine {
  /** What it said when it opened. */
  readonly report: OpenReport;
  /**
   * Puts a record into the ring to the engine; it is seen from the next `flush` on. `prefix` stands
   * before the body. False: there is no room, and `onWake` is called once there is; or the engine
   * has ended. Throws `RangeError` when the record is longer than any may be.
   */
  push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array | ArrayBuffer,
    prefix?: Uint8Array,
  ): boolean;
  /** Shows the engine what was pushed. Once a turn of the event loop is enough. */
  flush(): void;
  /**
   * Visits every frame the engine has for the connections, and gives its room back. The view is
   * valid during the call only. `visit` should not throw; if it does, the frame counts as visited
   * and the rest follows with another wake-up. Call it from `onWake`.
   */
  drain(visit: (slot: number, generation: number, frame: Uint8Array) => void): void;
  /** Asks something that is not hot. Rejects when the engine has ended. */
  control<Kind extends keyof Controls>(kind: Kind): Promise<Controls[Kind]>;
  /**
   * Refuses new requests, finishes the accepted ones, waits (two seconds at most) for the last
   * replies to be drained, and ends. Can be called again, and after a failure.
   */
  close(): Promise<CloseReport>;
}

/** The engine has failed or could not be opened; the message is for the operator. */
export class EngineError extends Error {
  override readonly name = "EngineError";
}

/** What can be asked of a directory that no engine holds; nothing in it is changed. */
export type OfflineRequest =
  | { readonly kind: "check"; readonly directory: string }
  | {
      readonly kind: "log";
      readonly directory: string;
      /** Only this shard's records. */
      readonly group?: number;
      /** Only entries from this index on. */
      readonly fromIndex?: number;
    };

/** The answers to `OfflineRequest`, by kind. */
export interface OfflineReplies {
  check: CheckReply;
  /** The records went to the standard output, a line each. */
  log: { readonly lines: number };
}

/** What `check` found. */
export interface CheckReply {
  /** Nothing acknowledged is damaged or missing. */
  readonly healthy: boolean;
  /** What is wrong with the file `identity`, or null. */
  readonly identity: string | null;
  /** All of it for a person. */
  readonly text: string;
  /** The log and the snapshots, for programs. */
  readonly report: {
    readonly healthy: boolean;
    readonly frames: number;
    readonly records: number;
    readonly findings: readonly CheckFinding[];
    readonly [field: string]: unknown;
  };
}

/** Something `check` found, the worst first. */
export interface CheckFinding {
  readonly severity: "damage" | "torn" | "note";
  readonly file: string;
  readonly offset: number;
  readonly what: string;
  readonly means: string;
  readonly action: string;
  /** Shards that are not served because of it. */
  readonly groups: readonly number[] | "all";
}

/** The addon's functions: nothing but bytes and JSON goes through them. */
interface Addon {
  open(options: EngineOptions, wake: () => void): Opened;
  submit(engine: Handle): void;
  drain(engine: Handle): string | null;
  control(engine: Handle | undefined, request: { kind: string }): Promise<string>;
  close(engine: Handle): Promise<string>;
}
type Handle = { readonly handle: unique symbol };
interface Opened {
  readonly engine: Handle;
  readonly memory: ArrayBuffer;
  readonly inboundBytes: number;
  readonly outboundBytes: number;
  readonly opened: Promise<string>;
}

let loaded: Addon | undefined;

/** Loads the addon: from build/, or from where DOMP_NATIVE_PATH says. */
function addon(): Addon {
  if (loaded !== undefined) return loaded;
  const here = path.dirname(fileURLToPath(import.meta.url));
  const file = path.resolve(process.env["DOMP_NATIVE_PATH"] ?? path.join(here, "../domp.node"));
  try {
    loaded = createRequire(import.meta.url)(file) as Addon;
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND";
    throw new EngineError(
      reason
        ? `the native addon is not built (there is no ${file}): run \`npm run build\``
        : `the native addon ${file} can't be loaded: ${(cause as Error).message}`,
      { cause },
    );
  }
  return loaded;
}

/**
 * Opens an engine on a directory, recovers what is there, and resolves once it serves.
 *
 * `onWake` is called, once a turn of the event loop at most, when there are frames to drain or room
 * to push again: call `drain`, then push what waited. `onFail` is called once, from within `drain`,
 * if the engine fails while it runs: nothing is answered any more and the process should end.
 * Rejects with `EngineError` where the directory is in use, damaged or not writable.
 */
export async function openEngine(
  options: EngineOptions,
  onWake: () => void,
  onFail?: (error: EngineError) => void,
): Promise<Engine> {
  const native = addon();
  let opened: Opened;
  let engine: Engine | undefined;
  let missed = false;
  try {
    opened = native.open(options, () => {
      if (engine === undefined) missed = true;
      else onWake();
    });
  } catch (cause) {
    throw new EngineError((cause as Error).message, { cause });
  }
  const report = await answered<OpenReport>(opened.opened);
  engine = new RingEngine(native, opened, report, onWake, onFail);
  // The engine wakes again only after a drain.
  if (missed) setImmediate(onWake);
  return engine;
}

/**
 * Runs a request that needs no engine. Rejects with `EngineError` where the directory is held by
 * one, is not there, or can't be read; damage is no error but an answer.
 */
export async function offline<Kind extends keyof OfflineReplies>(
  request: Extract<OfflineRequest, { readonly kind: Kind }>,
): Promise<OfflineReplies[Kind]> {
  let answer: Promise<string>;
  try {
    answer = addon().control(undefined, request);
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw new EngineError((cause as Error).message, { cause });
  }
  return answered(answer);
}

async function answered<Value>(json: Promise<string>): Promise<Value> {
  try {
    return JSON.parse(await json) as Value;
  } catch (cause) {
    throw new EngineError((cause as Error).message, { cause });
  }
}

const READ_ONLY = 1;
const HAS_KEY = 2;

/** The part of an `attach` body before the session token. `principal` is a stable 64-bit hash. */
export function attachPrefix(
  principal: bigint,
  readOnly: boolean,
  door: "websocket" | "http",
): Uint8Array {
  const prefix = new Uint8Array(16);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = readOnly ? READ_ONLY : 0;
  prefix[9] = door === "http" ? 1 : 0;
  return prefix;
}

/** The part of a `stateless` body before the frame. `key`: 16 bytes, a hash of the idempotency key. */
export function statelessPrefix(
  principal: bigint,
  readOnly: boolean,
  key?: Uint8Array,
): Uint8Array {
  const prefix = new Uint8Array(32);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = (readOnly ? READ_ONLY : 0) | (key === undefined ? 0 : HAS_KEY);
  if (key !== undefined) {
    if (key.length !== 16) throw new RangeError("the hash of an idempotency key has 16 bytes");
    prefix.set(key, 16);
  }
  return prefix;
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
} as const;
const STATE_FAILED = 3;

const HEADER_BYTES = 16;
const KIND_WRAP = 255;
const BODY_BYTES_MAX = FRAME_BYTES_MAX + 64;

function stride(length: number): number {
  return HEADER_BYTES + ((length + 15) & ~15);
}

/** The engine over its rings. Cursors are unsigned 32-bit: bytes since the beginning. */
class RingEngine implements Engine {
  readonly report: OpenReport;
  readonly #native: Addon;
  readonly #handle: Handle;
  readonly #onWake: () => void;
  readonly #onFail: ((error: EngineError) => void) | undefined;
  /** The control page, for atomics. */
  readonly #control: Int32Array;
  readonly #inboundBytes: number;
  readonly #inboundWords: Uint32Array;
  readonly #inbound: Uint8Array;
  readonly #outboundBytes: number;
  readonly #outboundWords: Uint32Array;
  readonly #outbound: Uint8Array;
  /** Where the next record is written, and what of it the engine can see. */
  #tail = 0;
  #published = 0;
  /** How far the engine had read when last looked at. */
  #headSeen = 0;
  /** How far replies were visited. */
  #outboundHead = 0;
  #draining = false;
  /** Nothing pushed from here on would be read. */
  #ended = false;
  #closing: Promise<CloseReport> | undefined;

  constructor(
    native: Addon,
    opened: Opened,
    report: OpenReport,
    onWake: () => void,
    onFail: ((error: EngineError) => void) | undefined,
  ) {
    const { memory, inboundBytes, outboundBytes } = opened;
    this.report = report;
    this.#native = native;
    this.#handle = opened.engine;
    this.#onWake = onWake;
    this.#onFail = onFail;
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.#inboundBytes = inboundBytes;
    this.#inboundWords = new Uint32Array(memory, CONTROL_BYTES, inboundBytes / 4);
    this.#inbound = new Uint8Array(memory, CONTROL_BYTES, inboundBytes);
    this.#outboundBytes = outboundBytes;
    this.#outboundWords = new Uint32Array(memory, CONTROL_BYTES + inboundBytes, outboundBytes / 4);
    this.#outbound = new Uint8Array(memory, CONTROL_BYTES + inboundBytes, outboundBytes);
  }

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
    if (this.#ended) return false;
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
    return true;
  }

  flush(): void {
    if (this.#published === this.#tail) return;
    this.#published = this.#tail;
    Atomics.store(this.#control, Word.inboundTail, this.#tail | 0);
    this.#wakeWorker(Word.sleeping);
  }

  drain(visit: (slot: number, generation: number, frame: Uint8Array) => void): void {
    if (this.#draining) throw new EngineError("drain was called from within drain");
    this.#draining = true;
    // First, so that what comes from here on wakes again: nothing is missed between.
    Atomics.store(this.#control, Word.wakePending, 0);
    let all = false;
    try {
      this.#visitAll(visit);
      all = true;
    } finally {
      this.#draining = false;
      Atomics.store(this.#control, Word.outboundHead, this.#outboundHead | 0);
      if (this.#takeFlag(Word.outboundBlocked)) this.#native.drain(this.#handle);
      // A visit threw: the engine believes its wake-up served, so the rest needs one of ours.
      if (!all) setImmediate(this.#onWake);
    }
    if (!this.#ended && Atomics.load(this.#control, Word.state) === STATE_FAILED) this.#fail();
  }

  async control<Kind extends keyof Controls>(kind: Kind): Promise<Controls[Kind]> {
    return answered(this.#native.control(this.#handle, { kind }));
  }

  close(): Promise<CloseReport> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<CloseReport> {
    this.flush();
    const report = await answered<CloseReport>(this.#native.close(this.#handle));
    // The wake-up for the last replies may have been overtaken by the answer.
    this.#onWake();
    this.#ended = true;
    return report;
  }

  #fail(): void {
    this.#ended = true;
    const why = this.#native.drain(this.#handle) ?? "the engine failed";
    const error = new EngineError(why);
    if (this.#onFail === undefined) throw error;
    this.#onFail(error);
  }

  #visitAll(visit: (slot: number, generation: number, frame: Uint8Array) => void): void {
    const mask = this.#outboundBytes - 1;
    const words = this.#outboundWords;
    const tail = Atomics.load(this.#control, Word.outboundTail) >>> 0;
    while (this.#outboundHead !== tail) {
      const offset = (this.#outboundHead & mask) >>> 0;
      const at = offset >>> 2;
      // The indices are inside the ring: a header never crosses its end.
      if (((words[at + 3] ?? 0) & 0xff) === KIND_WRAP) {
        this.#outboundHead = (this.#outboundHead + this.#outboundBytes - offset) >>> 0;
        continue;
      }
      const length = words[at + 2] ?? 0;
      this.#outboundHead = (this.#outboundHead + stride(length)) >>> 0;
      const start = offset + HEADER_BYTES;
      visit(words[at] ?? 0, words[at + 1] ?? 0, this.#outbound.subarray(start, start + length));
    }
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

  #wakeWorker(flag: number): void {
    if (this.#takeFlag(flag)) this.#native.submit(this.#handle);
  }

  #takeFlag(flag: number): boolean {
    return (
      Atomics.load(this.#control, flag) !== 0 && Atomics.exchange(this.#control, flag, 0) !== 0
    );
  }
}
