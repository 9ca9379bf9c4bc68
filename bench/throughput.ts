/** Closed loops against every system in turn, window by window. */

import { busiestOf, threadShares } from "./bottleneck.js";
import type { Fleet } from "./fleet.js";
import { LoadProcess, type Window } from "./load.js";
import { progress } from "./progress.js";
import { type Row, rounded, SYSTEMS, type System, skippedRow, type Value } from "./rows.js";
import { median, pairedRatio, pairedSum, type Ratio } from "./statistics.js";
import { addressWords, datasetCount, type Server } from "./systems/server.js";
import { comparisonLimits, judge } from "./verdict.js";
import { type Comparison, type Load, ratioName, type ThroughputWorkload } from "./workloads.js";
import { nextSeed, type World } from "./world.js";

/** Load before a window in which nothing counts, as a part of the window. */
export const WARM_PART = 0.15;
/** Windows at least this long must see answers. */
const FULL_WINDOW_S = 0.5;
/**
 * Time of one workload for loading and rounds. When it is over, systems that nothing is judged by have
 * no more turns.
 */
const BUDGET_MS = 30_000;
/** Rounds in which every system has its turn, however long that takes: no row is empty. */
const WHOLE_ROUNDS = 2;
/** A transfer run in which fewer succeed than this measures refusals. */
const APPLIED_SHARE_MIN = 0.5;

/** What a system has shown in one workload. */
interface Shown {
  readonly system: System;
  /** By round; a round that there was no time for is undefined. */
  readonly windows: (Window | undefined)[];
}

