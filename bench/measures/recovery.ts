/** How fast a server that was killed reads its log, and a snapshot; what the log writes to the disk. */

import path from "node:path";
import { preload } from "../fleet.js";
import { LoadProcess } from "../load.js";
import { progress } from "../progress.js";
import { type Row, rounded, type Value, valuesRow } from "../rows.js";
import { median } from "../statistics.js";
import { startDomp } from "../systems/domp.js";
import { runWords, WARM_PART } from "../throughput.js";
import { PUT_C50_K64 } from "../workloads.js";
import { ROOT, type World } from "../world.js";
import { measureLap } from "./lap.js";

const MAIN = path.join(ROOT, "build/bench/engine-main.js");
/**
 * Loaded beyond the keys that are asked for: what stands at the very end of a log is known to be
 * committed, and counted, only once the node leads again.
 */
const SPARE_KEYS = 4_096;
/** Each start is repeated this often; the median counts. */
const REPEATS_MAX = 3;

/** The part of the engine's report on recovery that is read here. */
interface Recovery {
  readonly entries: number;
  readonly transactions: number;
  readonly snapshotKeys: number;
  readonly restoreUs: number;
  readonly replayUs: number;
}

export async function measureRecovery(world: World): Promise<readonly Row[]> {
  const { putsPerS, lap } = await measurePuts(world);
  // No snapshot is taken while loading: everything is to be found in the log.
  const server = await startDomp(world, { "log.snapshot_after": "1TiB" });
  const keys = world.options.keys + SPARE_KEYS;
  await preload(world, server, "entries", keys);
  await server.kill();
  const repeats = repeatsOf(world);
  const fromLog: Recovery[] = [];
  for (let repeat = 0; repeat < repeats; repeat += 1) {
    fromLog.push(await open(world, server.data, keys, repeat === repeats - 1));
    progress(`recovery: from the log, ${repeat + 1} of ${repeats}`);
  }
  const fromSnapshot: Recovery[] = [];
  for (let repeat = 0; repeat < repeats; repeat += 1) {
    fromSnapshot.push(await open(world, server.data, keys, false));
    progress(`recovery: from a snapshot, ${repeat + 1} of ${repeats}`);
  }
  for (const { transactions } of fromLog) {
    if (transactions < world.options.keys) {
      throw new Error(`only ${transactions} records were found in the log`);
    }
  }
  for (const { snapshotKeys } of fromSnapshot) {
    if (snapshotKeys < world.options.keys) {
      throw new Error(`only ${snapshotKeys} keys were found in the snapshot`);
    }
  }
  const perSecond = (count: number, us: number) => (count * 1e6) / Math.max(us, 1);
  const recordsPerS = median(fromLog.map((found) => perSecond(found.transactions, found.replayUs)));
  return [
    valuesRow("recovery", "domp", {
      // How much faster a log is read than written: how long a start takes for a time of writing.
      log_records_per_put: rounded(recordsPerS / putsPerS),
      log_records_per_s: rounded(recordsPerS),
      puts_per_s: rounded(putsPerS),
      ...lap,
      snapshot_keys_per_s: rounded(
        median(fromSnapshot.map((found) => perSecond(found.snapshotKeys, found.restoreUs))),
      ),
      log_records: fromLog[0]?.transactions ?? null,
      log_entries: fromLog[0]?.entries ?? null,
      log_replay_us: rounded(median(fromLog.map(({ replayUs }) => replayUs))),
      snapshot_keys: fromSnapshot[0]?.snapshotKeys ?? null,
      snapshot_restore_us: rounded(median(fromSnapshot.map(({ restoreUs }) => restoreUs))),
    }),
  ];
}

function repeatsOf(world: World): number {
  return Math.min(REPEATS_MAX, world.options.rounds);
}

/** The load of put-c50-k64 on a server of its own: how fast it is, and what its log writes. */
async function measurePuts(
  world: World,
): Promise<{ readonly putsPerS: number; readonly lap: Readonly<Record<string, Value>> }> {
  const server = await startDomp(world);
  await preload(world, server, "entries");
  const words = runWords(world, { server, load: PUT_C50_K64.load, changed: false });
  const load = await LoadProcess.start(world.children, world.generator, words);
  const { seconds } = world.options;
  const speeds: number[] = [];
  for (let repeat = 0; repeat < repeatsOf(world); repeat += 1) {
    speeds.push((await load.window(seconds * WARM_PART, seconds)).operations_per_s);
  }
  progress("recovery: measured the puts");
  const lap = await measureLap(load, seconds, () => server.metrics());
  await load.ask("check");
  await load.stop();
  await server.stop();
  return { putsPerS: median(speeds), lap };
}

/** Opens an engine on the directory and closes it again, perhaps with a snapshot before. */
async function open(
  world: World,
  data: string,
  keys: number,
  snapshot: boolean,
): Promise<Recovery> {
  const engine = await LoadProcess.start(world.children, process.execPath, [MAIN, data]);
  const recovery = engine.greeting["recovery"] as Recovery;
  const found = (await engine.ask("keys"))["keys"];
  if (found !== keys) throw new Error(`${found} of ${keys} keys were there after the start`);
  if (snapshot) await engine.ask("snapshot");
  await engine.stop();
  return recovery;
}
