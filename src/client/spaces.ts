import { SPACE_NAME_BYTES_MAX } from "../protocol/generated/limits.js";
import { type Core, spaceKey } from "./core.js";
import { split } from "./entries.js";
import { invalidArgument } from "./errors.js";
import { type ByteBounds, keyText } from "./keys.js";
import type { RequestOptions } from "./request.js";
import { decodeResults, META_SPACE, type WireEntry } from "./wire.js";

/** A space: its name, and the number it has for as long as it lives. */
export interface SpaceInfo {
  readonly name: string;
  readonly id: number;
}

const NAME = /^[\w.-]+$/;

/** Creates, lists and drops spaces; `client.spaces`. */
export class Spaces {
  readonly #core: Core;

  /** @internal */
  constructor(core: Core) {
    this.#core = core;
  }

  /**
   * Creates a space. Names are of letters, digits, `.`, `_` and `-`, at most 64.
   * @throws DompError `space_exists`, `spaces_full`
   */
  async create(name: string, options?: RequestOptions): Promise<SpaceInfo> {
    const then = [{ kind: "spaceCreate", name: checkedName(name) }] as const;
    return this.#core.submitTo(
      META_SPACE,
      { guards: [], then },
      this.#core.deadline(options),
      (reply) => {
        const id = Number(decodeResults(reply.payload).results[0]?.number ?? 0n);
        this.#core.rememberSpace(name, id);
        return { name, id };
      },
    );
  }

  /** All spaces, by name. */
  async list(options?: RequestOptions): Promise<SpaceInfo[]> {
    const deadline = this.#core.deadline(options);
    const spaces: SpaceInfo[] = [];
    let from: Uint8Array | undefined = new Uint8Array(0);
    while (from !== undefined) {
      const asked: ByteBounds & { reverse: boolean } = { from, to: undefined, reverse: false };
      const then = [{ kind: "range", ...asked, limit: undefined, keysOnly: false }] as const;
      const draft = { guards: [], then };
      const page: { entries: readonly WireEntry[]; more: boolean } | undefined =
        await this.#core.submitTo(
          META_SPACE,
          draft,
          deadline,
          (reply) => decodeResults(reply.payload).results[0],
        );
      const entries = page?.entries ?? [];
      for (const { key, value } of entries) {
        if (typeof value === "bigint") spaces.push({ name: keyText(key), id: Number(value) });
      }
      from = split(asked, entries, page?.more ?? false)[1]?.from;
    }
    return spaces;
  }

  /**
   * Drops a space with all it holds.
   * @throws DompError `space_not_found`
   */
  async drop(name: string, options?: RequestOptions): Promise<void> {
    const then = [{ kind: "spaceDrop", name: checkedName(name) }] as const;
    const draft = { guards: [], then };
    await this.#core.submitTo(META_SPACE, draft, this.#core.deadline(options), () => undefined);
    this.#core.forgetSpace(name);
  }
}

function checkedName(name: string): Uint8Array {
  if (typeof name !== "string" || !NAME.test(name) || name.length > SPACE_NAME_BYTES_MAX) {
    throw invalidArgument(
      `a space's name has 1 to ${SPACE_NAME_BYTES_MAX} letters, digits, ".", "_" or "-"`,
    );
  }
  return spaceKey(name);
}
