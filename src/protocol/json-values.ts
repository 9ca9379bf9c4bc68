/** The values of JSON transactions: text, bytes, numbers, revisions. */

import { ProtocolError } from "./error.js";
import { nearestName } from "./nearest.js";
import type { StoredValue } from "./transaction.js";

/** Where a value stands in a transaction, for messages: `then[0].put.key`. */
export type Path = string;

/** How a kind of value is read from JSON and written to it. */
export interface Form<T> {
  /** @throws ProtocolError `invalid_request` */
  readonly read: (json: unknown, path: Path) => unknown;
  readonly write: (value: T) => unknown;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const INTEGER = /^-?(?:0|[1-9][0-9]{0,18})$/;
const UNSIGNED = /^(?:0|[1-9][0-9]{0,19})$/;
const SURROGATE = /\p{Surrogate}/u;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text as a string, bytes as `{"base64": …}`. */
export const TEXT_OR_BYTES: Form<Uint8Array> = {
  read: (json, path) => readBytes(json, path) ?? fail(path, 'text, or bytes as {"base64": "…"}'),
  write: bytesToJson,
};

/** A value of 64 bits: a number, or `{"number": "…"}` beyond 2^53. */
export const NUMBER: Form<bigint> = {
  read: (json, path) =>
    readNumber(json) ?? fail(path, 'a whole number of 64 bits; beyond 2^53 as {"number": "…"}'),
  write: valueToJson,
};

/** Text, bytes or a number. */
export const VALUE: Form<StoredValue> = {
  read: (json, path) =>
    readBytes(json, path) ??
    readNumber(json) ??
    fail(path, 'text, bytes as {"base64": "…"}, a whole number, or {"number": "…"} beyond 2^53'),
  write: valueToJson,
};

/** A revision: decimal digits as a string, since every revision is beyond 2^53. */
export const REVISION: Form<bigint> = {
  read: (json, path) => {
    const revision = typeof json === "string" && UNSIGNED.test(json) ? BigInt(json) : undefined;
    return revision === undefined || revision >= 2n ** 64n
      ? fail(path, "a revision, as a string of decimal digits")
      : revision;
  },
  write: String,
};

/** A count: a whole number from 0 to 2^53 - 1. */
export const WHOLE: Form<number> = {
  read: (json, path) =>
    typeof json === "number" && Number.isSafeInteger(json) && json >= 0
      ? json
      : fail(path, "a whole number, 0 or more"),
  write: (value) => value,
};

export const FLAG: Form<boolean> = {
  read: (json, path) => (typeof json === "boolean" ? json : fail(path, "true or false")),
  write: (value) => value,
};

/** Bytes that are UTF-8 as a string, others as `{"base64": …}`. */
export function bytesToJson(bytes: Uint8Array): string | { readonly base64: string } {
  try {
    return decoder.decode(bytes);
  } catch {
    return { base64: toBase64(bytes) };
  }
}

/** A value: bytes as above, a number as such, beyond 2^53 as `{"number": …}`. */
export function valueToJson(value: StoredValue): unknown {
  if (typeof value !== "bigint") return bytesToJson(value);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { number: String(value) };
}

/** The members of an object; every name must be known. @throws ProtocolError `invalid_request` */
export function readObject(
  json: unknown,
  path: Path,
  names: readonly string[],
): ReadonlyMap<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    return fail(path, `an object with ${names.join(", ")}`);
  }
  const members = new Map(Object.entries(json));
  for (const name of members.keys()) {
    if (!names.includes(name)) throw unknownName(path, name, names);
  }
  return members;
}

/** The error for a name that is not one of `names`. */
export function unknownName(path: Path, name: string, names: readonly string[]): ProtocolError {
  const near = nearestName(name, names);
  const hint = near === undefined ? `known are ${names.join(", ")}` : `did you mean "${near}"?`;
  const shown = JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name);
  return new ProtocolError("invalid_request", `${path}: unknown name ${shown}; ${hint}`);
}

function fail(path: Path, expected: string): never {
  throw new ProtocolError("invalid_request", `${path}: expected ${expected}`);
}

function readBytes(json: unknown, path: Path): Uint8Array | undefined {
  // A lone surrogate would become another character: two texts in one.
  if (typeof json === "string") return SURROGATE.test(json) ? undefined : encoder.encode(json);
  const base64 = onlyMember(json, "base64");
  if (base64 === undefined) return undefined;
  const bytes = BASE64.test(base64)
    ? Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
    : undefined;
  // One value has one text: bits behind the last byte are zero.
  if (bytes === undefined || toBase64(bytes) !== base64) {
    return fail(`${path}.base64`, "canonical base64 (RFC 4648, section 4, with padding)");
  }
  return bytes;
}

function readNumber(json: unknown): bigint | undefined {
  if (typeof json === "number") return Number.isSafeInteger(json) ? BigInt(json) : undefined;
  const digits = onlyMember(json, "number");
  if (digits === undefined || !INTEGER.test(digits)) return undefined;
  const number = BigInt(digits);
  return number === BigInt.asIntN(64, number) ? number : undefined;
}

/** The string under `name`, if the object holds that and nothing else. */
function onlyMember(json: unknown, name: string): string | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const [entry, ...others] = Object.entries(json);
  if (entry?.[0] !== name || others.length > 0) return undefined;
  return typeof entry[1] === "string" ? entry[1] : undefined;
}

function toBase64(bytes: Uint8Array): string {
  let characters = "";
  for (let start = 0; start < bytes.length; start += 4096) {
    characters += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return btoa(characters);
}
