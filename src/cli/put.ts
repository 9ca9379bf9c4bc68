import { type Command, Option } from "commander";
import { ExitCode } from "./exit-codes.js";
import { print, printJson } from "./output.js";
import { durationMs, type SpaceFlags, spaceOptions, withClient } from "./session.js";
import { readKey, readValue, stored, type ValueFlags, valueOptions } from "./values.js";

interface Flags extends SpaceFlags, ValueFlags {
  readonly file?: string;
  readonly expire?: string;
}

const EXAMPLES = `
Examples:
  $ domp put greeting hello
  $ domp put gold/ada 100 --number         a number: transactions can add to it
  $ domp put logo --file logo.png
  $ date | domp put now -
  $ domp put code/ada 4711 --expire 5m     gone after five minutes`;

/** `domp put KEY VALUE` */
export function define(command: Command): Command {
  return valueOptions(spaceOptions(command))
    .argument("<key>", "the key")
    .argument("[value]", "the value; - reads standard input")
    .addOption(new Option("--number", "the value is a number of 64 bits"))
    .option("--file <file>", "take the value from a file")
    .option("--expire <duration>", "the key vanishes after so long")
    .addHelpText("after", EXAMPLES)
    .action(async (key: string, value: string | undefined, flags: Flags) => {
      process.exitCode = await put(key, value, flags);
    });
}

async function put(key: string, argument: string | undefined, flags: Flags): Promise<ExitCode> {
  const expireAfterMs =
    flags.expire === undefined ? undefined : durationMs(flags.expire, "--expire");
  const value = await readValue(argument, flags.file, flags);
  return withClient(flags, async (client) => {
    const space = client.space(flags.space, stored);
    const { revision } = await space.put(readKey(key, flags), value, { expireAfterMs });
    if (flags.output === "json") await printJson({ revision: `${revision}` });
    else await print(`stored at revision ${revision}\n`);
    return ExitCode.ok;
  });
}
