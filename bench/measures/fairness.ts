/** How long others wait while a crowd asks for as much as it can. */

import { setTimeout as sleep } from "node:timers/promises";
import { CoreShare } from "../core-share.js";
import { preload } from "../fleet.js";
import { LoadProcess } from "../load.js";
import { progress } from "../progress.js";
import { type Row, rounded, skippedRow, valuesRow } from "../rows.js";
import { type DompServer, startDomp } from "../systems/domp.js";
import { addressWords } from "../systems/server.js";
import { nextSeed, type World } from "../world.js";

/** Members of the crowd, and the bytes of range reads in each of their frames. */
const SENDERS = 8;
const FRAME_BYTES = 600_000;
/**
 * The shortest windows: one request at a time, and where each waits for others a second answers few.
 */
const WINDOW_S_MIN = 10;
/** Time until the crowd has filled whatever it can fill. */
const SETTLE_MS = 2_000;

export async function measureFairness(world: World): Promise<readonly Row[]> {
  const share = await CoreShare.make();
  if (share === undefined) return [skippedRow("fairness", "domp", "needs cpu cgroup")];
  try {
    return [await measure(world, share)];
  } finally {
    await share.remove();
  }
}

async function measure(world: World, share: CoreShare): Promise<Row> {
  const server = await startDomp(world);
  await preload(world, server, "entries");
  const get = await client(world, server, "get");
  const put = await client(world, server, "put");
  const seconds = Math.max(world.options.seconds, WINDOW_S_MIN);
  const putQuiet = await put.window(0.1, seconds);
  progress("fairness: measured undisturbed");

  const crowd = await LoadProcess.start(world.children, world.generator, [
    "flood",
    ...addressWords(server),
    ...["--connections", String(SENDERS), "--frame-bytes", String(FRAME_BYTES)],
  ]);
  try {
    await share.add(crowd.pid);
    await sleep(SETTLE_MS);
    const before = await crowd.ask("report");
    const getBusy = await get.window(0.1, seconds);
    const putBusy = await put.window(0.1, seconds);
    const after = await crowd.ask("report");
    progress("fairness: measured beside the crowd");
    await Promise.all([get.stop(), put.stop()]);
    const counted = (name: string) => Number(after[name]) - Number(before[name]);
    if (counted("answers") <= counted("refused")) {
      throw new Error("the crowd was refused, and so asked for nothing");
    }
    return valuesRow("fairness", "domp", {
      get_p99_us: rounded(getBusy.p99_us),
      put_p99_us: rounded(putBusy.p99_us),
      put_quiet_p99_us: rounded(putQuiet.p99_us),
      // What may be asked of the puts: three times their undisturbed value, or 50 ms.
      put_p99_share: rounded(putBusy.p99_us / Math.max(50_000, 3 * putQuiet.p99_us)),
      get_max_us: rounded(getBusy.max_us),
      put_max_us: rounded(putBusy.max_us),
      // That the crowd was one.
      crowd_answers: counted("answers"),
      crowd_refused: counted("refused"),
      crowd_closed: counted("closed"),
    });
  } finally {
    await crowd.stop();
    await server.stop();
  }
}

/** One client with one request in flight. */
function client(world: World, server: DompServer, load: "get" | "put"): Promise<LoadProcess> {
  return LoadProcess.start(world.children, world.generator, [
    "run",
    ...addressWords(server),
    ...["--load", load, "--connections", "1", "--in-flight", "1", "--operations", "1"],
    ...["--count", String(world.options.keys), "--seed", String(nextSeed())],
    // The puts of the other client change what is there.
    ...(load === "get" ? ["--stamp", "any"] : []),
  ]);
}
