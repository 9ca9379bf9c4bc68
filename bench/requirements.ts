/** What must be reached, beside what was: every ratio and bound of the table on one scale. */

import type { Row } from "./rows.js";
import type { Workload } from "./workloads.js";

/** One requirement; figures are multiples of what must be reached, above 1 is good. */
export interface Requirement {
  readonly label: string;
  readonly reached: number;
  /** The spread of the rounds, where there were several. */
  readonly spread: readonly [low: number, high: number] | undefined;
  readonly aim: number | undefined;
}

/** The requirements of these workloads that were measured. */
export function requirementsOf(
  workloads: readonly Workload[],
  rows: readonly Row[],
): readonly Requirement[] {
  return workloads.flatMap((workload) => {
    const own = rows.find(({ workload: name, system }) => {
      return name === workload.name && system === "domp";
    });
    if (own === undefined) return [];
    const read = (name: string): number | undefined => {
      const value = own.values[name];
      return typeof value === "number" ? value : undefined;
    };
    if (workload.kind === "measure") {
      return workload.bounds.flatMap(({ value, better, must, aim }) => {
        const over = multiples(better, must);
        const figure = read(value);
        if (figure === undefined) return [];
        const [low, high] = [read(`${value}_min`), read(`${value}_max`)];
        return [requirement(`${workload.name}: ${value}`, over, figure, low, high, aim)];
      });
    }
    return workload.comparisons.flatMap(({ system, figure, must, aim }) => {
      const over = multiples(figure === "p50_us" ? "lower" : "higher", must);
      const ratio = read(`ratio_${system}`);
      if (ratio === undefined) return [];
      const [low, high] = [read(`ratio_${system}_min`), read(`ratio_${system}_max`)];
      return [requirement(`${workload.name} / ${system}`, over, ratio, low, high, aim)];
    });
  });
}

function multiples(better: "lower" | "higher", must: number): (value: number) => number {
  // A figure of zero or less, which noise can make of a small one, is as good as can be drawn.
  return better === "lower"
    ? (value) => must / Math.max(value, must / 100)
    : (value) => value / must;
}

function requirement(
  label: string,
  over: (value: number) => number,
  figure: number,
  low: number | undefined,
  high: number | undefined,
  aim: number | undefined,
): Requirement {
  const ends = low === undefined || high === undefined ? undefined : [over(low), over(high)];
  return {
    label,
    reached: over(figure),
    spread: ends === undefined ? undefined : [Math.min(...ends), Math.max(...ends)],
    aim: aim === undefined ? undefined : over(aim),
  };
}
