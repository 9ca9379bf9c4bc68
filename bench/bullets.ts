/** The lower part of the picture: what must be reached, a line a requirement, on three scales. */

import type { Parts } from "./panels.js";
import type { Requirement, Scale } from "./requirements.js";
import type { Verdict } from "./verdict.js";

const LINE_HEIGHT = 24;
const LEGEND_HEIGHT = 70;
const HEAD_HEIGHT = 54;
const GAP = 26;
const LEFT = 455;
const WIDTH = 235;

const MARKS: Readonly<Record<Verdict, string>> = { aim: "✓✓", must: "✓", short: "✗", missed: "–" };
const REACHED = "#1f6feb";
const SHORT = "#bc4c00";
const AIM = "#1a7f37";

interface Section {
  readonly scale: Scale;
  readonly title: string;
  readonly subtext: string;
  /** Where the scale ends at the latest; longer bars are cut, and their words tell. */
  readonly max: number;
}

const SECTIONS: readonly Section[] = [
  {
    scale: "peers",
    title: "How many times as fast as others",
    subtext: "the line is 1, as fast as the other; longer is faster, orange is slower",
    max: 10,
  },
  {
    scale: "limits",
    title: "How near to what the machine can do",
    subtext: "the line is all of it; longer is nearer",
    max: 1.2,
  },
  {
    scale: "bounds",
    title: "How much is taken of what is allowed",
    subtext: "the line is all of it; shorter is better",
    max: 1.6,
  },
];

/** What the marks mean, above all of it. */
const LEGEND =
  "black mark: must be reached; green diamond: aimed at; thin: spread of the rounds; " +
  "orange words: falls short of what must be";

/** Adds the requirements below `top`; answers where they end. */
export function addBullets(
  parts: Parts,
  top: number,
  requirements: readonly Requirement[],
): number {
  if (requirements.length === 0) return top;
  parts.title.push({
    text: "What is asked of DOMP",
    subtext: LEGEND,
    left: 20,
    top,
    itemGap: 6,
    textStyle: { fontSize: 20 },
    subtextStyle: { color: "#57606a", fontSize: 12 },
  });
  let y = top + LEGEND_HEIGHT;
  for (const section of SECTIONS) {
    const own = requirements.filter(({ scale }) => scale === section.scale);
    if (own.length === 0) continue;
    const height = own.length * LINE_HEIGHT;
    parts.title.push({
      text: section.title,
      subtext: section.subtext,
      left: 20,
      top: y,
      itemGap: 4,
      textStyle: { fontSize: 14 },
      subtextStyle: { color: "#57606a", fontSize: 12 },
    });
    addSection(parts, { top: y + HEAD_HEIGHT, height }, section, own);
    y += HEAD_HEIGHT + height + GAP;
  }
  return y;
}

function addSection(
  parts: Parts,
  place: { readonly top: number; readonly height: number },
  section: Section,
  own: readonly Requirement[],
): void {
  const index = parts.grid.length;
  const near = own.flatMap(({ reached, must, aim }) => [reached, must ?? 0, aim ?? 0]);
  const max = Math.max(1.1, ...near.filter((value) => value <= section.max));
  parts.grid.push({ left: LEFT, width: WIDTH, ...place });
  parts.xAxis.push({ type: "value", gridIndex: index, min: 0, max, show: false });
  parts.yAxis.push({
    type: "category",
    gridIndex: index,
    inverse: true,
    data: own.map(({ label }) => label),
    axisTick: { show: false },
    axisLine: { lineStyle: { color: "#8c959f" } },
    axisLabel: { color: "#24292f", fontSize: 12 },
  });
  const axes = { xAxisIndex: index, yAxisIndex: index, silent: true };
  const marks = (read: (requirement: Requirement) => number | undefined) =>
    own.flatMap((requirement, line) => {
      const value = read(requirement);
      return value === undefined || value > max ? [] : [[value, line]];
    });
  parts.series.push(
    {
      ...axes,
      type: "bar",
      barWidth: 12,
      data: own.map((requirement) => ({
        value: Math.min(requirement.reached, max),
        itemStyle: { color: colourOf(requirement) },
      })),
      markLine: {
        symbol: "none",
        silent: true,
        label: { show: false },
        lineStyle: { color: "#24292f", type: "solid", width: 1 },
        data: [{ xAxis: 1 }, ...spreads(own, max)],
      },
    },
    {
      ...axes,
      type: "scatter",
      symbol: "rect",
      symbolSize: [3, 18],
      itemStyle: { color: "#24292f" },
      z: 5,
      data: marks(({ must }) => must),
    },
    {
      ...axes,
      type: "scatter",
      symbol: "diamond",
      symbolSize: 10,
      itemStyle: { color: AIM, borderColor: "#ffffff", borderWidth: 1 },
      z: 6,
      data: marks(({ aim }) => aim),
    },
    // Nothing but the words, all at the end of the scale.
    {
      ...axes,
      type: "scatter",
      symbolSize: 0,
      data: own.map((requirement, line) => ({
        value: [max, line],
        label: {
          show: true,
          position: "right",
          distance: 14,
          fontSize: 12,
          color: requirement.verdict === "short" ? SHORT : "#24292f",
          formatter: `${MARKS[requirement.verdict]} ${requirement.words}`,
        },
      })),
    },
  );
}

/** Who is faster than his peer has not failed, even where more is asked: that is for the words to say. */
function colourOf({ scale, reached, verdict }: Requirement): string {
  const isShort = scale === "peers" ? reached < 1 : verdict === "short";
  return isShort ? SHORT : REACHED;
}

/** The spread of the rounds, thin, on the bar. */
function spreads(own: readonly Requirement[], max: number): object[] {
  return own.flatMap(({ spread }, line) => {
    if (spread === undefined || spread[0] > max) return [];
    const [low, high] = [spread[0], Math.min(spread[1], max)];
    return [[{ coord: [low, line] }, { coord: [high, line] }]];
  });
}
