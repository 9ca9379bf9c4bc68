import type { Reply } from "./wire.js";

/** What became of a request, as far as it is known here without asking the server. */
export type KnownOutcome =
  | { readonly outcome: "applied"; readonly reply: Reply }
  | { readonly outcome: "never" };

/** Answers that came after their callers had left, kept for `outcome()`. Each has at most 2 KiB. */
const KNOWN_MAX = 1024;

/** What came to be known of requests whose callers were told `unknown`; the oldest go first. */
export class KnownOutcomes {
  /** By the request's name, whichever session it was of. */
  readonly #known = new Map<string, KnownOutcome>();

  get(name: string): KnownOutcome | undefined {
    return this.#known.get(name);
  }

  keep(name: string, known: KnownOutcome): void {
    const [oldest = ""] = this.#known.keys();
    if (this.#known.size >= KNOWN_MAX) this.#known.delete(oldest);
    // What is kept outlives its frame.
    const kept =
      known.outcome === "never"
        ? known
        : { ...known, reply: { ...known.reply, payload: known.reply.payload.slice() } };
    this.#known.set(name, kept);
  }
}
