/** Judges what was measured against what must be and should be reached. */

import type { Ratio } from "./statistics.js";
import { type Bound, type Comparison, reaches } from "./workloads.js";

/** `aim` and `must` are reached, `short` is neither. */
export type Verdict = "aim" | "must" | "short";

export function judgeRatio(comparison: Comparison, ratio: Ratio): Verdict {
  if (reaches(comparison, ratio.median, comparison.aim)) return "aim";
  return reaches(comparison, ratio.median, comparison.must) ? "must" : "short";
}

export function judgeBound(bound: Bound, value: number): Verdict {
  const reached = (limit: number) => (bound.better === "lower" ? value <= limit : value >= limit);
  if (bound.aim !== undefined && reached(bound.aim)) return "aim";
  return reached(bound.must) ? "must" : "short";
}
