import type { Command } from "commander";
import type { Space, StoredValue } from "../client/index.js";
import { type BoundsFlags, boundsOptions, readBounds } from "./bounds.js";
import { ExitCode, usageError } from "./exit-codes.js";
import { print, printJson, printTable } from "./output.js";
import { type SpaceFlags, spaceOptions, withClient } from "./session.js";
import { showKey, showValue, stored, type ValueFlags, valueOptions } from "./values.js";

interface Flags extends SpaceFlags, ValueFlags, BoundsFlags {
  readonly limit?: string;
  readonly reverse?: boolean;
  readonly keys?: boolean;
  readonly count?: boolean;
}

const EXAMPLES = `
Examples:
  $ domp range player/                     keys that begin with player/
  $ domp range --from a --to b --limit 10
  $ domp range score/ --reverse --limit 3
  $ domp range player/ --keys              without values
  $ domp range player/ --count             how many
  $ domp range player/ -o json | jq '.[].value'

Each page of 4,096 keys is of one revision; a long range may span several.`;

/** `domp range [PREFIX]` */
export function define(command: Command): Command {
  return boundsOptions(valueOptions(spaceOptions(command)))
    .argument("[prefix]", "the same as --prefix")
    .option("--limit <count>", "at most so many keys")
    .option("--reverse", "from the last key to the first")
    .option("--keys", "without values")
    .option("--count", "only how many there are")
    .addHelpText("after", EXAMPLES)
    .action(async (prefix: string | undefined, flags: Flags) => {
      if (prefix !== undefined && flags.prefix !== undefined) {
        throw usageError("the prefix is given twice");
      }
      process.exitCode = await range(prefix === undefined ? flags : { ...flags, prefix });
    });
}

async function range(flags: Flags): Promise<ExitCode> {
  const bounds = readBounds(flags);
  const limit = flags.limit === undefined ? undefined : readLimit(flags.limit);
  return withClient(flags, async (client) => {
    const space = client.space(flags.space, stored);
    if (flags.count) {
      const count = await space.count(bounds);
      if (flags.output === "json") await printJson({ count });
      else await print(`${count}\n`);
      return ExitCode.ok;
    }
    const { reverse, keys: keysOnly } = flags;
    const options = { ...bounds, limit, reverse, keysOnly };
    if (flags.output === "json") await printArray(space, options, flags);
    else await printPages(space, options, flags);
    return ExitCode.ok;
  });
}

type RangeOptions = NonNullable<Parameters<Space<StoredValue>["range"]>[0]>;

/** A table a page, so that a long range shows early. */
async function printPages(
  space: Space<StoredValue>,
  options: RangeOptions,
  flags: Flags,
): Promise<void> {
  const headings = flags.keys ? ["key"] : ["key", "value"];
  for await (const { entries } of space.range(options).pages()) {
    const rows = entries.map((entry) => {
      const key = showKey(entry, flags);
      return flags.keys ? [key] : [key, showValue(entry.value, flags)];
    });
    if (rows.length > 0) await printTable(headings, rows);
  }
}

/** One array, written as it comes. */
async function printArray(
  space: Space<StoredValue>,
  options: RangeOptions,
  flags: Flags,
): Promise<void> {
  const { entryToJson } = await import("./json-entries.js");
  let separator = "[";
  for await (const { entries } of space.range(options).pages()) {
    let text = "";
    for (const entry of entries) {
      text += `${separator}\n${JSON.stringify(entryToJson(entry, flags))}`;
      separator = ",";
    }
    await print(text);
  }
  await print(separator === "[" ? "[]\n" : "\n]\n");
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw usageError("--limit is a whole number of at least 1");
  }
  return limit;
}
