import { type Codec, encodeValue } from "./codecs.js";
import type { Core } from "./core.js";
import { type Entry, type RangeRequest, toEntry } from "./entries.js";
import type { ErrorName } from "./errors.js";
import { decodeKept } from "./kept.js";
import { type Bounds, byteBounds, idempotencyKeyBytes, type Key, pointKey } from "./keys.js";
import { toWireGuard, toWireOperation } from "./lower.js";
import {
  type AddOptions,
  boundsOf,
  type Guard,
  type Operation,
  op,
  type PutOptions,
  type RangeOptions,
  type ResultsOf,
} from "./operations.js";
import { Range } from "./range.js";
import type { RequestOptions, WriteOptions } from "./request.js";
import { parseRequestId } from "./request-id.js";
import { type RawResult, readBranch, readRaw } from "./results.js";
import { type Transaction, type TransactOptions, transact } from "./transact.js";
import { decodeResults, type Reply } from "./wire.js";

/** A transaction: when all guards of `if` hold, `then` is done, else `else` is. */
export interface SubmitRequest<V, Then, Else> {
  /** Made by {@link when}; absent: `then` is always done. */
  readonly if?: readonly Guard<V>[] | undefined;
  /** Made by {@link op}; done in order, all or nothing. */
  readonly then: Then;
  readonly else?: Else | undefined;
}

/** What became of a transaction that was committed. */
export type Submitted<V, Then extends readonly unknown[], Else extends readonly unknown[]> =
  | {
      /** The guards held, `then` was done. */
      readonly applied: true;
      readonly revision: bigint;
      readonly requestId: string;
      /** Answers of `then`, in its order. */
      readonly results: ResultsOf<V, Then>;
    }
  | {
      /** A guard failed, `else` was done. */
      readonly applied: false;
      readonly revision: bigint;
      readonly requestId: string;
      /** Index in `if` of the first guard that failed. */
      readonly failedGuard: number;
      /** Answers of `else`, in its order; empty without one. */
      readonly results: ResultsOf<V, Else>;
    };

/** What `outcome()` found out. Either way it stays true for ever. */
export type RequestOutcome<V> =
  | {
      /** The request was committed. */
      readonly outcome: "applied";
      readonly revision: bigint;
      /** Did its guards hold? */
      readonly applied: boolean;
      /** The answers of the branch that was done, as far as they are kept. */
      readonly results: readonly RawResult<V>[];
    }
  | {
      /** It did nothing and never will. */
      readonly outcome: "never";
    };

/** What `outcomeOf()` found out of the write under an idempotency key. */
export type KeyOutcome<V, T> =
  | {
      /** It was committed: that stays true as long as the key is remembered. */
      readonly state: "applied";
      readonly revision: bigint;
      /** Did its guards hold? */
      readonly applied: boolean;
      /** What the function of a `transact` returned; undefined for other writes. */
      readonly result: T;
      /** The answers of the branch that was done, as far as they are kept. */
      readonly results: readonly RawResult<V>[];
    }
  | {
      /** It was refused for good. */
      readonly state: "not_applied";
      readonly code: ErrorName;
    }
  | {
      /**
       * `not_seen`: no attempt was decided, but one under way may yet apply; after the key's
       * lifetime it may say so of one that did. `expired`: it was seen, and what became of it is
       * forgotten.
       */
      readonly state: "not_seen" | "expired";
    };

/**
 * A handle on a space, for values of type `V`. Every method is one transaction: durable and
 * applied when its promise resolves. Every promise settles within `timeoutMs`; what it rejects
 * with is a {@link DompError}.
 */
export class Space<V> {
  readonly name: string;
  readonly #core: Core;
  readonly #codec: Codec<V>;

  /** @internal Use `client.space(name, codec)`. */
  constructor(core: Core, name: string, codec: Codec<V>) {
    this.#core = core;
    this.name = name;
    this.#codec = codec;
  }

  /**
   * The same space seen through another codec.
   *
   * @example
   * ```ts
   * const gold = await players.as(numbers).get("gold/ada");
   * ```
   */
  as<W>(codec: Codec<W>): Space<W> {
    return new Space(this.#core, this.name, codec);
  }

  /** Reads one key; undefined if it is not there. */
  async get(key: Key, options?: RequestOptions): Promise<Entry<V> | undefined> {
    const then = [{ kind: "get", key: pointKey(key) }] as const;
    return await this.#submit({ guards: [], then }, options, (reply) => {
      const entry = decodeResults(reply.payload).results[0]?.entry;
      return entry === undefined ? undefined : toEntry(this.#codec, entry);
    });
  }

