import { type ErrorName, errorMeanings, errors } from "../protocol/generated/errors.js";
import { TIMEOUT_MS_MAX } from "../protocol/generated/limits.js";
import { type BackoffLimits, fullJitterMs } from "./backoff.js";
import { Deadlines } from "./deadlines.js";
import type { Environment, Timer } from "./environment.js";
import { DompError, invalidArgument, SESSION_GONE } from "./errors.js";
import { type KnownOutcome, KnownOutcomes } from "./known.js";
import { Lane } from "./lane.js";
import { Request, type Submission } from "./request.js";
import { requestName } from "./request-id.js";
import {
  buildFrame,
  encodeOutcomeRequest,
  FRAME_HEADER_BYTES,
  type FrameItem,
  frameSpace,
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
  /** The public name of a request of the present session. */
  requestId(space: number, sequence: number): string;
  /** The token of the present session. */
  session(): Uint8Array;
  /** Is there a session on a live connection? */
  isReady(): boolean;
}

/** In which time a question of our own is answered, or asked again. */
const QUESTION_TIMEOUT_MS = 10_000;

/**
 * Every request of one client from its issue to its end: the bounded queue, the lanes (one a space,
 * each with its own numbering and window), the attempts, and what an answer or its absence means
 * for the caller.
 *
 * Invariant: a request has at most one attempt in flight on one connection.
 */
