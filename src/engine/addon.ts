/** The native addon: its functions, and the only place that loads it. */

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** What `openEngine` is told. Absent: the default. Times are milliseconds, sizes bytes. */
export interface EngineOptions {
  /** The data directory; made where it is missing. One engine at a time may hold it. */
  readonly directory: string;
  /** Where the log is kept, if not in the data directory; made where it is missing. */
  readonly logDirectory?: string;
  /** Whether the worker writes the log itself, or a thread of its own does. Default `auto`. */
  readonly logMode?: "auto" | "inline" | "threaded";
  /** Length of a log segment after the first; a multiple of 4096. */
  readonly segmentBytes?: number;
  /** A shard is snapshotted after this much log. */
  readonly snapshotAfterBytes?: number;
  /** The longest frame that the gateway takes: the engine tells clients. */
  readonly frameBytesMax?: number;
  /** Request bytes that one connection may have unanswered there; told likewise. */
  readonly outstandingBytesMax?: number;
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
  /** A machine's clock that leaves the monotonic one by more is not followed. Default 1,000. */
  readonly clockJumpMaxMs?: number;
  /** Whether the worker looks for work for a moment before it sleeps. Default true. */
  readonly busyPoll?: boolean;
  /** The longest that `close` waits for what was accepted. Default 10,000. */
  readonly drainTimeoutMs?: number;
  /** Of a cluster's node: where it listens for the others, `host:port`, if not where they expect it. */
  readonly clusterListen?: string;
  /** Capacity of the ring to the engine: a power of two that holds the longest frame. */
  readonly inboundRingBytes?: number;
  /** Capacity of the ring from the engine, likewise. */
  readonly outboundRingBytes?: number;
}

/** The engine has failed or could not be opened; the message is for the operator. */
export class EngineError extends Error {
  override readonly name = "EngineError";
}

/** The addon's functions: nothing but bytes and JSON goes through them. */
export interface Addon {
  open(options: EngineOptions, wake: () => void): Opened;
  submit(engine: Handle): void;
  drain(engine: Handle): string | null;
  control(engine: Handle | undefined, request: { kind: string }): Promise<string>;
  close(engine: Handle): Promise<string>;
}
export type Handle = { readonly handle: unique symbol };
export interface Opened {
  readonly engine: Handle;
  readonly memory: ArrayBuffer;
  readonly inboundBytes: number;
  readonly outboundBytes: number;
  readonly opened: Promise<string>;
}

let loaded: Addon | undefined;

/** Loads the addon: from build/, or from where DOMP_NATIVE_PATH says. */
export function addon(): Addon {
  if (loaded !== undefined) return loaded;
  const file = path.resolve(
    process.env["DOMP_NATIVE_PATH"] ?? path.join(buildDirectory(), "domp.node"),
  );
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

/** Where the build is: this runs from a file of its own there, or bundled with others. */
function buildDirectory(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (path.basename(directory) !== "build" && directory !== path.dirname(directory)) {
    directory = path.dirname(directory);
  }
  return directory;
}

/** What a call answered in JSON. Rejects with `EngineError`. */
export async function answered<Value>(json: Promise<string>): Promise<Value> {
  try {
    return JSON.parse(await json) as Value;
  } catch (cause) {
    throw new EngineError((cause as Error).message, { cause });
  }
}
