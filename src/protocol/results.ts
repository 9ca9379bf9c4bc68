/** Decodes `Results`: what the operations of a transaction found and did. */

import { ProtocolError, reading } from "./error.js";
import { type ErrorName, errorOfNumber } from "./generated/errors.js";
import * as field from "./generated/fields.js";
import { KeyState } from "./generated/wire/key-state.js";
import { Table } from "./table.js";
import type { StoredValue } from "./transaction.js";

/** An entry as it was found. */
export interface Entry {
  /** A view into the reply. */
  readonly key: Uint8Array;
  /** Absent where only keys were asked for. Bytes are a view into the reply. */
  readonly value: StoredValue | undefined;
  /** Revision that created it. */
  readonly created: bigint;
  /** Revision of its last write. */
  readonly modified: bigint;
  /** Count of writes since it came to be. */
  readonly version: number;
  /** Lease time until it expires, if it does. */
  readonly expiresInMs: number | undefined;
}

/** What one operation answers; which fields mean something depends on the operation. */
export interface Result {
  /** `get`: what was found. */
  readonly entry: Entry | undefined;
  /** `range`: the page. */
  readonly entries: readonly Entry[];
  /** `range`: the page ended before the range did. */
  readonly more: boolean;
  /** `count`; keys deleted by `delete` and `deleteRange`; bytes of the value after `append`. */
  readonly count: number;
  /** The sum after `add`; the id of a space created. */
  readonly number: bigint | undefined;
}

/** What a transaction found and did. */
export interface Results {
  /** One for each operation of the branch that ran; empty where none had anything to say. */
  readonly results: readonly Result[];
  /** Index of the first guard that failed. */
  readonly failedGuard: number | undefined;
  /** Answered from an idempotency key: what the transaction gave to keep. A view into the reply. */
  readonly kept: Uint8Array | undefined;
}

const NOTHING: Results = { results: [], failedGuard: undefined, kept: undefined };
const NO_ENTRIES: readonly Entry[] = [];

/** Reads the payload of a reply without error. @throws ProtocolError `invalid_frame` */
export function decodeResults(payload: Uint8Array): Results {
  if (payload.length === 0) return NOTHING;
  return reading("results", () => {
    const root = Table.root(payload);
    const failedGuard = root.i32(field.RESULTS_FAILED_GUARD, -1);
    return {
      results: root.tables(field.RESULTS_RESULTS).map(readResult),
      failedGuard: failedGuard < 0 ? undefined : failedGuard,
      kept: root.bytes(field.RESULTS_KEPT),
    };
  });
}

/** What became of the transaction under an idempotency key. */
export type KeyOutcome =
  | {
      readonly state: "applied";
      /** Of the commit. */
      readonly revision: bigint;
      readonly results: Results;
      /** What the transaction gave to keep. A view into the reply. */
      readonly kept: Uint8Array | undefined;
    }
  /** Refused for good, for this reason. */
  | { readonly state: "not_applied"; readonly code: ErrorName }
  /** Nothing is known of the key; or it was seen, and what became of it is forgotten. */
  | { readonly state: "not_seen" | "expired" };

/** Reads the payload of a reply to an item `outcome_of`. @throws ProtocolError `invalid_frame` */
export function decodeKeyOutcome(payload: Uint8Array): KeyOutcome {
  return reading("key outcome", (): KeyOutcome => {
    const root = Table.root(payload);
    switch (root.u8(field.KEY_OUTCOME_STATE)) {
      case KeyState.applied:
        return {
          state: "applied",
          revision: root.u64(field.KEY_OUTCOME_REVISION),
          results: decodeResults(root.bytes(field.KEY_OUTCOME_RESULTS) ?? new Uint8Array(0)),
          kept: root.bytes(field.KEY_OUTCOME_KEPT),
        };
      case KeyState.not_applied:
        return {
          state: "not_applied",
          // An error of a newer server is a fault of the server to us.
          code: errorOfNumber(root.u16(field.KEY_OUTCOME_CODE)) ?? "internal",
        };
      case KeyState.not_seen:
        return { state: "not_seen" };
      case KeyState.expired:
        return { state: "expired" };
      default:
        throw new ProtocolError("invalid_frame", "a key is in no known state");
    }
  });
}

function readResult(result: Table): Result {
  const entry = result.table(field.OPERATION_RESULT_ENTRY);
  return {
    entry: entry && readEntry(entry),
    entries: result.has(field.OPERATION_RESULT_ENTRIES)
      ? result.tables(field.OPERATION_RESULT_ENTRIES).map(readEntry)
      : NO_ENTRIES,
    more: result.u8(field.OPERATION_RESULT_MORE) !== 0,
    count: result.count(field.OPERATION_RESULT_COUNT),
    number: result.i64(field.OPERATION_RESULT_NUMBER),
  };
}

function readEntry(entry: Table): Entry {
  return {
    key: entry.bytes(field.ENTRY_KEY) ?? new Uint8Array(0),
    value: entry.i64(field.ENTRY_NUMBER) ?? entry.bytes(field.ENTRY_VALUE),
    created: entry.u64(field.ENTRY_CREATED),
    modified: entry.u64(field.ENTRY_MODIFIED),
    version: entry.count(field.ENTRY_VERSION),
    expiresInMs: entry.has(field.ENTRY_EXPIRES_IN_MS)
      ? entry.count(field.ENTRY_EXPIRES_IN_MS)
      : undefined,
  };
}
