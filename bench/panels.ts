/**
 * The upper part of the picture: for each load, what every system does in a second and how long an
 * answer takes. Each panel has a linear scale of its own, for loads differ by orders of magnitude.
 */

import { duration, short, times } from "./figures.js";
import { NAMES } from "./requirements.js";
import type { Row } from "./rows.js";
import type { ThroughputWorkload } from "./workloads.js";

/** Who stands beside whom, from above, and in which colour. */
const SERVERS = ["domp", "redis", "postgres"] as const;
type ServerSystem = (typeof SERVERS)[number];
export const COLOURS: Readonly<Record<ServerSystem, string>> = {
  domp: "#1f6feb",
  redis: "#d1242f",
  postgres: "#6e7781",
};
/** The machine's limits, thin lines. */
const LIMITS = ["disk", "uws"] as const;
const LIMIT_COLOURS: Readonly<Record<(typeof LIMITS)[number], string>> = {
  disk: "#9a6700",
  uws: "#8250df",
};

const LINE_HEIGHT = 21;
const TITLE_HEIGHT = 40;
const GAP = 16;
/** Places of the two columns, and how wide their scales are; labels stand right of them. */
const COLUMNS = [
  { left: 96, width: 230 },
  { left: 576, width: 220 },
] as const;
/** A bar or a line that is longer than so many times what the scale is made for is cut, and says so. */
const SCALE_MAX = 1.6;

/** One bar of a panel: to `value`, and a thin one on to `far` where there is one. */
interface Bar {
  readonly system: ServerSystem;
  readonly value: number;
  readonly far?: number;
  readonly label: string;
}

interface Limit {
  readonly system: (typeof LIMITS)[number];
  readonly value: number;
}

/** Parts of a chart's option; axes and series name their grid by its place. */
export interface Parts {
  readonly title: object[];
  readonly grid: object[];
  readonly xAxis: object[];
  readonly yAxis: object[];
  readonly series: object[];
}

/** Adds the panels of these loads below `top`; answers where they end. */
export function addPanels(
  parts: Parts,
  top: number,
  workloads: readonly ThroughputWorkload[],
  rows: readonly Row[],
): number {
  let y = top;
  for (const workload of workloads) {
    const own = rows.filter(
      (row) => row.workload === workload.name && row.operations_per_s !== null,
    );
    const servers = SERVERS.filter((system) => own.some((row) => row.system === system));
    if (servers.length === 0) continue;
    const height = servers.length * LINE_HEIGHT;
    parts.title.push({ text: workload.title, left: 20, top: y, textStyle: { fontSize: 14 } });
    const place = { top: y + TITLE_HEIGHT, height };
    addPanel(parts, { ...COLUMNS[0], ...place }, speeds(own, servers), limits(own, "speed"), short);
    addPanel(
      parts,
      { ...COLUMNS[1], ...place },
      delays(own, servers),
      limits(own, "delay"),
      duration,
    );
    y += TITLE_HEIGHT + height + GAP;
  }
  return y;
}

function speeds(rows: readonly Row[], servers: readonly ServerSystem[]): readonly Bar[] {
  return servers.map((system) => {
    const row = rows.find((candidate) => candidate.system === system);
    const value = row?.operations_per_s ?? 0;
    const label = `${short(value)}/s`;
    const ratio = system === "domp" ? ratioToRedis(row, rows) : undefined;
    return {
      system,
      value,
      label: ratio === undefined ? label : `${label}   ${times(ratio)} Redis`,
    };
  });
}

/** That of the rounds, which is what is judged; of the medians where the rounds' is one of latency. */
function ratioToRedis(domp: Row | undefined, rows: readonly Row[]): number | undefined {
  const ratio = domp?.values["ratio_redis"];
  if (domp?.values["ratio_redis_figure"] === "operations_per_s" && typeof ratio === "number") {
    return ratio;
  }
  const redis = rows.find(({ system }) => system === "redis")?.operations_per_s ?? 0;
  return redis > 0 ? (domp?.operations_per_s ?? 0) / redis : undefined;
}

function delays(rows: readonly Row[], servers: readonly ServerSystem[]): readonly Bar[] {
  return servers.map((system) => {
    const row = rows.find((candidate) => candidate.system === system);
    const [value, far] = [row?.p50_us ?? 0, row?.p99_us ?? 0];
    return { system, value, far, label: `${duration(value)}, 99 %: ${duration(far)}` };
  });
}

