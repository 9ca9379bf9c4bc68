/**
 * The typed face of the native addon, and the only file that loads it.
 *
 * Frames do not pass through native calls: both sides read and write one block of memory with two
 * rings in it (native/rings.ts). What does pass is not hot, and JSON.
 */

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { CheckReply, CloseReport, Controls, OpenReport } from "./native/reports.js";
import { type RecordKind, Rings } from "./native/rings.js";

export type * from "./native/reports.js";
export { RecordKind } from "./native/rings.js";

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
  /** Whether the worker looks for work for a moment before it sleeps. Default true. */
  readonly busyPoll?: boolean;
  /** The longest that `close` waits for what was accepted. Default 10,000. */
  readonly drainTimeoutMs?: number;
  /** Capacity of the ring to the engine: a power of two that holds the longest frame. */
  readonly inboundRingBytes?: number;
  /** Capacity of the ring from the engine, likewise. */
  readonly outboundRingBytes?: number;
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
  /**
   * Shows the engine what was pushed. Once a turn of the event loop is enough: every few KiB it is
   * shown unasked.
   */
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

/** The engine over its rings. */
class RingEngine implements Engine {
  readonly report: OpenReport;
  readonly #native: Addon;
  readonly #handle: Handle;
  readonly #rings: Rings;
  readonly #onWake: () => void;
  readonly #onFail: ((error: EngineError) => void) | undefined;
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
    const { engine, memory, inboundBytes, outboundBytes } = opened;
    this.report = report;
    this.#native = native;
    this.#handle = engine;
    this.#onWake = onWake;
    this.#onFail = onFail;
    this.#rings = new Rings(memory, inboundBytes, outboundBytes, {
      wake: () => native.submit(engine),
      fetched: () => native.drain(engine),
      again: () => setImmediate(onWake),
    });
  }

  push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array | ArrayBuffer,
    prefix?: Uint8Array,
  ): boolean {
    return !this.#ended && this.#rings.push(kind, slot, generation, body, prefix);
  }

  flush(): void {
    this.#rings.flush();
  }

  drain(visit: (slot: number, generation: number, frame: Uint8Array) => void): void {
    this.#rings.drain(visit);
    if (!this.#ended && this.#rings.hasFailed()) this.#fail();
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
    const error = new EngineError(this.#native.drain(this.#handle) ?? "the engine failed");
    if (this.#onFail === undefined) throw error;
    this.#onFail(error);
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
