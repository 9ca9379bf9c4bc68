/** How long to wait between attempts. */
export interface BackoffLimits {
  /** Upper bound of the first wait, in milliseconds. */
  readonly firstMs: number;
  /** Upper bound of every wait, in milliseconds. */
  readonly mostMs: number;
}

/**
 * Exponential backoff with full jitter: the wait before attempt `attempt` (from 0) is drawn evenly
 * from [0, min(mostMs, firstMs * 2^attempt)). Many clients that lost the same server at the same
 * moment so come back spread out, not in waves.
 */
export function fullJitterMs(limits: BackoffLimits, attempt: number, random: number): number {
  return random * Math.min(limits.mostMs, limits.firstMs * 2 ** Math.min(attempt, 30));
}
