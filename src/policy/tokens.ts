/** Static tokens: who a presented secret belongs to, told in time that does not depend on it. */

import { createHash, timingSafeEqual } from "node:crypto";
import type { TokenSetting } from "../config/index.js";
import { TOKEN_BYTES_MAX } from "../protocol/generated/limits.js";
import { ANONYMOUS, type Principal, principal } from "./principal.js";

interface Entry {
  readonly hash: Buffer;
  readonly principal: Principal;
}

export class Authenticator {
  readonly #entries: readonly Entry[];

  /** Without tokens everybody is `anonymous` and may do everything: only for loopback. */
  constructor(tokens: readonly TokenSetting[]) {
    this.#entries = tokens.map(({ name, sha256, access }) => ({
      hash: Buffer.from(sha256, "hex"),
      principal: principal(name, access),
    }));
    assertDistinct(this.#entries);
  }

  /** Is a token asked for at all? */
  get required(): boolean {
    return this.#entries.length > 0;
  }

  /**
   * The principal of a token, or undefined if it is none of ours. Every entry is compared in full:
   * neither which one matched nor how much of it shows in the time taken.
   */
  authenticate(token: string | undefined): Principal | undefined {
    if (!this.required) return ANONYMOUS;
    if (token === undefined || Buffer.byteLength(token) > TOKEN_BYTES_MAX) return undefined;
    const presented = createHash("sha256").update(token).digest();
    let found: Principal | undefined;
    for (const entry of this.#entries) {
      if (timingSafeEqual(entry.hash, presented)) found = entry.principal;
    }
    return found;
  }

  /** The same for the value of an `Authorization` header: `Bearer <token>`. */
  authenticateHeader(authorization: string): Principal | undefined {
    const match = /^Bearer +(\S+) *$/i.exec(authorization);
    return this.authenticate(match?.[1]);
  }
}

/** Two names with one 64-bit number would share sessions; it can be told at the start. */
function assertDistinct(entries: readonly Entry[]): void {
  const nameOf = new Map<bigint, string>();
  for (const { principal } of entries) {
    const other = nameOf.get(principal.id);
    if (other !== undefined && other !== principal.name) {
      throw new Error(`the token names "${other}" and "${principal.name}" collide; rename one`);
    }
    nameOf.set(principal.id, principal.name);
  }
}
