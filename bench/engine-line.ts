/** A line to an engine in this process, without a gateway: connections that are only slots. */

import type { Transport, TransportChannel, TransportEvents } from "../src/client/index.js";
import { callerPrefix, type Engine, RecordKind } from "../src/engine/index.js";
import { frameCount } from "../src/protocol/frame.js";

const GENERATION = 1;
const PRINCIPAL = 1n;
const NOTHING = new Uint8Array(0);

/** Who hears what the engine says to a slot. The frame is the listener's to keep. */
type Listener = (frame: Uint8Array<ArrayBuffer>) => void;

export class EngineLine {
  readonly #listeners = new Map<number, Listener>();
  #engine: Engine | undefined;
  #flushScheduled = false;

  /** To be called when the engine is open. */
  join(engine: Engine): void {
    this.#engine = engine;
  }

  /** To be called when the engine has something to say. */
  onWake(): void {
    this.#engine?.drain((slot, _generation, frames) => {
      for (const frame of frames) this.#listeners.get(slot)?.(frame.slice());
    });
  }

  /** Attaches a slot; resolves to the welcome. */
  attach(slot: number): Promise<Uint8Array> {
    const heard = this.#next(slot, () => true);
    this.#push(RecordKind.attach, slot, NOTHING, callerPrefix(PRINCIPAL, false));
    this.#open().flush();
    return heard;
  }

  /** Sends a frame; resolves to the last frame of its replies, when `count` have come. */
  exchange(slot: number, frame: Uint8Array, count: number): Promise<Uint8Array> {
    let missing = count;
    const heard = this.#next(slot, (replies) => {
      missing -= frameCount(replies);
      return missing <= 0;
    });
    this.#push(RecordKind.frame, slot, frame);
    this.#open().flush();
    return heard;
  }

  /** A way for the SDK to reach the engine as the connection of a slot. */
  transport(slot: number): Transport {
    return {
      open: (_url, events) => {
        queueMicrotask(() => events.onOpen());
        return this.#channel(slot, events);
      },
    };
  }

  #channel(slot: number, events: TransportEvents): TransportChannel {
    let greeted = false;
    this.#listeners.set(slot, (frame) => events.onFrame(frame));
    return {
      send: (frame) => {
        if (greeted) {
          this.#push(RecordKind.frame, slot, frame);
        } else {
          // The gateway would read this hello, and announce the connection.
          greeted = true;
          const prefix = callerPrefix(PRINCIPAL, false);
          this.#push(RecordKind.attach, slot, NOTHING, prefix);
        }
        this.#flushSoon();
      },
      close: () => {
        this.#listeners.delete(slot);
        this.#push(RecordKind.detach, slot, NOTHING);
        this.#flushSoon();
        queueMicrotask(() => events.onClose("closed"));
      },
    };
  }

  /** Listens to a slot until `isLast` says that a frame is the one waited for. */
  #next(slot: number, isLast: (frame: Uint8Array) => boolean): Promise<Uint8Array> {
    return new Promise((resolve) => {
      this.#listeners.set(slot, (frame) => {
        if (!isLast(frame)) return;
        this.#listeners.delete(slot);
        resolve(frame);
      });
    });
  }

  #push(kind: RecordKind, slot: number, body: Uint8Array, prefix?: Uint8Array): void {
    if (!this.#open().push(kind, slot, GENERATION, body, prefix)) {
      throw new Error("the ring to the engine is full");
    }
  }

  /** Once a turn of the event loop, as the gateway does. */
  #flushSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#open().flush();
    });
  }

  #open(): Engine {
    if (this.#engine === undefined) throw new Error("the engine is not open");
    return this.#engine;
  }
}
