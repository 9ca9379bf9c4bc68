import { fullJitterMs } from "./backoff.js";
import { type Codec, encodeValue } from "./codecs.js";
import type { Core, DeadlineOptions, SubmitOptions } from "./core.js";
import { type Entry, split, toEntry } from "./entries.js";
import type { Environment } from "./environment.js";
import { DompError, invalidArgument } from "./errors.js";
import { decodeKept, encodeKept } from "./kept.js";
import {
  type Bounds,
  type ByteBounds,
  byteBounds,
  type Key,
  orderedText,
  pointKey,
} from "./keys.js";
import { toWireOperation } from "./lower.js";
import { type AddOptions, boundsOf, op, type PutOptions, type RangeOptions } from "./operations.js";
import { readPage } from "./range.js";
import type { WriteOptions } from "./request.js";
import {
  decodeResults,
  type StoredValue,
  type WireEntry,
  type WireGuard,
  type WireKeyOutcome,
} from "./wire.js";
import { type BufferedWrite, WriteBuffer } from "./write-buffer.js";

export interface TransactOptions extends WriteOptions {
  /** How often the function may be run; by default until the deadline. */
  readonly attemptsMax?: number | undefined;
}

/**
 * What the function of `transact` reads and writes through. Reads may show states of slightly
 * different moments; that they were all true at one moment is checked before the function's
 * result, or what it throws, is believed. Writes are kept back until the commit.
 */
export interface Transaction<V> {
  /** 1 for the first run of the function. */
  readonly attempt: number;
  /** The same transaction seen through another codec. */
  as<W>(codec: Codec<W>): Transaction<W>;
  /** Reads one key. An entry written in this transaction has `version` 0 until it is committed. */
  get(key: Key): Promise<Entry<V> | undefined>;
  /** Reads keys in order; at most 16,384 entries, else `too_large`. */
  range(options: Bounds & RangeOptions & { readonly keysOnly: true }): Promise<Entry<undefined>[]>;
  range(options?: Bounds & RangeOptions): Promise<Entry<V>[]>;
  /** Counts the keys within bounds; at most 16,384. */
  count(bounds?: Bounds): Promise<number>;
  put(key: Key, value: V, options?: PutOptions): void;
  delete(key: Key): void;
  deleteRange(bounds: Bounds): void;
  /** Adds to a number without reading it: such a write conflicts with nobody. */
  add(key: Key, delta: bigint | number, options?: AddOptions): void;
  append(key: Key, tail: Uint8Array | string): void;
}

const RETRY = { firstMs: 4, mostMs: 200 };

/** Entries that one range of a transaction may read. */
const RANGE_ENTRIES_MAX = 16_384;

/** Runs a function as a transaction, again and again until nothing it read has changed. */
export async function transact<V, T>(
  core: Core,
  space: string,
  codec: Codec<V>,
  run: (tx: Transaction<V>) => T | Promise<T>,
  options: TransactOptions | undefined,
): Promise<T> {
  const { environment, turns } = core;
  const { idempotencyKey, onAnswer, ...deadline } = core.deadline(options);
  const attemptsMax = options?.attemptsMax ?? Number.POSITIVE_INFINITY;
  if (!(attemptsMax >= 1)) throw invalidArgument("attemptsMax must be at least 1");
  /** What we have the turn for: where the last attempt met others. */
  let turn: string | undefined;
  let pauses = 0;
  try {
    for (let attempt = 1; ; attempt += 1) {
      const state = new Attempt(core, space, deadline, attempt);
      const ran = await settle(environment, deadline, run, state.view(codec)).finally(() =>
        state.end(),
      );
      const end = ran.ok
        ? await state.commit(ran.value, { ...deadline, idempotencyKey, onAnswer })
        : await state.check();
      if (!("conflict" in end)) {
        if (idempotencyKey !== undefined && !(ran.ok && state.writes)) {
          // It may look so because it was done before.
          const seen = await core.outcomeOf(space, idempotencyKey, deadline, keptOf);
          if (seen !== undefined) return seen.value as T;
        }
        if (ran.ok) return end.value as T;
        throw ran.error;
      }
      // Those of this client stand in line where they met; against others chance helps.
      let hasWaited = false;
      if (turn !== end.conflict) {
        if (turn !== undefined) turns.end(turn);
        turn = undefined;
        const isOurs = await turns.take(end.conflict, deadline, () => {
          hasWaited = true;
        });
        if (isOurs) turn = end.conflict;
      }
      const leftMs = deadline.deadlineMs - environment.now();
      if (deadline.signal?.aborted) throw givenUp(deadline.signal);
      if (attempt >= attemptsMax || leftMs < 1) {
        const tried = `what was read had changed, in each of ${attempt} attempts`;
        throw new DompError("conflict", tried);
      }
      if (hasWaited) continue;
      const pauseMs = fullJitterMs(RETRY, pauses, environment.random());
      pauses += 1;
      // The last chance is not slept through.
      await pause(environment, Math.min(pauseMs, leftMs / 2));
    }
  } finally {
    if (turn !== undefined) turns.end(turn);
  }
}