export class Requests {
  readonly #environment: Environment;
  readonly #options: RequestsOptions;
  readonly #host: RequestsHost;
  readonly #deadlines: Deadlines;
  /** By the space's id; the one whose turn is next comes first. */
  readonly #lanes = new Map<number, Lane>();
  readonly #known = new KnownOutcomes();
  #backoff = new Set<Request>();
  #backoffTimer: Timer | undefined;
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
      this.#lane(request.space).push(request);
      this.#deadlines.watch(deadlineMs);
      request.watchSignal(() => this.#abandon(request, "aborted", "given up by its signal"));
      this.#host.wake();
    });
  }

  /**
   * The next frame that may be sent now, or undefined. Its requests, all for one space, count as in
   * flight. Spaces take turns.
   */
  takeFrame(limits: ConnectionLimits): Uint8Array | undefined {
    for (const lane of [...this.#lanes.values()]) {
      const frame = this.#takeFrameOf(lane, limits);
      if (!frame) continue;
      this.#lanes.delete(lane.space);
      this.#lanes.set(lane.space, lane);
      return frame;
    }
    return undefined;
  }

  #takeFrameOf(lane: Lane, limits: ConnectionLimits): Uint8Array | undefined {
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
    for (const request of lane.resend) {
      if (request.state === "resend" && !this.#refuseTooLarge(request, limits)) {
        if (!fits(request)) break;
        take(request);
      }
      taken += 1;
    }
    lane.resend.splice(0, taken);
    this.#makeRoom(lane, limits.window);
    while (lane.resend.length === 0) {
      const request = lane.peek(limits.window);
      if (request === undefined) break;
      if (this.#refuseTooLarge(request, limits)) continue;
      if (!fits(request)) break;
      lane.number(request);
      take(request);
    }
    if (items.length === 0) return undefined;
    const timeout = Math.min(Math.ceil(timeoutMs), TIMEOUT_MS_MAX);
    return buildFrame(lane.space, items, lane.ackedBelow(), timeout);
  }

  /** Takes the answers of one frame. @throws ProtocolError `invalid_frame` */
  onReplies(frame: Uint8Array): void {
    const lane = this.#lanes.get(frameSpace(frame));
    for (const reply of readReplies(frame)) if (lane) this.#onReply(lane, reply);
    // What the answers made room for may be of any space: the bytes in flight are counted together.
    if ([...this.#lanes.values()].some((each) => each.isDue)) this.#host.wake();
    this.#noticeIdle();
  }

  /** The connection is gone: what was in flight is unresolved, and due to be sent again. */
  onDisconnect(): void {
    this.#inFlightBytes = 0;
    for (const lane of this.#lanes.values()) {
      const again: Request[] = [];
      for (const request of lane.sent.values()) {
        if (request.inFlight) {
          request.inFlight = false;
          request.unresolved = !request.readOnly;
        }
        if (request.state === "sent") request.state = "resend";
        if (request.state === "resend") again.push(request);
      }
      lane.resend = again;
    }
  }

  /**
   * The session is gone for good. What may have taken effect in it can't be told any more; what
   * can't have is issued again in the next session, in its order.
   */
  onSessionLost(code: ErrorName): void {
    this.onDisconnect();
    this.#backoff.clear();
    for (const lane of [...this.#lanes.values()]) {
      const again: Request[] = [];
      const lost: Request[] = [];
      for (const request of lane.sent.values()) {
        if (!request.isPending) continue;
        (request.unresolved ? lost : again).push(request);
      }
      for (const request of lost) {
        const requestId = this.#host.requestId(lane.space, request.sequence);
        const details = { outcome: "unknown", requestId } as const;
        const message = "the session was lost before the answer came";
        this.#reject(request, new DompError(code, message, details));
      }
      lane.beginAnew(again);
      if (!lane.isDue) this.#lanes.delete(lane.space);
    }
    this.#noticeIdle();
  }

  /** Refuses every request from now on, for this reason. */
  refuse(code: ErrorName, message: string): void {
    this.#refusal ??= { code, message };
  }

  /** Ends every request: nothing more is sent, nobody is answered. */
  abandonAll(code: ErrorName, message: string): void {
    for (const request of this.#all()) this.#abandon(request, code, message);
    this.#deadlines.stop();
    this.#stopBackoff();
    this.#noticeIdle();
  }

  /** Calls back once when no caller waits any more. */
  whenIdle(callback: () => void): void {
    this.#onIdle = callback;
    this.#noticeIdle();
  }

  /** What is known of a request, if an answer came after its caller had left. */
  known(requestId: string): KnownOutcome | undefined {
    return this.#known.get(requestName(requestId));
  }

  /** It is known what became of a request of this session: the server need not remember it for us. */
  release(space: number, sequence: number, known: KnownOutcome): void {
    const request = this.#lanes.get(space)?.sent.get(sequence);
    if (request?.state !== "ghost") return;
    this.#forget(request);
    this.#keep(request, known);
    this.#host.wake();
  }

  #lane(space: number): Lane {
    const lane = this.#lanes.get(space) ?? new Lane(space);
    this.#lanes.set(space, lane);
    return lane;
  }

  /** Every request, queued or sent. */
  #all(): Request[] {
    return [...this.#lanes.values()].flatMap((lane) => [...lane.queued, ...lane.sent.values()]);
  }

  #onReply(lane: Lane, reply: Reply): void {
    const request = lane.sent.get(reply.sequence);
    // A duplicate, or an answer to what was let go.
    if (request === undefined || !request.inFlight) return;
    this.#land(request);
    const code = reply.code;
    if (code !== undefined) {
      if (request.isPending) this.#onRefusal(request, reply, code);
      else this.#onGhostRefusal(request, reply);
    } else if (request.isPending) {
      this.#forget(request);
      this.#uncount(request);
      request.resolve(reply, this.#host.requestId(lane.space, reply.sequence));
    } else {
      // Its caller may be about to ask, here or in another client: the server is to remember it too.
      this.#keep(request, { outcome: "applied", reply });
    }
  }

  #onRefusal(request: Request, reply: Reply, code: ErrorName): void {
    // What the server says of the error, which it may know better than our table.
    const { outcome: told = "unknown", retryable } = reply;
    // To an outcome request it speaks of the session that was asked about.
    if (SESSION_GONE.has(code) && !request.isQuestion) {
      this.#host.renewSession(code);
      if (!request.unresolved) {
        // Its only attempt was turned away, so it may be issued anew in the next session.
        request.state = "backoff";
        return;
      }
    }
    const requestId = this.#host.requestId(request.space, reply.sequence);
    const outcome = request.unresolved && told === "not_submitted" ? "unknown" : told;
    const detail = readErrorDetail(reply.payload);
    const error = new DompError(code, detail.message || errorMeanings[code], {
      outcome: request.readOnly && outcome === "unknown" ? "not_applied" : outcome,
      requestId,
      // Where our table says otherwise, the server knows better.
      retryable: retryable === errors[code].retryable ? undefined : retryable && outcome === told,
      operation: detail.operation,
      guard: detail.guard,
      key: detail.key,
      retryAfterMs: detail.retryAfterMs,
    });
    if (told !== "not_applied" && retryable) {
      // Not known, but safe to send again: under the same id it takes effect at most once.
      if (told === "unknown") request.unresolved ||= !request.readOnly;
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
      this.#forget(request);
      this.#reject(request, error);
    }
  }

  /** The late answer to a request whose caller was told `unknown`. */
  #onGhostRefusal(request: Request, { outcome }: Reply): void {
    const never = outcome === "not_applied" || (outcome === "not_submitted" && !request.unresolved);
    if (never) this.#keep(request, { outcome: "never" });
    else request.unresolved = true;
  }

  #keep({ space, sequence }: Request, known: KnownOutcome): void {
    this.#known.keep(requestName(this.#host.requestId(space, sequence)), known);
  }

  /**
   * Near the window's end: what is known of the requests that nobody waits for is acknowledged, and
   * the server is asked after the others.
   */
  #makeRoom(lane: Lane, window: number): void {
    for (const ghost of lane.hindering(window)) {
      const requestId = this.#host.requestId(lane.space, ghost.sequence);
      // A window too narrow for questions goes on without them.
      if (this.known(requestId) !== undefined || window < 4) this.#forget(ghost);
      else if (!ghost.isAskedAfter) this.#ask(lane, ghost);
    }
  }

  /** Asks what became of a ghost, keeps the answer, and lets the server forget. */
  #ask(lane: Lane, ghost: Request): void {
    const { space, sequence, key = new Uint8Array(1) } = ghost;
    const session = this.#host.session();
    const payload = encodeOutcomeRequest({ space, key, sequence, session });
    const decode = (reply: Reply): KnownOutcome =>
      reply.outcomeApplied ? { outcome: "applied", reply } : { outcome: "never" };
    const submission = { space, kind: "outcome", payload, readOnly: true, decode } as const;
    const isOpen = (): boolean => lane.sent.get(sequence) === ghost;
    const name = requestName(this.#host.requestId(space, sequence));
    const onAnswer = (known: unknown): void => {
      this.#known.keep(name, known as KnownOutcome);
      if (isOpen()) this.#forget(ghost);
    };
    const onError = (error: unknown): void => {
      ghost.isAskedAfter = false;
      const code = error instanceof DompError ? error.code : "internal";
      const mayAskAgain = code === "timeout" || errors[code].retryable;
      // Then nobody will ever know: it must not block the window for that.
      if (isOpen() && !mayAskAgain) this.#forget(ghost);
      this.#host.wake();
    };
    const deadlineMs = this.#environment.now() + QUESTION_TIMEOUT_MS;
    ghost.isAskedAfter = true;
    const costBytes = itemBytes(payload);
    lane.push(new Request(submission, costBytes, deadlineMs, undefined, onAnswer, onError, false));
    this.#deadlines.watch(deadlineMs);
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
      this.#lane(request.space).resend.push(request);
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
    for (const request of this.#all()) look(request);
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
    const requestId = sequence === 0 ? undefined : this.#host.requestId(request.space, sequence);
    const { error, next } = request.abandon(code, message, requestId);
    this.#backoff.delete(request);
    if (next === "ghost") {
      this.#uncount(request);
      request.reject(error, "ghost");
    } else {
      if (sequence === 0) this.#lane(request.space).remove(request);
      else this.#forget(request);
      this.#reject(request, error);
    }
    this.#noticeIdle();
  }

  #reject(request: Request, error: DompError): void {
    this.#uncount(request);
    request.reject(error);
  }

  #uncount(request: Request): void {
    if (!request.isCounted) return;
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
  #forget(request: Request): void {
    this.#land(request);
    this.#lanes.get(request.space)?.sent.delete(request.sequence);
  }

  /** It is not on its way any more. */
  #land(request: Request): void {
    if (request.inFlight) this.#inFlightBytes -= request.costBytes;
    request.inFlight = false;
  }
}

/** @throws DompError `invalid_argument` */
export function checkTimeout(timeoutMs: number): number {
  if (!(timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX)) {
    throw invalidArgument(`a timeout is more than 0 and at most ${TIMEOUT_MS_MAX} ms`);
  }
  return timeoutMs;
}
