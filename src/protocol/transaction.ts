/** Transactions and outcome requests as objects, and their encoding. */

import type { Builder } from "flatbuffers";
import { addI64, addU32, addU64, encode, tables } from "./builder.js";
import type { OwnBytes } from "./frame.js";
import * as field from "./generated/fields.js";
import { GuardKind } from "./generated/wire/guard-kind.js";
import { OperationKind } from "./generated/wire/operation-kind.js";

/** What a key holds: bytes, or a number of 64 bits. */
export type StoredValue = Uint8Array | bigint;

/** The space whose keys are the names of spaces. */
export const META_SPACE = 0;

/** A condition; all guards of a transaction must hold for `then` to run. */
export type Guard =
  | { readonly kind: "exists" | "absent"; readonly key: Uint8Array }
  /** Written exactly so often since it came to be; 0: absent. */
  | { readonly kind: "version"; readonly key: Uint8Array; readonly version: number }
  | {
      readonly kind: "modified" | "modifiedAtMost";
      readonly key: Uint8Array;
      readonly revision: bigint;
    }
  | { readonly kind: "value"; readonly key: Uint8Array; readonly value: StoredValue }
  | { readonly kind: "atLeast"; readonly key: Uint8Array; readonly number: bigint }
  | {
      readonly kind: "unchanged";
      readonly from: Uint8Array;
      readonly to: Uint8Array | undefined;
      readonly revision: bigint;
      readonly count: number;
    };

/** One step of a branch. Where a range begins, an empty key is the first of the space. */
export type Operation =
  | { readonly kind: "get" | "delete"; readonly key: Uint8Array }
  | {
      readonly kind: "range";
      readonly from: Uint8Array;
      readonly to: Uint8Array | undefined;
      readonly limit?: number | undefined;
      readonly reverse?: boolean | undefined;
      readonly keysOnly?: boolean | undefined;
    }
  | {
      readonly kind: "count" | "deleteRange";
      readonly from: Uint8Array;
      readonly to: Uint8Array | undefined;
    }
  | {
      readonly kind: "put";
      readonly key: Uint8Array;
      readonly value: StoredValue;
      readonly expireAfterMs?: number | undefined;
    }
  | {
      readonly kind: "add";
      readonly key: Uint8Array;
      readonly delta: bigint;
      readonly floor?: bigint | undefined;
      readonly ceiling?: bigint | undefined;
    }
  | { readonly kind: "append"; readonly key: Uint8Array; readonly value: Uint8Array }
  /** Only in space 0. */
  | { readonly kind: "spaceCreate" | "spaceDrop"; readonly name: Uint8Array };

export interface Transaction {
  /** The id of the space it stays in. */
  readonly space: number;
  readonly guards?: readonly Guard[] | undefined;
  readonly then?: readonly Operation[] | undefined;
  /** Runs when a guard fails; absent: nothing runs and the answer says so. */
  readonly otherwise?: readonly Operation[] | undefined;
  /** 1 to IDEMPOTENCY_KEY_BYTES_MAX bytes: under it the transaction takes effect at most once. */
  readonly idempotencyKey?: Uint8Array | undefined;
  /** Only with a key; at most RESULT_BYTES_MAX bytes, perhaps none: kept with it and given back. */
  readonly result?: Uint8Array | undefined;
}

/** What became of the transaction under an idempotency key? Only reads. */
export interface OutcomeOfRequest {
  readonly space: number;
  readonly idempotencyKey: Uint8Array;
}

export interface OutcomeRequest {
  readonly space: number;
  /** A key of the request: tells the shard. */
  readonly key: Uint8Array;
  readonly sequence: number;
  /** The token of the session it was sent in; absent: the one that asks. */
  readonly session?: Uint8Array | undefined;
}

const REVERSE = 1;
const KEYS_ONLY = 2;

