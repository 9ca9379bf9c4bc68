/** The report as a picture: throughput of all systems, and how far domp is from what it must reach. */

import { writeFile } from "node:fs/promises";
import * as echarts from "echarts";
import { type Requirement, requirementsOf } from "./requirements.js";
import { type Row, SYSTEMS, type System } from "./rows.js";
import type { Workload } from "./workloads.js";

const WIDTH = 1_000;
/** Where the upper chart stands, and how high one line of the lower one is. */
const CHART_TOP = 84;
const CHART_HEIGHT = 310;
const LINE_HEIGHT = 26;
const COLOURS: Readonly<Record<System, string>> = {
  domp: "#1f6feb",
  redis: "#d1242f",
  postgres: "#57606a",
  disk: "#bf8700",
  uws: "#8250df",
};

/** Draws the rows; answers the text of an SVG, or nothing where there is nothing to draw. */
export function renderPicture(
  workloads: readonly Workload[],
  rows: readonly Row[],
): string | undefined {
  const loads = workloads.filter(({ kind }) => kind === "throughput").map(({ name }) => name);
  const requirements = requirementsOf(workloads, rows);
  if (loads.length === 0 && requirements.length === 0) return undefined;
  const lowerTop = CHART_TOP + CHART_HEIGHT + 110;
  const lowerHeight = Math.max(requirements.length, 1) * LINE_HEIGHT;
  const height = lowerTop + lowerHeight + 50;
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    title: [
      { text: "Operations per second", subtext: machineText(rows), left: 20, top: 8 },
      {
        text: "domp against what it must reach",
        subtext:
          "1 is the requirement, right of it is better; lines show the spread, diamonds the aim",
        left: 20,
        top: lowerTop - 60,
      },
    ],
    legend: { top: 16, right: 20, data: systemsOf(rows).map((name) => ({ name })) },
    grid: [
      { left: 90, right: 30, top: CHART_TOP, height: CHART_HEIGHT },
      { left: 300, right: 60, top: lowerTop, height: lowerHeight },
    ],
    xAxis: [
      { type: "category", data: loads, gridIndex: 0 },
      {
        type: "log",
        gridIndex: 1,
        logBase: 2,
        min: ({ min }: { min: number }) => Math.min(0.5, min),
      },
    ],
    yAxis: [
      { type: "log", gridIndex: 0, min: 100 },
      {
        type: "category",
        data: requirements.map(({ label, reached }) => `${label}   ${reached.toFixed(2)}×`),
        gridIndex: 1,
        inverse: true,
      },
    ],
    series: [...throughputSeries(loads, rows), ...requirementSeries(requirements)],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** Writes the picture, if there is anything to be seen in it. */
export async function writePicture(
  file: string,
  workloads: readonly Workload[],
  rows: readonly Row[],
): Promise<boolean> {
  const svg = renderPicture(workloads, rows);
  if (svg === undefined) return false;
  await writeFile(file, `${svg}\n`);
  return true;
}

function machineText(rows: readonly Row[]): string {
  const values = rows.find(({ system }) => system === "machine")?.values ?? {};
  const parts: readonly (readonly [string, string])[] = [
    ["", "cpu"],
    ["cores: ", "cores"],
    ["GiB of memory: ", "memory_gib"],
    ["", "file_system"],
    ["Node ", "node"],
    ["Redis ", "redis"],
    ["PostgreSQL ", "postgres"],
  ];
  return parts
    .filter(([, name]) => (values[name] ?? null) !== null)
    .map(([label, name]) => `${label}${values[name]}`)
    .join(" · ");
}

function systemsOf(rows: readonly Row[]): readonly System[] {
  return SYSTEMS.filter((system) =>
    rows.some((row) => row.system === system && row.operations_per_s !== null),
  );
}

function throughputSeries(loads: readonly string[], rows: readonly Row[]) {
  return systemsOf(rows).map((system) => ({
    name: system,
    type: "bar" as const,
    xAxisIndex: 0,
    yAxisIndex: 0,
    itemStyle: { color: COLOURS[system] },
    label: {
      show: true,
      position: "top" as const,
      fontSize: 9,
      formatter: ({ value }: { value?: unknown }) => short(value),
    },
    data: loads.map((name) => {
      const row = rows.find(({ workload, system: of }) => workload === name && of === system);
      return row?.operations_per_s ?? null;
    }),
  }));
}

function requirementSeries(requirements: readonly Requirement[]) {
  type Point = { coord: [number, number] };
  const lines = requirements.flatMap(({ spread }, line): [Point, Point][] =>
    spread === undefined ? [] : [[{ coord: [spread[0], line] }, { coord: [spread[1], line] }]],
  );
  const aims = requirements.flatMap(({ aim }, line) => (aim === undefined ? [] : [[aim, line]]));
  const place = { xAxisIndex: 1, yAxisIndex: 1 };
  return [
    {
      ...place,
      name: "reached",
      type: "bar" as const,
      itemStyle: { color: COLOURS.domp },
      barMaxWidth: 14,
      data: requirements.map(({ reached }) => reached),
      markLine: {
        symbol: "none",
        silent: true,
        label: { show: false },
        lineStyle: { color: "#24292f", type: "solid" as const },
        data: [{ xAxis: 1, lineStyle: { type: "dashed" as const } }, ...lines],
      },
    },
    {
      ...place,
      name: "aim",
      type: "scatter" as const,
      symbol: "diamond",
      symbolSize: 9,
      itemStyle: { color: "#1a7f37" },
      data: aims,
    },
  ];
}

function short(value: unknown): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return "";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(value >= 1e5 ? 0 : 1)}k` : value.toFixed(0);
}
