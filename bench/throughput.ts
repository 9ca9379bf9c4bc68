/** Closed loops against every system in turn, window by window. */

import { bottleneckOf, threadShares } from "./bottleneck.js";
import type { Fleet } from "./fleet.js";
import { LoadProcess, type Window } from "./load.js";
import { progress } from "./progress.js";
import { type Row, rounded, SYSTEMS, type System, skippedRow, type Value } from "./rows.js";
import { median, pairedRatio } from "./statistics.js";
import { addressWords, datasetCount, type Server } from "./systems/server.js";
import { judgeRatio } from "./verdict.js";
import type { Comparison, Load, ThroughputWorkload } from "./workloads.js";
import { nextSeed, type World } from "./world.js";

/** Load before a window in which nothing counts, as a part of the window. */
export const WARM_PART = 0.15;
/** Windows at least this long must see answers. */
const FULL_WINDOW_S = 0.5;
/** One workload ends within 50 s: building, loading, rounds, checks. This much is for the first two. */
const BUDGET_MS = 38_000;
/** A transfer run in which fewer succeed than this measures refusals. */
const APPLIED_SHARE_MIN = 0.5;

/** A system in one workload. */
interface Contestant {
  readonly system: System;
  readonly load: LoadProcess;
  /** By round; a round that there was no time for is undefined. */
  readonly windows: (Window | undefined)[];
  /** How long its last turn took, the answers after the window included. */
  turnMs: number;
  checked: number;
}

/** Measures one workload; `begunMs` is when the time that it may take began. */
export async function measureThroughput(
  world: World,
  fleet: Fleet,
  workload: ThroughputWorkload,
  begunMs: number,
): Promise<readonly Row[]> {
  const judged = new Set<System>(["domp", ...workload.comparisons.map(({ system }) => system)]);
  // Who is judged against domp has its turn right after it, in the same moment.
  const order = [...judged, ...SYSTEMS.filter((system) => !judged.has(system))];
  const contestants = await enter(world, fleet, workload.load, order);
  if (workload.load.operation === "put") fleet.changed = true;
  for (let round = 0; round < world.options.rounds; round += 1) {
    for (const contestant of contestants) {
      const mayRun =
        judged.has(contestant.system) ||
        hasTime(world, contestants, judged, contestant, round, begunMs);
      contestant.windows[round] = mayRun ? await turn(world, contestant) : undefined;
    }
    progress(`${workload.name}: round ${round + 1} of ${world.options.rounds}`);
  }
  for (const contestant of contestants) {
    if (contestant.system !== "disk" && contestant.system !== "uws") {
      contestant.checked = Number((await contestant.load.ask("check"))["checked"]);
    }
    await contestant.load.stop();
  }
  return rowsOf(workload, fleet, contestants);
}

/** Starts a generator for each system that takes part. */
async function enter(
  world: World,
  fleet: Fleet,
  load: Load,
  order: readonly System[],
): Promise<readonly Contestant[]> {
  const contestants: Contestant[] = [];
  const add = (system: System, process: LoadProcess): void => {
    const turnMs = (1 + WARM_PART) * world.options.seconds * 1_000;
    contestants.push({ system, load: process, windows: [], turnMs, checked: 0 });
  };
  for (const system of order) {
    const server = fleet.servers.get(system);
    if (server !== undefined) {
      const words = runWords(world, { server, load, changed: fleet.changed });
      add(system, await LoadProcess.start(world.children, world.generator, words));
    } else if (system === "disk" && load.durable && world.options.systems.has("disk")) {
      add(system, await LoadProcess.start(world.children, world.generator, diskWords(world, load)));
    }
  }
  return contestants;
}

/** A load on a server; `changed`: something was put since it was loaded. */
interface Run {
  readonly server: Server;
  readonly load: Load;
  readonly changed: boolean;
}

/** What the generator is told. */
export function runWords(world: World, { server, load, changed }: Run): readonly string[] {
  const named: Readonly<Record<string, number | string>> = {
    load: load.operation,
    connections: load.connections,
    "in-flight": load.inFlight,
    operations: load.operations,
    count: datasetCount(load.dataset, world.options),
    seed: nextSeed(),
    pids: server.pid,
    directory: world.directory,
  };
  const words = Object.entries(named).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const stamp = load.operation === "get" && changed ? ["--stamp", "any"] : [];
  return ["run", ...addressWords(server), ...words, ...stamp];
}

/** The disk writes, at once, what is outstanding: as a server does that groups all it has. */
function diskWords(world: World, load: Load): readonly string[] {
  const outstanding = load.connections * load.inFlight * load.operations;
  const words = ["--load", load.operation, "--operations", String(outstanding)];
  return ["disk", "--directory", world.directory, ...words];
}