/** Encodes a payload of kind `transaction`. @throws ProtocolError `invalid_argument` */
export function encodeTransaction(transaction: Transaction): OwnBytes {
  return encode((builder) => {
    const { space, guards, then, otherwise, idempotencyKey, result } = transaction;
    const keyAt = idempotencyKey === undefined ? 0 : builder.createByteVector(idempotencyKey);
    const resultAt = result === undefined ? 0 : builder.createByteVector(result);
    const guardsAt = vector(builder, guards?.length ? guards : undefined, writeGuard);
    const thenAt = vector(builder, then?.length ? then : undefined, writeOperation);
    const otherwiseAt = vector(builder, otherwise, writeOperation);
    builder.startObject(field.TRANSACTION_FIELDS);
    addU32(builder, field.TRANSACTION_SPACE, space, "space");
    builder.addFieldOffset(field.TRANSACTION_GUARDS, guardsAt, 0);
    builder.addFieldOffset(field.TRANSACTION_THEN, thenAt, 0);
    builder.addFieldOffset(field.TRANSACTION_OTHERWISE, otherwiseAt, 0);
    builder.addFieldOffset(field.TRANSACTION_IDEMPOTENCY_KEY, keyAt, 0);
    builder.addFieldOffset(field.TRANSACTION_RESULT, resultAt, 0);
    return builder.endObject();
  });
}

/** Encodes a payload of kind `outcome`. @throws ProtocolError `invalid_argument` */
export function encodeOutcomeRequest(request: OutcomeRequest): OwnBytes {
  return encode((builder) => {
    const key = builder.createByteVector(request.key);
    const session = request.session && builder.createByteVector(request.session);
    builder.startObject(field.OUTCOME_REQUEST_FIELDS);
    addU64(builder, field.OUTCOME_REQUEST_SEQUENCE, request.sequence, "sequence");
    addU32(builder, field.OUTCOME_REQUEST_SPACE, request.space, "space");
    builder.addFieldOffset(field.OUTCOME_REQUEST_KEY, key, 0);
    builder.addFieldOffset(field.OUTCOME_REQUEST_SESSION, session ?? 0, 0);
    return builder.endObject();
  });
}

/** Encodes a payload of kind `outcome_of`. @throws ProtocolError `invalid_argument` */
export function encodeOutcomeOfRequest(request: OutcomeOfRequest): OwnBytes {
  return encode((builder) => {
    const key = builder.createByteVector(request.idempotencyKey);
    builder.startObject(field.OUTCOME_OF_REQUEST_FIELDS);
    addU32(builder, field.OUTCOME_OF_REQUEST_SPACE, request.space, "space");
    builder.addFieldOffset(field.OUTCOME_OF_REQUEST_IDEMPOTENCY_KEY, key, 0);
    return builder.endObject();
  });
}

/** May this operation change anything? */
export function isWrite(operation: Operation): boolean {
  return operation.kind !== "get" && operation.kind !== "range" && operation.kind !== "count";
}

function vector<T>(
  builder: Builder,
  items: readonly T[] | undefined,
  write: (builder: Builder, item: T) => number,
): number {
  if (items === undefined) return 0;
  const offsets = items.map((item) => write(builder, item));
  return tables(builder, offsets);
}

/** The vectors of a guard or operation, written before its table: their offsets, or 0. */
interface Vectors {
  readonly key: number;
  readonly to: number;
  readonly value: number;
}

/** What guards and operations have in common, by the names of either. */
interface Fields {
  readonly key?: Uint8Array;
  readonly from?: Uint8Array;
  readonly name?: Uint8Array;
  readonly to?: Uint8Array | undefined;
  readonly value?: StoredValue;
}

function writeVectors(builder: Builder, item: Fields): Vectors {
  const { from, to, value } = item;
  const key = item.key ?? item.name ?? (from?.length ? from : undefined);
  return {
    key: key === undefined ? 0 : builder.createByteVector(key),
    to: to === undefined ? 0 : builder.createByteVector(to),
    value: value instanceof Uint8Array ? builder.createByteVector(value) : 0,
  };
}

