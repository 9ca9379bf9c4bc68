import { RANGE_PAGE_ENTRIES_MAX } from "../protocol/generated/limits.js";
import { type Codec, encodeValue } from "./codecs.js";
import { invalidArgument } from "./errors.js";
import { byteBounds, pointKey } from "./keys.js";
import type { Guard, Operation } from "./operations.js";
import type { WireGuard, WireOperation } from "./wire.js";

/**
 * An operation in the bytes that go out; whatever the caller could still change is copied.
 * @throws DompError `invalid_argument`, `too_large`
 */
export function toWireOperation<V>(codec: Codec<V>, operation: Operation<V>): WireOperation {
  switch (operation.kind) {
    case "get":
    case "delete":
      return { kind: operation.kind, key: pointKey(operation.key) };
    case "put":
    case "putStored": {
      const value =
        operation.kind === "put" ? encodeValue(codec, operation.value) : operation.stored;
      const { expireAfterMs } = operation;
      if (expireAfterMs !== undefined) checkWhole(expireAfterMs, "expireAfterMs");
      return { kind: "put", key: pointKey(operation.key), value, expireAfterMs };
    }
    case "count":
    case "deleteRange":
      return { kind: operation.kind, ...byteBounds(operation.bounds) };
    case "range": {
      const { limit, reverse, keysOnly } = operation;
      return {
        kind: "range",
        ...byteBounds(operation.bounds),
        limit: limit === undefined ? undefined : pageLimit(limit),
        reverse,
        keysOnly,
      };
    }
    case "add": {
      const { delta, floor, ceiling } = operation;
      if (floor !== undefined && ceiling !== undefined && floor > ceiling) {
        throw invalidArgument("floor is above ceiling");
      }
      return { kind: "add", key: pointKey(operation.key), delta, floor, ceiling };
    }
    case "append":
      return { kind: "append", key: pointKey(operation.key), value: operation.bytes };
  }
}

/** @throws DompError `invalid_argument`, `too_large` */
export function toWireGuard<V>(codec: Codec<V>, guard: Guard<V>): WireGuard {
  switch (guard.kind) {
    case "exists":
    case "absent":
      return { kind: guard.kind, key: pointKey(guard.key) };
    case "version":
      if (guard.version !== 0) checkWhole(guard.version, "a version");
      return { kind: "version", key: pointKey(guard.key), version: guard.version };
    case "modified":
    case "modifiedAtMost":
      return { kind: guard.kind, key: pointKey(guard.key), revision: guard.revision };
    case "equals":
    case "equalsStored": {
      const value = guard.kind === "equals" ? encodeValue(codec, guard.value) : guard.stored;
      return { kind: "value", key: pointKey(guard.key), value };
    }
    case "atLeast":
      return { kind: "atLeast", key: pointKey(guard.key), number: guard.number };
    case "unchanged": {
      const { bounds, revision, count } = guard;
      return { kind: "unchanged", ...byteBounds(bounds), revision, count };
    }
  }
}

/** A whole number of at least one. */
function checkWhole(value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw invalidArgument(`${what} must be a whole number of at least 1`);
  }
}

/** More than a page may be asked for; a page is what comes. */
export function pageLimit(limit: number): number {
  checkWhole(limit, "a limit");
  return Math.min(limit, RANGE_PAGE_ENTRIES_MAX);
}
