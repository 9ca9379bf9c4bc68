/**
 * Goes the whole way through the engine: a write to the log, and a read. For whoever asks whether the
 * server serves.
 *
 * What is written can never take effect: its two guards exclude each other. It is proposed, written,
 * flushed and applied like any other write, and changes nothing whatever the space holds. It always goes
 * under one idempotency key, which an attempt whose guards fail never binds: nothing is kept of it.
 */

import type { Principal } from "../policy/index.js";
import { encodeTransaction, META_SPACE, type Operation } from "../protocol/transaction.js";
import type { Answer, StatelessDoor } from "./stateless.js";

/** What came of an attempt; a failure says which half it was. */
export interface ProbeResult {
  readonly write: Answer;
  readonly read: Answer;
}

/** Of the server's own principal: no client's. */
const IDEMPOTENCY_KEY = new TextEncoder().encode("domp ready probe");

/** A key, and a name of a space, that need not be there and is never touched. */
const KEY = new TextEncoder().encode("probe");

/** Nobody waits longer than the attempt itself. */
const WAITER = { over: false, onOver: () => undefined };

export class Probe {
  readonly #door: StatelessDoor;
  readonly #caller: Principal;

  constructor(door: StatelessDoor, caller: Principal) {
    this.#door = door;
    this.#caller = caller;
  }

  /** Writes and reads in that space: a healthy one, the space of names if it is. */
  async attempt(space: number, timeoutMs: number): Promise<ProbeResult> {
    const change: Operation =
      space === META_SPACE ? { kind: "spaceDrop", name: KEY } : { kind: "delete", key: KEY };
    const write = encodeTransaction({
      space,
      guards: [
        { kind: "exists", key: KEY },
        { kind: "absent", key: KEY },
      ],
      then: [change],
      idempotencyKey: IDEMPOTENCY_KEY,
    });
    const read = encodeTransaction({ space, then: [{ kind: "get", key: KEY }] });
    const submit = (transaction: Uint8Array) =>
      this.#door.submit({ caller: this.#caller, space, transaction, timeoutMs }, WAITER);
    const [written, found] = await Promise.all([submit(write), submit(read)]);
    return { write: written, read: found };
  }
}
