/** Statuses of HTTP, and which one an error has. */

import { type ErrorName, errorHttpStatuses } from "../../protocol/generated/errors.js";

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
 * Of the table of errors. 4xx: the caller must change something; 409: the state of the keys forbids
 * it; 422: the Idempotency-Key belongs to another request; 503: try again; 504 and 500: it may have
 * happened.
 */
export const STATUS_OF_ERROR: Readonly<Record<ErrorName, Status>> = errorHttpStatuses;
