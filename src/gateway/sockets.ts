/**
 * How many sockets are open. Limits count sockets, not only WebSockets: each costs a descriptor,
 * whether it says anything or not.
 */

import type { Counters } from "./counters.js";
import { addressOf, type Response } from "./transport.js";
import type { TurnedAway } from "./turned-away.js";

/** Sockets over the limit that may hear why they are turned away; beyond, they are closed unheard. */
export const SOCKETS_TURNED_AWAY_MAX = 64;

export class Sockets {
  readonly #max: number;
  readonly #counters: Counters;
  readonly #turnedAway: TurnedAway;

  constructor(max: number, counters: Counters, turnedAway: TurnedAway) {
    this.#max = max;
    this.#counters = counters;
    this.#turnedAway = turnedAway;
  }

  /** More are open than may be: whoever asks for something now is to be turned away. */
  get areTooMany(): boolean {
    return this.#counters.socketsOpen > this.#max;
  }

  /** Why, for the one that is turned away. */
  get problem(): string {
    return `this server takes ${this.#max} connections`;
  }

  /** The transport's filter: a socket was accepted (1), or one that is no WebSocket closed (-1). */
  onChange(response: Response, change: number): void {
    this.#counters.socketsOpen += change;
    if (change < 0) return;
    this.#counters.socketsAccepted += 1;
    if (this.#counters.socketsOpen > this.#max + SOCKETS_TURNED_AWAY_MAX) {
      this.#counters.refused("too_many_connections");
      this.#turnedAway.note("too_many_connections", this.problem, addressOf(response));
      response.close();
      return;
    }
    // The first request replaces this handler by its own; so it hears of sockets without one.
    response.onAborted(() => {
      this.#counters.headsIncomplete += 1;
    });
  }

  /** A WebSocket closed; the filter is not told. */
  onWebSocketClosed(): void {
    this.#counters.socketsOpen -= 1;
  }
}