/** A system in one workload. */
interface Contestant extends Shown {
  readonly load: LoadProcess;
  /** Absent for the disk. */
  readonly server: Server | undefined;
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
  const judged = new Set<System>(["domp", ...workload.comparisons.flatMap(({ to }) => to)]);
  // Who is judged against domp has its turn right after it, in the same moment.
  const order = [...judged, ...SYSTEMS.filter((system) => !judged.has(system))];
  const contestants = await enter(world, fleet, workload.load, order);
  if (workload.load.operation === "put") fleet.changed = true;
  for (let round = 0; round < world.options.rounds; round += 1) {
    for (const contestant of contestants) {
      const hasIt = hasTurn(round, judged.has(contestant.system), () =>
        hasTime(world, contestants, judged, contestant, round, begunMs),
      );
      contestant.windows[round] = hasIt ? await turn(world, contestant) : undefined;
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
  const add = async (system: System, words: readonly string[], server?: Server): Promise<void> => {
    const process = await LoadProcess.start(world.children, world.generator, words);
    const turnMs = (1 + WARM_PART) * world.options.seconds * 1_000;
    contestants.push({ system, load: process, server, windows: [], turnMs, checked: 0 });
  };
  for (const system of order) {
    const server = fleet.servers.get(system);
    if (server !== undefined) {
      await add(system, runWords(world, { server, load, changed: fleet.changed }), server);
    } else if (system === "disk" && load.durable && world.options.systems.has("disk")) {
      await add(system, diskWords(world, load));
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
  const window = await polledWindow(contestant.load, contestant.server, seconds);
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

/** A window, and how much of the processor the server took in it to look for work. */
async function polledWindow(
  load: LoadProcess,
  server: Server | undefined,
  seconds: number,
): Promise<Window> {
  const warmS = seconds * WARM_PART;
  if (server?.polledSeconds === undefined) return load.window(warmS, seconds);
  const before = await server.polledSeconds();
  const window = await load.window(warmS, seconds);
  const after = await server.polledSeconds();
  if (before === undefined || after === undefined) return { ...window, poll_share: null };
  // Its server is loaded from the warm-up on, and looks for work no more when the load is over.
  return { ...window, poll_share: (after - before) / (warmS + window.elapsed_s) };
}

/** Whether a system has its turn in a round: who is judged always has, nobody has none at all. */
export function hasTurn(round: number, isJudged: boolean, hasTime: () => boolean): boolean {
  return isJudged || round < WHOLE_ROUNDS || hasTime();
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
  const middle = (read: (window: Window) => number) => rounded(median(windows.map(read)));
  const busiest = busiestOf(system, windows);
  const values: Record<string, Value> = {
    rounds: windows.length,
    operations_per_s_min: rounded(Math.min(...windows.map((w) => w.operations_per_s))),
    operations_per_s_max: rounded(Math.max(...windows.map((w) => w.operations_per_s))),
    ...ratioValues("p99_per_p50", tails(windows)),
    busiest_share: busiest === undefined ? null : rounded(busiest.share, 3),
    generator_share: middle((window) => window.generator_share),
    server_share: middle((window) => window.server_share),
    cores_share: middle((window) => window.cores_share ?? 0),
    disk_share: middle((window) => window.disk_share ?? 0),
  };
  if (contestant.server?.polledSeconds !== undefined) {
    const told = windows.every(({ poll_share }) => typeof poll_share === "number");
    values["poll_share"] = told ? middle(({ poll_share }) => poll_share ?? 0) : null;
  }
  const method = contestant.load.greeting["method"];
  if (typeof method === "string") values["method"] = method;
  Object.assign(values, answerValues(load, contestant, windows));
  Object.assign(values, threadShares(system, windows));
  if (system === "domp") Object.assign(values, comparedValues(comparisons, contestant, all));
  return {
    workload: name,
    system,
    operations_per_s: middle((window) => window.operations_per_s),
    p50_us: middle((window) => window.p50_us),
    p99_us: middle((window) => window.p99_us),
    bottleneck: busiest?.name ?? null,
    values,
  };
}

/** How much longer than half of the answers the slowest of a hundred take. */
function tails(windows: readonly Window[]): Ratio | undefined {
  return pairedRatio(
    windows.map(({ p99_us }) => p99_us),
    windows.map(({ p50_us }) => p50_us),
  );
}

/** What was answered and checked, by servers that do more than to send back. */
function answerValues(
  load: Load,
  { system, checked }: Contestant,
  windows: readonly Window[],
): Record<string, Value> {
  if (system === "disk" || system === "uws") return {};
  const sum = (read: (window: Window) => number) => windows.reduce((s, w) => s + read(w), 0);
  if (load.operation === "get") return { hits: sum(({ hits }) => hits), checked };
  if (load.operation === "put") return { puts: sum(({ puts }) => puts), checked };
  const [applied, refused] = [sum((window) => window.applied), sum((window) => window.refused)];
  return { applied, refused, applied_share: rounded(applied / (applied + refused)), checked };
}

/** The ratios to the other systems; those that are judged with what they must and should reach. */
export function comparedValues(
  comparisons: readonly Comparison[],
  domp: Shown,
  all: readonly Shown[],
): Record<string, Value> {
  const values: Record<string, Value> = {};
  const others = all.filter((other) => other !== domp).map(({ system }) => system);
  const alone = comparisons.flatMap(({ to }) => (to.length === 1 ? to : []));
  const unjudged = others
    .filter((system) => !alone.includes(system))
    .map((system): Comparison => ({ to: [system], figure: "operations_per_s" }));
  for (const comparison of [...comparisons, ...unjudged]) {
    const { to, figure, must, aim } = comparison;
    const peers = to.map((system) => all.find((other) => other.system === system));
    if (peers.includes(undefined)) continue;
    const figures = (shown: Shown | undefined) =>
      domp.windows.map((_, round) => shown?.windows[round]?.[figure]);
    const ratio = pairedRatio(figures(domp), pairedSum(peers.map(figures)));
    if (ratio === undefined) continue;
    const name = ratioName(comparison);
    Object.assign(values, ratioValues(name, ratio), { [`${name}_figure`]: figure });
    if (must === undefined && aim === undefined) continue;
    if (must !== undefined) values[`${name}_must`] = must;
    if (aim !== undefined) values[`${name}_aim`] = aim;
    values[`${name}_verdict`] = judge(comparisonLimits(comparison), ratio.median);
  }
  return values;
}

/** A ratio and its spread over the rounds. */
export function ratioValues(name: string, ratio: Ratio | undefined): Record<string, Value> {
  if (ratio === undefined) return {};
  return {
    [name]: rounded(ratio.median),
    [`${name}_min`]: rounded(ratio.min),
    [`${name}_max`]: rounded(ratio.max),
  };
}
