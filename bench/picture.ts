/** The report as a picture: throughput of all systems, and how far domp is from what it must reach. */

import { writeFile } from "node:fs/promises";
import * as echarts from "echarts";
import { type Row, SYSTEMS, type System } from "./rows.js";
import type { ThroughputWorkload, Workload } from "./workloads.js";

const WIDTH = 1_000;
const HEIGHT = 760;
const COLOURS: Readonly<Record<System, string>> = {
  domp: "#1f6feb",
  redis: "#d1242f",
  postgres: "#57606a",
  disk: "#bf8700",
  uws: "#8250df",
};

/** Draws the rows of throughput workloads; answers the text of an SVG. */
export function renderPicture(workloads: readonly Workload[], rows: readonly Row[]): string {
  const shown = workloads.filter((workload) => workload.kind === "throughput");
  const chart = echarts.init(null, null, {
    renderer: "svg",
    ssr: true,
    width: WIDTH,
    height: HEIGHT,
  });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    title: [
      { text: "Operations per second", subtext: machineText(rows), left: 20, top: 8 },
      {
        text: "domp against what it must reach",
        subtext: "1 is the requirement; bars show the median ratio over it, lines its spread",
        left: 20,
        top: 440,
      },
    ],
    legend: { top: 16, right: 20 },
    grid: [
      { left: 90, right: 30, top: 80, height: 310 },
      { left: 190, right: 60, top: 500, height: 200 },
    ],
    ...throughputAxes(shown),
    series: [...throughputSeries(shown, rows), ...requirementSeries(shown, rows)],
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
  if (!workloads.some(({ kind }) => kind === "throughput")) return false;
  await writeFile(file, `${renderPicture(workloads, rows)}\n`);
  return true;
}

function machineText(rows: readonly Row[]): string {
  const values = rows.find(({ system }) => system === "machine")?.values ?? {};
  const parts = ["cpu", "cores", "memory_gib", "file_system", "node", "redis", "postgres"];
  return parts
    .filter((name) => (values[name] ?? null) !== null)
    .map((name) =>
      name === "cpu" ? `${values[name]}` : `${name.replace("_", " ")} ${values[name]}`,
    )
    .join(" · ");
}

function throughputAxes(workloads: readonly ThroughputWorkload[]) {
  const names = workloads.map(({ name }) => name);
  const comparisons = workloads.flatMap((workload) =>
    workload.comparisons.map(({ system }) => `${workload.name} / ${system}`),
  );
  return {
    xAxis: [
      { type: "category" as const, data: names, gridIndex: 0 },
      { type: "log" as const, gridIndex: 1, min: 0.25, name: "× must" },
    ],
    yAxis: [
      { type: "log" as const, gridIndex: 0, min: 100, name: "ops/s" },
      { type: "category" as const, data: comparisons, gridIndex: 1, inverse: true },
    ],
  };
}

function throughputSeries(workloads: readonly ThroughputWorkload[], rows: readonly Row[]) {
  return SYSTEMS.filter((system) =>
    rows.some((row) => row.system === system && row.operations_per_s !== null),
  ).map((system) => ({
    name: system,
    type: "bar" as const,
    xAxisIndex: 0,
    yAxisIndex: 0,
    itemStyle: { color: COLOURS[system] },
    label: {
      show: true,
      position: "top" as const,
      fontSize: 9,
      formatter: ({ value }: { value?: unknown }) => short(Number(value)),
    },
    data: workloads.map(({ name }) => {
      const row = rows.find(
        (candidate) => candidate.workload === name && candidate.system === system,
      );
      return row?.operations_per_s ?? null;
    }),
  }));
}

/** How many times over its requirement each ratio is: above 1 is good for latency too. */
function requirementSeries(workloads: readonly ThroughputWorkload[], rows: readonly Row[]) {
  const bars: (number | null)[] = [];
  const spreads: [{ coord: number[] }, { coord: number[] }][] = [];
  for (const workload of workloads) {
    const values = rows.find(
      (row) => row.workload === workload.name && row.system === "domp",
    )?.values;
    for (const { system, figure, must } of workload.comparisons) {
      const over = (suffix: string): number | null => {
        const ratio = values?.[`ratio_${system}${suffix}`];
        if (typeof ratio !== "number") return null;
        return figure === "p50_us" ? must / ratio : ratio / must;
      };
      const [low, high] = [over("_min"), over("_max")];
      if (low !== null && high !== null) {
        const line = bars.length;
        spreads.push([{ coord: [low, line] }, { coord: [high, line] }]);
      }
      bars.push(over(""));
    }
  }
  return [
    {
      name: "domp",
      type: "bar" as const,
      xAxisIndex: 1,
      yAxisIndex: 1,
      itemStyle: { color: COLOURS.domp },
      barMaxWidth: 18,
      label: {
        show: true,
        position: "insideLeft" as const,
        color: "#ffffff",
        fontSize: 10,
        formatter: ({ value }: { value?: unknown }) => Number(value).toFixed(2),
      },
      data: bars,
      markLine: {
        symbol: "none",
        silent: true,
        label: { show: false },
        lineStyle: { color: "#24292f", type: "solid" as const },
        data: [{ xAxis: 1, lineStyle: { type: "dashed" as const } }, ...spreads],
      },
    },
  ];
}

function short(value: number): string {
  if (!Number.isFinite(value)) return "";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(value >= 1e5 ? 0 : 1)}k` : value.toFixed(0);
}
