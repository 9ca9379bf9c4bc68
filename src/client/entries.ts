import type { Codec } from "./codecs.js";
import { DompError } from "./errors.js";
import { type Bounds, type ByteBounds, keyAfter, keyText } from "./keys.js";
import type { RangeOptions } from "./operations.js";
import type { WireEntry } from "./wire.js";

/** A key's value and what is known of it. */
export interface Entry<V> {
  /** The key as text; where keys are not text, use `keyBytes`. */
  readonly key: string;
  readonly keyBytes: Uint8Array;
  /** Decoded by the handle's codec. Undefined where only keys were asked for. */
  readonly value: V;
  /** Revision at which the key came to be. */
  readonly created: bigint;
  /** Revision of its last write; no two writes of a key share one. */
  readonly modified: bigint;
  /** Count of writes since it came to be. */
  readonly version: number;
  /** Lease time until it vanishes, if it does. */
  readonly expiresInMs: number | undefined;
}

/** A stretch of a space as it was at one revision. */
export interface Page<V> {
  readonly entries: readonly Entry<V>[];
  /** The revision of all of it. */
  readonly revision: bigint;
  /** What `entries` is all of; with `revision` it makes a guard: `when.unchanged(page)`. */
  readonly covered: Bounds;
  /** Where the range goes on; undefined: this was its end. Pass it to `range` again. */
  readonly next: (Bounds & RangeOptions) | undefined;
}

/** What a range asked for, in bytes. */
export interface RangeRequest extends ByteBounds {
  readonly limit: number | undefined;
  readonly reverse: boolean;
  readonly keysOnly: boolean;
}

/** The public form of an entry. */
export function toEntry<V>(codec: Codec<V>, entry: WireEntry, keysOnly = false): Entry<V> {
  const { value: stored, ...rest } = entry;
  const made = {
    key: keyText(entry.key),
    // Copied: a view would keep its whole frame alive.
    keyBytes: entry.key.slice(),
    value: undefined as V,
    created: rest.created,
    modified: rest.modified,
    version: rest.version,
    expiresInMs: rest.expiresInMs,
  };
  if (keysOnly || stored === undefined) return made;
  try {
    made.value = codec.decode(stored);
  } catch (cause) {
    // One value that can't be decoded must harm neither its neighbours nor the answer to a write:
    // who looks at it meets the error.
    Object.defineProperty(made, "value", {
      enumerable: true,
      get: () => {
        throw decodeError(made.key, cause);
      },
    });
  }
  return made;
}

function decodeError(key: string, cause: unknown): DompError {
  if (cause instanceof DompError) return cause;
  const message = `the value of ${JSON.stringify(key)} can't be decoded: ${String(cause)}`;
  return new DompError("invalid_argument", message, { cause });
}

/** The public form of a page of entries. */
export function toPage<V>(
  codec: Codec<V>,
  asked: RangeRequest,
  entries: readonly WireEntry[],
  more: boolean,
  revision: bigint,
): Page<V> {
  const [covered, rest] = split(asked, entries, more);
  return {
    entries: entries.map((entry) => toEntry(codec, entry, asked.keysOnly)),
    revision,
    covered: publicBounds(covered),
    next: rest === undefined ? undefined : { ...publicBounds(rest), ...options(asked) },
  };
}

/** The part of the bounds that a page is all of, and the part behind it. */
export function split(
  asked: Omit<RangeRequest, "limit" | "keysOnly">,
  entries: readonly { readonly key: Uint8Array }[],
  more: boolean,
): [covered: ByteBounds, rest: ByteBounds | undefined] {
  const { from, to } = asked;
  const last = entries.at(-1);
  if (!more || last === undefined) return [{ from, to }, undefined];
  if (asked.reverse) {
    return [
      { from: last.key, to },
      { from, to: last.key },
    ];
  }
  const behind = keyAfter(last.key);
  if (behind === undefined) return [{ from, to }, undefined];
  return [
    { from, to: behind },
    { from: behind, to },
  ];
}

function publicBounds({ from, to }: ByteBounds): Bounds {
  return to === undefined ? { from } : { from, to };
}

function options({ limit, reverse, keysOnly }: RangeRequest): RangeOptions {
  return {
    ...(limit === undefined ? {} : { limit }),
    ...(reverse ? { reverse } : {}),
    ...(keysOnly ? { keysOnly } : {}),
  };
}
