/** One transaction without a session: into the engine, and its reply back, once. */

import type { Reply } from "../../protocol/frame.js";
import type { Counters } from "../counters.js";
import { readOnlyReply, statelessFrame } from "../frames.js";
import type { Caller, Seam, Tenant } from "../seam.js";
import type { Slots } from "../slots.js";
import type { Exchange, Failure } from "./exchange.js";

/** What the engine needs beyond the request's own timeout to say that it passed. */
const ANSWER_SLACK_MS = 500;

const OVERLOADED_RETRY_MS = 100;

export interface StatelessRequest {
  readonly caller: Caller;
  /** The id of the space it is for. */
  readonly space: number;
  /** An encoded transaction. */
  readonly transaction: Uint8Array;
  /** 128 bits that stand for the caller and their Idempotency-Key. */
  readonly idempotencyKey: Uint8Array | undefined;
  readonly timeoutMs: number;
}

export type Answer =
  | { readonly ok: true; readonly reply: Reply }
  | { readonly ok: false; readonly failure: Failure };

export class StatelessDoor {
  readonly #seam: Seam;
  readonly #slots: Slots<Tenant>;
  readonly #counters: Counters;

  constructor(seam: Seam, slots: Slots<Tenant>, counters: Counters) {
    this.#seam = seam;
    this.#slots = slots;
    this.#counters = counters;
  }

  /**
   * Submits a transaction for an exchange. Always settles: with the reply, or with a failure once
   * the time is up or the caller is gone. The slot is free again when it does.
   */
  submit(request: StatelessRequest, exchange: Exchange): Promise<Answer> {
    return new Promise((resolve) => {
      const settle = (answer: Answer): void => {
        clearTimeout(timer);
        this.#slots.release(address);
        resolve(answer);
      };
      const fail = (failure: Failure): void => settle({ ok: false, failure });
      const tenant: Tenant = {
        onFrame: (frame) => {
          const reply = readOnlyReply(frame);
          if ("sequence" in reply) settle({ ok: true, reply });
          else fail(reply);
        },
      };
      const address = this.#slots.take(tenant);
      const timer = setTimeout(
        () =>
          fail({ code: "timeout", message: "no answer came in time; it may still take effect" }),
        request.timeoutMs + ANSWER_SLACK_MS,
      );
      exchange.onOver(() => fail({ code: "aborted" }));
      const { caller, idempotencyKey, space, transaction, timeoutMs } = request;
      const frame = statelessFrame(space, transaction, timeoutMs);
      if (!exchange.over && !this.#seam.stateless(address, caller, idempotencyKey, frame)) {
        this.#counters.refused("overloaded");
        fail({
          code: "overloaded",
          message: "the engine's queue is full",
          retryAfterMs: OVERLOADED_RETRY_MS,
        });
      }
    });
  }
}
