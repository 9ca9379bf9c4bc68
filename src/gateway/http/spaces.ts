/**
 * Names of spaces to their ids, as the meta space has them. What was looked up is kept; an id that
 * proves to be unknown is looked up again, since a space can be dropped and made anew.
 */

import { ProtocolError } from "../../protocol/error.js";
import { SPACE_NAME_BYTES_MAX, SPACES_MAX } from "../../protocol/generated/limits.js";
import { decodeResults } from "../../protocol/results.js";
import { encodeTransaction, META_SPACE } from "../../protocol/transaction.js";
import type { Caller } from "../seam.js";
import type { Answer, StatelessDoor } from "../stateless.js";
import type { HttpContext } from "./door.js";
import type { Exchange, Failure } from "./exchange.js";

export type Resolved =
  | { readonly ok: true; readonly id: number; readonly cached: boolean }
  | { readonly ok: false; readonly failure: Failure };

export class SpaceNames {
  readonly #door: StatelessDoor;
  readonly #timeoutMs: number;
  readonly #ids = new Map<string, number>();

  constructor(door: StatelessDoor, timeoutMs: number) {
    this.#door = door;
    this.#timeoutMs = timeoutMs;
  }

  /** The id of a space, from memory or from the meta space. */
  async resolve(name: string, caller: Caller, exchange: Exchange): Promise<Resolved> {
    const known = this.#ids.get(name);
    if (known !== undefined) return { ok: true, id: known, cached: true };
    const key = Buffer.from(name);
    if (key.length === 0 || key.length > SPACE_NAME_BYTES_MAX) return unknownSpace(name);
    const answer = await this.#door.submit(
      {
        caller: { id: caller.id, access: "read" },
        space: META_SPACE,
        transaction: encodeTransaction({ space: META_SPACE, then: [{ kind: "get", key }] }),
        timeoutMs: this.#timeoutMs,
      },
      exchange,
    );
    if (!answer.ok) return answer;
    const [result] = decodeResults(answer.reply.payload).results;
    const value = result?.entry?.value;
    if (typeof value !== "bigint") return unknownSpace(name);
    const id = Number(value);
    // Dropped spaces leave their names behind; the table is small, and so is starting it again.
    if (this.#ids.size >= SPACES_MAX) this.#ids.clear();
    this.#ids.set(name, id);
    return { ok: true, id, cached: false };
  }

  /** The id kept for this name was told to be unknown. */
  forget(name: string): void {
    this.#ids.delete(name);
  }
}

function unknownSpace(name: string): Resolved {
  return {
    ok: false,
    failure: {
      code: "unknown_space",
      message: `there is no space "${name.slice(0, SPACE_NAME_BYTES_MAX)}"`,
    },
  };
}

/** A transaction whose space is still a name. */
export interface SpaceRequest {
  readonly caller: Caller;
  readonly encode: (space: number) => Uint8Array;
}

/**
 * Submits to a space by its name. Where the id we kept proves unknown, nothing was done: its name
 * is looked up anew, and the request sent once more.
 */
export async function submitToSpace(
  { door, spaces, timeoutMs }: HttpContext,
  exchange: Exchange,
  name: string,
  { caller, encode }: SpaceRequest,
): Promise<Answer> {
  for (let isLast = false; ; isLast = true) {
    const space = await spaces.resolve(name, caller, exchange);
    if (!space.ok) return space;
    let transaction: Uint8Array;
    try {
      transaction = encode(space.id);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return { ok: false, failure: { code: "invalid_request", message: error.message } };
    }
    const request = { caller, space: space.id, transaction, timeoutMs };
    const answer = await door.submit(request, exchange);
    if (answer.ok || answer.failure.code !== "unknown_space") return answer;
    spaces.forget(name);
    if (isLast || !space.cached) return answer;
  }
}
