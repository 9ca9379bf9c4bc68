/**
 * Goes the whole way through the engine: a write to the log, and a read. For whoever asks whether the
 * server serves.
 *
 * What is written can never take effect: its two guards exclude each other. It is proposed, written,
 * flushed and applied like any other write, and changes nothing whatever the space holds. Each
 * attempt goes under an Idempotency-Key of its own, since a known one is answered without a write; the
 * keys are forgotten after `sessions.idempotency_ttl`, so that at one attempt a second some hundreds of
 * them are kept, in the table of that space, which no client uses.
 */

import { randomBytes } from "node:crypto";
import type { Principal } from "../policy/index.js";
import { encodeTransaction, META_SPACE, type Operation } from "../protocol/transaction.js";
import type { Answer, StatelessDoor } from "./stateless.js";

/** What came of an attempt; a failure says which half it was. */
export interface ProbeResult {
  readonly write: Answer;
  readonly read: Answer;
}

/** A key, and a name of a space, that need not be there and is never touched. */
const KEY = new TextEncoder().encode("probe");

/** Nobody waits longer than the attempt itself. */
const WAITER = { over: false, onOver: () => undefined };

export class Probe {
  readonly #door: StatelessDoor;
  readonly #caller: Principal;
  /** Half random, for this run of the server; half a counter. */
  readonly #idempotencyKey = randomBytes(16);
  #attempts = 0n;

  constructor(door: StatelessDoor, caller: Principal) {
    this.#door = door;
    this.#caller = caller;
  }

  /** Writes and reads in that space: a healthy one, the space of names if it is. */
  async attempt(space: number, timeoutMs: number): Promise<ProbeResult> {
    this.#attempts += 1n;
    this.#idempotencyKey.writeBigUInt64LE(this.#attempts, 8);
    const change: Operation =
      space === META_SPACE ? { kind: "spaceDrop", name: KEY } : { kind: "delete", key: KEY };
    const write = encodeTransaction({
      space,
      guards: [
        { kind: "exists", key: KEY },
        { kind: "absent", key: KEY },
      ],
      then: [change],
      idempotencyKey: this.#idempotencyKey,
    });
    const read = encodeTransaction({ space, then: [{ kind: "get", key: KEY }] });
    const submit = (transaction: Uint8Array) =>
      this.#door.submit({ caller: this.#caller, space, transaction, timeoutMs }, WAITER);
    const [written, found] = await Promise.all([submit(write), submit(read)]);
    return { write: written, read: found };
  }
}
