import { errors } from "../protocol/generated/errors.js";
import { TRANSACTION_BYTES_MAX } from "../protocol/generated/limits.js";
import type { Environment } from "./environment.js";
import { DompError } from "./errors.js";
import type { KnownOutcome } from "./lane.js";
import type { RequestOptions } from "./request.js";
import { isSameSession, type RequestId } from "./request-id.js";
import { checkTimeout, type Requests } from "./requests.js";
import { encodeText } from "./text.js";
import {
  decodeResults,
  encodeOutcomeRequest,
  encodeTransaction,
  isWrite,
  META_SPACE,
  ProtocolError,
  type Reply,
  type WireGuard,
  type WireOperation,
} from "./wire.js";

/** A transaction that is encoded when its space's id is known. */
export interface Draft {
  readonly guards: readonly WireGuard[];
  readonly then: readonly WireOperation[];
  readonly otherwise?: readonly WireOperation[] | undefined;
}

/** Options with the deadline fixed, for calls that make several requests. */
export interface DeadlineOptions {
  /** A time of the environment's clock. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

/** The space that every server has. */
export const DEFAULT_SPACE = "default";

/** Names of spaces whose ids are remembered. */
const IDS_MAX = 1024;

/**
 * What handles of spaces stand on: turns transactions over a space's name into requests over its
 * id, and looks the id up where it is not known, or not any more.
 */
export class Core {
  readonly environment: Environment;
  readonly #timeoutMs: number;
  readonly #requests: Requests;
  /** The token of the present session; no bytes while there is none. */
  readonly #session: () => Uint8Array;
  readonly #ids = new Map<string, number>();

  constructor(
    environment: Environment,
    timeoutMs: number,
    requests: Requests,
    session: () => Uint8Array,
  ) {
    this.environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#requests = requests;
    this.#session = session;
  }

  /** @throws DompError `invalid_argument` */
  deadline(options: RequestOptions | undefined): DeadlineOptions {
    const timeoutMs =
      options?.timeoutMs === undefined ? this.#timeoutMs : checkTimeout(options.timeoutMs);
    return { deadlineMs: this.environment.now() + timeoutMs, signal: options?.signal };
  }

  rememberSpace(name: string, id: number): void {
    if (this.#ids.size >= IDS_MAX) this.#ids.clear();
    this.#ids.set(name, id);
  }

  forgetSpace(name: string): void {
    this.#ids.delete(name);
  }

  /** Submits a transaction to a space; `decode` makes the caller's answer of the reply. */
  submit<T>(
    space: string,
    draft: Draft,
    options: DeadlineOptions,
    decode: (reply: Reply) => T,
  ): Promise<T> {
    const id = this.#ids.get(space);
    if (id === undefined) {
      return this.#lookUp(space, options).then((found) =>
        this.submitTo(found, draft, options, decode),
      );
    }
    const submitted = this.submitTo(id, draft, options, decode);
    // The welcome tells the id of this one with every connection.
    if (space === DEFAULT_SPACE) return submitted;
    return submitted.catch(async (error: unknown) => {
      // The space may have been dropped and made anew since its id was looked up. Nothing was
      // done, so the transaction may be issued again to the space that bears the name now.
      const isStale =
        error instanceof DompError &&
        error.code === "unknown_space" &&
        error.outcome !== "unknown" &&
        this.#ids.get(space) === id;
      if (!isStale) throw error;
      this.#ids.delete(space);
      const found = await this.#lookUp(space, options);
      if (found === id) throw error;
      return this.submitTo(found, draft, options, decode);
    });
  }

  /** Submits a transaction to a space by its id. */
  submitTo<T>(
    id: number,
    draft: Draft,
    options: DeadlineOptions,
    decode: (reply: Reply) => T,
  ): Promise<T> {
    const { guards, then, otherwise } = draft;
    const readOnly = !then.some(isWrite) && !otherwise?.some(isWrite);
    const payload = encoded(() => encodeTransaction({ space: id, guards, then, otherwise }));
    const submission = { space: id, kind: "transaction", payload, readOnly, decode } as const;
    return this.#requests.submit(submission, options.deadlineMs, options.signal);
  }

  /** Asks what became of a request; fences it if nothing did. */
  async outcome<T>(
    target: RequestId,
    key: Uint8Array,
    options: DeadlineOptions,
    decode: (known: KnownOutcome) => T,
  ): Promise<T> {
    const { space, sequence, sessionBytes: session } = target;
    const isOurs = (): boolean => isSameSession(session, this.#session());
    const known = isOurs() ? this.#requests.known(space, sequence) : undefined;
    if (known !== undefined) return decode(known);
    try {
      const payload = encoded(() => encodeOutcomeRequest({ space, key, sequence, session }));
      const answer = (reply: Reply): T => {
        const found: KnownOutcome = reply.outcomeApplied
          ? { outcome: "applied", reply }
          : { outcome: "never" };
        if (isOurs()) this.#requests.release(space, sequence, found);
        return decode(found);
      };
      // Asking twice is as good as asking once, so a question counts as a read.
      const submission = {
        space,
        kind: "outcome",
        payload,
        readOnly: true,
        decode: answer,
      } as const;
      return await this.#requests.submit(submission, options.deadlineMs, options.signal);
    } catch (cause) {
      if (!(cause instanceof DompError)) throw cause;
      throw stillUnknown(cause, `${target.session}.${space}.${sequence}`);
    }
  }

  #lookUp(space: string, options: DeadlineOptions): Promise<number> {
    const draft = { guards: [], then: [{ kind: "get", key: spaceKey(space) }] } as const;
    return this.submitTo(META_SPACE, draft, options, (reply) => {
      const id = decodeResults(reply.payload).results[0]?.entry?.value;
      if (typeof id !== "bigint") {
        const message = `there is no space ${JSON.stringify(space)}; spaces.create makes it`;
        throw new DompError("unknown_space", message);
      }
      this.rememberSpace(space, Number(id));
      return Number(id);
    });
  }
}

/** Failing to find out what became of a request leaves it as unknown as it was. */
function stillUnknown(cause: DompError, requestId: string): DompError {
  const { code, reason } = cause;
  const retryable = errors[code].retryable || code === "timeout";
  return new DompError(code, reason, { outcome: "unknown", retryable, requestId, cause });
}

/** @throws DompError `invalid_argument`, `too_large` */
function encoded(encode: () => Uint8Array): Uint8Array {
  let payload: Uint8Array;
  try {
    payload = encode();
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new DompError(cause.code, cause.message, { cause });
  }
  if (payload.length > TRANSACTION_BYTES_MAX) {
    const message = `a transaction has at most ${TRANSACTION_BYTES_MAX} bytes`;
    throw new DompError("too_large", `${message}, not ${payload.length}`);
  }
  return payload;
}

/** The key of a space's name in the space of names. */
export function spaceKey(name: string): Uint8Array {
  return encodeText(name);
}
