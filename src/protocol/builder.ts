/** Shared means of the encoders. */

import { Builder } from "flatbuffers";
import { ProtocolError } from "./error.js";
import type { OwnBytes } from "./frame.js";

/** A builder that once grew beyond this is not kept. */
const KEPT_BYTES_MAX = 64 * 1024;

let kept: Builder | undefined;

/** Encodes one payload with the builder of this module, which is used again each time. */
export function encode(write: (builder: Builder) => number): OwnBytes {
  const builder = kept ?? new Builder(1024);
  // While it is in use, and if `write` throws, it is nobody else's.
  kept = undefined;
  builder.clear();
  builder.finish(write(builder));
  const payload = builder.asUint8Array().slice();
  if (builder.dataBuffer().capacity() <= KEPT_BYTES_MAX) kept = builder;
  return payload;
}

/** A vector of tables. */
export function tables(builder: Builder, offsets: readonly number[]): number {
  builder.startVector(4, offsets.length, 4);
  for (let index = offsets.length - 1; index >= 0; index -= 1) {
    builder.addOffset(offsets[index] as number);
  }
  return builder.endVector();
}

/** Adds a field of 32 bits, even where it is zero. */
export function addU32(builder: Builder, field: number, value: number, what: string): void {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw outOfRange(what);
  // No value equals NaN, so none is left out as being the default.
  builder.addFieldInt32(field, value, Number.NaN);
}

/** Adds a field of 64 bits without sign, even where it is zero. */
export function addU64(
  builder: Builder,
  field: number,
  value: bigint | number,
  what: string,
): void {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw outOfRange(what);
  const number = BigInt(value);
  if (number !== BigInt.asUintN(64, number)) throw outOfRange(what);
  builder.addInt64(number);
  builder.slot(field);
}

/** Adds a field of 64 bits with sign, even where it is zero. */
export function addI64(builder: Builder, field: number, value: bigint, what: string): void {
  if (value !== BigInt.asIntN(64, value)) throw outOfRange(what);
  builder.addInt64(value);
  builder.slot(field);
}

function outOfRange(what: string): ProtocolError {
  return new ProtocolError("invalid_argument", `${what} is out of range`);
}
