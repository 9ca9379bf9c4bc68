/**
 * A process of its own that opens an engine on a directory and prints its report as a line of
 * JSON. The line `snapshot` takes a snapshot and is answered with `{}`, the line `keys` is answered
 * with the number of keys in `default`; the end of input closes the engine.
 */

import { createInterface } from "node:readline";
import { openEngine } from "../src/engine/index.js";

/** Large enough that no snapshot is taken but the one asked for. */
const NEVER_BYTES = 2 ** 40;

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error("the directory is missing");
const engine = await openEngine(
  { directory, snapshotAfterBytes: NEVER_BYTES },
  () => {
    engine.drain(() => {});
  },
  (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  },
);
process.stdout.write(`${JSON.stringify(engine.report)}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await engine.close();

async function answer(line: string): Promise<Readonly<Record<string, number>>> {
  if (line === "snapshot") {
    await engine.control("snapshot");
    return {};
  }
  if (line !== "keys") throw new Error(`unknown command "${line}"`);
  const { node } = await engine.control("statistics");
  return { keys: node.shards.find(({ name }) => name === "default")?.keys ?? 0 };
}
