/**
 * One HTTP request and its response. uWebSockets.js forbids touching a response that was ended or
 * aborted; everything that writes goes through here, where that is known.
 */

import { errorMeanings, errors } from "../../protocol/generated/errors.js";
import type { Refused, Waiter } from "../stateless.js";
import type { RequestHead, Response } from "../transport.js";
import { STATUS_OF_ERROR, type Status, statusLine } from "./status.js";

/** A failure on its way to the caller. */
export interface Failure extends Refused {
  /** Where the table's status is not the fitting one. */
  readonly status?: Status;
  /** Further headers. */
  readonly headers?: Headers;
}

export type Headers = readonly (readonly [name: string, value: string])[];

/** The parts of a request's head that the handlers read; the head itself is gone after the turn. */
export interface Request {
  /** In upper case. */
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly origin: string;
  readonly authorization: string;
  readonly idempotencyKey: string;
  readonly accept: string;
  readonly ifNoneMatch: string;
  readonly contentLength: string;
}

export function readRequest(head: RequestHead): Request {
  return {
    method: head.getMethod().toUpperCase(),
    path: head.getUrl(),
    host: head.getHeader("host"),
    origin: head.getHeader("origin"),
    authorization: head.getHeader("authorization"),
    idempotencyKey: head.getHeader("idempotency-key"),
    accept: head.getHeader("accept"),
    ifNoneMatch: head.getHeader("if-none-match"),
    contentLength: head.getHeader("content-length"),
  };
}

const JSON_TYPE: Headers = [["Content-Type", "application/json; charset=utf-8"]];

export class Exchange implements Waiter {
  readonly request: Request;
  readonly #response: Response;
  #over = false;
  #onOver: (() => void)[] = [];
  #extra: Headers = [];

  constructor(response: Response, request: Request) {
    this.#response = response;
    this.request = request;
    response.onAborted(() => this.#finish());
  }

  /** Answered or aborted: nothing more can be written. */
  get over(): boolean {
    return this.#over;
  }

  /** Runs once the exchange is over, at once if it is. */
  onOver(run: () => void): void {
    if (this.#over) run();
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
    if (this.#over) return;
    const response = this.#response;
    response.cork(() => {
      response.writeStatus(statusLine(status));
      for (const [name, value] of this.#extra) response.writeHeader(name, value);
      for (const [name, value] of headers) response.writeHeader(name, value);
      if (this.request.method === "HEAD") {
        response.endWithoutBody(Buffer.byteLength(body), closing);
      } else if (status === 204 || status === 304) {
        // With any argument, undefined too, a length would be announced.
        response.endWithoutBody();
      } else {
        response.end(body, closing);
      }
    });
    this.#finish();
  }

  respondJson(status: Status, value: unknown, headers: Headers = []): void {
    this.respond(status, [...JSON_TYPE, ...headers], `${JSON.stringify(value)}\n`);
  }

  /** `{error: {code, message, retryable, outcome}}` with the status of the table. */
  fail(failure: Failure, closing = false): void {
    const { code, operation, retryAfterMs = 0 } = failure;
    const { retryable, outcome } = errors[code];
    const error = {
      code,
      message:
        failure.message === undefined || failure.message === ""
          ? errorMeanings[code]
          : failure.message,
      retryable,
      outcome,
      ...(operation === undefined || operation < 0 ? {} : { operation }),
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

  /** The whole body, or undefined if it is longer than `bytesMax` or the caller is gone. */
  readBody(bytesMax: number): Promise<Uint8Array | undefined> {
    const declared = Number(this.request.contentLength);
    if (declared > bytesMax) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      let chunks: Uint8Array[] | undefined = [];
      let length = 0;
      this.onOver(() => resolve(undefined));
      this.#response.onData((chunk, isLast) => {
        if (chunks === undefined) return;
        length += chunk.byteLength;
        if (length > bytesMax) {
          chunks = undefined;
          resolve(undefined);
          return;
        }
        // The transport empties the chunk when this returns.
        if (chunk.byteLength > 0) chunks.push(new Uint8Array(chunk.slice(0)));
        if (isLast) {
          resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, length));
          chunks = undefined;
        }
      });
    });
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    const callbacks = this.#onOver;
    this.#onOver = [];
    for (const run of callbacks) run();
  }
}
