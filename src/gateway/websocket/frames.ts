/** What the gateway itself says in frames to a connection; the engine's pass through unread. */

import { encodeErrorDetail } from "../../protocol/error-detail.js";
import { buildReplies, frameSpace, readItems } from "../../protocol/frame.js";
import { type ErrorName, errorRetryAfterMs, errors } from "../../protocol/generated/errors.js";

/**
 * Answers every item of a submit frame with one error. Undefined if its items do not fit together,
 * or bear numbers that can't be given back exactly.
 */
export function refuseItems(
  frame: Uint8Array,
  code: ErrorName,
  message: string,
): Uint8Array | undefined {
  let sequences: number[];
  try {
    sequences = readItems(frame).map(({ sequence }) => sequence);
  } catch {
    return undefined;
  }
  if (!sequences.every(Number.isSafeInteger)) return undefined;
  const payload = encodeErrorDetail(message, errorRetryAfterMs[code]);
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
