import { type ErrorName, errorMeanings, errors } from "../protocol/generated/errors.js";
import { TIMEOUT_MS_MAX } from "../protocol/generated/limits.js";
import { type BackoffLimits, fullJitterMs } from "./backoff.js";
import { Deadlines } from "./deadlines.js";
import type { Environment, Timer } from "./environment.js";
import { DompError, invalidArgument } from "./errors.js";
import { RequestQueue } from "./queue.js";
import { Request, type Submission } from "./request.js";
import {
  buildFrame,
  FRAME_HEADER_BYTES,
  type FrameItem,
  itemBytes,
  type Reply,
  readErrorDetail,
  readReplies,
} from "./wire.js";

/** What the server allows one connection; told in its welcome. */
export interface ConnectionLimits {
  /** Sequences from the lowest unacknowledged one that may be in use. */
  readonly window: number;
  readonly outstandingBytesMax: number;
  readonly frameBytesMax: number;
  readonly frameItemsMax: number;
}

export interface RequestsOptions {
  /** Requests that may wait for an answer, sent or not. */
  readonly requestsMax: number;
  /** Their bytes. */
  readonly bytesMax: number;
  readonly retry: BackoffLimits;
}

/** What the table of requests asks of the connection. */
export interface RequestsHost {
  /** There is something to send, or something to send became due. */
  wake(): void;
  /** The server no longer takes this session; a new one is needed. */
  renewSession(code: ErrorName): void;
  /** The public name of a sequence of the present session. */
  requestId(sequence: number): string;
  /** Is there a session on a live connection? */
  isReady(): boolean;
}

/** Answers to requests whose callers had left, kept for `outcome()`. */
const LATE_ANSWERS_MAX = 1024;

/** What is known of a request of this session without asking the server. */
export type KnownOutcome = { readonly outcome: "applied"; reply: Reply } | { outcome: "never" };

/**
 * Every request of one client from its issue to its end: the bounded queue, the numbering, the
 * window, the attempts, and what an answer or its absence means for the caller.
 *
 * Invariants:
 * - `#sent` holds exactly the sequences of this session that the server must remember or may yet
 *   answer, in rising order; `acked_below` is the lowest of them.
 * - A request has at most one attempt in flight on one connection.
 */
export class Requests {
  readonly #environment: Environment;
  readonly #options: RequestsOptions;
  readonly #host: RequestsHost;
  readonly #deadlines: Deadlines;
  readonly #queue = new RequestQueue();
  /** By sequence: sent, to be sent again, backing off, and ghosts. */
  readonly #sent = new Map<number, Request>();
  #resend: Request[] = [];
  #backoff = new Set<Request>();
  #backoffTimer: Timer | undefined;
  readonly #late = new Map<number, KnownOutcome>();
  #lowest = 1;
  #next = 1;
  #inFlightBytes = 0;
  #pendingCount = 0;
  #pendingBytes = 0;
  #onIdle: (() => void) | undefined;
  #refusal: { readonly code: ErrorName; readonly message: string } | undefined;

  constructor(environment: Environment, options: RequestsOptions, host: RequestsHost) {
    this.#environment = environment;
    this.#options = options;
    this.#host = host;
    this.#deadlines = new Deadlines(environment, (now) => this.#expire(now));
  }

  /** Requests whose callers wait. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  /** Is anything on its way over the present connection? */
  get isAnythingInFlight(): boolean {
    return this.#inFlightBytes > 0;
  }

