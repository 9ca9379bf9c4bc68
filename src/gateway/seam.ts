/**
 * The gateway's side of the engine's rings. What is pushed in one turn of the event loop is shown to
 * the engine by its end at the latest; what comes back is passed on by address.
 */

import { callerPrefix, type Engine, RecordKind, type Visit } from "../engine/index.js";
import type { Access } from "../policy/index.js";
import { FRAME_HEADER_BYTES, FrameKind } from "../protocol/frame.js";
import type { Counters } from "./counters.js";
import type { Address, Slots } from "./slots.js";

/** The part of the engine that the gateway's traffic passes through. */
export type TrafficEngine = Pick<Engine, "push" | "flush" | "drain">;

/** Whoever the engine's frames are for. */
export interface Tenant {
  /** What there is for it at once, one frame at least; valid only during the call. */
  onFrames(frames: readonly Uint8Array[]): void;
}

export interface Caller {
  readonly id: bigint;
  readonly access: Access;
}

const REVISION_AT = FRAME_HEADER_BYTES + 8;
const CODE_AT = FRAME_HEADER_BYTES + 20;

/**
 * The upper 48 bits of the revision of a frame's first reply; 0 where it is an error, or no reply.
 * Revisions of a node grow; the lower 16 bits tell apart what was committed in one millisecond.
 */
function newestRevision(frame: Uint8Array): number {
  // Byte by byte: every frame passes here, and a view would cost more than all else.
  if (frame[3] !== FrameKind.replies || ((frame[CODE_AT] ?? 0) | (frame[CODE_AT + 1] ?? 0)) !== 0) {
    return 0;
  }
  const at = REVISION_AT;
  const low = (frame[at + 2] ?? 0) | ((frame[at + 3] ?? 0) << 8);
  const high =
    (frame[at + 4] ?? 0) |
    ((frame[at + 5] ?? 0) << 8) |
    ((frame[at + 6] ?? 0) << 16) |
    ((frame[at + 7] ?? 0) << 24);
  return (high >>> 0) * 0x1_0000 + low;
}

const NOTHING = new Uint8Array(0);

export class Seam {
  readonly #engine: TrafficEngine;
  readonly #slots: Slots<Tenant>;
  readonly #counters: Counters;
  /** Detaches that found the ring full. They go first: the engine must hear of every one. */
  #detaches: Address[] = [];
  #flushScheduled = false;
  /** The newest revision's upper 48 bits that a successful reply bore, and when it came. */
  #newest = 0;
  #newestMs = Number.NEGATIVE_INFINITY;

  constructor(engine: TrafficEngine, slots: Slots<Tenant>, counters: Counters) {
    this.#engine = engine;
    this.#slots = slots;
    this.#counters = counters;
  }

  /** Announces a connection; false if the ring is full. `resume` is empty or a session's token. */
  attach({ slot, generation }: Address, caller: Caller, resume: Uint8Array): boolean {
    const prefix = callerPrefix(caller.id, caller.access === "read");
    return this.#push(RecordKind.attach, slot, generation, resume, prefix);
  }

  /** A connection's frame as it came; false if the ring is full. */
  frame({ slot, generation }: Address, frame: Uint8Array): boolean {
    return this.#push(RecordKind.frame, slot, generation, frame);
  }

  /** A frame of one transaction without a session; false if the ring is full. */
  stateless({ slot, generation }: Address, caller: Caller, frame: Uint8Array): boolean {
    const prefix = callerPrefix(caller.id, caller.access === "read");
    return this.#push(RecordKind.stateless, slot, generation, frame, prefix);
  }

  /** The connection is gone. Never lost: with a full ring it waits for room. */
  detach(address: Address): void {
    this.#slots.release(address);
    this.#detaches.push(address);
    this.#sendDetaches();
    this.#scheduleFlush();
  }

  /** Passes on what the engine answered. To be called when the engine wakes the gateway. */
  drain(): void {
    this.#engine.drain(this.#visit);
    if (this.#detaches.length > 0 && this.#sendDetaches()) this.#scheduleFlush();
  }

  /**
   * When a reply last told of a commit that was newer than all before: then a write went the whole
   * way, and what answers came back. By `performance.now()`.
   */
  get progressMs(): number {
    return this.#newestMs;
  }

  readonly #visit: Visit = (slot, generation, frames) => {
    const tenant = this.#slots.at(slot, generation);
    if (tenant === undefined) this.#counters.repliesStale += frames.length;
    else tenant.onFrames(frames);
    for (const frame of frames) {
      const newest = newestRevision(frame);
      if (newest <= this.#newest) continue;
      this.#newest = newest;
      this.#newestMs = performance.now();
    }
  };

  #push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array,
    prefix?: Uint8Array,
  ): boolean {
    if (this.#detaches.length > 0 && !this.#sendDetaches()) return false;
    this.#scheduleFlush();
    return this.#engine.push(kind, slot, generation, body, prefix);
  }

  /** True if all were sent. */
  #sendDetaches(): boolean {
    let sent = 0;
    for (const { slot, generation } of this.#detaches) {
      if (!this.#engine.push(RecordKind.detach, slot, generation, NOTHING)) break;
      sent += 1;
    }
    this.#detaches = this.#detaches.slice(sent);
    return this.#detaches.length === 0;
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#detaches.length > 0) this.#sendDetaches();
    this.#engine.flush();
  };
}
