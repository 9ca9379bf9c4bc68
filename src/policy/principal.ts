/** Who is speaking: a name, a stable number the engine knows them by, and what they may do. */

import { createHash } from "node:crypto";

export type Access = "full" | "read";

export interface Principal {
  readonly name: string;
  /**
   * The first 8 bytes, big endian, of the name's SHA-256: the same on every node and after every
   * restart, because sessions and Idempotency-Keys belong to it.
   */
  readonly id: bigint;
  readonly access: Access;
}

export function principal(name: string, access: Access): Principal {
  const id = createHash("sha256").update(name).digest().readBigUInt64BE(0);
  return Object.freeze({ name, id, access });
}

/** Whoever comes in where no token is asked for. */
export const ANONYMOUS: Principal = principal("anonymous", "full");
