/** What an empty server, a connection and a key take in memory. */

import { setTimeout as sleep } from "node:timers/promises";
import { preload } from "../fleet.js";
import { LoadProcess } from "../load.js";
import { residentBytes } from "../machine.js";
import { progress } from "../progress.js";
import { type Row, rounded, type System, skippedRow, valuesRow } from "../rows.js";
import { startDomp } from "../systems/domp.js";
import { startRedis } from "../systems/redis.js";
import { addressWords, type Server, Unavailable } from "../systems/server.js";
import { nextSeed, type World } from "../world.js";

/** Connections opened before those that are counted: what the first ones take is taken once. */
const FIRST_CONNECTIONS = 1_000;
/** Keys written over and over before those that are counted, so that all buffers are in use. */
const FIRST_KEYS = 1_000;
const FIRST_SECONDS = 1;
/** A key and its value. */
const ENTRY_BYTES = 16 + 64;
/** How long a server is left alone before its memory is read. */
const SETTLE_MS = 1_500;

const STARTERS: readonly (readonly [System, (world: World) => Promise<Server>])[] = [
  ["domp", startDomp],
  ["redis", startRedis],
];

export async function measureMemory(world: World): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const [system, start] of STARTERS) {
    if (!world.options.systems.has(system)) continue;
    try {
      rows.push(await measureSystem(world, system, start));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      rows.push(skippedRow("memory", system, error.message));
    }
  }
  return rows;
}

async function measureSystem(
  world: World,
  system: System,
  start: (world: World) => Promise<Server>,
): Promise<Row> {
  const empty = await start(world);
  await sleep(SETTLE_MS);
  const baseBytes = residentBytes(empty.pid);
  progress(`memory: ${system} is empty`);
  const connectionBytes = await measureConnections(world, empty);
  await empty.stop();
  progress(`memory: ${system} held connections`);

  const full = await start(world);
  await overwrite(world, full);
  await sleep(SETTLE_MS);
  const fewBytes = residentBytes(full.pid);
  await preload(world, full, "entries");
  await sleep(SETTLE_MS);
  const manyBytes = residentBytes(full.pid);
  await full.stop();
  progress(`memory: ${system} held keys`);
  const perKey = (manyBytes - fewBytes) / (world.options.keys - FIRST_KEYS);
  return valuesRow("memory", system, {
    connection_bytes: rounded(connectionBytes),
    key_overhead_bytes: rounded(perKey - ENTRY_BYTES),
    base_rss_bytes: baseBytes,
    connections: world.options.connections,
    keys: world.options.keys,
    loaded_rss_bytes: manyBytes,
  });
}

/** Resident bytes a connection that does nothing, at the server. */
async function measureConnections(world: World, server: Server): Promise<number> {
  const words = ["idle", ...addressWords(server)];
  const idle = await LoadProcess.start(world.children, world.generator, words, false);
  const { connections } = world.options;
  await idle.ask(`open ${Math.min(FIRST_CONNECTIONS, connections)}`);
  await sleep(SETTLE_MS);
  const before = residentBytes(server.pid);
  await idle.ask(`open ${connections}`);
  await sleep(SETTLE_MS);
  const after = residentBytes(server.pid);
  await idle.stop();
  return (after - before) / connections;
}

/** Writes a few keys for a while. */
async function overwrite(world: World, server: Server): Promise<void> {
  const load = await LoadProcess.start(world.children, world.generator, [
    "run",
    ...addressWords(server),
    ...["--load", "put", "--connections", "4", "--in-flight", "4", "--operations", "64"],
    ...["--count", String(FIRST_KEYS), "--seed", String(nextSeed())],
    ...["--pids", String(server.pid)],
  ]);
  await load.window(0, FIRST_SECONDS);
  await load.stop();
}
