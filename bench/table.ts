/** The report for people: a line a row, in columns. */

import type { Row, Value } from "./rows.js";
import { boundLimits, judgeBound, type Verdict } from "./verdict.js";
import { type Bound, type Comparison, ratioName, type Workload } from "./workloads.js";

const MARKS: Readonly<Record<Verdict, string>> = {
  aim: "✓ aim",
  must: "✓ must",
  short: "✗ short",
  missed: "– aim missed",
};

/** The rows of all workloads as text. */
export function renderTable(workloads: readonly Workload[], rows: readonly Row[]): string {
  const blocks = workloads.map((workload) => {
    const own = rows.filter((row) => row.workload === workload.name);
    const head = `${workload.name}: ${workload.title}`;
    const lines =
      workload.kind === "throughput"
        ? throughputLines(own, workload.comparisons, workload.bounds)
        : measureLines(own, workload.bounds);
    return [head, ...lines.map((line) => `  ${line}`)].join("\n");
  });
  return `${blocks.join("\n\n")}\n`;
}

function throughputLines(
  rows: readonly Row[],
  comparisons: readonly Comparison[],
  bounds: readonly Bound[],
): readonly string[] {
  const measured = rows.filter((row) => row.operations_per_s !== null);
  const cells = measured.map((row) => [
    row.system,
    grouped(row.operations_per_s),
    grouped(row.p50_us),
    grouped(row.p99_us),
    busiestText(row),
  ]);
  const table = columns(["system", "ops/s", "p50 µs", "p99 µs", "busiest"], cells);
  const skipped = rows.filter((row) => "skipped" in row.values);
  const failed = rows.filter((row) => "failed" in row.values);
  const domp = measured.find(({ system }) => system === "domp");
  return [
    ...(measured.length > 0 ? table : []),
    ...failed.map((row) => `✗ failed: ${row.values["failed"]}`),
    ...skipped.map((row) => `${row.system}: skipped: ${row.values["skipped"]}`),
    ...(domp === undefined ? [] : ratioLines(domp, comparisons)),
    ...(domp === undefined ? [] : bounds.flatMap((bound) => boundLine(domp, bound) ?? [])),
  ];
}

/** What was busiest and how busy it was, such as `engine thread 93 %`. */
function busiestText({ bottleneck, values }: Row): string {
  const share = values["busiest_share"];
  if (bottleneck === null) return "";
  return typeof share === "number" ? `${bottleneck} ${Math.round(share * 100)} %` : bottleneck;
}

/** What `ratio_…` values say, a line each; those that are judged first. */
function ratioLines({ values }: Row, comparisons: readonly Comparison[]): readonly string[] {
  const judged = comparisons.map(ratioName);
  const names = Object.keys(values).filter(
    (name) => name.startsWith("ratio_") && `${name}_figure` in values,
  );
  const lines = names.map((name) => {
    const value = (suffix: string): Value => values[`${name}${suffix}`] ?? null;
    const figure = value("_figure") === "p50_us" ? "p50" : "ops/s";
    const peer = name.slice("ratio_".length).replaceAll("_", " + ");
    const spread = `${times(value("_min"))} to ${times(value("_max"))}`;
    const text = `${figure} ${times(value(""))} ${peer} (${spread})`;
    const verdict = value("_verdict");
    if (verdict === null) return { name, text };
    const limits = (["must", "aim"] as const)
      .filter((limit) => value(`_${limit}`) !== null)
      .map((limit) => `${limit} ${times(value(`_${limit}`))}`);
    return { name, text: `${text}: ${limits.join(", ")}: ${MARKS[verdict as Verdict]}` };
  });
  const rank = (name: string) => Number(!judged.includes(name));
  return lines.toSorted((a, b) => rank(a.name) - rank(b.name)).map(({ text }) => text);
}

function measureLines(rows: readonly Row[], bounds: readonly Bound[]): readonly string[] {
  return rows.flatMap((row) => {
    if ("failed" in row.values) return [`✗ failed: ${row.values["failed"]}`];
    if ("skipped" in row.values) return [`${row.system}: skipped: ${row.values["skipped"]}`];
    return Object.entries(row.values).map(([name, value]) => {
      const bound = bounds.find((candidate) => candidate.value === name);
      const judged = bound === undefined ? undefined : boundLine(row, bound);
      return judged ?? `${row.system} ${name} ${showValue(value)}`;
    });
  });
}

/** A value beside what must be and should be reached; undefined where that can't be told. */
function boundLine(row: Row, bound: Bound): string | undefined {
  const [limits, verdict] = [boundLimits(bound, row), judgeBound(bound, row)];
  if (row.system !== "domp" || limits === undefined || verdict === undefined) return undefined;
  const value = showValue(row.values[bound.value] ?? null);
  const must = `must ${grouped(limits.must ?? null)}`;
  const aim = limits.aim === undefined ? "" : `, aim ${grouped(limits.aim)}`;
  return `${row.system} ${bound.value} ${value}: ${must}${aim}: ${MARKS[verdict]}`;
}

function columns(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) =>
    Math.max(...all.map((cells) => (cells[column] ?? "").length)),
  );
  // Names on the left side of their column, numbers on the right.
  const isText = (column: number) => column === 0 || column === head.length - 1;
  return all.map((cells) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return isText(column) ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  ")
      .trimEnd(),
  );
}

function times(value: Value): string {
  return typeof value === "number" ? `${value.toFixed(2)}x` : "?";
}

function showValue(value: Value): string {
  if (value === null) return "?";
  return typeof value === "number" ? grouped(value) : String(value);
}

/** A number with thousands parted; fractions only below a hundred. */
function grouped(value: number | null): string {
  if (value === null) return "";
  const maximumFractionDigits = Math.abs(value) < 100 ? 2 : 0;
  return value.toLocaleString("en", { maximumFractionDigits });
}
