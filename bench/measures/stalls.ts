/** Stalls of windows in which a snapshot was taken, beside those of windows just before it. */

/** A window under load. */
export interface Watched {
  /** The longest time in which nothing was answered. */
  readonly stallUs: number;
  /** Whether a snapshot was under way in some of it. */
  readonly snapshot: boolean;
}

/** The longest stall while one snapshot was taken, and in as many windows before it. */
export interface Stalls {
  readonly duringUs: number;
  readonly quietUs: number;
}

/**
 * Pairs each snapshot that ended with the windows before it: as many, for the longer one looks the
 * longer the longest stall. A snapshot with nothing before it is left out, as is one that has not ended.
 */
export function pairStalls(windows: readonly Watched[]): readonly Stalls[] {
  const pairs: Stalls[] = [];
  let quiet: number[] = [];
  let during: number[] = [];
  for (const { stallUs, snapshot } of windows) {
    if (snapshot) {
      during.push(stallUs);
      continue;
    }
    if (during.length > 0) {
      const before = quiet.slice(-during.length);
      if (before.length > 0) {
        pairs.push({ duringUs: Math.max(...during), quietUs: Math.max(...before) });
      }
      [quiet, during] = [[], []];
    }
    quiet.push(stallUs);
  }
  return pairs;
}
