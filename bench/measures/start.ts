/** From starting the server on an empty directory to the answer to its first put, beside Node alone. */

import type { Command } from "../children.js";
import { HOST } from "../network.js";
import { progress } from "../progress.js";
import { type Row, rounded, type Value, valuesRow } from "../rows.js";
import { median } from "../statistics.js";
import { planDomp } from "../systems/domp.js";
import type { World } from "../world.js";

export async function measureStart(world: World): Promise<readonly Row[]> {
  const replies: number[] = [];
  const nodes: number[] = [];
  for (let round = 0; round < world.options.rounds; round += 1) {
    nodes.push(await nodeAlone(world));
    replies.push(await firstReply(world));
    progress(`start: round ${round + 1} of ${world.options.rounds}`);
  }
  return [
    valuesRow("start", "domp", {
      ...spread("first_reply_us", replies),
      // Node without anything to do: what any server written for it takes at least.
      ...spread("node_us", nodes),
      rounds: replies.length,
    }),
  ];
}

async function firstReply(world: World): Promise<number> {
  const plan = await planDomp(world);
  const address = `${HOST}:${plan.clientPort}`;
  const output = await world.children.run("domp-load first", {
    program: world.generator,
    words: [
      "first",
      ...["--system", "domp", "--address", address, "--patience-ms", "0"],
      "--",
      plan.program,
      ...plan.words,
    ],
    directory: plan.directory,
    environment: plan.environment,
  });
  return readNumber(output, "first_reply_us");
}

async function nodeAlone(world: World): Promise<number> {
  const command: Command = {
    program: world.generator,
    words: ["lifetime", "--", process.execPath, "-e", "0"],
    directory: world.directory,
  };
  return readNumber(await world.children.run("domp-load lifetime", command), "lifetime_us");
}

function readNumber(output: string, name: string): number {
  return Number((JSON.parse(output) as Record<string, unknown>)[name]);
}

function spread(name: string, times: readonly number[]): Record<string, Value> {
  return {
    [name]: rounded(median(times)),
    [`${name}_min`]: Math.min(...times),
    [`${name}_max`]: Math.max(...times),
  };
}
