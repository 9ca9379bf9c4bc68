/** What the gateway itself says and reads in frames; everything else passes through unread. */

import { encodeErrorDetail, readErrorDetail } from "../protocol/error-detail.js";
import {
  buildFrame,
  buildReplies,
  frameSpace,
  type Reply,
  readItems,
  readReplies,
} from "../protocol/frame.js";
import { type ErrorName, errors } from "../protocol/generated/errors.js";

/**
 * Answers every item of a submit frame with one error. Undefined if its items do not fit together,
 * or bear numbers that can't be given back exactly.
 */
export function refuseItems(
  frame: Uint8Array,
  code: ErrorName,
  message: string,
  retryAfterMs: number,
): Uint8Array | undefined {
  let sequences: number[];
  try {
    sequences = readItems(frame).map(({ sequence }) => sequence);
  } catch {
    return undefined;
  }
  if (!sequences.every(Number.isSafeInteger)) return undefined;
  const payload = encodeErrorDetail(message, retryAfterMs);
  const { retryable, outcome } = errors[code];
  return buildReplies(
    frameSpace(frame),
    sequences.map((sequence) => ({
      sequence,
      revision: 0n,
      code,
      retryable,
      outcome,
      applied: false,
      replayed: false,
      outcomeApplied: false,
      payload,
    })),
  );
}

/** Wraps one transaction of a space for the engine's door without sessions. */
export function statelessFrame(
  space: number,
  transaction: Uint8Array,
  timeoutMs: number,
): Uint8Array {
  const item = { sequence: 1, kind: "transaction", payload: transaction } as const;
  return buildFrame(space, [item], 0, timeoutMs);
}

/** An answer to one request that was not carried out. */
export interface Refused {
  readonly code: ErrorName;
  readonly message: string;
  readonly operation?: number;
  readonly retryAfterMs?: number;
}

/** The one answer of a frame, in bytes of its own: the frame is gone after the visit. */
export function readOnlyReply(frame: Uint8Array): Reply | Refused {
  try {
    const [reply, ...others] = readReplies(frame.slice());
    if (reply === undefined || others.length > 0) return UNREADABLE;
    if (reply.code === undefined) return reply;
    const { message, operation, retryAfterMs } = readErrorDetail(reply.payload);
    return {
      code: reply.code,
      message,
      ...(operation === undefined ? {} : { operation }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  } catch {
    return UNREADABLE;
  }
}

const UNREADABLE: Refused = { code: "internal", message: "the engine's reply is unreadable" };
