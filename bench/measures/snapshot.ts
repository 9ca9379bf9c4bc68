/** The longest stall of puts while all keys are snapshotted. */

import { preload } from "../fleet.js";
import { LoadProcess, type Window } from "../load.js";
import { progress } from "../progress.js";
import { type Row, rounded, valuesRow } from "../rows.js";
import { median, pairedRatio } from "../statistics.js";
import { startDomp, sumOfMetric } from "../systems/domp.js";
import { ratioValues, runWords } from "../throughput.js";
import { PUT_C50 } from "../workloads.js";
import type { World } from "../world.js";
import { pairStalls, type Watched } from "./stalls.js";

/** Log after which the server snapshots: reached every few seconds by the puts below. */
const SNAPSHOT_AFTER = "48MiB";
/** Short, so that few of them have a snapshot. */
const WINDOW_S = 0.5;
const WARM_S = 0.05;
/** A server that takes no more snapshots by then won't. */
const PATIENCE_MS = 90_000;

/** What is read between windows. */
interface Snapshots {
  readonly taken: number;
  /** Kept for one under way. */
  readonly overlayBytes: number;
}

export async function measureSnapshot(world: World): Promise<readonly Row[]> {
  const server = await startDomp(world, { "log.snapshot_after": SNAPSHOT_AFTER });
  await preload(world, server, "entries");
  const words = runWords(world, { server, load: PUT_C50.load, changed: false });
  const load = await LoadProcess.start(world.children, world.generator, words);
  const look = async (): Promise<Snapshots> => {
    const text = await server.metrics();
    const read = (name: string) => sumOfMetric(text, name) ?? 0;
    return {
      taken: read("domp_node_snapshots_total"),
      overlayBytes: read("domp_shard_snapshot_overlay_bytes"),
    };
  };

  const windows: (Window & Watched)[] = [];
  const begunMs = performance.now();
  let before = await look();
  let told = 0;
  while (pairStalls(windows).length < world.options.rounds) {
    if (performance.now() - begunMs > PATIENCE_MS) break;
    const window = await load.window(WARM_S, WINDOW_S);
    const after = await look();
    const snapshot =
      after.taken !== before.taken || before.overlayBytes > 0 || after.overlayBytes > 0;
    windows.push({ ...window, stallUs: window.gap_max_us, snapshot });
    before = after;
    const pairs = pairStalls(windows).length;
    if (pairs !== told) progress(`snapshot: ${pairs} of ${world.options.rounds}`);
    told = pairs;
  }
  await load.ask("check");
  await load.stop();
  await server.stop();
  return [rowOf(world, windows)];
}

function rowOf(world: World, windows: readonly (Window & Watched)[]): Row {
  const stalls = pairStalls(windows);
  if (stalls.length === 0) throw new Error("no snapshot was taken");
  const during = stalls.map(({ duringUs }) => duringUs);
  const quiet = stalls.map(({ quietUs }) => quietUs);
  const throughput = (snapshot: boolean) =>
    rounded(
      median(
        windows
          .filter((window) => window.snapshot === snapshot)
          .map(({ operations_per_s }) => operations_per_s),
      ),
    );
  return valuesRow("snapshot", "domp", {
    ...ratioValues("stall_ratio", pairedRatio(during, quiet)),
    stall_max_us: rounded(median(during)),
    // The same load without a snapshot: what of the stall is the machine's.
    quiet_stall_max_us: rounded(median(quiet)),
    snapshots: stalls.length,
    keys: world.options.keys,
    operations_per_s: throughput(true),
    quiet_operations_per_s: throughput(false),
  });
}
