/** `npm run bench`: runs the workloads that are asked for, prints the table, writes the report. */

import { mkdirSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { Children } from "./children.js";
import { Fleet } from "./fleet.js";
import { measureJavaScript } from "./javascript.js";
import { describeMachine, fileSystem } from "./machine.js";
import { measureMemory } from "./measures/memory.js";
import { measureRecovery } from "./measures/recovery.js";
import { measureSnapshot } from "./measures/snapshot.js";
import { measureStart } from "./measures/start.js";
import { HELP, type Options, readOptions, UsageError } from "./options.js";
import { writePicture } from "./picture.js";
import { progress } from "./progress.js";
import { type Row, valuesRow } from "./rows.js";
import { renderTable } from "./table.js";
import { measureThroughput } from "./throughput.js";
import type { MeasureWorkload } from "./workloads.js";
import { ROOT, runDirectory, type World } from "./world.js";

const MEASURES: Readonly<
  Record<MeasureWorkload["name"], (world: World) => Promise<readonly Row[]>>
> = {
  memory: measureMemory,
  recovery: measureRecovery,
  snapshot: measureSnapshot,
  start: measureStart,
  javascript: measureJavaScript,
};

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
    const rows = [...(await runAll(world)), valuesRow("machine", "machine", machine)];
    await report(options, rows);
    return 0;
  } finally {
    await cleanUp();
  }
}

/** Runs the workloads in their order, with one fleet for all that work on the same data. */
async function runAll(world: World): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let fleet: Fleet | undefined;
  try {
    for (const workload of world.options.workloads) {
      const begunMs = performance.now();
      progress(`${workload.name}: ${workload.title}`);
      if (workload.kind === "measure") {
        await fleet?.stop();
        fleet = undefined;
        rows.push(...(await MEASURES[workload.name](world)));
        continue;
      }
      if (fleet?.dataset !== workload.load.dataset) {
        await fleet?.stop();
        fleet = undefined;
        fleet = await Fleet.start(world, workload.load.dataset);
      }
      rows.push(...(await measureThroughput(world, fleet, workload, begunMs)));
    }
  } finally {
    await fleet?.stop();
  }
  return rows;
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
