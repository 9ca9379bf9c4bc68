import { type Codec, encodeValue, int64 } from "./codecs.js";
import type { Entry, Page } from "./entries.js";
import { invalidArgument } from "./errors.js";
import type { Bounds, Key } from "./keys.js";
import { encodeText } from "./text.js";
import type { StoredValue } from "./wire.js";

/** Stands where an operation uses the codec of the space handle it is submitted through. */
export interface OfSpace {
  readonly codec: "of the space handle";
}

/** An operation to be submitted through a handle whose values are `V`; made by {@link op}. */
export type Operation<V> =
  | GetOperation<unknown>
  | RangeOperation<unknown>
  | CountOperation
  | PutOperation<V>
  | PutStoredOperation
  | DeleteOperation
  | DeleteRangeOperation
  | AddOperation
  | AppendOperation;

export interface GetOperation<T> {
  readonly kind: "get";
  readonly key: Key;
  readonly codec: Codec<T> | undefined;
}
export interface RangeOperation<T> {
  readonly kind: "range";
  readonly bounds: Bounds;
  readonly limit: number | undefined;
  readonly reverse: boolean;
  readonly keysOnly: boolean;
  readonly codec: Codec<T> | undefined;
}
export interface CountOperation {
  readonly kind: "count";
  readonly bounds: Bounds;
}
export interface PutOperation<V> {
  readonly kind: "put";
  readonly key: Key;
  readonly value: V;
  readonly expireAfterMs: number | undefined;
}
export interface PutStoredOperation {
  readonly kind: "putStored";
  readonly key: Key;
  readonly stored: StoredValue;
  readonly expireAfterMs: number | undefined;
}
export interface DeleteOperation {
  readonly kind: "delete";
  readonly key: Key;
}
export interface DeleteRangeOperation {
  readonly kind: "deleteRange";
  readonly bounds: Bounds;
}
export interface AddOperation {
  readonly kind: "add";
  readonly key: Key;
  readonly delta: bigint;
  readonly floor: bigint | undefined;
  readonly ceiling: bigint | undefined;
}
export interface AppendOperation {
  readonly kind: "append";
  readonly key: Key;
  readonly bytes: Uint8Array;
}

/** What one operation answers, in a handle whose values are `V`. */
export type ResultOf<V, O> =
  O extends GetOperation<infer T>
    ? Entry<[T] extends [OfSpace] ? V : T> | undefined
    : O extends RangeOperation<infer T>
      ? Page<[T] extends [OfSpace] ? V : T>
      : O extends CountOperation | DeleteRangeOperation | AppendOperation
        ? number
        : O extends AddOperation
          ? bigint
          : O extends DeleteOperation
            ? boolean
            : undefined;

/** What the operations of a branch answer, in their order. */
export type ResultsOf<V, Branch extends readonly unknown[]> = {
  readonly [I in keyof Branch]: ResultOf<V, Branch[I]>;
};

export interface PutOptions {
  /**
   * The key vanishes so many milliseconds after the write, in lease time: it stands still while
   * the server is down, and no jump of a clock can shorten it. Absent: the key stays.
   */
  readonly expireAfterMs?: number | undefined;
}

export interface AddOptions {
  /** The sum may not be less; the transaction is refused with `out_of_bounds`. */
  readonly floor?: bigint | number | undefined;
  /** The sum may not be more; the transaction is refused with `out_of_bounds`. */
  readonly ceiling?: bigint | number | undefined;
}

export interface RangeOptions {
  /** At most so many entries. In an operation the default is a page (4,096 entries or 1 MiB). */
  readonly limit?: number | undefined;
  /** From the last key to the first. */
  readonly reverse?: boolean | undefined;
  /** Leave the values out; `value` is then undefined. */
  readonly keysOnly?: boolean | undefined;
}

function get(key: Key): GetOperation<OfSpace>;
function get<T>(key: Key, codec: Codec<T>): GetOperation<T>;
function get<T>(key: Key, codec?: Codec<T>): GetOperation<T> {
  return { kind: "get", key, codec };
}

function range(
  bounds: Bounds & RangeOptions & { readonly keysOnly: true },
): RangeOperation<undefined>;
function range(bounds?: Bounds & RangeOptions): RangeOperation<OfSpace>;
function range<T>(bounds: Bounds & RangeOptions, codec: Codec<T>): RangeOperation<T>;
function range<T>(options: Bounds & RangeOptions = {}, codec?: Codec<T>): RangeOperation<T> {
  return {
    kind: "range",
    bounds: boundsOf(options),
    limit: options.limit,
    reverse: options.reverse ?? false,
    keysOnly: options.keysOnly ?? false,
    codec,
  };
}

function put<V>(key: Key, value: V, options?: PutOptions): PutOperation<V>;
function put<T>(
  key: Key,
  value: T,
  options: PutOptions & { readonly codec: Codec<T> },
): PutStoredOperation;
function put<V>(
  key: Key,
  value: V,
  options: PutOptions & { readonly codec?: Codec<V> } = {},
): PutOperation<V> | PutStoredOperation {
  const { expireAfterMs, codec } = options;
  return codec === undefined
    ? { kind: "put", key, value, expireAfterMs }
    : { kind: "putStored", key, stored: encodeValue(codec, value), expireAfterMs };
}

