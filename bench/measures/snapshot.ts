/** The longest stall of puts while all keys are snapshotted. */

import { setTimeout as sleep } from "node:timers/promises";
import { preload } from "../fleet.js";
import { LoadProcess, type Window } from "../load.js";
import { progress } from "../progress.js";
import { type Row, rounded, valuesRow } from "../rows.js";
import { type DompServer, startDomp } from "../systems/domp.js";
import { addressWords } from "../systems/server.js";
import { nextSeed, type World } from "../world.js";

/** Log after which the server snapshots: reached within seconds by the puts below. */
const SNAPSHOT_AFTER = "48MiB";
/** The same load as `put-c50`. */
const CONNECTIONS = 50;
/** The window ends when the snapshot is done, and at the latest after this. */
const WINDOW_S = 60;
/** Seldom enough that reading the metrics is no load of its own. */
const SCRAPE_PAUSE_MS = 250;
/** A server is quiet when it has finished no snapshot for this long. */
const QUIET_MS = 2_500;

export async function measureSnapshot(world: World): Promise<readonly Row[]> {
  const server = await startDomp(world, { "log.snapshot_after": SNAPSHOT_AFTER });
  await preload(world, server, "entries");
  await untilQuiet(server);
  const load = await LoadProcess.start(world.children, world.generator, [
    "run",
    ...addressWords(server),
    ...["--load", "put", "--connections", String(CONNECTIONS)],
    ...["--in-flight", "1", "--operations", "1"],
    ...["--count", String(world.options.keys), "--seed", String(nextSeed())],
    ...["--pids", String(server.pid), "--directory", world.directory],
  ]);
  const before = await snapshots(server);
  const quiet = await load.window(0.1, world.options.seconds);
  const quietSnapshots = (await snapshots(server)) - before;
  progress("snapshot: measured without one");

  const windowEnd = load.window(0.1, WINDOW_S);
  const takenMs = await untilSnapshotted(server);
  load.tell("stop");
  const window = await windowEnd;
  await load.ask("check");
  await load.stop();
  progress(`snapshot: measured with one, after ${Math.round(takenMs)} ms`);
  const row = rowOf(world, quietSnapshots === 0 ? quiet : undefined, window);
  await server.stop();
  return [row];
}

function rowOf(world: World, quiet: Window | undefined, window: Window): Row {
  return valuesRow("snapshot", "domp", {
    stall_max_us: rounded(window.gap_max_us),
    keys: world.options.keys,
    window_s: rounded(window.elapsed_s),
    operations_per_s: rounded(window.operations_per_s),
    p99_us: rounded(window.p99_us),
    latency_max_us: rounded(window.max_us),
    // The same load without a snapshot: what of the stall is the machine's.
    quiet_stall_max_us: quiet === undefined ? null : rounded(quiet.gap_max_us),
    quiet_operations_per_s: quiet === undefined ? null : rounded(quiet.operations_per_s),
  });
}

function snapshots(server: DompServer): Promise<number> {
  return server.metric("domp_node_snapshots_total");
}

/** Waits until nothing is snapshotted any more. */
async function untilQuiet(server: DompServer): Promise<void> {
  let last = await snapshots(server);
  let sinceMs = performance.now();
  while (performance.now() - sinceMs < QUIET_MS) {
    await sleep(SCRAPE_PAUSE_MS);
    const now = await snapshots(server);
    if (now !== last) {
      last = now;
      sinceMs = performance.now();
    }
  }
}

/** Waits until a snapshot that begins now has ended; answers how long that took. */
async function untilSnapshotted(server: DompServer): Promise<number> {
  const begunMs = performance.now();
  const before = await snapshots(server);
  while ((await snapshots(server)) === before) {
    if (performance.now() - begunMs > (WINDOW_S - 5) * 1_000) {
      throw new Error("no snapshot was taken");
    }
    await sleep(SCRAPE_PAUSE_MS);
  }
  return performance.now() - begunMs;
}