  /** Stores a value, whatever was there. */
  async put(
    key: Key,
    value: V,
    options?: PutOptions & WriteOptions,
  ): Promise<{ readonly revision: bigint; readonly requestId: string }> {
    const stored = encodeValue(this.#codec, value);
    const put = lowered(this.#codec, {
      kind: "putStored",
      key,
      stored,
      expireAfterMs: options?.expireAfterMs,
    });
    const draft = { guards: [], then: [put] };
    return await this.#submit(draft, options, ({ revision }, requestId) => ({
      revision,
      requestId,
    }));
  }

  /** Removes a key; tells whether there was one. */
  async delete(key: Key, options?: WriteOptions): Promise<boolean> {
    return await this.#one(op.delete(key), options);
  }

  /** Removes all keys within bounds, at most 4,096; tells how many there were. */
  async deleteRange(bounds: Bounds, options?: WriteOptions): Promise<number> {
    return await this.#one(op.deleteRange(bounds), options);
  }

  /**
   * Adds to a number and answers the sum; an absent key counts as 0. With a floor or ceiling that
   * the sum would pass it is refused with `out_of_bounds`, and nothing is changed.
   */
  async add(
    key: Key,
    delta: bigint | number,
    options?: AddOptions & WriteOptions,
  ): Promise<bigint> {
    return await this.#one(op.add(key, delta, options), options);
  }

  /** Appends to a value of bytes, an absent key counts as empty; answers the new length. */
  async append(key: Key, tail: Uint8Array | string, options?: WriteOptions): Promise<number> {
    return await this.#one(op.append(key, tail), options);
  }

  /** Counts the keys within bounds, exactly, at one revision. Cheap however many there are. */
  async count(bounds: Bounds = {}, options?: RequestOptions): Promise<number> {
    return await this.#one(op.count(bounds), options);
  }

  /**
   * Reads keys in order, page by page as they are asked for. Each page is of one revision; a long
   * range may span several.
   *
   * @example
   * ```ts
   * for await (const { key, value } of players.range({ prefix: "player/" })) {
   *   console.log(key, value.gold);
   * }
   * const top = await scores.range({ prefix: "score/", reverse: true, limit: 10 }).toArray();
   * const page = await players.range({ from: "player/m", limit: 50 }).page();
   * ```
   */
  range(
    options: Bounds & RangeOptions & RequestOptions & { readonly keysOnly: true },
  ): Range<undefined>;
  range(options?: Bounds & RangeOptions & RequestOptions): Range<V>;
  range(options: Bounds & RangeOptions & RequestOptions = {}): Range<V> | Range<undefined> {
    return new Range<V>(this.#core, this.name, this.#codec, rangeRequest(options), options);
  }

  /**
   * Submits a transaction in one round trip: guards, then operations; all or nothing.
   *
   * @example
   * ```ts
   * const taken = await names.submit({
   *   if: [when.absent("name/ada")],
   *   then: [op.put("name/ada", user)],
   *   else: [op.get("name/ada")],
   * });
   * if (!taken.applied) console.log("taken by", taken.results[0]?.value);
   * ```
   */
  async submit<
    const Then extends readonly Operation<V>[],
    const Else extends readonly Operation<V>[] = [],
  >(
    request: SubmitRequest<V, Then, Else>,
    options?: WriteOptions,
  ): Promise<Submitted<V, Then, Else>> {
    const codec = this.#codec;
    const draft = {
      guards: (request.if ?? []).map((guard) => toWireGuard(codec, guard)),
      then: request.then.map((operation) => lowered(codec, operation)),
      otherwise: request.else?.map((operation) => lowered(codec, operation)),
    };
    return await this.#submit(draft, options, (reply, requestId) => {
      const { revision, applied } = reply;
      const answer = decodeResults(reply.payload);
      const branch: readonly Operation<V>[] = applied ? request.then : (request.else ?? []);
      const results = readBranch(codec, branch, answer.results, revision);
      const common = { revision, requestId, results };
      // The server answers with the results of the branch that was done, in its order.
      return (
        applied
          ? { applied, ...common }
          : { applied, failedGuard: answer.failedGuard ?? 0, ...common }
      ) as Submitted<V, Then, Else>;
    });
  }

  /**
   * Runs a function as one transaction: what it read is still so when its writes are committed.
   * Where that failed it is run again, so it must do nothing but read and write through `tx`. Its
   * reads see its own writes. What it throws ends the transaction, and nothing is written.
   *
   * With an `idempotencyKey` the function's result is kept with the key, and returned by every later
   * `transact` under it: undefined, null, booleans, numbers, bigints, strings, `Uint8Array`, and
   * arrays and plain objects of these, at most 1 KiB as JSON.
   *
   * @returns what the function returned in the attempt that was committed
   * @throws DompError `conflict` when others were faster until the deadline; `invalid_argument`,
   * `result_too_large` when the result can't be kept, before anything is written
   *
   * @example
   * ```ts
   * const left = await players.transact(async (tx) => {
   *   const ada = await tx.get("ada");
   *   if (ada === undefined || ada.value.gold < 10) throw new Error("not enough gold");
   *   tx.put("ada", { ...ada.value, gold: ada.value.gold - 10 });
   *   tx.add("treasury", 10);
   *   return ada.value.gold - 10;
   * });
   * ```
   */
  async transact<T>(
    run: (tx: Transaction<V>) => T | Promise<T>,
    options?: TransactOptions,
  ): Promise<T> {
    return await transact(this.#core, this.name, this.#codec, run, options);
  }

  /**
   * What became of a request whose outcome was `unknown`. If it was not committed by now, it never
   * will be. `key` is any key it concerned.
   *
   * @example See {@link DompError}.
   */
  async outcome(requestId: string, key: Key, options?: RequestOptions): Promise<RequestOutcome<V>> {
    const target = parseRequestId(requestId);
    return await this.#core.outcome(
      target,
      pointKey(key),
      this.#core.deadline(options),
      (known): RequestOutcome<V> => {
        if (known.outcome === "never") return known;
        const { revision, applied, payload } = known.reply;
        const { results } = decodeResults(payload);
        return {
          outcome: "applied",
          revision,
          applied,
          results: results.map((result) => readRaw(this.#codec, result)),
        };
      },
    );
  }

  /**
   * What became of the write under an idempotency key, whichever client sent it. Only looks: send
   * the write again under its key where you want it done.
   *
   * @example
   * ```ts
   * const seen = await accounts.outcomeOf<number>("order-17");
   * if (seen.state === "applied") console.log(seen.result);
   * ```
   */
  async outcomeOf<T = unknown>(
    idempotencyKey: string | Uint8Array,
    options?: RequestOptions,
  ): Promise<KeyOutcome<V, T>> {
    return await this.#core.outcomeOf(
      this.name,
      idempotencyKeyBytes(idempotencyKey),
      this.#core.deadline(options),
      (seen): KeyOutcome<V, T> => {
        if (seen.state !== "applied") return seen;
        const { state, revision, kept, results } = seen;
        return {
          state,
          revision,
          applied: results.failedGuard === undefined,
          result: (kept === undefined ? undefined : decodeKept(kept)) as T,
          results: results.results.map((result) => readRaw(this.#codec, result)),
        };
      },
    );
  }

  /** A transaction of one operation whose answer is all that matters. */
  #one<O extends Operation<V>>(
    operation: O,
    options: WriteOptions | undefined,
  ): Promise<ResultsOf<V, readonly [O]>[0]> {
    const then = [lowered(this.#codec, operation)];
    return this.#submit({ guards: [], then }, options, (reply) => {
      const { results } = decodeResults(reply.payload);
      const [result] = readBranch(this.#codec, [operation], results, reply.revision);
      return result as ResultsOf<V, readonly [O]>[0];
    });
  }

  #submit<T>(
    draft: Parameters<Core["submit"]>[1],
    options: WriteOptions | undefined,
    decode: (reply: Reply, requestId: string) => T,
  ): Promise<T> {
    return this.#core.submit(this.name, draft, this.#core.deadline(options), decode);
  }
}

function lowered<V>(codec: Codec<V>, operation: Operation<V>): ReturnType<typeof toWireOperation> {
  return toWireOperation(codec, operation);
}

/** The bytes of what a range asks for. */
export function rangeRequest(options: Bounds & RangeOptions): RangeRequest {
  return {
    ...byteBounds(boundsOf(options)),
    limit: options.limit,
    reverse: options.reverse ?? false,
    keysOnly: options.keysOnly ?? false,
  };
}
