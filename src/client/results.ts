import type { Codec } from "./codecs.js";
import { type Entry, type Page, toEntry, toPage } from "./entries.js";
import { byteBounds } from "./keys.js";
import type { Operation, ResultsOf } from "./operations.js";
import type { WireResult } from "./wire.js";

/** An answer whose operation is not at hand: what there is of it. */
export interface RawResult<V> {
  /** Of a get. */
  readonly entry: Entry<V> | undefined;
  /** Of a range. */
  readonly entries: readonly Entry<V>[];
  /** Of a count, delete, deleteRange or append. */
  readonly count: number;
  /** Of an add. */
  readonly number: bigint | undefined;
}

/**
 * The answers of the branch that was done. The server leaves them all out where every operation of
 * the branch was a put.
 */
export function readBranch<V, const Branch extends readonly Operation<V>[]>(
  codec: Codec<V>,
  branch: Branch,
  results: readonly WireResult[],
  revision: bigint,
): ResultsOf<V, Branch> {
  const read = branch.map((operation, i) => readOne(codec, operation, results[i], revision));
  // Each answer is read as its operation's kind says, which is what ResultsOf computes.
  return read as unknown as ResultsOf<V, Branch>;
}

function readOne<V>(
  codec: Codec<V>,
  operation: Operation<V>,
  result: WireResult | undefined,
  revision: bigint,
): Entry<unknown> | Page<unknown> | number | bigint | boolean | undefined {
  switch (operation.kind) {
    case "get": {
      const entry = result?.entry;
      return entry === undefined ? undefined : toEntry(operation.codec ?? codec, entry);
    }
    case "range": {
      const { bounds, limit, reverse, keysOnly } = operation;
      const asked = { ...byteBounds(bounds), limit, reverse, keysOnly };
      const entries = result?.entries ?? [];
      return toPage<unknown>(
        operation.codec ?? (codec as Codec<unknown>),
        asked,
        entries,
        result?.more ?? false,
        revision,
      );
    }
    case "put":
    case "putStored":
      return undefined;
    case "delete":
      return (result?.count ?? 0) > 0;
    case "count":
    case "deleteRange":
    case "append":
      return result?.count ?? 0;
    case "add":
      return result?.number ?? 0n;
  }
}

export function readRaw<V>(codec: Codec<V>, result: WireResult): RawResult<V> {
  return {
    entry: result.entry === undefined ? undefined : toEntry(codec, result.entry),
    entries: result.entries.map((entry) => toEntry(codec, entry)),
    count: result.count,
    number: result.number,
  };
}