async function turn(world: World, contestant: Contestant): Promise<Window> {
  const begunMs = performance.now();
  const { seconds } = world.options;
  const window = await contestant.load.window(seconds * WARM_PART, seconds);
  contestant.turnMs = performance.now() - begunMs;
  // Windows shorter than a batch of answers, for trying the suite out, may well miss all of them.
  if (window.operations === 0 && seconds >= FULL_WINDOW_S) {
    throw new Error(`${contestant.system} answered nothing`);
  }
  const transfers = window.applied + window.refused;
  if (transfers > 0 && window.applied < transfers * APPLIED_SHARE_MIN) {
    throw new Error(`${contestant.system} refused most transfers: that measures nothing`);
  }
  return window;
}

/** Whether a system that nothing is judged by fits in before the judged ones' remaining turns. */
function hasTime(
  world: World,
  contestants: readonly Contestant[],
  judged: ReadonlySet<System>,
  candidate: Contestant,
  round: number,
  begunMs: number,
): boolean {
  const left = world.options.rounds - round;
  const reserved = contestants
    .filter(({ system }) => judged.has(system))
    .reduce((sum, { turnMs }) => sum + turnMs * left, 0);
  const budgetMs = Math.max(BUDGET_MS, BUDGET_MS * world.options.seconds);
  return performance.now() - begunMs + reserved + candidate.turnMs < budgetMs;
}

function rowsOf(
  workload: ThroughputWorkload,
  fleet: Fleet,
  contestants: readonly Contestant[],
): readonly Row[] {
  const rows = contestants.map((contestant) => rowOf(workload, contestant, contestants));
  const skipped = [...fleet.missing].map(([system, why]) => skippedRow(workload.name, system, why));
  return [...rows, ...skipped];
}

function rowOf(
  { name, load, comparisons }: ThroughputWorkload,
  contestant: Contestant,
  all: readonly Contestant[],
): Row {
  const { system } = contestant;
  const windows = contestant.windows.filter((window) => window !== undefined);
  if (windows.length === 0) return skippedRow(name, system, "no time was left for it");
  const middle = (read: (window: Window) => number) => rounded(median(windows.map(read)));
  const values: Record<string, Value> = {
    rounds: windows.length,
    operations_per_s_min: rounded(Math.min(...windows.map((w) => w.operations_per_s))),
    operations_per_s_max: rounded(Math.max(...windows.map((w) => w.operations_per_s))),
    generator_share: middle((window) => window.generator_share),
    server_share: middle((window) => window.server_share),
    cores_share: middle((window) => window.cores_share ?? 0),
    disk_share: middle((window) => window.disk_share ?? 0),
  };
  const method = contestant.load.greeting["method"];
  if (typeof method === "string") values["method"] = method;
  const sum = (read: (window: Window) => number) => windows.reduce((s, w) => s + read(w), 0);
  if (system !== "disk" && system !== "uws") {
    if (load.operation === "get") values["hits"] = sum(({ hits }) => hits);
    if (load.operation === "put") values["puts"] = sum(({ puts }) => puts);
    if (load.operation === "transfer") {
      const applied = sum((window) => window.applied);
      values["applied"] = applied;
      values["applied_share"] = rounded(applied / (applied + sum(({ refused }) => refused)));
    }
    values["checked"] = contestant.checked;
  }
  Object.assign(values, threadShares(system, windows));
  if (system === "domp") Object.assign(values, comparedValues(comparisons, contestant, all));
  return {
    workload: name,
    system,
    operations_per_s: middle((window) => window.operations_per_s),
    p50_us: middle((window) => window.p50_us),
    p99_us: middle((window) => window.p99_us),
    bottleneck: bottleneckOf(system, windows),
    values,
  };
}

/** The ratios to the other systems; those that are judged with what they must and should reach. */
function comparedValues(
  comparisons: readonly Comparison[],
  domp: Contestant,
  all: readonly Contestant[],
): Record<string, Value> {
  const values: Record<string, Value> = {};
  for (const other of all) {
    if (other === domp) continue;
    const comparison = comparisons.find(({ system }) => system === other.system);
    const figure = comparison?.figure ?? "operations_per_s";
    const figures = ({ windows }: Contestant) => windows.map((window) => window?.[figure]);
    const ratio = pairedRatio(figures(domp), figures(other));
    if (ratio === undefined) continue;
    const name = `ratio_${other.system}`;
    values[name] = rounded(ratio.median);
    values[`${name}_min`] = rounded(ratio.min);
    values[`${name}_max`] = rounded(ratio.max);
    if (comparison !== undefined) {
      values[`${name}_figure`] = figure;
      values[`${name}_must`] = comparison.must;
      values[`${name}_aim`] = comparison.aim;
      values[`${name}_verdict`] = judgeRatio(comparison, ratio);
    }
  }
  return values;
}
