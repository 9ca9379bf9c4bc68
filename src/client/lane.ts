import { RequestQueue } from "./queue.js";
import type { Request } from "./request.js";

/** Sequences at the window's end that are kept for questions. */
const RESERVE_MAX = 64;

/**
 * The requests of one client for one space: their queues, their numbering, their window. A space
 * that does not answer holds up no other.
 *
 * Invariant: `sent` holds exactly the sequences of this session and space of which anything is
 * open, in rising order: answers that may yet come, and requests whose callers were told `unknown`
 * and may ask. `acked_below` is the lowest of them.
 */
export class Lane {
  /** The id of the space. */
  readonly space: number;
  /** By sequence: sent, to be sent again, backing off, and ghosts. */
  readonly sent = new Map<number, Request>();
  resend: Request[] = [];
  /** Questions after the outcome of requests: they go first, since they make room. */
  readonly #questions = new RequestQueue();
  readonly #others = new RequestQueue();
  #lowest = 1;
  #next = 1;

  constructor(space: number) {
    this.space = space;
  }

  /** Is there something to send? */
  get isDue(): boolean {
    return this.resend.length + this.#questions.length + this.#others.length > 0;
  }

  /** Requests that have no sequence yet, in the order in which they get one. */
  get queued(): Request[] {
    return [...this.#questions, ...this.#others];
  }

  push(request: Request): void {
    this.#queueOf(request).push(request);
  }

  /** The next request that waits for a sequence. */
  peek(window: number): Request | undefined {
    const question = this.#questions.peek();
    if (question !== undefined && this.#room(window) > 0) return question;
    const other = this.#others.peek();
    return this.#room(window) > reserve(window) ? other : undefined;
  }

  /** Gives the request that `peek` showed the next sequence. */
  number(request: Request): void {
    this.#queueOf(request).shift();
    request.sequence = this.#next;
    this.#next += 1;
    this.sent.set(request.sequence, request);
  }

  /** Takes a request out that was given up before it had a sequence. */
  remove(request: Request): void {
    this.#queueOf(request).remove(request);
  }

  /** Nothing is open below this sequence. */
  ackedBelow(): number {
    while (this.#lowest < this.#next && !this.sent.has(this.#lowest)) this.#lowest += 1;
    return this.#lowest;
  }

  /**
   * The requests that keep a window from moving on which is nearly used up, though nobody waits for
   * them: ghosts from its lowest sequence on, as many as may be asked after.
   */
  hindering(window: number): Request[] {
    const ghosts: Request[] = [];
    if (this.#room(window) > window >> 2) return ghosts;
    for (const request of this.sent.values()) {
      if (request.state !== "ghost" || ghosts.length >= Math.max(1, reserve(window))) break;
      ghosts.push(request);
    }
    return ghosts;
  }

  /** A session that is gone leaves nothing; in the next one `again` is issued first. */
  beginAnew(again: readonly Request[]): void {
    this.sent.clear();
    this.resend = [];
    this.#lowest = 1;
    this.#next = 1;
    for (const request of again) {
      request.sequence = 0;
      request.state = "queued";
    }
    this.#questions.unshift(again.filter((request) => request.isQuestion));
    this.#others.unshift(again.filter((request) => !request.isQuestion));
  }

  #queueOf(request: Request): RequestQueue {
    return request.isQuestion ? this.#questions : this.#others;
  }

  /** Sequences that may still be given. */
  #room(window: number): number {
    return this.ackedBelow() + window - this.#next;
  }
}

/** Without room for a question, requests that nobody knows the end of would block a window. */
function reserve(window: number): number {
  return Math.min(RESERVE_MAX, window >> 2);
}