/** What the first transaction under an idempotency key gave to keep. */
function keptOf(outcome: WireKeyOutcome): { readonly value: unknown } | undefined {
  if (outcome.state !== "applied") return undefined;
  return { value: outcome.kept === undefined ? undefined : decodeKept(outcome.kept) };
}

function givenUp(signal: AbortSignal): DompError {
  const details = { outcome: "not_submitted", cause: signal.reason } as const;
  return new DompError("aborted", "given up by its signal", details);
}

/** What an attempt came to: the result to hand out, or where others were faster. */
type AttemptEnd = { readonly value: unknown } | { readonly conflict: string };

type Settled<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: unknown };

/** Runs the function; it may throw, but not outlive the deadline or the signal. */
async function settle<V, T>(
  environment: Environment,
  { deadlineMs, signal }: DeadlineOptions,
  run: (tx: Transaction<V>) => T | Promise<T>,
  tx: Transaction<V>,
): Promise<Settled<T>> {
  return new Promise<Settled<T>>((resolve, reject) => {
    const giveUp = (code: "timeout" | "aborted", message: string): void => {
      finish();
      reject(new DompError(code, message, { outcome: "not_submitted", cause: signal?.reason }));
    };
    const onAbort = (): void => giveUp("aborted", "given up by its signal");
    const timer = environment.setTimer(
      () => giveUp("timeout", "the function did not end before the deadline"),
      deadlineMs - environment.now(),
    );
    const finish = (): void => {
      environment.clearTimer(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    if (signal?.aborted) {
      onAbort();
      return;
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    Promise.resolve(tx)
      .then(run)
      .then(
        (value) => resolve({ ok: true, value }),
        (error: unknown) => resolve({ ok: false, error }),
      )
      .finally(finish);
  });
}

function pause(environment: Environment, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    environment.setTimer(resolve, delayMs);
  });
}

/** One run of the function: what it read, and what it wants to write. */
class Attempt {
  readonly #core: Core;
  readonly #space: string;
  readonly #deadline: DeadlineOptions;
  readonly #attempt: number;
  readonly #buffer = new WriteBuffer();
  /** One guard for each key and each stretch that was read. */
  readonly #guards: WireGuard[] = [];
  readonly #reads = new Map<string, Promise<WireEntry | undefined>>();
  #isOver = false;

  constructor(core: Core, space: string, deadline: DeadlineOptions, attempt: number) {
    this.#core = core;
    this.#space = space;
    this.#deadline = deadline;
    this.#attempt = attempt;
  }

  /** Nothing may be read or written through this attempt any more. */
  end(): void {
    this.#isOver = true;
  }

  /** Does it want to write? */
  get writes(): boolean {
    return this.#buffer.writes.length > 0;
  }

  /**
   * Commits the writes if what was read is still so; without writes only checks that. Under an
   * idempotency key the result is kept with it.
   */
  async commit(value: unknown, options: SubmitOptions): Promise<AttemptEnd> {
    const then = this.#buffer.writes;
    const result =
      options.idempotencyKey === undefined || !this.writes ? undefined : encodeKept(value);
    // What a single read showed was true at one moment without further checks.
    if (then.length === 0 && this.#guards.length < 2) return { value };
    const draft = { guards: this.#guards, then, result };
    const { idempotencyKey, ...reads } = options;
    return this.#core.submit(this.#space, draft, this.writes ? options : reads, (reply) => {
      const { failedGuard, kept } = decodeResults(reply.payload);
      if (!reply.applied) return { conflict: this.#placeOf(failedGuard) };
      return { value: kept === undefined || !reply.replayed ? value : decodeKept(kept) };
    });
  }

  /** Where the function threw: is what it read still so? Where that can't be found out, it is. */
  check(): Promise<AttemptEnd> {
    const seen = { value: undefined };
    if (this.#guards.length < 2) return Promise.resolve(seen);
    const draft = { guards: this.#guards, then: [] };
    return this.#core
      .submit(this.#space, draft, this.#deadline, ({ applied, payload }) =>
        applied ? seen : { conflict: this.#placeOf(decodeResults(payload).failedGuard) },
      )
      .catch(() => seen);
  }

  /** Where others were faster: the name of a turn. */
  #placeOf(failedGuard = 0): string {
    const guard = this.#guards[failedGuard];
    const key = guard === undefined ? "" : "from" in guard ? guard.from : guard.key;
    return `${this.#space}/${typeof key === "string" ? key : orderedText(key)}`;
  }

  view<V>(codec: Codec<V>): Transaction<V> {
    const write = (made: () => BufferedWrite): void => {
      this.#checkOpen();
      this.#buffer.push(made());
    };
    const range = async (options: Bounds & RangeOptions = {}): Promise<Entry<V>[]> => {
      const entries = await this.#range(options);
      return entries.map((entry) => toEntry(codec, entry, options.keysOnly));
    };
    return {
      attempt: this.#attempt,
      as: (other) => this.view(other),
      get: async (key) => {
        const entry = await this.#get(pointKey(key));
        return entry === undefined ? undefined : toEntry(codec, entry);
      },
      // One function serves both signatures: with `keysOnly` the values are left undefined.
      range: range as Transaction<V>["range"],
      count: async (bounds = {}) => {
        const entries = await this.#range({ ...boundsOf(bounds), keysOnly: true });
        return entries.length;
      },
      put: (key, value, options) =>
        write(() => {
          const stored = encodeValue(codec, value);
          const expireAfterMs = options?.expireAfterMs;
          return lowered({ kind: "putStored", key, stored, expireAfterMs });
        }),
      delete: (key) => write(() => lowered(op.delete(key))),
      deleteRange: (bounds) => write(() => lowered(op.deleteRange(bounds))),
      add: (key, delta, options) => write(() => lowered(op.add(key, delta, options))),
      append: (key, tail) => write(() => lowered(op.append(key, tail))),
    };
  }

  #checkOpen(): void {
    if (this.#isOver) {
      throw invalidArgument("the transaction is over; await all it does inside its function");
    }
  }

  async #get(key: Uint8Array): Promise<WireEntry | undefined> {
    this.#checkOpen();
    const text = orderedText(key);
    if (!this.#buffer.touches(text)) return this.#read(key, text);
    const stored = this.#buffer.decides(text) ? undefined : await this.#read(key, text);
    return this.#overlaid(text, key, stored);
  }

  /** What the store holds; each key is read once, and guarded. */
  #read(key: Uint8Array, text: string): Promise<WireEntry | undefined> {
    const known = this.#reads.get(text);
    if (known !== undefined) return known;
    const draft = { guards: [], then: [{ kind: "get", key }] } as const;
    const read = this.#core.submit(this.#space, draft, this.#deadline, (reply) => {
      const entry = decodeResults(reply.payload).results[0]?.entry;
      this.#guard(key, entry);
      return entry;
    });
    this.#reads.set(text, read);
    return read;
  }

  /**
   * A deleted key that is made anew counts its versions anew, but no two of its writes share a
   * revision: so that is what is guarded.
   */
  #guard(key: Uint8Array, entry: WireEntry | undefined): void {
    this.#guards.push(
      entry === undefined
        ? { kind: "absent", key }
        : { kind: "modified", key, revision: entry.modified },
    );
  }

  async #range(options: Bounds & RangeOptions): Promise<WireEntry[]> {
    const { limit = RANGE_ENTRIES_MAX, reverse = false, keysOnly = false } = options;
    if (limit > RANGE_ENTRIES_MAX) throw tooLong();
    const found: WireEntry[] = [];
    let rest: ByteBounds | undefined = byteBounds(boundsOf(options));
    while (rest !== undefined && found.length < limit) {
      this.#checkOpen();
      const asked = { ...rest, limit: limit - found.length, reverse, keysOnly };
      const page = await readPage(this.#core, this.#space, asked, this.#deadline);
      const [covered, behind]: [ByteBounds, ByteBounds | undefined] = split(
        asked,
        page.entries,
        page.more,
      );
      const { revision } = page;
      this.#guards.push({ kind: "unchanged", ...covered, revision, count: page.entries.length });
      found.push(...this.#merged(covered, page.entries, asked));
      rest = behind;
    }
    if (options.limit === undefined && rest !== undefined) {
      throw tooLong();
    }
    return found.slice(0, limit);
  }

  /** The entries of a stretch as the writes of this transaction leave them. */
  #merged(
    covered: ByteBounds,
    entries: readonly WireEntry[],
    asked: { readonly reverse: boolean; readonly keysOnly: boolean },
  ): WireEntry[] {
    const byKey = new Map<string, WireEntry | undefined>();
    for (const entry of entries) byKey.set(orderedText(entry.key), entry);
    let isTouched = false;
    for (const text of byKey.keys()) isTouched ||= this.#buffer.touches(text);
    for (const text of this.#buffer.keysWithin(covered)) {
      isTouched = true;
      if (!byKey.has(text)) byKey.set(text, undefined);
    }
    if (!isTouched) return [...entries];
    const texts = [...byKey.keys()].sort();
    if (asked.reverse) texts.reverse();
    return texts.flatMap((text) => {
      const entry = byKey.get(text);
      if (!this.#buffer.touches(text)) return entry ?? [];
      const key = entry?.key ?? Uint8Array.from(text, (character) => character.charCodeAt(0));
      if (!asked.keysOnly) return this.#overlaid(text, key, entry) ?? [];
      return this.#buffer.leaves(text, entry !== undefined) ? uncommitted(key, entry) : [];
    });
  }

  #overlaid(text: string, key: Uint8Array, stored: WireEntry | undefined): WireEntry | undefined {
    const value: StoredValue | undefined = this.#buffer.apply(text, stored?.value);
    return value === undefined ? undefined : uncommitted(key, stored, value);
  }
}

/** An entry as a write leaves it that is not committed: it has no revision yet. */
function uncommitted(
  key: Uint8Array,
  stored: WireEntry | undefined,
  value?: StoredValue,
): WireEntry {
  const created = stored?.created ?? 0n;
  return { key, value, created, modified: 0n, version: 0, expiresInMs: undefined };
}

function tooLong(): DompError {
  const message = `a range of a transaction reads at most ${RANGE_ENTRIES_MAX} entries`;
  return new DompError("too_large", message, { outcome: "not_submitted" });
}

function lowered(operation: Parameters<typeof toWireOperation>[1]): BufferedWrite {
  // Values were encoded before, so no codec is needed; and only writes come here.
  return toWireOperation(NO_CODEC, operation) as BufferedWrite;
}

const NO_CODEC: Codec<unknown> = {
  encode: () => {
    throw invalidArgument("a value without a codec");
  },
  decode: (stored) => stored,
};
