/** The head of an HTTP request: what the handlers read of it, and what is wrong with it. */

import type { RequestHead } from "../transport.js";

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
  /** Why it can't be told what is asked, or where it ends; the connection must end with it. */
  readonly problem: string | undefined;
}

/** Headers of which two would mean two things: which one counts is not for us to guess. */
const SINGLE: ReadonlySet<string> = new Set([
  "host",
  "origin",
  "authorization",
  "idempotency-key",
  "content-length",
  "transfer-encoding",
]);

export function readRequest(head: RequestHead): Request {
  const headers = new Map<string, string>();
  let twice: string | undefined;
  head.forEach((name, value) => {
    const before = headers.get(name);
    if (before === undefined) headers.set(name, value);
    else if (SINGLE.has(name)) twice ??= name;
    // Lists: several headers of one name are one with commas (RFC 9110, 5.3).
    else headers.set(name, `${before}, ${value}`);
  });
  const of = (name: string): string => headers.get(name) ?? "";
  return {
    method: head.getMethod().toUpperCase(),
    path: head.getUrl(),
    host: of("host"),
    origin: of("origin"),
    authorization: of("authorization"),
    idempotencyKey: of("idempotency-key"),
    accept: of("accept"),
    ifNoneMatch: of("if-none-match"),
    contentLength: of("content-length"),
    problem:
      twice === undefined
        ? framingProblem(headers.get("content-length"), headers.get("transfer-encoding"))
        : `the header ${twice} stands twice`,
  };
}

/**
 * Why it can't be told where the body ends. The transport reads only the first of two lengths, and
 * any coding as if it were `chunked`; whoever stands in front may read them otherwise, and then
 * part of the body is the next request to one and not to the other.
 */
function framingProblem(
  contentLength: string | undefined,
  transferEncoding: string | undefined,
): string | undefined {
  if (contentLength !== undefined && transferEncoding !== undefined) {
    return "content-length and transfer-encoding can't both say where the body ends";
  }
  if (contentLength !== undefined && !/^\d{1,15}$/.test(contentLength)) {
    return "content-length is not a number of bytes";
  }
  if (transferEncoding !== undefined && transferEncoding.toLowerCase() !== "chunked") {
    return "transfer-encoding is known as chunked only";
  }
  return undefined;
}
