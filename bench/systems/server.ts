/** A system under load, as the rest of the suite sees it. */

import type { System } from "../rows.js";
import type { Dataset } from "../workloads.js";

/** A server that runs. */
export interface Server {
  readonly system: System;
  /** The address clients connect to. */
  readonly address: string;
  /** The process whose threads, and those of its children, do the work. */
  readonly pid: number;
  /** More words for the load generator's command line. */
  readonly generatorWords: readonly string[];
  /**
   * Processor time it has taken to look for work before it sleeps, in seconds; undefined where it does
   * not tell. Absent for systems that don't look.
   */
  readonly polledSeconds?: () => Promise<number | undefined>;
  stop(): Promise<void>;
}

/** Why a system takes no part. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

/** Words that tell the load generator which server it drives. */
export function addressWords({ system, address, generatorWords }: Server): readonly string[] {
  return ["--system", system, "--address", address, ...generatorWords];
}

/** Number of keys or accounts in a data set. */
export function datasetCount(
  dataset: Dataset,
  options: { readonly keys: number; readonly accounts: number },
): number {
  return dataset === "entries" ? options.keys : options.accounts;
}
