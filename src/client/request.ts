import type { ErrorName } from "../protocol/generated/errors.js";
import { DompError } from "./errors.js";
import type { Reply } from "./wire.js";

/** What a caller may say of one request. */
export interface RequestOptions {
  /** Milliseconds from now in which the call settles, one way or the other; default 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Gives the call up; what had left stays `unknown`. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Hears of the answer before the promise settles, for calls whose result has no room for it. Must
   * not throw.
   */
  readonly onAnswer?: ((answer: AnswerInfo) => void) | undefined;
}

/** What an answer says beyond a call's result. */
export interface AnswerInfo {
  /** Names the request, as an error's `requestId` does. */
  readonly requestId: string;
  /** Of the commit, or of the state that was read. */
  readonly revision: bigint;
  /** The guards held. */
  readonly applied: boolean;
  /** It had taken effect before, in an earlier attempt or under the same idempotency key. */
  readonly replayed: boolean;
}

/** What a caller may say of a request that writes. */
export interface WriteOptions extends RequestOptions {
  /**
   * Under one key (1 to 255 bytes; text as UTF-8) a write takes effect at most once, whichever
   * client sends it and however often; each gets the first answer. Names it for `outcomeOf()`.
   */
  readonly idempotencyKey?: string | Uint8Array | undefined;
}

/** What is handed in to be sent. */
export interface Submission<T> {
  /** The id of the space it is for. */
  readonly space: number;
  readonly kind: "transaction" | "outcome" | "outcome_of";
  readonly payload: Uint8Array;
  /** A key that it concerns, by which its outcome can be asked for; absent where it has no effect. */
  readonly key?: Uint8Array | undefined;
  /** Has no effect, so sending it twice or losing it harms nobody. */
  readonly readOnly: boolean;
  /** Makes the caller's result of the reply; called while the frame is at hand. */
  readonly decode: (reply: Reply, requestId: string) => T;
}

/**
 * Where a request stands.
 * - `queued`: never sent in this session; has no sequence.
 * - `sent`: on its way over the present connection.
 * - `resend`: has a sequence, waits for the next frame.
 * - `backoff`: turned away for now; waits until `notBeforeMs`.
 * - `ghost`: the caller was told `unknown` and may ask; kept so that the server keeps what it knows.
 * - `settled`: over.
 */
export type RequestState = "queued" | "sent" | "resend" | "backoff" | "ghost" | "settled";

const NOTHING = new Uint8Array(0);

/** One request on its way from the caller to its end, through all its attempts. */
export class Request {
  state: RequestState = "queued";
  /** Part of the request id; 0 until it is first sent. */
  sequence = 0;
  /** Sent over the present connection and not answered. */
  inFlight = false;
  /**
   * An attempt went out with a connection that broke, or was answered `unknown`: nobody knows what
   * became of it (Promise 4). Only an answer that says what became of the request ends that.
   */
  unresolved = false;
  /** Attempts that were turned away, for the backoff. */
  refusals = 0;
  notBeforeMs = 0;
  /** A ghost after whose outcome the server is being asked. */
  isAskedAfter = false;
  /** Why the last attempt was turned away. */
  lastRefusal: DompError | undefined;
  /** What one attempt costs of the connection's limit of outstanding bytes. */
  readonly costBytes: number;
  readonly space: number;
  readonly kind: Submission<unknown>["kind"];
  /** Let go once it will not be sent again: a ghost holds no more than a number. */
  payload: Uint8Array;
  readonly readOnly: boolean;
  readonly key: Uint8Array | undefined;
  readonly deadlineMs: number;
  /** Does a caller wait, so that it counts against the bounds of what may wait? */
  readonly isCounted: boolean;
  readonly #decode: (reply: Reply, requestId: string) => unknown;
  readonly #resolve: (result: unknown) => void;
  readonly #reject: (error: unknown) => void;
  readonly #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(
    submission: Submission<unknown>,
    costBytes: number,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    resolve: (result: unknown) => void,
    reject: (error: unknown) => void,
    isCounted = true,
  ) {
    this.isCounted = isCounted;
    this.key = submission.key;
    this.space = submission.space;
    this.kind = submission.kind;
    this.payload = submission.payload;
    this.readOnly = submission.readOnly;
    this.costBytes = costBytes;
    this.deadlineMs = deadlineMs;
    this.#decode = submission.decode;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = signal;
  }

  /** Calls back when the caller gives up. */
  watchSignal(onAbort: () => void): void {
    if (this.#signal === undefined) return;
    this.#onAbort = onAbort;
    this.#signal.addEventListener("abort", onAbort, { once: true });
  }

  /** The caller's reason to give up, for the error's `cause`. */
  get abortReason(): unknown {
    return this.#signal?.reason;
  }

  /** Does it ask what became of another? */
  get isQuestion(): boolean {
    return this.kind === "outcome";
  }

  /** Has the caller not been answered? */
  get isPending(): boolean {
    return this.state !== "ghost" && this.state !== "settled";
  }

  resolve(reply: Reply, requestId: string): void {
    let result: unknown;
    try {
      result = this.#decode(reply, requestId);
    } catch (cause) {
      const outcome = this.readOnly ? "not_applied" : "unknown";
      const message = "the server's answer can't be read";
      this.reject(
        cause instanceof DompError
          ? cause
          : new DompError("internal", message, { cause, requestId, outcome }),
      );
      return;
    }
    this.#end("settled");
    this.#resolve(result);
  }

  /** Tells the caller of the failure; afterwards the request is over, or a ghost. */
  reject(error: unknown, next: "settled" | "ghost" = "settled"): void {
    this.#end(next);
    this.#reject(error);
  }

  /**
   * The error for a caller who is not answered any more, and whether the server is to keep what it
   * knows of the request.
   */
  abandon(
    code: ErrorName,
    message: string,
    requestId: string | undefined,
  ): { error: DompError; next: "settled" | "ghost" } {
    const mayHaveLeft = this.inFlight || this.unresolved;
    if (this.readOnly || !mayHaveLeft) {
      const outcome = this.readOnly && mayHaveLeft ? "not_applied" : "not_submitted";
      if (code === "timeout" && this.lastRefusal !== undefined) {
        return { error: this.lastRefusal, next: "settled" };
      }
      const details = { outcome, requestId, cause: this.abortReason } as const;
      return { error: new DompError(code, message, details), next: "settled" };
    }
    const details = { outcome: "unknown", requestId, cause: this.abortReason } as const;
    return { error: new DompError(code, message, details), next: "ghost" };
  }

  #end(next: "settled" | "ghost"): void {
    this.state = next;
    this.payload = NOTHING;
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#onAbort = undefined;
  }
}
