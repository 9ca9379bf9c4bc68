/** The systems that are loaded with one data set, for all workloads on it. */

import { progress } from "./progress.js";
import type { System } from "./rows.js";
import { startDomp } from "./systems/domp.js";
import { startEcho } from "./systems/echo.js";
import { startPostgres } from "./systems/postgres.js";
import { startRedis } from "./systems/redis.js";
import { addressWords, datasetCount, type Server, Unavailable } from "./systems/server.js";
import type { Dataset } from "./workloads.js";
import type { World } from "./world.js";

const STARTERS: ReadonlyMap<System, (world: World) => Promise<Server>> = new Map<
  System,
  (world: World) => Promise<Server>
>([
  ["domp", startDomp],
  ["redis", startRedis],
  ["postgres", startPostgres],
  ["uws", startEcho],
]);

export class Fleet {
  readonly dataset: Dataset;
  readonly servers: ReadonlyMap<System, Server>;
  /** Systems that take no part, and why. */
  readonly missing: ReadonlyMap<System, string>;
  /** Whether something was put since the data set was loaded. */
  changed = false;

  private constructor(
    dataset: Dataset,
    servers: ReadonlyMap<System, Server>,
    missing: ReadonlyMap<System, string>,
  ) {
    this.dataset = dataset;
    this.servers = servers;
    this.missing = missing;
  }

  /** Starts and loads all systems at the same time. */
  static async start(world: World, dataset: Dataset): Promise<Fleet> {
    const servers = new Map<System, Server>();
    const missing = new Map<System, string>();
    const wanted = [...STARTERS].filter(([system]) => world.options.systems.has(system));
    const results = await Promise.allSettled(
      wanted.map(async ([system, start]) => {
        try {
          const server = await start(world);
          servers.set(system, server);
          if (system !== "uws") await preload(world, server, dataset);
        } catch (error) {
          if (!(error instanceof Unavailable)) throw error;
          missing.set(system, error.message);
          progress(`${system}: skipped: ${error.message}`);
        }
      }),
    );
    const fleet = new Fleet(dataset, servers, missing);
    const failure = results.find((result) => result.status === "rejected");
    if (failure !== undefined) {
      await fleet.stop();
      throw failure.reason;
    }
    // What loading left to be written must not be written during the first windows.
    await world.children.run("sync", { program: "/bin/sh", words: ["-c", "sync"] });
    return fleet;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.stop()));
  }
}

/** Keeps one fleet at a time, for as many workloads as work on its data. */
export class Fleets {
  readonly #world: World;
  #fleet: Fleet | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** The fleet with a data set: the present one, or a new one in its place. */
  async get(dataset: Dataset): Promise<Fleet> {
    if (this.#fleet?.dataset !== dataset) {
      await this.release();
      this.#fleet = await Fleet.start(this.#world, dataset);
    }
    return this.#fleet;
  }

  /** Stops the present fleet: the machine is free for something else. */
  async release(): Promise<void> {
    const fleet = this.#fleet;
    this.#fleet = undefined;
    await fleet?.stop();
  }
}

/** Loads a data set into one server. */
export async function preload(
  world: World,
  server: Server,
  dataset: Dataset,
  count = datasetCount(dataset, world.options),
): Promise<void> {
  await world.children.run(`loading ${server.system}`, {
    program: world.generator,
    words: ["preload", ...addressWords(server), "--dataset", dataset, "--count", String(count)],
  });
  progress(`${server.system}: loaded ${count.toLocaleString("en")} ${dataset}`);
}
