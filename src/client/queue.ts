import type { Request } from "./request.js";

/** First in, first out; a request may leave from the middle when its caller gives it up. */
export class RequestQueue {
  #items: (Request | undefined)[] = [];
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(request: Request): void {
    this.#items.push(request);
    this.#length += 1;
  }

  /** Puts requests before all others, in their order. */
  unshift(requests: readonly Request[]): void {
    this.#items = [...requests, ...this];
    this.#head = 0;
    this.#length = this.#items.length;
  }

  peek(): Request | undefined {
    while (this.#head < this.#items.length) {
      const request = this.#items[this.#head];
      if (request !== undefined && request.state === "queued") return request;
      this.#items[this.#head] = undefined;
      this.#head += 1;
    }
    this.#items = [];
    this.#head = 0;
    return undefined;
  }

  /** Takes the request that `peek` showed. */
  shift(): void {
    if (this.peek() === undefined) return;
    this.#items[this.#head] = undefined;
    this.#head += 1;
    this.#length -= 1;
    // The dead front is cut when it is the larger part: constant cost on average.
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Counts a request out; `peek` skips it once it is settled. */
  remove(request: Request): void {
    if (request.state === "queued") this.#length -= 1;
  }

  *[Symbol.iterator](): Generator<Request> {
    for (let i = this.#head; i < this.#items.length; i += 1) {
      const request = this.#items[i];
      if (request !== undefined && request.state === "queued") yield request;
    }
  }
}
