/** What the suite reports: one row a workload and system. */

/** A system under load, or a limit beside it. */
export const SYSTEMS = ["domp", "redis", "postgres", "disk", "uws"] as const;
export type System = (typeof SYSTEMS)[number];

/** A figure that stands in `values`. */
export type Value = number | string | boolean | null;

/** One line of the report; the figures of a row that is no throughput are null. */
export interface Row {
  readonly workload: string;
  /** A system; `machine` for the row that describes where all this was measured. */
  readonly system: System | "machine";
  readonly operations_per_s: number | null;
  readonly p50_us: number | null;
  readonly p99_us: number | null;
  /** What was saturated; null where nothing was loaded. */
  readonly bottleneck: string | null;
  readonly values: Readonly<Record<string, Value>>;
}

/** A row without figures. */
export function valuesRow(
  workload: string,
  system: Row["system"],
  values: Readonly<Record<string, Value>>,
): Row {
  return {
    workload,
    system,
    operations_per_s: null,
    p50_us: null,
    p99_us: null,
    bottleneck: null,
    values,
  };
}

/** A row that says why there are no figures, such as `skipped: needs redis-server`. */
export function skippedRow(workload: string, system: System, reason: string): Row {
  return valuesRow(workload, system, { skipped: reason });
}

/** A row that says why a workload has no figures although it should have. */
export function failedRow(workload: string, reason: string): Row {
  return valuesRow(workload, "domp", { failed: reason });
}

/** Rounded to `digits` significant digits, so that nobody reads noise. */
export function rounded(value: number, digits = 4): number {
  return Number(value.toPrecision(digits));
}