  /**
   * Takes a request; it leaves with the next frame that has room. Settles by its deadline.
   * `deadlineMs` is a time of the environment's clock.
   */
  submit<T>(
    submission: Submission<T>,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (signal?.aborted) {
      const details = { outcome: "not_submitted", cause: signal.reason } as const;
      return Promise.reject(new DompError("aborted", "given up before it was sent", details));
    }
    if (this.#refusal !== undefined) {
      const { code, message } = this.#refusal;
      return Promise.reject(new DompError(code, message, { outcome: "not_submitted" }));
    }
    const costBytes = itemBytes(submission.payload);
    const { requestsMax, bytesMax } = this.#options;
    if (this.#pendingCount >= requestsMax || this.#pendingBytes + costBytes > bytesMax) {
      const held = `${this.#pendingCount} requests with ${this.#pendingBytes} bytes wait`;
      return Promise.reject(new DompError("queue_full", `${held}; await some before issuing more`));
    }
    return new Promise<T>((resolve, reject) => {
      const request = new Request(
        submission,
        costBytes,
        deadlineMs,
        signal,
        resolve as (result: unknown) => void,
        reject,
      );
      this.#pendingCount += 1;
      this.#pendingBytes += costBytes;
      this.#queue.push(request);
      this.#deadlines.watch(deadlineMs);
      request.watchSignal(() => this.#abandon(request, "aborted", "given up by its signal"));
      this.#host.wake();
    });
  }

  /** The next frame that may be sent now, or undefined. Its requests count as in flight. */
  takeFrame(limits: ConnectionLimits): Uint8Array | undefined {
    const items: FrameItem[] = [];
    const now = this.#environment.now();
    let frameBytes = FRAME_HEADER_BYTES;
    let timeoutMs = 1;
    const fits = (request: Request): boolean =>
      items.length < limits.frameItemsMax &&
      frameBytes + request.costBytes <= limits.frameBytesMax &&
      // The server counts the header too.
      FRAME_HEADER_BYTES + this.#inFlightBytes + request.costBytes <= limits.outstandingBytesMax;
    const take = (request: Request): void => {
      request.state = "sent";
      request.inFlight = true;
      this.#inFlightBytes += request.costBytes;
      frameBytes += request.costBytes;
      timeoutMs = Math.max(timeoutMs, request.deadlineMs - now);
      items.push({ sequence: request.sequence, kind: request.kind, payload: request.payload });
    };
    let taken = 0;
    for (const request of this.#resend) {
      if (request.state === "resend" && !this.#refuseTooLarge(request, limits)) {
        if (!fits(request)) break;
        take(request);
      }
      taken += 1;
    }
    this.#resend.splice(0, taken);
    while (this.#resend.length === 0) {
      const request = this.#queue.peek();
      if (request === undefined) break;
      if (this.#refuseTooLarge(request, limits)) continue;
      if (!fits(request) || !this.#openWindow(limits.window)) break;
      this.#queue.shift();
      request.sequence = this.#next;
      this.#next += 1;
      this.#sent.set(request.sequence, request);
      take(request);
    }
    if (items.length === 0) return undefined;
    const timeout = Math.min(Math.ceil(timeoutMs), TIMEOUT_MS_MAX);
    return buildFrame(items, this.#ackedBelow(), timeout);
  }

  /** Takes the answers of one frame. @throws ProtocolError `invalid_frame` */
  onReplies(frame: Uint8Array): void {
    for (const reply of readReplies(frame)) this.#onReply(reply);
    if (this.#resend.length > 0 || this.#queue.length > 0) this.#host.wake();
    this.#noticeIdle();
  }

  /** The connection is gone: what was in flight is unresolved, and due to be sent again. */
  onDisconnect(): void {
    this.#inFlightBytes = 0;
    const again: Request[] = [];
    for (const request of this.#sent.values()) {
      if (request.inFlight) {
        request.inFlight = false;
        request.unresolved = !request.readOnly;
      }
      if (request.state === "sent") request.state = "resend";
      if (request.state === "resend") again.push(request);
    }
    this.#resend = again;
  }

  /**
   * The session is gone for good. What may have taken effect in it can't be told any more; what
   * can't have is issued again in the next session, in its order.
   */
  onSessionLost(code: ErrorName): void {
    this.onDisconnect();
    const again: Request[] = [];
    const lost: Request[] = [];
    for (const request of this.#sent.values()) {
      if (!request.isPending) continue;
      (request.unresolved ? lost : again).push(request);
    }
    for (const request of lost) {
      const requestId = this.#host.requestId(request.sequence);
      const details = { outcome: "unknown", requestId } as const;
      const message = "the session was lost before the answer came";
      this.#reject(request, new DompError(code, message, details));
    }
    this.#sent.clear();
    this.#late.clear();
    this.#resend = [];
    this.#backoff.clear();
    this.#lowest = 1;
    this.#next = 1;
    for (const request of again) {
      request.sequence = 0;
      request.state = "queued";
    }
    this.#queue.unshift(again);
    this.#noticeIdle();
  }

  /** Refuses every request from now on, for this reason. */
  refuse(code: ErrorName, message: string): void {
    this.#refusal ??= { code, message };
  }

  /** Ends every request: nothing more is sent, nobody is answered. */
  abandonAll(code: ErrorName, message: string): void {
    for (const request of [...this.#queue, ...this.#sent.values()]) {
      this.#abandon(request, code, message);
    }
    this.#deadlines.stop();
    this.#stopBackoff();
    this.#noticeIdle();
  }

  /** Calls back once when no caller waits any more. */
  whenIdle(callback: () => void): void {
    this.#onIdle = callback;
    this.#noticeIdle();
  }

  /** What became of a sequence of this session, if an answer came after its caller had left. */
  known(sequence: number): KnownOutcome | undefined {
    return this.#late.get(sequence);
  }

  /** The server said what became of a sequence: it need not remember it for us any longer. */
  release(sequence: number, known: KnownOutcome): void {
    if (this.#sent.get(sequence)?.state !== "ghost") return;
    this.#forget(sequence);
    this.#remember(sequence, known);
  }

  #onReply(reply: Reply): void {
    const request = this.#sent.get(reply.sequence);
    // A duplicate, or an answer to what was let go.
    if (request === undefined || !request.inFlight) return;
    request.inFlight = false;
    this.#inFlightBytes -= request.costBytes;
    const code = reply.code;
    if (code === undefined) {
      this.#forget(reply.sequence);
      if (request.isPending) {
        this.#uncount(request);
        request.resolve(reply, this.#host.requestId(reply.sequence));
      } else {
        this.#remember(reply.sequence, { outcome: "applied", reply });
      }
      return;
    }
    if (request.isPending) this.#onRefusal(request, reply, code);
    else this.#onGhostRefusal(request, code);
  }

  #onRefusal(request: Request, reply: Reply, code: ErrorName): void {
    const row = errors[code];
    // To an outcome request it speaks of the session that was asked about.
    if (SESSION_GONE.has(code) && request.kind === "transaction") {
      this.#host.renewSession(code);
      if (!request.unresolved) {
        // Its only attempt was turned away, so it may be issued anew in the next session.
        request.state = "backoff";
        return;
      }
    }
    const requestId = this.#host.requestId(reply.sequence);
    const uncertain = request.unresolved && row.outcome === "not_submitted";
    const outcome = uncertain || row.outcome === "unknown" ? "unknown" : row.outcome;
    const detail = readErrorDetail(reply.payload);
    const error = new DompError(code, detail.message || errorMeanings[code], {
      outcome: request.readOnly && outcome === "unknown" ? "not_applied" : outcome,
      requestId,
      operation: detail.operation,
      retryAfterMs: detail.retryAfterMs,
    });
    if (row.outcome === "not_submitted" && row.retryable) {
      const now = this.#environment.now();
      const jitter = fullJitterMs(
        this.#options.retry,
        request.refusals,
        this.#environment.random(),
      );
      request.refusals += 1;
      request.notBeforeMs = now + Math.max(detail.retryAfterMs ?? 0, jitter);
      request.lastRefusal = error;
      if (request.notBeforeMs < request.deadlineMs) {
        request.state = "backoff";
        this.#backoff.add(request);
        this.#scheduleBackoff();
        return;
      }
    }
    if (error.outcome === "unknown" && code !== "request_id_stale") {
      request.unresolved = true;
      this.#uncount(request);
      request.reject(error, "ghost");
    } else {
      this.#forget(reply.sequence);
      this.#reject(request, error);
    }
  }

  /** The late answer to a request whose caller was told `unknown`. */
  #onGhostRefusal(request: Request, code: ErrorName): void {
    const { outcome } = errors[code];
    const never = outcome === "not_applied" || (outcome === "not_submitted" && !request.unresolved);
    if (!never) {
      request.unresolved = true;
      return;
    }
    this.#forget(request.sequence);
    this.#remember(request.sequence, { outcome: "never" });
  }

  #remember(sequence: number, known: KnownOutcome): void {
    if (this.#late.size >= LATE_ANSWERS_MAX) {
      for (const oldest of this.#late.keys()) {
        this.#late.delete(oldest);
        break;
      }
    }
    if (known.outcome === "applied") known.reply = detached(known.reply);
    this.#late.set(sequence, known);
  }

  #scheduleBackoff(): void {
    this.#stopBackoff();
    let earliest = Number.POSITIVE_INFINITY;
    for (const { notBeforeMs } of this.#backoff) earliest = Math.min(earliest, notBeforeMs);
    if (earliest === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.max(0, earliest - this.#environment.now());
    this.#backoffTimer = this.#environment.setTimer(() => this.#onBackoffOver(), delayMs);
  }

  #stopBackoff(): void {
    if (this.#backoffTimer !== undefined) this.#environment.clearTimer(this.#backoffTimer);
    this.#backoffTimer = undefined;
  }

  #onBackoffOver(): void {
    this.#backoffTimer = undefined;
    const now = this.#environment.now();
    for (const request of this.#backoff) {
      if (request.notBeforeMs > now) continue;
      this.#backoff.delete(request);
      if (request.state !== "backoff") continue;
      request.state = "resend";
      this.#resend.push(request);
    }
    this.#scheduleBackoff();
    this.#host.wake();
  }

  /** Gives up all whose deadline has come; returns the next deadline. */
  #expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    const look = (request: Request): void => {
      if (!request.isPending) return;
      if (request.deadlineMs > now) next = Math.min(next, request.deadlineMs);
      else this.#abandon(request, ...this.#lateness(request));
    };
    for (const request of [...this.#queue]) look(request);
    for (const request of [...this.#sent.values()]) look(request);
    this.#noticeIdle();
    return next;
  }

  /** This server takes no frame that could hold the request: sending it would end the connection. */
  #refuseTooLarge(request: Request, limits: ConnectionLimits): boolean {
    const frameBytes = FRAME_HEADER_BYTES + request.costBytes;
    const bytesMax = Math.min(limits.frameBytesMax, limits.outstandingBytesMax);
    if (frameBytes <= bytesMax) return false;
    this.#abandon(
      request,
      "too_large",
      `this server takes at most ${bytesMax} bytes in one frame, not ${frameBytes}`,
    );
    return true;
  }

  #lateness(request: Request): [ErrorName, string] {
    if (request.sequence === 0 && !this.#host.isReady()) {
      return ["unreachable", "no connection could be made before the deadline"];
    }
    return ["timeout", "no answer came before the deadline"];
  }

  #abandon(request: Request, code: ErrorName, message: string): void {
    if (!request.isPending) return;
    const { sequence } = request;
    const requestId = sequence === 0 ? undefined : this.#host.requestId(sequence);
    const { error, next } = request.abandon(code, message, requestId);
    this.#backoff.delete(request);
    if (next === "ghost") {
      this.#uncount(request);
      request.reject(error, "ghost");
    } else {
      if (sequence === 0) this.#queue.remove(request);
      else this.#forget(sequence);
      this.#reject(request, error);
    }
    this.#noticeIdle();
  }

  #reject(request: Request, error: DompError): void {
    this.#uncount(request);
    request.reject(error);
  }

  #uncount(request: Request): void {
    this.#pendingCount -= 1;
    this.#pendingBytes -= request.costBytes;
  }

  #noticeIdle(): void {
    if (this.#pendingCount > 0 || this.#onIdle === undefined) return;
    const callback = this.#onIdle;
    this.#onIdle = undefined;
    callback();
  }

  /** The sequence is over: acknowledged with the next frame. */
  #forget(sequence: number): void {
    const request = this.#sent.get(sequence);
    if (request?.inFlight) this.#inFlightBytes -= request.costBytes;
    this.#sent.delete(sequence);
  }

  #ackedBelow(): number {
    while (this.#lowest < this.#next && !this.#sent.has(this.#lowest)) this.#lowest += 1;
    return this.#lowest;
  }

  /** Is there room for one more sequence? Ghosts at the window's end are let go for it. */
  #openWindow(window: number): boolean {
    while (this.#next >= this.#ackedBelow() + window) {
      if (this.#sent.get(this.#lowest)?.state !== "ghost") return false;
      this.#forget(this.#lowest);
    }
    return true;
  }
}

/** The server does not take this session, or not any more. */
const SESSION_GONE: ReadonlySet<ErrorName> = new Set<ErrorName>([
  "session_expired",
  "session_superseded",
  "session_refused",
]);

/** A reply that outlives its frame. */
function detached(reply: Reply): Reply {
  return { ...reply, payload: reply.payload.slice() };
}

/** @throws DompError `invalid_argument` */
export function checkTimeout(timeoutMs: number): number {
  if (!(timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX)) {
    throw invalidArgument(`a timeout is more than 0 and at most ${TIMEOUT_MS_MAX} ms`);
  }
  return timeoutMs;
}
