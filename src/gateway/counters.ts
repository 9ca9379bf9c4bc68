/** What the gateway counts; read when the metrics are scraped. */

import type { ErrorName } from "../protocol/generated/errors.js";

export class Counters {
  /** Sockets open now, whatever they speak. */
  socketsOpen = 0;
  /** Sockets, whatever came of them. */
  socketsAccepted = 0;
  /** Sockets that ended without one whole and well-formed request head. */
  headsIncomplete = 0;
  connectionsOpened = 0;
  connectionsClosed = 0;
  /** Connections that the engine knows at present. */
  connectionsAttached = 0;
  framesIn = 0;
  bytesIn = 0;
  framesOut = 0;
  bytesOut = 0;
  httpRequests = 0;
  /** Replies for a connection that was gone. */
  repliesStale = 0;
  /** Bytes kept for clients now: half frames, unread replies, HTTP bodies and answers. */
  memoryBytes = 0;
  /** Connections that were cut, and requests refused, because they held the most of a full memory. */
  memoryShed = 0;
  /** Requests and connections that the gateway itself turned away, by error. */
  readonly refusals = new Map<ErrorName, number>();

  refused(code: ErrorName, requests = 1): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + requests);
  }
}
