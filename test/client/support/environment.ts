import type { Environment } from "../../../src/client/environment.js";

interface FakeTimer {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A world whose clock and dice the test holds in its hands. */
export class FakeEnvironment implements Environment {
  /** What `random` gives; the last one again and again. */
  dice: number[] = [0.5];
  #nowMs = 1_000;
  #order = 0;
  #timers = new Set<FakeTimer>();
  #deferred: (() => void)[] = [];

  now(): number {
    return this.#nowMs;
  }

  random(): number {
    const [first = 0.5] = this.dice;
    if (this.dice.length > 1) this.dice.shift();
    return first;
  }

  setTimer(callback: () => void, delayMs: number): FakeTimer {
    this.#order += 1;
    const timer = { dueMs: this.#nowMs + delayMs, order: this.#order, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as FakeTimer);
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** Timers that were set and neither fired nor were cleared. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the next timer fires. */
  get nextTimerMs(): number {
    return Math.min(...[...this.#timers].map(({ dueMs }) => dueMs)) - this.#nowMs;
  }

  /** Lets ticks pass until all is quiet: continuations first, then what was put off to the end. */
  async tick(): Promise<void> {
    for (let round = 0; round < 1_000; round += 1) {
      for (let hop = 0; hop < 50; hop += 1) await Promise.resolve();
      const deferred = this.#deferred;
      this.#deferred = [];
      if (deferred.length === 0) return;
      for (const callback of deferred) callback();
    }
    throw new Error("it does not become quiet");
  }

  /** Lets time pass; what is due happens in its order. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs;
    await this.tick();
    for (;;) {
      let next: FakeTimer | undefined;
      for (const timer of this.#timers) {
        if (timer.dueMs > endMs) continue;
        if (
          next === undefined ||
          timer.dueMs < next.dueMs ||
          (timer.dueMs === next.dueMs && timer.order < next.order)
        ) {
          next = timer;
        }
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
      await this.tick();
    }
    this.#nowMs = endMs;
    await this.tick();
  }
}
