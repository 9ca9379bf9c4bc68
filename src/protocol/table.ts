/**
 * Reads FlatBuffers tables in place. Every access is checked by DataView, which throws RangeError
 * beyond the payload; see `reading` in error.ts. The generated accessors neither check nor read
 * 64-bit numbers at speed.
 */

const text = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An offset to a table, and the table's own to its vtable: none takes less. */
const TABLE_BYTES_MIN = 8;

/**
 * How many tables a payload may still turn out to have. Offsets may all lead to the same few tables,
 * each full of offsets: bytes from a stranger could stand for more than anybody can read.
 */
interface Budget {
  tables: number;
}

export class Table {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #budget: Budget;
  readonly #at: number;
  readonly #vtable: number;
  readonly #vtableBytes: number;

  private constructor(bytes: Uint8Array, view: DataView, budget: Budget, at: number) {
    this.#bytes = bytes;
    this.#view = view;
    this.#budget = budget;
    this.#at = at;
    this.#vtable = at - view.getInt32(at, true);
    this.#vtableBytes = view.getUint16(this.#vtable, true);
  }

  /** The root table of a payload. @throws RangeError */
  static root(payload: Uint8Array): Table {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const budget = { tables: payload.length / TABLE_BYTES_MIN };
    return new Table(payload, view, budget, view.getUint32(0, true));
  }

  has(field: number): boolean {
    return this.#place(field) !== 0;
  }

  u8(field: number): number {
    const place = this.#place(field);
    return place === 0 ? 0 : this.#view.getUint8(place);
  }

  u16(field: number): number {
    const place = this.#place(field);
    return place === 0 ? 0 : this.#view.getUint16(place, true);
  }

  u32(field: number): number {
    const place = this.#place(field);
    return place === 0 ? 0 : this.#view.getUint32(place, true);
  }

  i32(field: number, absent: number): number {
    const place = this.#place(field);
    return place === 0 ? absent : this.#view.getInt32(place, true);
  }

  u64(field: number): bigint {
    const place = this.#place(field);
    return place === 0 ? 0n : this.#view.getBigUint64(place, true);
  }

  /** A u64 that counts something: exact up to 2^53. */
  count(field: number): number {
    const place = this.#place(field);
    return place === 0 ? 0 : readCount(this.#view, place);
  }

  i64(field: number): bigint | undefined {
    const place = this.#place(field);
    return place === 0 ? undefined : this.#view.getBigInt64(place, true);
  }

  /** A view of a vector of bytes, not a copy. */
  bytes(field: number): Uint8Array | undefined {
    const place = this.#place(field);
    if (place === 0) return undefined;
    const start = place + this.#view.getUint32(place, true) + 4;
    const end = start + this.#view.getUint32(start - 4, true);
    if (end > this.#bytes.length) throw new RangeError("a vector ends beyond its payload");
    return this.#bytes.subarray(start, end);
  }

  /** @throws TypeError if it is not UTF-8 */
  text(field: number): string | undefined {
    const bytes = this.bytes(field);
    return bytes === undefined ? undefined : text.decode(bytes);
  }

  table(field: number): Table | undefined {
    const place = this.#place(field);
    return place === 0 ? undefined : this.#follow(place);
  }

  tables(field: number): Table[] {
    const place = this.#place(field);
    if (place === 0) return [];
    const vector = place + this.#view.getUint32(place, true);
    const end = vector + 4 + 4 * this.#view.getUint32(vector, true);
    const tables: Table[] = [];
    for (let at = vector + 4; at < end; at += 4) tables.push(this.#follow(at));
    return tables;
  }

  /** Where the field stands; 0: absent. */
  #place(field: number): number {
    const slot = 4 + 2 * field;
    if (slot >= this.#vtableBytes) return 0;
    const offset = this.#view.getUint16(this.#vtable + slot, true);
    return offset === 0 ? 0 : this.#at + offset;
  }

  #follow(place: number): Table {
    this.#budget.tables -= 1;
    if (this.#budget.tables < 0) throw new RangeError("tables stand in each other's place");
    const at = place + this.#view.getUint32(place, true);
    return new Table(this.#bytes, this.#view, this.#budget, at);
  }
}

/** A u64 as a number: exact up to 2^53. */
export function readCount(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** Writes a count as a u64. */
export function writeCount(view: DataView, at: number, count: number): void {
  view.setUint32(at, count % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(count / 2 ** 32), true);
}
