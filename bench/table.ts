/** The report for people: a line a row, in columns. */

import type { Row, Value } from "./rows.js";
import { judgeBound } from "./verdict.js";
import type { Bound, Workload } from "./workloads.js";

const MARKS: Readonly<Record<string, string>> = { aim: "✓ aim", must: "✓ must", short: "✗ short" };

/** The rows of all workloads as text. */
export function renderTable(workloads: readonly Workload[], rows: readonly Row[]): string {
  const blocks = workloads.map((workload) => {
    const own = rows.filter((row) => row.workload === workload.name);
    const head = `${workload.name}: ${workload.title}`;
    const lines =
      workload.kind === "throughput" ? throughputLines(own) : measureLines(own, workload.bounds);
    return [head, ...lines.map((line) => `  ${line}`)].join("\n");
  });
  return `${blocks.join("\n\n")}\n`;
}

function throughputLines(rows: readonly Row[]): readonly string[] {
  const measured = rows.filter((row) => row.operations_per_s !== null);
  const cells = measured.map((row) => [
    row.system,
    grouped(row.operations_per_s),
    grouped(row.p50_us),
    grouped(row.p99_us),
    row.bottleneck ?? "",
  ]);
  const table = columns(["system", "ops/s", "p50 µs", "p99 µs", "limited by"], cells);
  const skipped = rows.filter((row) => "skipped" in row.values);
  const failed = rows.filter((row) => "failed" in row.values);
  return [
    ...(measured.length > 0 ? table : []),
    ...failed.map((row) => `✗ failed: ${row.values["failed"]}`),
    ...skipped.map((row) => `${row.system}: skipped: ${row.values["skipped"]}`),
    ...rows.filter(({ system }) => system === "domp").flatMap(ratioLines),
  ];
}

/** What `ratio_…` values say, a line each; those that are judged first. */
function ratioLines({ values }: Row): readonly string[] {
  const systems = Object.keys(values)
    .map((name) => /^ratio_([a-z]+)$/.exec(name)?.[1])
    .filter((system) => system !== undefined);
  const lines = systems.map((system) => {
    const value = (suffix: string): Value => values[`ratio_${system}${suffix}`] ?? null;
    const figure = value("_figure") === "p50_us" ? "p50" : "ops/s";
    const spread = `${times(value("_min"))} to ${times(value("_max"))}`;
    const text = `${figure} ${times(value(""))} ${system} (${spread})`;
    const verdict = value("_verdict");
    if (verdict === null) return { judged: false, text };
    const limits = `must ${times(value("_must"))}, aim ${times(value("_aim"))}`;
    return { judged: true, text: `${text}: ${limits}: ${MARKS[String(verdict)] ?? ""}` };
  });
  return lines.toSorted((a, b) => Number(b.judged) - Number(a.judged)).map(({ text }) => text);
}

function measureLines(rows: readonly Row[], bounds: readonly Bound[]): readonly string[] {
  return rows.flatMap((row) => {
    if ("failed" in row.values) return [`✗ failed: ${row.values["failed"]}`];
    if ("skipped" in row.values) return [`${row.system}: skipped: ${row.values["skipped"]}`];
    return Object.entries(row.values).map(([name, value]) => {
      const bound = bounds.find((candidate) => candidate.value === name);
      const text = `${row.system} ${name} ${showValue(value)}`;
      if (bound === undefined || row.system !== "domp" || typeof value !== "number") return text;
      const aim = bound.aim === undefined ? "" : `, aim ${grouped(bound.aim)}`;
      const verdict = MARKS[judgeBound(bound, value)] ?? "";
      return `${text}: must ${grouped(bound.must)}${aim}: ${verdict}`;
    });
  });
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
  return typeof value === "number" ? grouped(value) : String(value);
}

/** A number with thousands parted; fractions only below a hundred. */
function grouped(value: number | null): string {
  if (value === null) return "";
  const maximumFractionDigits = Math.abs(value) < 100 ? 2 : 0;
  return value.toLocaleString("en", { maximumFractionDigits });
}