// A table's fields are laid from its end: the widest first leaves no gaps.

function writeGuard(builder: Builder, guard: Guard): number {
  const vectors = writeVectors(builder, guard);
  builder.startObject(field.GUARD_FIELDS);
  switch (guard.kind) {
    case "version":
      addU64(builder, field.GUARD_REVISION, guard.version, "version");
      break;
    case "modified":
    case "modifiedAtMost":
      addU64(builder, field.GUARD_REVISION, guard.revision, "revision");
      break;
    case "value":
      if (typeof guard.value === "bigint") {
        addI64(builder, field.GUARD_NUMBER, guard.value, "value");
      }
      break;
    case "atLeast":
      addI64(builder, field.GUARD_NUMBER, guard.number, "number");
      break;
    case "unchanged":
      addU64(builder, field.GUARD_COUNT, guard.count, "count");
      addU64(builder, field.GUARD_REVISION, guard.revision, "revision");
      break;
  }
  builder.addFieldOffset(field.GUARD_VALUE, vectors.value, 0);
  builder.addFieldOffset(field.GUARD_TO, vectors.to, 0);
  builder.addFieldOffset(field.GUARD_KEY, vectors.key, 0);
  builder.addFieldInt8(field.GUARD_KIND, guardKinds[guard.kind], GuardKind.none);
  return builder.endObject();
}

const guardKinds = {
  exists: GuardKind.exists,
  absent: GuardKind.absent,
  version: GuardKind.version,
  modified: GuardKind.modified,
  modifiedAtMost: GuardKind.modified_at_most,
  value: GuardKind.value,
  atLeast: GuardKind.at_least,
  unchanged: GuardKind.unchanged,
} as const satisfies Record<Guard["kind"], GuardKind>;

function writeOperation(builder: Builder, operation: Operation): number {
  const vectors = writeVectors(builder, operation);
  builder.startObject(field.OPERATION_FIELDS);
  let flags = 0;
  switch (operation.kind) {
    case "put":
      if (operation.expireAfterMs !== undefined) {
        const { expireAfterMs } = operation;
        addU64(builder, field.OPERATION_EXPIRE_AFTER_MS, expireAfterMs, "expireAfterMs");
      }
      if (typeof operation.value === "bigint") {
        addI64(builder, field.OPERATION_NUMBER, operation.value, "value");
      }
      break;
    case "add":
      if (operation.ceiling !== undefined) {
        addI64(builder, field.OPERATION_CEILING, operation.ceiling, "ceiling");
      }
      if (operation.floor !== undefined) {
        addI64(builder, field.OPERATION_FLOOR, operation.floor, "floor");
      }
      addI64(builder, field.OPERATION_NUMBER, operation.delta, "delta");
      break;
    case "range":
      if (operation.limit !== undefined) {
        addU32(builder, field.OPERATION_LIMIT, operation.limit, "limit");
      }
      flags = (operation.reverse ? REVERSE : 0) | (operation.keysOnly ? KEYS_ONLY : 0);
      break;
  }
  builder.addFieldOffset(field.OPERATION_VALUE, vectors.value, 0);
  builder.addFieldOffset(field.OPERATION_TO, vectors.to, 0);
  builder.addFieldOffset(field.OPERATION_KEY, vectors.key, 0);
  builder.addFieldInt8(field.OPERATION_FLAGS, flags, 0);
  builder.addFieldInt8(field.OPERATION_KIND, operationKinds[operation.kind], OperationKind.none);
  return builder.endObject();
}

const operationKinds = {
  get: OperationKind.get,
  range: OperationKind.range,
  count: OperationKind.count,
  put: OperationKind.put,
  delete: OperationKind.delete_,
  deleteRange: OperationKind.delete_range,
  add: OperationKind.add,
  append: OperationKind.append,
  spaceCreate: OperationKind.space_create,
  spaceDrop: OperationKind.space_drop,
} as const satisfies Record<Operation["kind"], OperationKind>;
