import type { Command } from "commander";
import { ExitCode } from "./exit-codes.js";
import { print, printJson } from "./output.js";
import { type SpaceFlags, spaceOptions, withClient } from "./session.js";
import {
  decodeText,
  readKey,
  showValue,
  stored,
  toBase64,
  type ValueFlags,
  valueOptions,
} from "./values.js";

interface Flags extends SpaceFlags, ValueFlags {
  readonly raw?: boolean;
}

const EXAMPLES = `
Examples:
  $ domp get greeting
  $ domp get greeting -o json          with revisions and version
  $ domp get logo --raw > logo.png     exactly the bytes
  $ domp get logo --base64

Exit code 1 and nothing on standard output: the key is not there.`;

/** `domp get KEY` */
export function define(command: Command): Command {
  return valueOptions(spaceOptions(command))
    .argument("<key>", "the key")
    .option("--raw", "print exactly the stored bytes, without a line's end")
    .addHelpText("after", EXAMPLES)
    .action(async (key: string, flags: Flags) => {
      process.exitCode = await get(key, flags);
    });
}

async function get(key: string, flags: Flags): Promise<ExitCode> {
  return withClient(flags, async (client) => {
    const entry = await client.space(flags.space, stored).get(readKey(key, flags));
    if (entry === undefined) return ExitCode.failed;
    if (flags.output === "json") {
      const { entryToJson } = await import("./json-entries.js");
      await printJson(entryToJson(entry, flags));
      return ExitCode.ok;
    }
    const { value } = entry;
    if (typeof value === "bigint") await print(flags.raw ? `${value}` : `${value}\n`);
    else if (flags.raw) await print(value);
    else if (flags.base64) await print(`${toBase64(value)}\n`);
    // Text goes out as it is, even over several lines; what is no text would harm a terminal.
    else await print(`${decodeText(value) ?? showValue(value, flags)}\n`);
    return ExitCode.ok;
  });
}
