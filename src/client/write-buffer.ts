import { DompError } from "./errors.js";
import { type ByteBounds, orderedText } from "./keys.js";
import type { StoredValue, WireOperation } from "./wire.js";

/** A write that waits for the commit of `transact`. */
export type BufferedWrite =
  | Extract<WireOperation, { kind: "put" | "add" | "append" }>
  | { readonly kind: "delete"; readonly key: Uint8Array }
  | ({ readonly kind: "deleteRange" } & ByteBounds);

interface KeyWrite {
  /** Place among all writes. */
  readonly order: number;
  readonly write: Exclude<BufferedWrite, { kind: "deleteRange" }>;
}

interface RangeDelete {
  readonly order: number;
  readonly from: string;
  readonly to: string | undefined;
}

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/**
 * The writes of a `transact` callback, in order, and what a read must show because of them. Keys
 * are handled in the form of {@link orderedText}.
 */
export class WriteBuffer {
  readonly #writes: BufferedWrite[] = [];
  readonly #byKey = new Map<string, KeyWrite[]>();
  readonly #rangeDeletes: RangeDelete[] = [];

  /** In the order in which they were made. */
  get writes(): readonly BufferedWrite[] {
    return this.#writes;
  }

  push(write: BufferedWrite): void {
    const order = this.#writes.length;
    this.#writes.push(write);
    if (write.kind === "deleteRange") {
      const to = write.to === undefined ? undefined : orderedText(write.to);
      this.#rangeDeletes.push({ order, from: orderedText(write.from), to });
      return;
    }
    const key = orderedText(write.key);
    const others = this.#byKey.get(key);
    if (others === undefined) this.#byKey.set(key, [{ order, write }]);
    else others.push({ order, write });
  }

  /** Does any write concern this key? */
  touches(key: string): boolean {
    return this.#byKey.has(key) || this.#lastRangeDelete(key) >= 0;
  }

  /** Do the writes say what the key holds, whatever the store holds? */
  decides(key: string): boolean {
    const writes = this.#byKey.get(key) ?? [];
    return (
      this.#lastRangeDelete(key) >= 0 ||
      writes.some(({ write }) => write.kind === "put" || write.kind === "delete")
    );
  }

  /**
   * What the key will hold, given what the store holds (undefined: nothing).
   * @throws DompError `wrong_kind`, `number_overflow`, `out_of_bounds`, as the commit would
   */
  apply(key: string, stored: StoredValue | undefined): StoredValue | undefined {
    const deleted = this.#lastRangeDelete(key);
    let value = deleted >= 0 ? undefined : stored;
    for (const { order, write } of this.#byKey.get(key) ?? []) {
      if (order > deleted) value = applied(write, value);
    }
    return value;
  }

  /** Will the key hold anything, given whether the store holds anything there? */
  leaves(key: string, isStored: boolean): boolean {
    const deleted = this.#lastRangeDelete(key);
    const last = this.#byKey.get(key)?.at(-1);
    if (last !== undefined && last.order > deleted) return last.write.kind !== "delete";
    return deleted >= 0 ? false : isStored;
  }

  /** Keys with writes of their own within the bounds, in order. */
  keysWithin(bounds: ByteBounds): string[] {
    const from = orderedText(bounds.from);
    const to = bounds.to === undefined ? undefined : orderedText(bounds.to);
    const keys: string[] = [];
    for (const key of this.#byKey.keys()) {
      if (key >= from && (to === undefined || key < to)) keys.push(key);
    }
    return keys.sort();
  }

  #lastRangeDelete(key: string): number {
    for (let i = this.#rangeDeletes.length - 1; i >= 0; i -= 1) {
      const range = this.#rangeDeletes[i];
      if (range !== undefined && key >= range.from && (range.to === undefined || key < range.to)) {
        return range.order;
      }
    }
    return -1;
  }
}

function applied(
  write: KeyWrite["write"],
  before: StoredValue | undefined,
): StoredValue | undefined {
  switch (write.kind) {
    case "put":
      return write.value;
    case "delete":
      return undefined;
    case "add": {
      if (before instanceof Uint8Array) {
        throw new DompError("wrong_kind", "add() to a key that holds bytes");
      }
      const sum = (before ?? 0n) + write.delta;
      if (sum < INT64_MIN || sum > INT64_MAX) {
        throw new DompError("number_overflow", "the sum does not fit 64 bits");
      }
      if (sum < (write.floor ?? INT64_MIN) || sum > (write.ceiling ?? INT64_MAX)) {
        throw new DompError("out_of_bounds", "the sum would pass the floor or ceiling");
      }
      return sum;
    }
    case "append": {
      if (typeof before === "bigint") {
        throw new DompError("wrong_kind", "append() to a key that holds a number");
      }
      const head = before ?? new Uint8Array(0);
      const whole = new Uint8Array(head.length + write.value.length);
      whole.set(head);
      whole.set(write.value, head.length);
      return whole;
    }
  }
}
