/** What can be done with a data directory that no engine holds. */

import { addon, answered, EngineError } from "./addon.js";
import type { CheckReply, PreparedCluster } from "./reports.js";

/**
 * What can be asked without an engine: about a directory that none holds, in which nothing is changed,
 * or to make the directories of a cluster.
 */
export type OfflineRequest =
  | ({ readonly kind: "check" } & Place)
  | ({
      readonly kind: "log";
      /** Only this shard's records. */
      readonly group?: number;
      /** Only entries from this index on. */
      readonly fromIndex?: number;
    } & Place)
  | {
      readonly kind: "prepare";
      /** Where the nodes' directories are made. */
      readonly directory: string;
      /** Where the nodes listen for each other, `host:port`. */
      readonly addresses: readonly string[];
    };

/** Where to look. */
interface Place {
  readonly directory: string;
  /** Where its log is, if not in it. */
  readonly logDirectory?: string;
}

/** The answers to `OfflineRequest`, by kind. */
export interface OfflineReplies {
  check: CheckReply;
  /** The records went to the standard output, a line each. */
  log: { readonly lines: number };
  prepare: PreparedCluster;
}

/**
 * Runs a request that needs no engine. Rejects with `EngineError` where the directory is held by
 * one, is not there, or can't be read; damage is no error but an answer.
 */
export async function offline<Kind extends keyof OfflineReplies>(
  request: Extract<OfflineRequest, { readonly kind: Kind }>,
): Promise<OfflineReplies[Kind]> {
  let answer: Promise<string>;
  try {
    answer = addon().control(undefined, request);
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw new EngineError((cause as Error).message, { cause });
  }
  return answered(answer);
}
