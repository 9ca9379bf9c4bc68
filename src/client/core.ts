import { errors } from "../protocol/generated/errors.js";
import { TRANSACTION_BYTES_MAX } from "../protocol/generated/limits.js";
import type { Environment } from "./environment.js";
import { DompError, traced } from "./errors.js";
import { idempotencyKeyBytes } from "./keys.js";
import type { KnownOutcome } from "./known.js";
import type { AnswerInfo, WriteOptions } from "./request.js";
import { isSameSession, type RequestId } from "./request-id.js";
import { checkTimeout, type Requests } from "./requests.js";
import { encodeText } from "./text.js";
import { Turns } from "./turns.js";
import {
  decodeKeyOutcome,
  decodeResults,
  encodeOutcomeOfRequest,
  encodeOutcomeRequest,
  encodeTransaction,
  isWrite,
  keyOf,
  locate,
  META_SPACE,
  ProtocolError,
  type Reply,
  type WireGuard,
  type WireKeyOutcome,
  type WireOperation,
} from "./wire.js";

/** A transaction that is encoded when its space's id is known. */
export interface Draft {
  readonly guards: readonly WireGuard[];
  readonly then: readonly WireOperation[];
  readonly otherwise?: readonly WireOperation[] | undefined;
  /** Kept with the idempotency key and given back. */
  readonly result?: Uint8Array | undefined;
}

/** Options with the deadline fixed, for calls that make several requests. */
export interface DeadlineOptions {
  /** A time of the environment's clock. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

/** What else one transaction is sent with. */
export interface SubmitOptions extends DeadlineOptions {
  readonly idempotencyKey?: Uint8Array | undefined;
  readonly onAnswer?: ((answer: AnswerInfo) => void) | undefined;
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
  /** Whose turn it is, of the transactions of this client that conflict. */
  readonly turns: Turns;
  readonly #timeoutMs: number;
  readonly #requests: Requests;
  /** The token of the present session as text; empty while there is none. */
  readonly #session: () => string;
  readonly #ids = new Map<string, number>();

  constructor(
    environment: Environment,
    timeoutMs: number,
    requests: Requests,
    session: () => string,
  ) {
    this.environment = environment;
    this.turns = new Turns(environment);
    this.#timeoutMs = timeoutMs;
    this.#requests = requests;
    this.#session = session;
  }

  /** @throws DompError `invalid_argument` */
  deadline(options: WriteOptions | undefined): SubmitOptions {
    const timeoutMs =
      options?.timeoutMs === undefined ? this.#timeoutMs : checkTimeout(options.timeoutMs);
    const key = options?.idempotencyKey;
    return {
      deadlineMs: this.environment.now() + timeoutMs,
      signal: options?.signal,
      idempotencyKey: key === undefined ? undefined : idempotencyKeyBytes(key),
      onAnswer: options?.onAnswer,
    };
  }

