/** This build and another checkout's, side by side in one run: what a change costs. */

import { existsSync } from "node:fs";
import path from "node:path";
import { preload } from "./fleet.js";
import { LoadProcess, type Window } from "./load.js";
import { UsageError } from "./options.js";
import { progress } from "./progress.js";
import { median, medianInterval } from "./statistics.js";
import { type DompServer, startDomp } from "./systems/domp.js";
import { runWords, WARM_PART } from "./throughput.js";
import type { Dataset, ThroughputWorkload, Workload } from "./workloads.js";
import { ROOT, type World } from "./world.js";

/** A row is short where even the upper end of the interval is below this. */
const RATIO_MIN = 0.97;

/** A build: its command line and the load generator that speaks its wire. */
interface Build {
  readonly main: string;
  readonly world: World;
}

/** A figure of both builds, by pair: that of this build divided by that of the other. */
interface Figure {
  readonly name: string;
  readonly of: (window: Window) => number;
}

const FIGURES: readonly Figure[] = [
  { name: "ops/s", of: (window) => window.operations_per_s },
  { name: "p50", of: (window) => window.p50_us },
  { name: "p99", of: (window) => window.p99_us },
  // Where the generator shares the cores this tells what the server takes.
  {
    name: "cpu/op",
    of: (window) => (window.server_share * window.elapsed_s) / window.operations,
  },
];

/** The command line of a build; builds of before have it in files of their own. */
function mainOf(root: string): string {
  const bundled = path.join(root, "build/bin/main.js");
  return existsSync(bundled) ? bundled : path.join(root, "build/src/main.js");
}

function buildOf(root: string, world: World): Build {
  const target = path.resolve(root, "target");
  const main = mainOf(root);
  const generator = path.join(target, "release/domp-load");
  for (const file of [main, generator]) {
    if (!existsSync(file)) {
      throw new UsageError(
        `--against: there is no ${file}; in that checkout, run \`npm run build\` and ` +
          "`cargo build --release -p domp-load`",
      );
    }
  }
  return { main, world: { ...world, generator } };
}

/** Runs the workloads against both builds, and returns the report. */
export async function compareBuilds(world: World, against: string): Promise<string> {
  const here: Build = { main: mainOf(ROOT), world };
  const there = buildOf(path.resolve(against), world);
  const throughput = world.options.workloads.filter(isThroughput);
  if (throughput.length === 0) {
    throw new UsageError("--against compares throughput: none of these workloads has any");
  }
  const lines: string[] = [];
  for (const dataset of new Set(throughput.map(({ load }) => load.dataset))) {
    const servers = [await start(here, dataset), await start(there, dataset)] as const;
    let changed = false;
    for (const workload of throughput.filter(({ load }) => load.dataset === dataset)) {
      const pairs = await measure([here, there], servers, workload, changed);
      changed ||= workload.load.operation !== "get";
      lines.push(`${workload.name}: ${workload.title}`, ...pairs.map((line) => `  ${line}`));
    }
    await Promise.all(servers.map((server) => server.stop()));
  }
  const head = `this build / ${against}: the median of the pairs' ratios (95 % interval)`;
  return `${[head, ...lines].join("\n")}\n`;
}

function isThroughput(workload: Workload): workload is ThroughputWorkload {
  return workload.kind === "throughput";
}

async function start({ main, world }: Build, dataset: Dataset): Promise<DompServer> {
  const server = await startDomp(world, {}, undefined, main);
  await preload(world, server, dataset);
  return server;
}

async function measure(
  builds: readonly [Build, Build],
  servers: readonly [DompServer, DompServer],
  { name, load }: ThroughputWorkload,
  changed: boolean,
): Promise<readonly string[]> {
  const run = ({ world }: Build, server: DompServer) =>
    LoadProcess.start(world.children, world.generator, runWords(world, { server, load, changed }));
  const loads = [await run(builds[0], servers[0]), await run(builds[1], servers[1])] as const;
  const { seconds, rounds } = builds[0].world.options;
  const pairs: (readonly [Window, Window])[] = [];
  for (let pair = 0; pair < rounds; pair += 1) {
    const window = (at: 0 | 1) => loads[at].window(seconds * WARM_PART, seconds);
    // Whoever comes first may find the disk at rest: each does as often.
    if (pair % 2 === 0) {
      const first = await window(0);
      pairs.push([first, await window(1)]);
    } else {
      const first = await window(1);
      pairs.push([await window(0), first]);
    }
    progress(`${name}: pair ${pair + 1} of ${rounds}`);
  }
  for (const each of loads) {
    await each.ask("check");
    await each.stop();
  }
  return FIGURES.map((figure) => line(figure, pairs));
}

function line({ name, of }: Figure, pairs: readonly (readonly [Window, Window])[]): string {
  const ratios = pairs.map(([ours, theirs]) => of(ours) / of(theirs));
  const interval = medianInterval(ratios);
  const ours = median(pairs.map(([window]) => of(window)));
  const theirs = median(pairs.map(([, window]) => of(window)));
  const isShort = name === "ops/s" && interval !== undefined && interval[1] < RATIO_MIN;
  const figures = `${ours.toPrecision(4)} and ${theirs.toPrecision(4)}`;
  const between = interval?.map((end) => end.toFixed(3)).join(" to ") ?? "too few pairs to say";
  const ratio = median(ratios).toFixed(3);
  return `${name.padEnd(7)}${ratio} (${between}; ${figures})${isShort ? ": ✗ slower" : ""}`;
}
