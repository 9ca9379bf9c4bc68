// A store small enough to be seen through, for tests of what the SDK builds upon one.
import type { Guard, Operation } from "../../../src/protocol/generated/wire.js";
import {
  type Answer,
  type EntryFields,
  outcomeOfRequestOf,
  type Result,
  type SentItem,
  transactionOf,
} from "./peer.js";

interface Kept {
  value: string | bigint;
  created: bigint;
  modified: bigint;
  version: bigint;
}

/** The transaction that bound an idempotency key. */
interface Bound {
  readonly answer: Answer;
  readonly payload: string;
  readonly kept: Uint8Array | undefined;
}

const PAGE_ENTRIES = 3;

/**
 * Keys and values as text; enough of the server's semantics for `transact`, and for idempotency
 * keys: one is bound by the first transaction that did something or was refused for good.
 */
export class Store {
  readonly #kept = new Map<string, Kept>();
  readonly #bound = new Map<string, Bound>();
  #revision = 100n;

  get(key: string): Kept | undefined {
    return this.#kept.get(key);
  }

  /** A write of somebody else. */
  put(key: string, value: string | bigint): void {
    this.#revision += 1n;
    this.#write(key, value);
  }

  delete(key: string): void {
    this.#revision += 1n;
    this.#kept.delete(key);
  }

  /** The lifetime of every idempotency key is over. */
  forgetKeys(): void {
    this.#bound.clear();
  }

  answer(item: SentItem): Answer {
    const { sequence } = item;
    if (item.kind === "outcome_of") {
      const bound = this.#bound.get(textOf(outcomeOfRequestOf(item).idempotencyKeyArray()));
      if (bound === undefined) return { sequence, keyState: "not_seen" };
      const { answer, kept } = bound;
      if (answer.code !== undefined) {
        return { sequence, keyState: "not_applied", keyCode: answer.code };
      }
      return { ...answer, sequence, keyState: "applied", ...(kept && { kept }) };
    }
    const transaction = transactionOf(item);
    const key = transaction.idempotencyKeyArray();
    if (key === null) return this.#decide(item);
    const kept = transaction.resultArray()?.slice();
    const payload = item.payload.toString();
    const bound = this.#bound.get(textOf(key));
    if (bound === undefined) {
      const answer = this.#decide(item);
      if (answer.failedGuard === undefined) this.#bound.set(textOf(key), { answer, payload, kept });
      return answer;
    }
    if (kept === undefined && bound.kept === undefined && bound.payload !== payload) {
      return { sequence, code: "request_id_conflict" };
    }
    return { ...bound.answer, sequence, replayed: true, ...(bound.kept && { kept: bound.kept }) };
  }

  #decide(item: SentItem): Answer {
    const transaction = transactionOf(item);
    const { sequence } = item;
    for (let i = 0; i < transaction.thenLength(); i += 1) {
      const operation = transaction.then(i);
      const held = this.#kept.get(textOf(operation?.keyArray() ?? null))?.value;
      if (operation?.kind() === 7 && typeof held === "string") {
        return { sequence, code: "wrong_kind", operation: i };
      }
    }
    for (let i = 0; i < transaction.guardsLength(); i += 1) {
      const guard = transaction.guards(i);
      if (guard !== null && !this.#holds(guard)) {
        return { sequence, revision: this.#revision, applied: false, failedGuard: i };
      }
    }
    this.#revision += 1n;
    const results: Result[] = [];
    for (let i = 0; i < transaction.thenLength(); i += 1) {
      const operation = transaction.then(i);
      if (operation !== null) results.push(this.#run(operation));
    }
    return { sequence, revision: this.#revision, results };
  }

  #holds(guard: Guard): boolean {
    const key = textOf(guard.keyArray());
    const kept = this.#kept.get(key);
    switch (guard.kind()) {
      case 2:
        return kept === undefined;
      case 4:
        return kept?.modified === guard.revision();
      case 8: {
        const within = this.#within(guard);
        const read = guard.revision() ?? 0n;
        return (
          BigInt(within.length) === guard.count() &&
          within.every(([, { modified }]) => modified <= read)
        );
      }
      default:
        throw new Error(`the store knows no guard ${guard.kind()}`);
    }
  }

  #run(operation: Operation): Result {
    const key = textOf(operation.keyArray());
    const value = operation.number() ?? textOf(operation.valueArray());
    switch (operation.kind()) {
      case 1: {
        const kept = this.#kept.get(key);
        return kept === undefined ? {} : { entry: { key, ...kept } };
      }
      case 2: {
        const within = this.#within(operation);
        if ((operation.flags() & 1) !== 0) within.reverse();
        const limit = Math.min(operation.limit() ?? PAGE_ENTRIES, PAGE_ENTRIES);
        const entries = within.slice(0, limit).map(([name, { value: found, ...kept }]) => {
          const entry: EntryFields = { key: name, ...kept };
          return (operation.flags() & 2) !== 0 ? entry : { ...entry, value: found };
        });
        return { entries, more: within.length > limit };
      }
      case 4:
        this.#write(key, value);
        return {};
      case 5:
        return { count: this.#kept.delete(key) ? 1 : 0 };
      case 6: {
        const within = this.#within(operation);
        for (const [name] of within) this.#kept.delete(name);
        return { count: within.length };
      }
      case 7: {
        const sum = BigInt(this.#kept.get(key)?.value ?? 0n) + (operation.number() ?? 0n);
        this.#write(key, sum);
        return { number: sum };
      }
      case 8: {
        const whole = `${this.#kept.get(key)?.value ?? ""}${value}`;
        this.#write(key, whole);
        return { count: whole.length };
      }
      default:
        throw new Error(`the store knows no operation ${operation.kind()}`);
    }
  }

  #write(key: string, value: string | bigint): void {
    const before = this.#kept.get(key);
    this.#kept.set(key, {
      value,
      created: before?.created ?? this.#revision,
      modified: this.#revision,
      version: (before?.version ?? 0n) + 1n,
    });
  }

  #within(bounds: {
    keyArray(): Uint8Array | null;
    toArray(): Uint8Array | null;
  }): [string, Kept][] {
    const from = textOf(bounds.keyArray());
    const to = bounds.toArray() === null ? undefined : textOf(bounds.toArray());
    return [...this.#kept]
      .filter(([key]) => key >= from && (to === undefined || key < to))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

function textOf(bytes: Uint8Array | null): string {
  return new TextDecoder().decode(bytes ?? new Uint8Array(0));
}
