/** Judges what was measured against what must be and should be reached. */

import { GENERATOR } from "./bottleneck.js";
import type { Row } from "./rows.js";
import { type Bound, type Comparison, limitOf, SATURATED } from "./workloads.js";

/**
 * `aim` and `must` are reached, `short` falls short of what must be. `missed` is an aim where
 * nothing must be reached.
 */
export type Verdict = "aim" | "must" | "short" | "missed";

/** What must be and should be reached, as numbers, and which side of them is good. */
export interface Limits {
  readonly better: "lower" | "higher";
  readonly must: number | undefined;
  readonly aim: number | undefined;
}

export function judge({ better, must, aim }: Limits, value: number): Verdict {
  const reached = (limit: number) => (better === "lower" ? value <= limit : value >= limit);
  if (must !== undefined && !reached(must)) return "short";
  if (aim !== undefined && reached(aim)) return "aim";
  return must === undefined ? "missed" : "must";
}

/** Ratios of latency should be small, all others large. */
export function comparisonLimits({ figure, must, aim }: Comparison): Limits {
  return { better: figure === "p50_us" ? "lower" : "higher", must, aim };
}

/** The limits of a bound in that row; undefined where the row does not have all of them. */
export function boundLimits(bound: Bound, row: Row): Limits | undefined {
  const must = limitOf(bound.must, row.values);
  const aim = limitOf(bound.aim, row.values);
  if (must === undefined || (aim === undefined) !== (bound.aim === undefined)) return undefined;
  return { better: bound.better, must, aim };
}

/** What a row says to a bound; undefined where it has no such figure. */
export function judgeBound(bound: Bound, row: Row): Verdict | undefined {
  const value = row.values[bound.value];
  const limits = boundLimits(bound, row);
  if (typeof value !== "number" || limits === undefined) return undefined;
  // Where the generator was the limit, nothing of the server's was.
  if (bound === SATURATED && row.bottleneck === GENERATOR) return "short";
  return judge(limits, value);
}
