/**
 * Writes to the log whom the gateway turned away and why: the first at once, then one a second for
 * each reason, with the number of those that were left out. A flood must not fill the disk.
 */

import type { ErrorName } from "../protocol/generated/errors.js";

/** The part of a log that is written to. */
export interface TurnedAwayLog {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

const INTERVAL_MS = 1_000;

const CLIENT_CHARACTERS_MAX = 64;

/** Ends that are no refusal: the server's own doing, told elsewhere. */
const UNTOLD: ReadonlySet<ErrorName> = new Set(["shutting_down", "internal"]);

interface Sampled {
  writtenMs: number;
  /** Since then, of this reason. */
  omitted: number;
  last: Readonly<Record<string, unknown>>;
}

export class TurnedAway {
  readonly #log: TurnedAwayLog;
  readonly #now: () => number;
  readonly #byReason = new Map<ErrorName, Sampled>();

  constructor(log: TurnedAwayLog, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** `client`: the name it gave itself, if it came to that. */
  note(reason: ErrorName, detail: string, address: string, client?: string): void {
    if (UNTOLD.has(reason)) return;
    const fields = {
      reason,
      detail,
      address,
      ...(client !== undefined && client !== "" && { client: printable(client) }),
    };
    const nowMs = this.#now();
    const sampled = this.#byReason.get(reason);
    if (sampled === undefined) {
      this.#byReason.set(reason, { writtenMs: nowMs, omitted: 0, last: fields });
      this.#write(fields, 0);
    } else {
      sampled.last = fields;
      sampled.omitted += 1;
      this.#writeIfDue(sampled, nowMs);
    }
  }

  /** Called every now and then: the last of a flood are written too. */
  sweep(): void {
    const nowMs = this.#now();
    for (const sampled of this.#byReason.values()) this.#writeIfDue(sampled, nowMs);
  }

  #writeIfDue(sampled: Sampled, nowMs: number): void {
    if (sampled.omitted === 0 || nowMs - sampled.writtenMs < INTERVAL_MS) return;
    this.#write(sampled.last, sampled.omitted - 1);
    sampled.writtenMs = nowMs;
    sampled.omitted = 0;
  }

  #write(fields: Readonly<Record<string, unknown>>, omitted: number): void {
    this.#log.warn(omitted === 0 ? fields : { ...fields, omitted }, "turned away");
  }
}

/** What a stranger calls itself must not write to a terminal. */
function printable(client: string): string {
  return client.slice(0, CLIENT_CHARACTERS_MAX).replace(/\p{C}/gu, "?");
}
