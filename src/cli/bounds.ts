import type { Command } from "commander";
import type { Bounds } from "../client/index.js";
import { usageError } from "./exit-codes.js";
import { type KeyFlags, readKey } from "./values.js";

export type { Bounds };

/** Which keys a command is about. */
export interface BoundsFlags extends KeyFlags {
  readonly prefix?: string;
  readonly from?: string;
  readonly to?: string;
}

export function boundsOptions(command: Command): Command {
  return command
    .option("--prefix <prefix>", "keys that begin so")
    .option("--from <key>", "keys from this one on")
    .option("--to <key>", "keys before this one");
}

export function hasBounds({ prefix, from, to }: BoundsFlags): boolean {
  return prefix !== undefined || from !== undefined || to !== undefined;
}

/** @throws CommandError */
export function readBounds(flags: BoundsFlags): Bounds {
  const { prefix, from, to } = flags;
  if (prefix !== undefined) {
    if (from !== undefined || to !== undefined) {
      throw usageError("give either --prefix, or --from and --to");
    }
    return { prefix: readKey(prefix, flags) };
  }
  return {
    from: from === undefined ? undefined : readKey(from, flags),
    to: to === undefined ? undefined : readKey(to, flags),
  };
}
