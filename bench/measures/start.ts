/** From starting the server on an empty directory to the answer to its first put. */

import { HOST } from "../network.js";
import { progress } from "../progress.js";
import { type Row, rounded, valuesRow } from "../rows.js";
import { median } from "../statistics.js";
import { planDomp } from "../systems/domp.js";
import type { World } from "../world.js";

export async function measureStart(world: World): Promise<readonly Row[]> {
  const times: number[] = [];
  for (let round = 0; round < world.options.rounds; round += 1) {
    const plan = await planDomp(world);
    const output = await world.children.run("domp-load first", {
      program: world.generator,
      words: [
        "first",
        ...["--system", "domp", "--address", `${HOST}:${plan.clientPort}`, "--patience-ms", "0"],
        "--",
        plan.program,
        ...plan.words,
      ],
      directory: plan.directory,
      environment: plan.environment,
    });
    times.push(Number((JSON.parse(output) as { first_reply_us: unknown }).first_reply_us));
    progress(`start: round ${round + 1} of ${world.options.rounds}`);
  }
  return [
    valuesRow("start", "domp", {
      first_reply_us: rounded(median(times)),
      first_reply_us_min: Math.min(...times),
      first_reply_us_max: Math.max(...times),
      rounds: times.length,
    }),
  ];
}
