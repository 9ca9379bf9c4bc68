import { IDEMPOTENCY_KEY_BYTES_MAX, KEY_BYTES_MAX } from "../protocol/generated/limits.js";
import { DompError, invalidArgument } from "./errors.js";
import { encodeText } from "./text.js";

/**
 * A key: text, stored as UTF-8, or bytes as they are. Keys are ordered by their bytes, at most
 * 1 KiB long. `{tag}` in a key keeps the keys of that tag together.
 */
export type Key = string | Uint8Array;

/** Which keys a range covers: all that begin with `prefix`, or all from `from` up to before `to`. */
export type Bounds =
  | { readonly prefix: Key; readonly from?: never; readonly to?: never }
  | {
      /** The first key; absent: from the beginning of the space. */
      readonly from?: Key | undefined;
      /** The first key beyond; absent: to the end of the space. */
      readonly to?: Key | undefined;
      readonly prefix?: never;
    };

/** Bounds in bytes. `to` absent: to the end of the space. */
export interface ByteBounds {
  readonly from: Uint8Array;
  readonly to: Uint8Array | undefined;
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * The bytes of a key, a copy where the caller could change them later.
 * @throws DompError `invalid_argument`, `too_large`
 */
export function keyBytes(key: Key): Uint8Array {
  return checked(bytesOf(key));
}

function bytesOf(key: Key): Uint8Array {
  if (typeof key === "string") {
    const bytes = encodeText(key);
    // Ill-formed text would become replacement characters: two keys in one.
    if (bytes.length !== key.length && LONE_SURROGATE.test(key)) {
      throw invalidArgument("a key of text must be well-formed Unicode");
    }
    return bytes;
  }
  if (key instanceof Uint8Array) return key.slice();
  throw invalidArgument(`a key is a string or a Uint8Array, not ${typeof key}`);
}

/**
 * The bytes of an idempotency key.
 * @throws DompError `invalid_argument`
 */
export function idempotencyKeyBytes(key: Key): Uint8Array {
  const bytes = bytesOf(key);
  if (bytes.length < 1 || bytes.length > IDEMPOTENCY_KEY_BYTES_MAX) {
    const message = `an idempotencyKey has 1 to ${IDEMPOTENCY_KEY_BYTES_MAX} bytes`;
    throw invalidArgument(`${message}, not ${bytes.length}`);
  }
  return bytes;
}

/**
 * The bytes of a key that names one entry: not empty.
 * @throws DompError `invalid_argument`, `too_large`
 */
export function pointKey(key: Key): Uint8Array {
  if (key.length === 0) throw invalidArgument("a key has at least one byte");
  return keyBytes(key);
}

function checked(bytes: Uint8Array): Uint8Array {
  if (bytes.length > KEY_BYTES_MAX) {
    throw new DompError(
      "too_large",
      `a key has at most ${KEY_BYTES_MAX} bytes, not ${bytes.length}`,
    );
  }
  return bytes;
}

/** The text of a key; bytes that are no UTF-8 become U+FFFD. */
export function keyText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** @throws DompError `invalid_argument`, `too_large` */
export function byteBounds(bounds: Bounds | undefined): ByteBounds {
  if (bounds?.prefix !== undefined) {
    if (bounds.from !== undefined || bounds.to !== undefined) {
      throw invalidArgument("give either a prefix, or from and to");
    }
    const prefix = keyBytes(bounds.prefix);
    return { from: prefix, to: prefixEnd(prefix) };
  }
  return {
    from: bounds?.from === undefined ? new Uint8Array(0) : keyBytes(bounds.from),
    to: bounds?.to === undefined ? undefined : keyBytes(bounds.to),
  };
}

/** The first key behind all that begin with `prefix`; undefined: there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1;
  if (length === 0) return undefined;
  const end = prefix.slice(0, length);
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}

/** The first key behind `key`; a key of full length has none that fits, its prefix's end then. */
export function keyAfter(key: Uint8Array): Uint8Array | undefined {
  if (key.length >= KEY_BYTES_MAX) return prefixEnd(key);
  const after = new Uint8Array(key.length + 1);
  after.set(key);
  return after;
}

/**
 * Bytes as a string of one character a byte: usable as the key of a Map, and `<` orders such
 * strings as the server orders keys.
 */
export function orderedText(bytes: Uint8Array): string {
  let text = "";
  for (let start = 0; start < bytes.length; start += 1024) {
    text += String.fromCharCode(...bytes.subarray(start, start + 1024));
  }
  return text;
}
