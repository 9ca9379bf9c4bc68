import { type ErrorName, errors, type Outcome } from "../protocol/generated/errors.js";

export type { ErrorName, Outcome };

/** What an error may know beyond its code. */
export interface ErrorDetails {
  /** Where it differs from the table's: an earlier attempt is unresolved, or the caller gave up. */
  readonly outcome?: Outcome | undefined;
  /** Where it differs from what follows from code and outcome. */
  readonly retryable?: boolean | undefined;
  readonly requestId?: string | undefined;
  /** Index of the operation or guard concerned. */
  readonly operation?: number | undefined;
  /** The server asks to wait so long before the next attempt. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * The one error of this SDK. Branch on `code` (the names are in docs/errors.md), and on `outcome`
 * where a write is concerned; never on the text.
 *
 * @example
 * ```ts
 * try {
 *   await accounts.add('alice', -10n, { floor: 0n });
 * } catch (error) {
 *   if (!(error instanceof DompError)) throw error;
 *   if (error.code === 'out_of_bounds') return 'not enough money';
 *   if (error.outcome === 'unknown' && error.requestId !== undefined) {
 *     const seen = await accounts.outcome(error.requestId, 'alice');
 *     return seen.outcome === 'applied' ? 'paid' : 'not paid, and never will be';
 *   }
 *   throw error;
 * }
 * ```
 */
export class DompError extends Error {
  override readonly name = "DompError";
  readonly code: ErrorName;
  /** May the same call be made again, with hope and without harm? */
  readonly retryable: boolean;
  /**
   * What became of the request.
   * - `not_submitted`: it did nothing; calling again is safe.
   * - `not_applied`: it did nothing and never will.
   * - `unknown`: it may have taken effect, or may yet; ask `space.outcome(requestId, key)`.
   */
  readonly outcome: Outcome;
  /** Names the request for `outcome()`; absent if it never left this process. */
  readonly requestId: string | undefined;
  /** Index of the operation or guard that the server complains about. */
  readonly operation: number | undefined;
  /** The message without the code. */
  readonly reason: string;
  /** How long the server asked to wait before the next attempt, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorName, message: string, details: ErrorDetails = {}) {
    super(`${code}: ${message}`, details.cause === undefined ? {} : { cause: details.cause });
    const row = errors[code];
    this.code = code;
    this.reason = message;
    this.outcome = details.outcome ?? row.outcome;
    // A write that may have taken effect is not to be sent again under a new id.
    this.retryable = details.retryable ?? mayRepeat(code, details.outcome);
    this.requestId = details.requestId;
    this.operation = details.operation;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** A write that may have taken effect may not be repeated; one that only got no answer may. */
function mayRepeat(code: ErrorName, outcome: Outcome | undefined): boolean {
  const row = errors[code];
  if (outcome === undefined || outcome === row.outcome) return row.retryable;
  if (outcome === "unknown" || code === "closed") return false;
  return row.retryable || row.outcome === "unknown";
}

/** The server does not take this session, or not any more. */
export const SESSION_GONE: ReadonlySet<ErrorName> = new Set<ErrorName>([
  "session_expired",
  "session_superseded",
  "session_refused",
]);

/** An argument of the wrong type or out of range. */
export function invalidArgument(message: string, cause?: unknown): DompError {
  return new DompError("invalid_argument", message, { cause });
}
