import type { DeadlineOptions } from "./core.js";
import type { Environment } from "./environment.js";

/**
 * Whose turn it is, for transactions of one client that would only be in each other's way: one at a
 * time for each name, in the order in which they came.
 */
export class Turns {
  readonly #environment: Environment;
  /** Those who wait behind the one whose turn it is. */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /**
   * Waits for a turn, which ends with `end`; no longer than until the deadline or the signal: false
   * then. `onWait` is called if others are before us.
   */
  take(
    name: string,
    { deadlineMs, signal }: DeadlineOptions,
    onWait: () => void,
  ): Promise<boolean> {
    const others = this.#waiting.get(name);
    if (others === undefined) {
      this.#waiting.set(name, []);
      return Promise.resolve(true);
    }
    // Its event has passed, so that nobody would hear of it.
    if (signal?.aborted) return Promise.resolve(false);
    onWait();
    return new Promise((resolve) => {
      const settle = (isOurs: boolean): void => {
        this.#environment.clearTimer(timer);
        signal?.removeEventListener("abort", giveUp);
        resolve(isOurs);
      };
      const begin = (): void => settle(true);
      const giveUp = (): void => {
        others.splice(others.indexOf(begin), 1);
        settle(false);
      };
      const timer = this.#environment.setTimer(giveUp, deadlineMs - this.#environment.now());
      signal?.addEventListener("abort", giveUp, { once: true });
      others.push(begin);
    });
  }

  /** The turn is over: the next one's begins. */
  end(name: string): void {
    const next = this.#waiting.get(name)?.shift();
    if (next === undefined) this.#waiting.delete(name);
    else next();
  }
}
