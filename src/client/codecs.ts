import { VALUE_BYTES_MAX } from "../protocol/generated/limits.js";
import { DompError, invalidArgument } from "./errors.js";
import { encodeText } from "./text.js";
import type { StoredValue } from "./wire.js";

/**
 * How a space handle turns values into what is stored and back. `bytes`, `text`, `json()` and
 * `numbers` are given; write your own for Protocol Buffers and the like.
 *
 * @example
 * ```ts
 * const dates: Codec<Date> = {
 *   encode: (date) => BigInt(date.getTime()),
 *   decode: (stored) => new Date(Number(stored)),
 * };
 * const birthdays = db.space('default', dates);
 * ```
 */
export interface Codec<V> {
  /** May throw: the call then fails with `invalid_argument` and nothing is sent. */
  encode(value: V): StoredValue;
  /**
   * May throw: reading `entry.value` then throws, other entries are not harmed. Bytes are a view
   * that must not be kept or changed.
   */
  decode(stored: StoredValue): V;
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as they are. A number is seen as its decimal digits. */
export const bytes: Codec<Uint8Array> = {
  encode(value) {
    if (!(value instanceof Uint8Array)) throw invalidArgument("a Uint8Array is needed");
    // Copied: the caller may use his buffer again while the request waits.
    return value.slice();
  },
  decode: (stored) => (typeof stored === "bigint" ? encodeText(`${stored}`) : stored.slice()),
};

/** Text as UTF-8. A number is seen as its decimal digits; bytes that are no UTF-8 throw. */
export const text: Codec<string> = {
  encode(value) {
    if (typeof value !== "string") throw invalidArgument("a string is needed");
    return encodeText(value);
  },
  decode: (stored) => (typeof stored === "bigint" ? `${stored}` : strictDecoder.decode(stored)),
};

/**
 * JSON. The type is your word for what is stored; nothing checks it. A number is seen as a
 * JavaScript number, beyond 2^53 as a bigint.
 *
 * @example
 * ```ts
 * interface Player { name: string; gold: number }
 * const players = db.space('default', json<Player>());
 * ```
 */
export function json<V>(): Codec<V> {
  return jsonCodec as Codec<V>;
}

const jsonCodec: Codec<unknown> = {
  encode(value) {
    const written: string | undefined = JSON.stringify(value);
    if (written === undefined) throw invalidArgument(`${typeof value} has no form in JSON`);
    return encodeText(written);
  },
  decode(stored) {
    if (typeof stored !== "bigint") return JSON.parse(strictDecoder.decode(stored));
    const number = Number(stored);
    return Number.isSafeInteger(number) ? number : stored;
  },
};

/** 64-bit numbers, the kind that `add` and `at_least` work on. Bytes throw `wrong_kind`. */
export const numbers: Codec<bigint> = {
  encode: (value) => int64(value, "a number"),
  decode(stored) {
    if (typeof stored !== "bigint") {
      throw new DompError("wrong_kind", "the key holds bytes, not a number");
    }
    return stored;
  },
};

/**
 * A whole number of 64 bits.
 * @throws DompError `invalid_argument`
 */
export function int64(value: bigint | number, what: string): bigint {
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) {
      throw invalidArgument(`${what} must be a whole number; beyond 2^53 a bigint`);
    }
    return BigInt(value);
  }
  if (typeof value !== "bigint" || BigInt.asIntN(64, value) !== value) {
    throw invalidArgument(`${what} must be a whole number of 64 bits`);
  }
  return value;
}

/**
 * A value in its stored form.
 * @throws DompError `invalid_argument`, `too_large`
 */
export function encodeValue<V>(codec: Codec<V>, value: V): StoredValue {
  let stored: StoredValue;
  try {
    stored = codec.encode(value);
  } catch (cause) {
    if (cause instanceof DompError) throw cause;
    throw invalidArgument(`the value can't be encoded: ${String(cause)}`, cause);
  }
  if (typeof stored === "bigint") return int64(stored, "a number");
  if (!(stored instanceof Uint8Array)) throw invalidArgument("a codec gives bytes or a bigint");
  if (stored.length > VALUE_BYTES_MAX) {
    throw new DompError(
      "too_large",
      `a value has at most ${VALUE_BYTES_MAX} bytes, not ${stored.length}`,
    );
  }
  return stored;
}
