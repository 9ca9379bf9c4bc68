/** What every measurement needs: where things are, the processes, the options. */

import { chmodSync, mkdirSync, mkdtempSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Children } from "./children.js";
import type { Options } from "./options.js";

/** The repository; this file runs as build/bench/world.js. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

export interface World {
  readonly options: Options;
  readonly children: Children;
  /** The load generator's program. */
  readonly generator: string;
  /** A directory of this run, on the disk under test. */
  readonly directory: string;
}

/** Makes a directory for one system's data. */
export function dataDirectory(world: World, name: string): string {
  const directory = mkdtempSync(path.join(world.directory, `${name}-`));
  // Its parent belongs to whoever runs the suite; PostgreSQL's own user has to pass through.
  chmodSync(directory, 0o755);
  return directory;
}

/** Makes the directory of a run. */
export function runDirectory(base: string | undefined): string {
  const parent = path.resolve(base ?? path.join(ROOT, "build/bench-data"));
  mkdirSync(parent, { recursive: true });
  const directory = mkdtempSync(path.join(parent, "run-"));
  chmodSync(directory, 0o755);
  return directory;
}

let lastSeed = 0;

/** Another seed for each run of the generator, so that no two write the same stamps. */
export function nextSeed(): number {
  lastSeed += 1;
  return lastSeed;
}
