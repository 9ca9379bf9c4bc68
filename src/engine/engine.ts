/** An engine of this process: opened on a directory, spoken to through its rings. */

import {
  type Addon,
  addon,
  answered,
  EngineError,
  type EngineOptions,
  type Handle,
  type Opened,
} from "./addon.js";
import type { CloseReport, Controls, Notice, OpenReport } from "./reports.js";
import { type RecordKind, Rings, type Visit } from "./rings.js";

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
   * Visits the frames the engine has for the connections, about a MiB of them, and gives their room
   * back; the rest follows with another wake-up in the next turn of the event loop. What there is for
   * one connection comes in one visit. The views are valid during the call only. `visit` should not
   * throw; if it does, its frames count as visited, and the others are visited first. Call it from
   * `onWake`.
   */
  drain(visit: Visit): void;
  /** Asks something that is not hot. Rejects when the engine has ended. */
  control<Kind extends keyof Controls>(kind: Kind): Promise<Controls[Kind]>;
  /**
   * Refuses new requests, finishes the accepted ones, waits (two seconds at most) for the last
   * replies to be drained, and ends. Can be called again, and after a failure.
   */
  close(): Promise<CloseReport>;
}

/**
 * Opens an engine on a directory, recovers what is there, and resolves once it serves.
 *
 * `onWake` is called, once a turn of the event loop at most, when there are frames to drain or room
 * to push again: call `drain`, then push what waited. `onFail` is called once, from within `drain`,
 * if the engine fails while it runs: nothing is answered any more and the process should end.
 * `onNotice` is called with what an operator should read, after a `drain`.
 * Rejects with `EngineError` where the directory is in use, damaged or not writable.
 */
export async function openEngine(
  options: EngineOptions,
  onWake: () => void,
  onFail?: (error: EngineError) => void,
  onNotice?: (notice: Notice) => void,
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
  engine = new RingEngine(native, opened, report, { onWake, onFail, onNotice });
  // The engine wakes again only after a drain.
  if (missed) setImmediate(onWake);
  return engine;
}

/** Whom the engine tells. */
interface Listeners {
  readonly onWake: () => void;
  readonly onFail: ((error: EngineError) => void) | undefined;
  readonly onNotice: ((notice: Notice) => void) | undefined;
}

/** The engine over its rings. */
class RingEngine implements Engine {
  readonly report: OpenReport;
  readonly #native: Addon;
  readonly #handle: Handle;
  readonly #rings: Rings;
  readonly #listeners: Listeners;
  /** Nothing pushed from here on would be read. */
  #ended = false;
  #closing: Promise<CloseReport> | undefined;

  constructor(native: Addon, opened: Opened, report: OpenReport, listeners: Listeners) {
    const { engine, memory, inboundBytes, outboundBytes } = opened;
    this.report = report;
    this.#native = native;
    this.#handle = engine;
    this.#listeners = listeners;
    this.#rings = new Rings(memory, inboundBytes, outboundBytes, {
      wake: () => native.submit(engine),
      fetched: () => native.drain(engine),
      again: () => setImmediate(listeners.onWake),
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

  drain(visit: Visit): void {
    this.#rings.drain(visit);
    if (this.#ended) return;
    if (this.#rings.hasFailed()) this.#fail();
    else if (this.#rings.takeNotices()) void this.#tellNotices();
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
    this.#listeners.onWake();
    this.#ended = true;
    return report;
  }

  async #tellNotices(): Promise<void> {
    const { onNotice } = this.#listeners;
    if (onNotice === undefined) return;
    // An engine that ends meanwhile says why in another way.
    const told = await this.control("notices").catch(() => undefined);
    if (told === undefined) return;
    if (told.forgotten > 0)
      onNotice({ message: "earlier notices were lost", count: told.forgotten });
    for (const notice of told.notices) onNotice(notice);
  }

  #fail(): void {
    this.#ended = true;
    const error = new EngineError(this.#native.drain(this.#handle) ?? "the engine failed");
    if (this.#listeners.onFail === undefined) throw error;
    this.#listeners.onFail(error);
  }
}
