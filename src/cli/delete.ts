import type { Command } from "commander";
import { type Bounds, type BoundsFlags, boundsOptions, hasBounds, readBounds } from "./bounds.js";
import { ExitCode, usageError } from "./exit-codes.js";
import { print, printJson } from "./output.js";
import { type SpaceFlags, spaceOptions, withClient } from "./session.js";
import { keyOptions, readKey, stored } from "./values.js";

type Flags = SpaceFlags & BoundsFlags;

const EXAMPLES = `
Examples:
  $ domp delete greeting
  $ domp delete --prefix cache/            up to 4,096 keys, all or nothing
  $ domp delete --from a --to b

Exit code 1 and nothing on standard output: there was nothing to delete.`;

/** `domp delete KEY` */
export function define(command: Command): Command {
  return boundsOptions(keyOptions(spaceOptions(command)))
    .argument("[key]", "the key")
    .addHelpText("after", EXAMPLES)
    .action(async (key: string | undefined, flags: Flags) => {
      process.exitCode = await remove(key, flags);
    });
}

async function remove(key: string | undefined, flags: Flags): Promise<ExitCode> {
  if ((key !== undefined) === hasBounds(flags)) {
    throw usageError("give either a key, or --prefix, or --from and --to");
  }
  return withClient(flags, async (client) => {
    const space = client.space(flags.space, stored);
    const deleted =
      key === undefined
        ? await space.deleteRange(readBounds(flags) satisfies Bounds)
        : Number(await space.delete(readKey(key, flags)));
    if (deleted === 0) return ExitCode.failed;
    if (flags.output === "json") await printJson({ deleted });
    else await print(`deleted ${deleted} ${deleted === 1 ? "key" : "keys"}\n`);
    return ExitCode.ok;
  });
}