function add(key: Key, delta: bigint | number, options: AddOptions = {}): AddOperation {
  return {
    kind: "add",
    key,
    delta: int64(delta, "what is added"),
    floor: options.floor === undefined ? undefined : int64(options.floor, "floor"),
    ceiling: options.ceiling === undefined ? undefined : int64(options.ceiling, "ceiling"),
  };
}

/**
 * Operations for {@link Space.submit}. Every one may take a codec of its own where it stores or
 * reads values of another kind than the handle.
 *
 * @example A transfer that needs no read:
 * ```ts
 * await accounts.submit({
 *   then: [op.add('alice', -10n, { floor: 0n }), op.add('bob', 10n)],
 * });
 * ```
 */
export const op = {
  /** Reads one key: an {@link Entry}, or undefined. */
  get,
  /** Reads keys in order: a {@link Page}. */
  range,
  /** Counts keys exactly, without reading them. */
  count: (bounds: Bounds = {}): CountOperation => ({ kind: "count", bounds }),
  /** Stores a value, whatever was there. Answers nothing. */
  put,
  /** Removes a key; answers whether there was one. */
  delete: (key: Key): DeleteOperation => ({ kind: "delete", key }),
  /** Removes keys (at most 4,096); answers how many. `{ from: '' }` is the whole space. */
  deleteRange: (bounds: Bounds): DeleteRangeOperation => ({
    kind: "deleteRange",
    bounds: nonEmptyBounds(bounds),
  }),
  /** Adds to a number, an absent key counts as 0; answers the new number. */
  add,
  /** Appends to a value of bytes, an absent key counts as empty; answers the new length. */
  append: (key: Key, tail: Uint8Array | string): AppendOperation => ({
    kind: "append",
    key,
    bytes: typeof tail === "string" ? encodeText(tail) : tail.slice(),
  }),
} as const;

/** A condition of a transaction whose handle has values `V`; made by {@link when}. */
export type Guard<V> =
  | { readonly kind: "exists" | "absent"; readonly key: Key }
  | { readonly kind: "version"; readonly key: Key; readonly version: number }
  | {
      readonly kind: "modified" | "modifiedAtMost";
      readonly key: Key;
      readonly revision: bigint;
    }
  | { readonly kind: "equals"; readonly key: Key; readonly value: V }
  | { readonly kind: "equalsStored"; readonly key: Key; readonly stored: StoredValue }
  | { readonly kind: "atLeast"; readonly key: Key; readonly number: bigint }
  | {
      readonly kind: "unchanged";
      readonly bounds: Bounds;
      readonly revision: bigint;
      readonly count: number;
    };

function equals<V>(key: Key, value: V): Extract<Guard<V>, { kind: "equals" }>;
function equals<T>(
  key: Key,
  value: T,
  codec: Codec<T>,
): Extract<Guard<never>, { kind: "equalsStored" }>;
function equals<V>(key: Key, value: V, codec?: Codec<V>): Guard<V> {
  return codec === undefined
    ? { kind: "equals", key, value }
    : { kind: "equalsStored", key, stored: encodeValue(codec, value) };
}

/**
 * Guards for the `if` of {@link Space.submit}. All must hold, else the `else` operations run.
 *
 * @example Put only what is new:
 * ```ts
 * const { applied } = await names.submit({
 *   if: [when.absent('ada')],
 *   then: [op.put('ada', userId)],
 * });
 * ```
 */
export const when = {
  /** The key is there. */
  exists: (key: Key): Guard<never> => ({ kind: "exists", key }),
  /** The key is not there. */
  absent: (key: Key): Guard<never> => ({ kind: "absent", key }),
  /**
   * The key was written so often since it came to be; 0: it is absent. A key that was deleted
   * counts anew: where that may happen, `modified` tells apart what `version` can't.
   */
  version: (key: Key, version: number): Guard<never> => ({ kind: "version", key, version }),
  /** The key was last written at exactly this revision. */
  modified: (key: Key, revision: bigint): Guard<never> => ({ kind: "modified", key, revision }),
  /** The key is absent, or was last written no later than this revision. */
  modifiedAtMost: (key: Key, revision: bigint): Guard<never> => ({
    kind: "modifiedAtMost",
    key,
    revision,
  }),
  /** The key holds exactly these bytes or this number. */
  equals,
  /** The key holds a number, and it is at least this. */
  atLeast: (key: Key, number: bigint | number): Guard<never> => ({
    kind: "atLeast",
    key,
    number: int64(number, "the number"),
  }),
  /**
   * Nothing was written or removed in these bounds since they were read (at most 4,096 entries).
   * A {@link Page} is such a reading.
   */
  unchanged: (
    read: { readonly covered: Bounds; readonly revision: bigint } & (
      | { readonly entries: readonly unknown[] }
      | { readonly count: number }
    ),
  ): Guard<never> => ({
    kind: "unchanged",
    bounds: read.covered,
    revision: read.revision,
    count: "entries" in read ? read.entries.length : read.count,
  }),
} as const;

/** Only the bounds of an object that holds more. */
export function boundsOf(bounds: Bounds): Bounds {
  return bounds.prefix === undefined
    ? { from: bounds.from, to: bounds.to }
    : { prefix: bounds.prefix };
}

/** A whole space is never deleted by leaving something out. */
function nonEmptyBounds(bounds: Bounds): Bounds {
  if (bounds.prefix === undefined && bounds.from === undefined && bounds.to === undefined) {
    throw invalidArgument("deleteRange needs bounds; { from: '' } is the whole space");
  }
  return bounds;
}
