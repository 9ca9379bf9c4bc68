/** The report as a picture: domp beside others, the machine's limits, and what must be reached. */

import { writeFile } from "node:fs/promises";
import * as echarts from "echarts";
import { addBullets } from "./bullets.js";
import { addPanels, type Parts } from "./panels.js";
import { NAMES, requirementsOf } from "./requirements.js";
import type { Row } from "./rows.js";
import type { Workload } from "./workloads.js";

const WIDTH = 1_000;
const HEAD_HEIGHT = 128;

/** Draws the rows; answers the text of an SVG, or nothing where there is nothing to draw. */
export function renderPicture(
  workloads: readonly Workload[],
  rows: readonly Row[],
): string | undefined {
  const loads = workloads.filter((workload) => workload.kind === "throughput");
  const requirements = requirementsOf(workloads, rows);
  const parts: Parts = { title: [], grid: [], xAxis: [], yAxis: [], series: [] };
  addHead(parts, rows);
  const panelsEnd = addPanels(parts, HEAD_HEIGHT, loads, rows);
  const end = addBullets(parts, panelsEnd + 16, requirements);
  if (parts.grid.length === 0) return undefined;
  const height = end;
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    ...parts,
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

function addHead(parts: Parts, rows: readonly Row[]): void {
  const column = (text: string, subtext: string, left: number) => ({
    text,
    subtext,
    left,
    top: 74,
    itemGap: 4,
    textStyle: { fontSize: 13 },
    subtextStyle: { color: "#57606a", fontSize: 11 },
  });
  const others = (["redis", "postgres"] as const)
    .filter((name) => rows.some((row) => row.system === name && row.operations_per_s !== null))
    .map((name) => NAMES[name]);
  parts.title.push(
    {
      text: ["DOMP", ...(others.length > 0 ? [`beside ${others.join(" and ")}`] : [])].join(" "),
      subtext: [
        "Every write is on the disk before it is answered, in all of them; the load generator is on the same machine.",
        machineText(rows),
      ].join("\n"),
      left: 20,
      top: 10,
      itemGap: 6,
      textStyle: { fontSize: 20 },
      subtextStyle: { color: "#57606a", fontSize: 12, lineHeight: 16 },
    },
    column("Operations a second", "longer is better; thin lines: the machine's limits", 90),
    column(
      "Time to an answer",
      "shorter is better; thick: half of the answers, thin: 99 of 100",
      570,
    ),
  );
}

function machineText(rows: readonly Row[]): string {
  const values = rows.find(({ system }) => system === "machine")?.values ?? {};
  const parts: readonly (readonly [string, string, string])[] = [
    ["", "cpu", ""],
    ["", "cores", " cores"],
    ["", "memory_gib", " GiB"],
    ["", "file_system", ""],
    ["Node ", "node", ""],
    ["Redis ", "redis", ""],
    ["PostgreSQL ", "postgres", ""],
  ];
  return parts
    .filter(([, name]) => (values[name] ?? null) !== null)
    .map(([before, name, after]) => `${before}${values[name]}${after}`)
    .join(" · ");
}
