/** What must be reached, beside what was, on the scales of the picture. */

import { figure, percent, times } from "./figures.js";
import type { Row, System } from "./rows.js";
import { boundLimits, judge, judgeBound, type Limits, type Verdict } from "./verdict.js";
import {
  type Bound,
  type Comparison,
  ratioName,
  SATURATED,
  type ThroughputWorkload,
  type Workload,
} from "./workloads.js";

/**
 * `peers`: how many times as fast as another system; 1 is as fast. `limits`: the share of what the
 * machine gives; 1 is all of it. `bounds`: the share of what is allowed that was taken; 1 is all of it,
 * and less is better.
 */
export type Scale = "peers" | "limits" | "bounds";

/** One requirement; figures are of its scale. */
export interface Requirement {
  readonly scale: Scale;
  readonly label: string;
  readonly reached: number;
  /** The spread of the rounds, where there were several. */
  readonly spread: readonly [low: number, high: number] | undefined;
  readonly must: number | undefined;
  readonly aim: number | undefined;
  /** What was reached, and what must and should be, in words. */
  readonly words: string;
  readonly verdict: Verdict;
}

/** Systems that do no work of a server: what they reach is the machine's limit. */
const MACHINE: ReadonlySet<System> = new Set(["disk", "uws"]);

/** What people call the systems. */
export const NAMES: Readonly<Record<System, string>> = {
  domp: "DOMP",
  redis: "Redis",
  postgres: "PostgreSQL",
  disk: "bare disk",
  uws: "bare echo",
};

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
    const compared =
      workload.kind === "throughput"
        ? workload.comparisons.flatMap((comparison) => compare(workload, comparison, own) ?? [])
        : [];
    return [...compared, ...workload.bounds.flatMap((bound) => hold(workload, bound, own) ?? [])];
  });
}

/** A ratio to others: ratios of latency are turned round, so that more is better. */
function compare(
  { title }: ThroughputWorkload,
  comparison: Comparison,
  { values }: Row,
): Requirement | undefined {
  const { to, figure: compared, must, aim } = comparison;
  const turned = compared === "p50_us";
  const speed = (ratio: number) => (turned ? 1 / ratio : ratio);
  const read = reader(values, speed);
  const reached = read(ratioName(comparison));
  if (reached === undefined) return undefined;
  const limits: Limits = {
    better: "higher",
    must: must === undefined ? undefined : speed(must),
    aim: aim === undefined ? undefined : speed(aim),
  };
  const isLimit = to.every((system) => MACHINE.has(system));
  const show = isLimit ? percent : times;
  const peer = to.map((system) => NAMES[system]).join(" + ");
  return {
    scale: isLimit ? "limits" : "peers",
    label: `${title} / ${peer}`,
    reached,
    spread: spreadOf(read, ratioName(comparison)),
    must: limits.must,
    aim: limits.aim,
    words: words(show(reached), limits, show),
    verdict: judge(limits, reached),
  };
}

/** A bound of a row's value. */
function hold(workload: Workload, bound: Bound, row: Row): Requirement | undefined {
  const value = row.values[bound.value];
  const [limits, verdict] = [boundLimits(bound, row), judgeBound(bound, row)];
  if (typeof value !== "number" || limits?.must === undefined || verdict === undefined) {
    return undefined;
  }
  const { better, must, aim } = limits;
  const show = (number: number) => figure(bound.value, number);
  const told = words(show(value), limits, show);
  if (bound === SATURATED) {
    const label = `${workload.title}: ${row.bottleneck}`;
    const shares = { reached: value, spread: undefined, must, aim };
    return { scale: "limits", label, ...shares, words: told, verdict };
  }
  // A figure of zero or less, which noise can make of a small one, takes nothing.
  const taken = (number: number) =>
    better === "lower" ? Math.max(number, 0) / must : must / number;
  return {
    scale: "bounds",
    label: bound.title,
    reached: taken(value),
    spread: spreadOf(reader(row.values, taken), bound.value),
    must: 1,
    aim: aim === undefined ? undefined : taken(aim),
    words: told,
    verdict,
  };
}

type Reader = (name: string) => number | undefined;

function reader(values: Row["values"], scale: (value: number) => number): Reader {
  return (name) => {
    const value = values[name];
    return typeof value === "number" ? scale(value) : undefined;
  };
}

function spreadOf(read: Reader, name: string): Requirement["spread"] {
  const [low, high] = [read(`${name}_min`), read(`${name}_max`)];
  if (low === undefined || high === undefined) return undefined;
  return [Math.min(low, high), Math.max(low, high)];
}

function words(reached: string, { must, aim }: Limits, show: (value: number) => string): string {
  const limits = [
    ...(must === undefined ? [] : [`must ${show(must)}`]),
    ...(aim === undefined ? [] : [`aim ${show(aim)}`]),
  ];
  return `${reached}   (${limits.join(", ")})`;
}
