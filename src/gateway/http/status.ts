/** The one table from errors to HTTP statuses. */

import type { ErrorName } from "../../protocol/generated/errors.js";

/** Reason phrases of every status the server sends. */
export const REASONS = {
  200: "OK",
  204: "No Content",
  304: "Not Modified",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  504: "Gateway Timeout",
} as const;

export type Status = keyof typeof REASONS;

/** `200 OK` */
export function statusLine(status: Status): string {
  return `${status} ${REASONS[status]}`;
}

/**
 * 4xx: the caller must change something; 409: the state of the keys forbids it; 422: the
 * Idempotency-Key belongs to another request; 503: try again; 504 and 500: it may have happened.
 */
export const STATUS_OF_ERROR: Readonly<Record<ErrorName, Status>> = {
  invalid_frame: 400,
  unsupported_version: 400,
  unauthenticated: 401,
  forbidden: 403,
  invalid_request: 400,
  unsupported_operation: 501,
  too_large: 413,
  cross_shard: 400,
  unknown_space: 404,
  overloaded: 503,
  deadline_exceeded: 503,
  unavailable: 503,
  shutting_down: 503,
  shard_damaged: 500,
  session_expired: 410,
  session_superseded: 409,
  session_refused: 403,
  sessions_full: 503,
  window_exceeded: 503,
  request_id_stale: 409,
  request_id_conflict: 422,
  fenced: 409,
  wrong_kind: 409,
  number_overflow: 409,
  out_of_bounds: 409,
  effects_too_large: 413,
  result_too_large: 422,
  space_exists: 409,
  space_not_found: 404,
  spaces_full: 409,
  too_many_connections: 503,
  slow_consumer: 503,
  idle_timeout: 408,
  idempotency_key_required: 400,
  idempotency_conflict: 422,
  not_found: 404,
  internal: 500,
  timeout: 504,
  aborted: 500,
  closed: 500,
  queue_full: 503,
  conflict: 409,
  unreachable: 503,
  invalid_argument: 400,
};
