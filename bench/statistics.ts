/** Medians, and ratios of what was measured in the same round. */

/** The middle value; the mean of the two middle ones where their number is even. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new RangeError("the median of nothing");
  const lower = sorted[middle - 1];
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

/** The chance of a median outside its interval, on either side. */
const OUTSIDE_MAX = 0.025;

/**
 * Between which of the values the median of what they are drawn from lies, with 95 % confidence: from
 * their order alone, whatever their distribution. Undefined for fewer than six: they can't tell.
 */
export function medianInterval(values: readonly number[]): readonly [number, number] | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const count = sorted.length;
  // The chance that at most `below` of the values are below the median: of a fair coin.
  let chance = 2 ** -count;
  let within = chance;
  let below = 0;
  while (within <= OUTSIDE_MAX) {
    below += 1;
    chance *= (count - below + 1) / below;
    within += chance;
  }
  const low = sorted[below - 1];
  const high = sorted[count - below];
  return low === undefined || high === undefined ? undefined : [low, high];
}

/** Ratios of paired measurements: the one that counts, and how far they spread. */
export interface Ratio {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly pairs: number;
}

/**
 * The ratios `ours[i] / theirs[i]` of the rounds that have both. Pairing takes out what slows the
 * whole machine for a while; undefined where no round has both.
 */
export function pairedRatio(
  ours: readonly (number | undefined)[],
  theirs: readonly (number | undefined)[],
): Ratio | undefined {
  const ratios = ours.flatMap((our, round) => {
    const their = theirs[round];
    return our === undefined || their === undefined || their <= 0 ? [] : [our / their];
  });
  if (ratios.length === 0) return undefined;
  return {
    median: median(ratios),
    min: Math.min(...ratios),
    max: Math.max(...ratios),
    pairs: ratios.length,
  };
}

/** The sums of what was measured in the same round; undefined where one of them was not. */
export function pairedSum(
  series: readonly (readonly (number | undefined)[])[],
): readonly (number | undefined)[] {
  const rounds = Math.max(0, ...series.map(({ length }) => length));
  return Array.from({ length: rounds }, (_, round) =>
    series.reduce((sum: number | undefined, values) => {
      const value = values[round];
      return sum === undefined || value === undefined ? undefined : sum + value;
    }, 0),
  );
}
