import { RESULT_BYTES_MAX } from "../protocol/generated/limits.js";
import { DompError, invalidArgument } from "./errors.js";
import { orderedText } from "./keys.js";
import { encodeText } from "./text.js";

// What a `transact` gives to keep under its idempotency key: JSON, and for what JSON can't say an
// object of one name that begins with "$". Names of the caller's that begin with "$" get another.
//   {"$undefined": 0}   {"$bigint": "12"}   {"$bytes": "base64"}   {"$number": "NaN"}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * The bytes of a result.
 * @throws DompError `invalid_argument` where it can't be kept, `result_too_large`
 */
export function encodeKept(result: unknown): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = encodeText(JSON.stringify(toJson(result)));
  } catch (cause) {
    if (cause instanceof DompError) throw cause;
    throw unkeepable("what refers to itself");
  }
  if (bytes.length > RESULT_BYTES_MAX) {
    const most = `the result of a transact with an idempotencyKey has at most ${RESULT_BYTES_MAX}`;
    throw new DompError("result_too_large", `${most} bytes, not ${bytes.length}; return less`);
  }
  return bytes;
}

/** The result in bytes of {@link encodeKept}. @throws Error if they are none */
export function decodeKept(bytes: Uint8Array): unknown {
  return fromJson(JSON.parse(decoder.decode(bytes)) as Json);
}

function toJson(value: unknown): Json {
  switch (typeof value) {
    case "undefined":
      return { $undefined: 0 };
    case "bigint":
      return { $bigint: `${value}` };
    case "number":
      if (Number.isFinite(value) && !Object.is(value, -0)) return value;
      return { $number: Object.is(value, -0) ? "-0" : `${value}` };
    case "string":
    case "boolean":
      return value;
    case "object":
      if (value === null) return null;
      if (value instanceof Uint8Array) return { $bytes: btoa(orderedText(value)) };
      if (Array.isArray(value)) return Array.from(value, toJson);
      if (isPlain(value)) {
        const named = Object.entries(value).map(([name, item]): [string, Json] => [
          name.startsWith("$") ? `$${name}` : name,
          toJson(item),
        ]);
        return Object.fromEntries(named);
      }
      throw unkeepable(`an object of class ${value.constructor?.name}`);
    default:
      throw unkeepable(`a ${typeof value}`);
  }
}

function fromJson(json: Json): unknown {
  if (Array.isArray(json)) return json.map(fromJson);
  if (typeof json !== "object" || json === null) return json;
  const named = Object.entries(json);
  const [[name, item] = ["", null]] = named;
  if (!name.startsWith("$") || name.startsWith("$$") || named.length > 1) {
    return Object.fromEntries(
      named.map(([each, value]) => [each.startsWith("$") ? each.slice(1) : each, fromJson(value)]),
    );
  }
  switch (name) {
    case "$undefined":
      return undefined;
    case "$bigint":
      return BigInt(`${item}`);
    case "$number":
      return Number(item);
    case "$bytes":
      return Uint8Array.from(atob(`${item}`), (character) => character.charCodeAt(0));
    default:
      throw new Error(`no result of this SDK: ${name}`);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function unkeepable(what: string): DompError {
  return invalidArgument(
    `${what} can't be kept as the result of a transact with an idempotencyKey`,
  );
}
