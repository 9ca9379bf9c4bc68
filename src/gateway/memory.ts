/**
 * One budget for what clients make the gateway keep: halves of frames, replies that nobody reads,
 * HTTP bodies and answers. At the budget whoever holds the most gives way, be it the one that asks
 * for more or another.
 */

import type { Counters } from "./counters.js";

/** Worth waiting before another attempt where memory was short: somebody must read or send first. */
export const MEMORY_RETRY_MS = 1_000;

/** Somebody on whose account something is kept. */
export interface Holder {
  /** Must give up all it holds, at once, since nobody holds more. `detail` says so to a person. */
  shed(detail: string): void;
}

export class ClientMemory {
  readonly #bytesMax: number;
  readonly #counters: Counters;
  readonly #held = new Map<Holder, number>();
  #bytes = 0;

  constructor(bytesMax: number, counters: Counters) {
    this.#bytesMax = bytesMax;
    this.#counters = counters;
  }

  /** Bytes kept for all clients. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What to say to whom that much is refused or taken away. */
  detail(bytes: number): string {
    return (
      `the ${this.#bytesMax} bytes that are kept for clients are used up, ` +
      `and this one holds the most: ${bytes} bytes`
    );
  }

  /**
   * From now on the holder holds so many bytes. False: they would be more than there is, and nobody
   * holds as much; its account is as before, and it should let go of what it has.
   */
  hold(holder: Holder, bytes: number): boolean {
    const before = this.#held.get(holder) ?? 0;
    while (bytes > before && this.#bytes - before + bytes > this.#bytesMax) {
      const greediest = this.#greedier(bytes, holder);
      this.#counters.memoryShed += 1;
      if (greediest === undefined) return false;
      const [other, held] = greediest;
      other.shed(this.detail(held));
      // Whatever it did: it must not be found again.
      this.release(other);
    }
    this.#set(holder, before, bytes);
    return true;
  }

  /** The holder holds nothing any more. */
  release(holder: Holder): void {
    const before = this.#held.get(holder);
    if (before !== undefined) this.#set(holder, before, 0);
  }

  #set(holder: Holder, before: number, bytes: number): void {
    this.#bytes += bytes - before;
    this.#counters.memoryBytes = this.#bytes;
    if (bytes === 0) this.#held.delete(holder);
    else this.#held.set(holder, bytes);
  }

  /** Whoever holds the most, if that is more than `bytes`; never `except`. */
  #greedier(bytes: number, except: Holder): [Holder, number] | undefined {
    let greediest: [Holder, number] | undefined;
    for (const entry of this.#held) {
      if (entry[0] !== except && entry[1] > (greediest?.[1] ?? bytes)) greediest = entry;
    }
    return greediest;
  }
}
