/** Transactions and outcome requests as objects, and their encoding. */

import type { Builder } from "flatbuffers";
import { addU32, addU64, encode, tables } from "./builder.js";
import type { OwnBytes } from "./frame.js";
import * as field from "./generated/fields.js";
import {
  addGuardNumbers,
  addOperationNumbers,
  type Guard,
  guardKinds,
  type Operation,
  operationFlags,
  operationKinds,
  type StoredValue,
} from "./generated/operations.js";

export { type Guard, isWrite, type Operation, type StoredValue } from "./generated/operations.js";

/** The space whose keys are the names of spaces. */
export const META_SPACE = 0;

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
  readonly value?: StoredValue | undefined;
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
  addGuardNumbers(builder, guard);
  builder.addFieldOffset(field.GUARD_VALUE, vectors.value, 0);
  builder.addFieldOffset(field.GUARD_TO, vectors.to, 0);
  builder.addFieldOffset(field.GUARD_KEY, vectors.key, 0);
  builder.addFieldInt8(field.GUARD_KIND, guardKinds[guard.kind], 0);
  return builder.endObject();
}

function writeOperation(builder: Builder, operation: Operation): number {
  const vectors = writeVectors(builder, operation);
  builder.startObject(field.OPERATION_FIELDS);
  addOperationNumbers(builder, operation);
  builder.addFieldOffset(field.OPERATION_VALUE, vectors.value, 0);
  builder.addFieldOffset(field.OPERATION_TO, vectors.to, 0);
  builder.addFieldOffset(field.OPERATION_KEY, vectors.key, 0);
  builder.addFieldInt8(field.OPERATION_FLAGS, operationFlags(operation), 0);
  builder.addFieldInt8(field.OPERATION_KIND, operationKinds[operation.kind], 0);
  return builder.endObject();
}
