/** A timer that was started; `clearTimer` ends it. */
export type Timer = unknown;

/**
 * What the SDK takes from the world around it: a clock, chance, timers and the end of the present
 * tick. Handed in, so that a test can play hours in a moment and choose the dice.
 */
export interface Environment {
  /** Milliseconds of a monotonic clock; only differences mean something. */
  now(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Calls back once, no earlier than `delayMs` from now. */
  setTimer(callback: () => void, delayMs: number): Timer;
  clearTimer(timer: Timer): void;
  /**
   * Calls back once when the present tick is over: after every promise continuation that is ready
   * to run, before the next event of the network.
   */
  defer(callback: () => void): void;
}

/** The longest delay that browsers and Node keep; beyond it a timer would fire at once. */
const TIMER_MS_MAX = 2_147_483_647;

/** The clock, dice and timers of the browser or Node process this runs in. */
export function systemEnvironment(): Environment {
  return {
    now: () => performance.now(),
    random: Math.random,
    setTimer: (callback, delayMs) => setTimeout(callback, Math.min(delayMs, TIMER_MS_MAX)),
    clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
    defer: endOfTick(),
  };
}

/**
 * A macrotask, not a microtask: a reply frame settles many promises, and what their continuations
 * issue, however many `await`s deep, then leaves in one frame too. Where there is no
 * `setImmediate` (browsers) a message channel is the shortest macrotask there is; `setTimeout`
 * would wait 4 ms.
 */
function endOfTick(): (callback: () => void) => void {
  const immediate = (globalThis as { setImmediate?: (callback: () => void) => unknown })
    .setImmediate;
  if (immediate !== undefined) {
    return (callback) => {
      immediate(callback);
    };
  }
  const channel = new MessageChannel();
  const callbacks: (() => void)[] = [];
  channel.port1.onmessage = () => callbacks.shift()?.();
  return (callback) => {
    callbacks.push(callback);
    channel.port2.postMessage(null);
  };
}
