/** `npm run bench`: runs the workloads that are asked for, prints the table, writes the report. */

import { mkdirSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { compareBuilds } from "./against.js";
import { Children } from "./children.js";
import { Fleets } from "./fleet.js";
import { measureJavaScript } from "./javascript.js";
import { describeMachine, fileSystem } from "./machine.js";
import { measureFairness } from "./measures/fairness.js";
import { measureMemory } from "./measures/memory.js";
import { measureRecovery } from "./measures/recovery.js";
import { measureSnapshot } from "./measures/snapshot.js";
import { measureStart } from "./measures/start.js";
import { HELP, type Options, readOptions, UsageError } from "./options.js";
import { writePicture } from "./picture.js";
import { progress } from "./progress.js";
import { failedRow, type Row, valuesRow } from "./rows.js";
import { renderTable } from "./table.js";
import { measureThroughput } from "./throughput.js";
import type { MeasureWorkload, Workload } from "./workloads.js";
import { ROOT, runDirectory, type World } from "./world.js";

const MEASURES: Readonly<
  Record<MeasureWorkload["name"], (world: World) => Promise<readonly Row[]>>
> = {
  fairness: measureFairness,
  memory: measureMemory,
  recovery: measureRecovery,
  snapshot: measureSnapshot,
  start: measureStart,
  javascript: measureJavaScript,
};

/** A machine of which others use more than this is not fit to measure on. */
const BUSY_SHARE_MAX = 0.1;

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const generator = process.env["DOMP_BENCH_LOAD"];
  if (generator === undefined) {
    throw new UsageError("DOMP_BENCH_LOAD must name the load generator; `npm run bench` sets it");
  }
  const directory = runDirectory(options.directory);
  const children = new Children();
  const cleanUp = async (): Promise<void> => {
    await children.stopAll();
    rmSync(directory, { recursive: true, force: true });
  };
  onSignal(cleanUp);
  try {
    const { name, inMemory } = await fileSystem(directory);
    if (inMemory) {
      process.stderr.write(
        `${directory} is on ${name}, in memory, where a flush does nothing: ` +
          "nothing durable can be measured there. Name a directory on a disk with --dir.\n",
      );
      return 1;
    }
    const world: World = { options, children, generator, directory };
    const machine = await describeMachine(directory);
    const busy = Number(machine["busy_share"]);
    if (busy > BUSY_SHARE_MAX) {
      progress(`others use ${Math.round(busy * 100)} % of this machine: figures will be noisy`);
    }
    if (options.against !== undefined) {
      process.stdout.write(`\n${await compareBuilds(world, options.against)}`);
      return 0;
    }
    const rows = [...(await runAll(world)), valuesRow("machine", "machine", machine)];
    await report(options, rows);
    return rows.some(({ values }) => "failed" in values) ? 1 : 0;
  } finally {
    await cleanUp();
  }
}

/** Runs the workloads in their order. One that fails is told, and the others run all the same. */
async function runAll(world: World): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const fleets = new Fleets(world);
  for (const workload of world.options.workloads) {
    progress(`${workload.name}: ${workload.title}`);
    try {
      rows.push(...(await runOne(world, fleets, workload)));
    } catch (error) {
      const { message } = error as Error;
      progress(`${workload.name}: failed: ${message}`);
      rows.push(failedRow(workload.name, message));
      // Whatever went wrong may have left servers and generators in any state.
      await fleets.release();
      await world.children.stopRunning();
      if (world.children.isClosed()) break;
    }
  }
  await fleets.release();
  return rows;
}

async function runOne(world: World, fleets: Fleets, workload: Workload): Promise<readonly Row[]> {
  const begunMs = performance.now();
  if (workload.kind === "measure") {
    await fleets.release();
    return MEASURES[workload.name](world);
  }
  const fleet = await fleets.get(workload.load.dataset);
  return measureThroughput(world, fleet, workload, begunMs);
}

async function report(options: Options, rows: readonly Row[]): Promise<void> {
  process.stdout.write(`\n${renderTable(options.workloads, rows)}`);
  const results = path.join(ROOT, "bench/results");
  mkdirSync(results, { recursive: true });
  const name = options.name ?? new Date().toISOString().replaceAll(":", "-").slice(0, 19);
  const file = path.join(results, name);
  const json = `${JSON.stringify(rows, undefined, 2)}\n`;
  await writeFile(`${file}.json`, json);
  if (options.json !== undefined) await writeFile(options.json, json);
  const drawn = await writePicture(`${file}.svg`, options.workloads, rows);
  const files = drawn ? `${file}.json and .svg` : `${file}.json`;
  process.stdout.write(`\nwritten to ${path.relative(process.cwd(), files)}\n`);
}

/** Ends all that was started when the suite itself is told to end. */
function onSignal(cleanUp: () => Promise<void>): void {
  let stopping = false;
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      progress("stopping");
      void cleanUp().finally(() => process.exit(code));
    });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  const usage = error instanceof UsageError;
  const { message, stack } = error as Error;
  process.stderr.write(`${usage ? message : (stack ?? message)}\n`);
  process.exitCode = usage ? 2 : 1;
}
