/**
 * One transaction without a session: into the engine, and its reply back, once. It knows nothing of
 * the door that the request came through.
 */

import { readErrorDetail } from "../protocol/error-detail.js";
import { buildFrame, type Reply, readReplies } from "../protocol/frame.js";
import type { ErrorName } from "../protocol/generated/errors.js";
import type { Counters } from "./counters.js";
import type { Caller, Seam, Tenant } from "./seam.js";
import type { Slots } from "./slots.js";

/** What the engine needs beyond the request's own timeout to say that it passed. */
const ANSWER_SLACK_MS = 500;

export interface StatelessRequest {
  readonly caller: Caller;
  /** The id of the space it is for. */
  readonly space: number;
  /** An encoded transaction; one that writes bears an idempotency key. */
  readonly transaction: Uint8Array;
  readonly timeoutMs: number;
}

/** An answer to a request that was not carried out. */
export interface Refused {
  readonly code: ErrorName;
  /** Without it the error's general meaning is told. */
  readonly message?: string;
  /** Index of the operation concerned, in the branch that ran. */
  readonly operation?: number;
  /** Index of the guard concerned. */
  readonly guard?: number;
  /** The key concerned. */
  readonly key?: Uint8Array;
  /** Worth waiting before another attempt. Without it the table's. */
  readonly retryAfterMs?: number;
}

/** Whoever waits for the answer. */
export interface Waiter {
  /** Answered or gone: nothing is waited for any more. */
  readonly over: boolean;
  /** Runs once it is over, at once if it is. */
  onOver(run: () => void): void;
}

export type Answer =
  | { readonly ok: true; readonly reply: Reply }
  | { readonly ok: false; readonly failure: Refused };

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
   * Submits a transaction for a waiter. Always settles: with the reply, or with a failure once
   * the time is up or the caller is gone. The slot is free again when it does.
   */
  submit(request: StatelessRequest, waiter: Waiter): Promise<Answer> {
    return new Promise((resolve) => {
      const settle = (answer: Answer): void => {
        clearTimeout(timer);
        this.#slots.release(address);
        resolve(answer);
      };
      const fail = (failure: Refused): void => settle({ ok: false, failure });
      const tenant: Tenant = {
        onFrames: (frames) => {
          const reply = readOnlyReply(frames);
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
      waiter.onOver(() => fail({ code: "aborted" }));
      const { caller, space, transaction, timeoutMs } = request;
      const frame = statelessFrame(space, transaction, timeoutMs);
      if (!waiter.over && !this.#seam.stateless(address, caller, frame)) {
        this.#counters.refused("overloaded");
        fail({ code: "overloaded", message: "the engine's queue is full" });
      }
    });
  }
}

/** Wraps one transaction of a space for the engine's door without sessions. */
function statelessFrame(space: number, transaction: Uint8Array, timeoutMs: number): Uint8Array {
  const item = { sequence: 1, kind: "transaction", payload: transaction } as const;
  return buildFrame(space, [item], 0, timeoutMs);
}

/** The one answer of the one frame, in bytes of its own: the frame is gone after the visit. */
function readOnlyReply(frames: readonly Uint8Array[]): Reply | Refused {
  try {
    const [reply, ...others] = frames.flatMap((frame) => [...readReplies(frame.slice())]);
    if (reply === undefined || others.length > 0) return UNREADABLE;
    if (reply.code === undefined) return reply;
    const { message, operation, guard, key, retryAfterMs } = readErrorDetail(reply.payload);
    return {
      code: reply.code,
      message,
      ...(operation === undefined ? {} : { operation }),
      ...(guard === undefined ? {} : { guard }),
      ...(key === undefined ? {} : { key }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  } catch {
    return UNREADABLE;
  }
}

const UNREADABLE: Refused = { code: "internal", message: "the engine's reply is unreadable" };