function limits(rows: readonly Row[], what: "speed" | "delay"): readonly Limit[] {
  return LIMITS.flatMap((system) => {
    const row = rows.find((candidate) => candidate.system === system);
    const value = what === "speed" ? row?.operations_per_s : row?.p50_us;
    return typeof value === "number" ? [{ system, value }] : [];
  });
}

interface Place {
  readonly left: number;
  readonly width: number;
  readonly top: number;
  readonly height: number;
}

function addPanel(
  parts: Parts,
  place: Place,
  bars: readonly Bar[],
  limits: readonly Limit[],
  show: (value: number) => string,
): void {
  const index = parts.grid.length;
  const max = scaleMax(bars, limits);
  const inside = limits.filter(({ value }) => value <= max);
  const outside = limits.filter(({ value }) => value > max);
  parts.grid.push(place);
  parts.xAxis.push({ type: "value", gridIndex: index, min: 0, max, show: false });
  parts.yAxis.push({
    type: "category",
    gridIndex: index,
    inverse: true,
    data: bars.map(({ system }) => NAMES[system]),
    axisTick: { show: false },
    axisLine: { lineStyle: { color: "#8c959f" } },
    axisLabel: { color: "#24292f", fontSize: 12 },
  });
  const axes = { xAxisIndex: index, yAxisIndex: index, silent: true };
  const lines = inside.map(({ system, value }) => ({
    xAxis: value,
    lineStyle: { color: LIMIT_COLOURS[system], width: 1 },
  }));
  const tails = bars.flatMap(({ system, value, far }, line) =>
    far === undefined || value > max
      ? []
      : [
          [
            { coord: [value, line], lineStyle: { color: COLOURS[system], width: 3 } },
            { coord: [Math.min(far, max), line] },
          ],
        ],
  );
  parts.series.push(
    {
      ...axes,
      type: "bar",
      barWidth: 13,
      data: bars.map(({ system, value }) => ({
        value: Math.min(value, max),
        // Paler where it goes on: its length here is not its own.
        itemStyle: { color: COLOURS[system], opacity: value > max ? 0.3 : 1 },
      })),
      markLine: {
        symbol: "none",
        silent: true,
        label: { show: false },
        lineStyle: { type: "solid" },
        data: [...lines, ...tails],
      },
    },
    // Nothing but the words, right of all that is drawn of a bar.
    {
      ...axes,
      type: "scatter",
      symbolSize: 0,
      data: bars.map((each, line) => ({
        value: [Math.min(end(each), max), line],
        label: {
          show: true,
          position: "right",
          distance: 6,
          fontSize: 12,
          fontWeight: each.system === "domp" ? "bold" : "normal",
          color: "#24292f",
          // A limit's line may pass behind.
          backgroundColor: "#ffffff",
          formatter: end(each) > max ? `→ ${each.label}` : each.label,
        },
      })),
    },
  );
  const told = [
    ...inside.map(({ system, value }) => inWords(system, show(value), "┃")),
    ...outside.map(({ system, value }) => inWords(system, show(value), "→")),
  ];
  if (told.length > 0) {
    const rich = {
      disk: { color: LIMIT_COLOURS.disk, fontSize: 11 },
      uws: { color: LIMIT_COLOURS.uws, fontSize: 11 },
    };
    parts.title.push({
      text: told.join("    "),
      left: place.left,
      top: place.top - 19,
      padding: 0,
      textStyle: { fontWeight: "normal", rich },
    });
  }
}

/** A limit in words and in its colour, after the line that is its mark, or an arrow out of the panel. */
function inWords(system: Limit["system"], value: string, mark: string): string {
  return `{${system}|${mark} ${NAMES[system]} ${value}}`;
}

/** How far all that is drawn of a bar goes. */
function end({ value, far }: Bar): number {
  return far ?? value;
}

/** The end of a scale: made for domp and who is near it, so that a far one does not hide the rest. */
function scaleMax(bars: readonly Bar[], limits: readonly Limit[]): number {
  const near = bars.filter(({ system }) => system !== "postgres").map(end);
  const most = Math.max(...(near.length > 0 ? near : bars.map(end)));
  const others = [...bars.map(end), ...limits.map(({ value }) => value)];
  return Math.max(most, ...others.filter((value) => value <= most * SCALE_MAX));
}
