/**
 * One HTTP request and its response. uWebSockets.js forbids touching a response that was ended or
 * aborted; everything that writes goes through here, where that is known.
 */

import { errorMeanings, errorRetryAfterMs, errors } from "../../protocol/generated/errors.js";
import { bytesToJson } from "../../protocol/json-values.js";
import { type ClientMemory, type Holder, MEMORY_RETRY_MS } from "../memory.js";
import type { Refused, Waiter } from "../stateless.js";
import { addressOf, type Response } from "../transport.js";
import type { Request } from "./request.js";
import { STATUS_OF_ERROR, type Status, statusLine } from "./status.js";

/** A failure on its way to the caller. */
export interface Failure extends Refused {
  /** Where the table's status is not the fitting one. */
  readonly status?: Status;
  /** Further headers. */
  readonly headers?: Headers;
}

export type Headers = readonly (readonly [name: string, value: string])[];

const JSON_TYPE: Headers = [["Content-Type", "application/json; charset=utf-8"]];

/** A request's body, or why there is none; `aborted`: the caller is gone. */
export type Body =
  | { readonly ok: true; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly code: "too_large" | "overloaded" | "aborted" };

/** An answer up to here is sent even where memory is short: a write that was done must be told. */
const SMALL_ANSWER_BYTES = 64 * 1024;

export class Exchange implements Waiter, Holder {
  readonly request: Request;
  readonly #response: Response;
  readonly #memory: ClientMemory;
  /** Answered, if perhaps not all of it is sent. */
  #answered = false;
  #over = false;
  #onOver: (() => void)[] = [];
  #extra: Headers = [];

  constructor(response: Response, request: Request, memory: ClientMemory) {
    this.#response = response;
    this.request = request;
    this.#memory = memory;
    response.onAborted(() => this.#finish());
  }

  /** Answered or aborted: nothing more can be said. */
  get over(): boolean {
    return this.#over || this.#answered;
  }

  /** Where it came from; empty once it is over. */
  get address(): string {
    return this.over ? "" : addressOf(this.#response);
  }

  /** More is kept for clients than may be, and nobody has as much: it hears so, or is cut. */
  shed(detail: string): void {
    if (this.#over) return;
    if (this.#answered) this.#response.close();
    else this.#failOverloaded(detail);
  }

  /** Runs once the exchange is over, at once if it is. */
  onOver(run: () => void): void {
    if (this.over) run();
    else this.#onOver.push(run);
  }

  /** Headers that every answer of this exchange bears, whatever it says. */
  addHeaders(headers: Headers): void {
    this.#extra = [...this.#extra, ...headers];
  }

  /**
   * Answers; does nothing if the exchange is over. `closing` ends the connection after it, for
   * callers that are still sending what nobody will read.
   */
  respond(status: Status, headers: Headers, body: string | Uint8Array, closing = false): void {
    if (this.over) return;
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    if (!this.#memory.hold(this, bytes.length) && bytes.length > SMALL_ANSWER_BYTES) {
      this.#failOverloaded(this.#memory.detail(bytes.length));
      return;
    }
    this.#answered = true;
    const response = this.#response;
    let done = true;
    response.cork(() => {
      response.writeStatus(statusLine(status));
      for (const [name, value] of this.#extra) response.writeHeader(name, value);
      for (const [name, value] of headers) response.writeHeader(name, value);
      if (this.request.method === "HEAD") {
        response.endWithoutBody(bytes.length, closing);
      } else if (status === 204 || status === 304) {
        // With any argument, undefined too, a length would be announced.
        response.endWithoutBody();
      } else if (closing || bytes.length === 0) {
        response.end(bytes, closing);
      } else {
        done = this.#send(bytes);
      }
    });
    if (done) this.#finish();
  }

  /**
   * Sends a body as the caller reads it, and keeps the rest on the account: the transport would
   * keep it unseen, and take the next request on top. True if all of it is gone.
   */
  #send(bytes: Uint8Array): boolean {
    const response = this.#response;
    const [, done] = response.tryEnd(bytes, bytes.length);
    if (done || this.#over) return true;
    this.#memory.hold(this, bytes.length - response.getWriteOffset());
    response.onWritable((offset) => {
      const [ok, all] = response.tryEnd(bytes.subarray(offset), bytes.length);
      if (all) this.#finish();
      else if (!this.#over) this.#memory.hold(this, bytes.length - response.getWriteOffset());
      return ok;
    });
    return false;
  }

  respondJson(status: Status, value: unknown, headers: Headers = []): void {
    this.respond(status, [...JSON_TYPE, ...headers], `${JSON.stringify(value)}\n`);
  }

  /** `{error: {code, message, retryable, outcome, …}}` with the status of the table. */
  fail(failure: Failure, closing = false): void {
    const { code, operation, guard, key, retryAfterMs = errorRetryAfterMs[code] } = failure;
    const { retryable, outcome } = errors[code];
    const error = {
      code,
      message:
        failure.message === undefined || failure.message === ""
          ? errorMeanings[code]
          : failure.message,
      retryable,
      outcome,
      ...(operation === undefined ? {} : { operation }),
      ...(guard === undefined ? {} : { guard }),
      ...(key === undefined ? {} : { key: bytesToJson(key) }),
      ...(retryAfterMs > 0 ? { retry_after_ms: retryAfterMs } : {}),
    };
    const status = failure.status ?? STATUS_OF_ERROR[code];
    const headers = [...JSON_TYPE, ...(failure.headers ?? [])];
    if (status === 503) {
      headers.push(["Retry-After", String(Math.max(1, Math.ceil(retryAfterMs / 1000)))]);
    }
    if (status === 401) headers.push(["WWW-Authenticate", "Bearer"]);
    this.respond(status, headers, `${JSON.stringify({ error })}\n`, closing);
  }

  #failOverloaded(message: string): void {
    this.fail({ code: "overloaded", message, retryAfterMs: MEMORY_RETRY_MS }, true);
  }

  /** The whole body, of `bytesMax` at most. */
  readBody(bytesMax: number): Promise<Body> {
    const declared = Number(this.request.contentLength);
    if (declared > bytesMax) return Promise.resolve({ ok: false, code: "too_large" });
    return new Promise((resolve) => {
      let chunks: Uint8Array[] | undefined = [];
      let length = 0;
      const refuse = (code: "too_large" | "overloaded" | "aborted"): void => {
        chunks = undefined;
        resolve({ ok: false, code });
      };
      this.onOver(() => refuse("aborted"));
      this.#response.onData((chunk, isLast) => {
        if (chunks === undefined || this.over) return;
        length += chunk.byteLength;
        if (length > bytesMax) return refuse("too_large");
        if (!this.#memory.hold(this, length)) return refuse("overloaded");
        // The transport empties the chunk when this returns.
        if (chunk.byteLength > 0) chunks.push(new Uint8Array(chunk.slice(0)));
        if (!isLast) return;
        const [only] = chunks;
        const bytes =
          chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, length);
        chunks = undefined;
        resolve({ ok: true, bytes });
      });
    });
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#memory.release(this);
    const callbacks = this.#onOver;
    this.#onOver = [];
    for (const run of callbacks) run();
  }
}
