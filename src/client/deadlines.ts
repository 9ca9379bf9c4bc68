import type { Environment, Timer } from "./environment.js";

/**
 * One timer for all deadlines: most requests are answered long before theirs, so a timer for each
 * would be work for nothing. Deadlines are times of the environment's clock.
 */
export class Deadlines {
  readonly #environment: Environment;
  /** Deals with all that are due at `now`; returns the next deadline, or infinity. */
  readonly #onDue: (now: number) => number;
  #timer: Timer | undefined;
  #armedFor = Number.POSITIVE_INFINITY;

  constructor(environment: Environment, onDue: (now: number) => number) {
    this.#environment = environment;
    this.#onDue = onDue;
  }

  /** Makes sure that the timer fires no later than this. */
  watch(deadlineMs: number): void {
    if (deadlineMs >= this.#armedFor) return;
    this.stop();
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    this.#armedFor = deadlineMs;
    const delayMs = Math.max(0, deadlineMs - this.#environment.now());
    this.#timer = this.#environment.setTimer(() => this.#fire(), delayMs);
  }

  stop(): void {
    if (this.#timer !== undefined) this.#environment.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#armedFor = Number.POSITIVE_INFINITY;
  }

  #fire(): void {
    this.#timer = undefined;
    this.#armedFor = Number.POSITIVE_INFINITY;
    this.watch(this.#onDue(this.#environment.now()));
  }
}
