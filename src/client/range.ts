import type { Codec } from "./codecs.js";
import type { Core } from "./core.js";
import { type Entry, type Page, type RangeRequest, split, toPage } from "./entries.js";
import type { ByteBounds } from "./keys.js";
import { pageLimit } from "./lower.js";
import type { RequestOptions } from "./request.js";
import { decodeResults, type WireEntry } from "./wire.js";

/** A page before its entries are decoded. */
export interface WirePage {
  readonly entries: readonly WireEntry[];
  readonly more: boolean;
  readonly revision: bigint;
}

/** Reads one page. */
export function readPage(
  core: Core,
  space: string,
  asked: RangeRequest,
  options: ReturnType<Core["deadline"]>,
): Promise<WirePage> {
  const { from, to, limit, reverse, keysOnly } = asked;
  const then = [
    {
      kind: "range",
      from,
      to,
      limit: limit === undefined ? undefined : pageLimit(limit),
      reverse,
      keysOnly,
    },
  ] as const;
  return core.submit(space, { guards: [], then }, options, (reply) => {
    const result = decodeResults(reply.payload).results[0];
    return {
      entries: result?.entries ?? [],
      more: result?.more ?? false,
      revision: reply.revision,
    };
  });
}

/**
 * A range of keys in order; nothing is read until it is asked for. Loop over its entries with
 * `for await`, over its pages with `pages()`, or read one page with `page()`. The time-out of the
 * options is that of each page.
 */
export class Range<V> implements AsyncIterable<Entry<V>> {
  readonly #core: Core;
  readonly #space: string;
  readonly #codec: Codec<V>;
  readonly #asked: RangeRequest;
  readonly #options: RequestOptions;

  /** @internal Use `space.range(options)`. */
  constructor(
    core: Core,
    space: string,
    codec: Codec<V>,
    asked: RangeRequest,
    options: RequestOptions,
  ) {
    this.#core = core;
    this.#space = space;
    this.#codec = codec;
    this.#asked = asked;
    this.#options = options;
    if (asked.limit !== undefined) pageLimit(asked.limit);
  }

  /** Reads the first page: at most `limit` entries, 4,096, or 1 MiB, whichever comes first. */
  async page(): Promise<Page<V>> {
    const page = await this.#read(this.#asked);
    return toPage(this.#codec, this.#asked, page.entries, page.more, page.revision);
  }

  /** All pages, each read when it is asked for; `limit` bounds the entries of all together. */
  async *pages(): AsyncGenerator<Page<V>, void, undefined> {
    let asked: RangeRequest | undefined = this.#asked;
    while (asked !== undefined) {
      const { entries, more, revision }: WirePage = await this.#read(asked);
      const page = toPage(this.#codec, asked, entries, more, revision);
      if (entries.length > 0 || asked === this.#asked) yield page;
      const [, rest]: readonly [ByteBounds, ByteBounds | undefined] = split(asked, entries, more);
      const limit: number | undefined =
        asked.limit === undefined ? undefined : asked.limit - entries.length;
      asked = rest === undefined || limit === 0 ? undefined : { ...asked, ...rest, limit };
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Entry<V>, void, undefined> {
    for await (const page of this.pages()) yield* page.entries;
  }

  /** Reads all of it into memory; give a `limit` unless you know that it is small. */
  async toArray(): Promise<Entry<V>[]> {
    const all: Entry<V>[] = [];
    for await (const page of this.pages()) for (const entry of page.entries) all.push(entry);
    return all;
  }

  #read(asked: RangeRequest): Promise<WirePage> {
    return readPage(this.#core, this.#space, asked, this.#core.deadline(this.#options));
  }
}