  rememberSpace(name: string, id: number): void {
    if (this.#ids.size >= IDS_MAX) this.#ids.clear();
    this.#ids.set(name, id);
  }

  /** An id that a space had at some time; what is known is not changed. */
  hintSpace(name: string, id: number): void {
    if (id !== META_SPACE && !this.#ids.has(name)) this.rememberSpace(name, id);
  }

  forgetSpace(name: string): void {
    this.#ids.delete(name);
  }

  forgetSpaces(): void {
    this.#ids.clear();
  }

  /** Submits a transaction to a space; `decode` makes the caller's answer of the reply. */
  submit<T>(
    space: string,
    draft: Draft,
    options: SubmitOptions,
    decode: (reply: Reply, requestId: string) => T,
  ): Promise<T> {
    const run = (id: number): Promise<T> => this.#send(id, draft, options, decode);
    return this.#inSpace(space, options, run, draft);
  }

  /** Submits a transaction to a space by its id. */
  async submitTo<T>(
    id: number,
    draft: Draft,
    options: SubmitOptions,
    decode: (reply: Reply, requestId: string) => T,
  ): Promise<T> {
    try {
      return await this.#send(id, draft, options, decode);
    } catch (error) {
      throw traced(located(error, draft));
    }
  }

  #send<T>(
    id: number,
    { guards, then, otherwise, result }: Draft,
    { idempotencyKey, onAnswer, deadlineMs, signal }: SubmitOptions,
    decode: (reply: Reply, requestId: string) => T,
  ): Promise<T> {
    const readOnly = !then.some(isWrite) && !otherwise?.some(isWrite);
    const transaction = { space: id, guards, then, otherwise, idempotencyKey, result };
    const submission = {
      space: id,
      kind: "transaction",
      payload: encoded(() => encodeTransaction(transaction)),
      // Any that it concerns.
      key: keyOf(then[0] ?? guards[0] ?? otherwise?.[0]),
      readOnly,
      decode: onAnswer === undefined ? decode : heard(decode, onAnswer),
    } as const;
    return this.#requests.submit(submission, deadlineMs, signal);
  }

  /** Asks what became of a request; fences it if nothing did. */
  async outcome<T>(
    target: RequestId,
    key: Uint8Array,
    options: DeadlineOptions,
    decode: (known: KnownOutcome) => T,
  ): Promise<T> {
    const { space, sequence, sessionBytes: session } = target;
    const requestId = `${target.session}.${space}.${sequence}`;
    const release = (known: KnownOutcome): void => {
      const isOurs = isSameSession(target.session, this.#session());
      if (isOurs) this.#requests.release(space, sequence, known);
    };
    const known = this.#requests.known(requestId);
    if (known !== undefined) {
      release(known);
      return decode(known);
    }
    try {
      const payload = encoded(() => encodeOutcomeRequest({ space, key, sequence, session }));
      const answer = (reply: Reply): T => {
        const found: KnownOutcome = reply.outcomeApplied
          ? { outcome: "applied", reply }
          : { outcome: "never" };
        release(found);
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
      throw traced(stillUnknown(cause, requestId));
    }
  }

  /** Asks what became of the transaction under an idempotency key. */
  outcomeOf<T>(
    space: string,
    idempotencyKey: Uint8Array,
    options: DeadlineOptions,
    decode: (outcome: WireKeyOutcome) => T,
  ): Promise<T> {
    return this.#inSpace(space, options, (id) => {
      const payload = encodeOutcomeOfRequest({ space: id, idempotencyKey });
      const submission = {
        space: id,
        kind: "outcome_of",
        payload,
        readOnly: true,
        decode: (reply: Reply) => decode(decodeKeyOutcome(reply.payload)),
      } as const;
      return this.#requests.submit(submission, options.deadlineMs, options.signal);
    });
  }

  /** Does something in a space under its id; once more if it was dropped and made anew meanwhile. */
  async #inSpace<T>(
    space: string,
    options: DeadlineOptions,
    run: (id: number) => Promise<T>,
    draft?: Draft,
  ): Promise<T> {
    let known = this.#ids.get(space);
    for (;;) {
      const id = known ?? this.#ids.get(space) ?? (await this.#lookUp(space, options));
      try {
        return await run(id);
      } catch (error) {
        const isGone =
          error instanceof DompError &&
          error.code === "unknown_space" &&
          error.outcome !== "unknown";
        if (isGone && this.#ids.get(space) === id) this.#ids.delete(space);
        if (!isGone || known === undefined) throw traced(draft ? located(error, draft) : error);
        // Nothing was done, so it may be issued again to the space that bears the name now.
        known = undefined;
      }
    }
  }

  #lookUp(space: string, { deadlineMs, signal }: DeadlineOptions): Promise<number> {
    const draft = { guards: [], then: [{ kind: "get", key: spaceKey(space) }] } as const;
    return this.submitTo(META_SPACE, draft, { deadlineMs, signal }, (reply) => {
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

/** Tells the caller's listener of an answer, too. */
function heard<T>(
  decode: (reply: Reply, requestId: string) => T,
  onAnswer: (answer: AnswerInfo) => void,
): (reply: Reply, requestId: string) => T {
  return (reply, requestId) => {
    const { revision, applied, replayed } = reply;
    onAnswer({ requestId, revision, applied, replayed });
    return decode(reply, requestId);
  };
}

/** The error with all that is known of its place. */
function located(error: unknown, draft: Draft): unknown {
  return error instanceof DompError
    ? Object.assign(error, locate(error.code, error, draft))
    : error;
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
