import { RequestQueue } from "./queue.js";
import type { Request } from "./request.js";
import type { Reply } from "./wire.js";

/** What is known of a request of this session without asking the server. */
export type KnownOutcome = { readonly outcome: "applied"; reply: Reply } | { outcome: "never" };

/** Answers to requests whose callers had left, kept for `outcome()`. */
const LATE_ANSWERS_MAX = 1024;

/**
 * The requests of one client for one space: their queue, their numbering, their window. A space
 * that does not answer holds up no other.
 *
 * Invariant: `sent` holds exactly the sequences of this session and space that the server must
 * remember or may yet answer, in rising order; `acked_below` is the lowest of them.
 */
export class Lane {
  /** The id of the space. */
  readonly space: number;
  readonly queue = new RequestQueue();
  /** By sequence: sent, to be sent again, backing off, and ghosts. */
  readonly sent = new Map<number, Request>();
  resend: Request[] = [];
  /** What became of sequences whose answers came after their callers had left. */
  readonly late = new Map<number, KnownOutcome>();
  #lowest = 1;
  #next = 1;

  constructor(space: number) {
    this.space = space;
  }

  /** Is there something to send? */
  get isDue(): boolean {
    return this.resend.length > 0 || this.queue.length > 0;
  }

  /**
   * Gives a request the next sequence, if the window has room. Ghosts at its end are let go for
   * that, and told to `onLetGo`.
   */
  number(request: Request, window: number, onLetGo: (ghost: Request) => void): boolean {
    if (!this.#openWindow(window, onLetGo)) return false;
    request.sequence = this.#next;
    this.#next += 1;
    this.sent.set(request.sequence, request);
    return true;
  }

  /** The client holds every answer below this sequence. */
  ackedBelow(): number {
    while (this.#lowest < this.#next && !this.sent.has(this.#lowest)) this.#lowest += 1;
    return this.#lowest;
  }

  remember(sequence: number, known: KnownOutcome): void {
    const [oldest = 0] = this.late.keys();
    if (this.late.size >= LATE_ANSWERS_MAX) this.late.delete(oldest);
    // What is kept outlives its frame.
    if (known.outcome === "applied") {
      known.reply = { ...known.reply, payload: known.reply.payload.slice() };
    }
    this.late.set(sequence, known);
  }

  /** A session that is gone leaves nothing; in the next one `again` is issued first. */
  beginAnew(again: readonly Request[]): void {
    this.sent.clear();
    this.late.clear();
    this.resend = [];
    this.#lowest = 1;
    this.#next = 1;
    for (const request of again) {
      request.sequence = 0;
      request.state = "queued";
    }
    this.queue.unshift(again);
  }

  #openWindow(window: number, onLetGo: (ghost: Request) => void): boolean {
    while (this.#next >= this.ackedBelow() + window) {
      const lowest = this.sent.get(this.#lowest);
      if (lowest?.state !== "ghost") return false;
      this.sent.delete(this.#lowest);
      onLetGo(lowest);
    }
    return true;
  }
}
