import type { Command } from "commander";
import { CommandError, ExitCode, usageError } from "./exit-codes.js";

interface Flags {
  readonly logDir?: string;
  readonly group?: string;
  readonly from?: string;
}

const EXAMPLES = `
Examples:
  $ domp log ./domp-data | less
  $ domp log ./domp-data --group 1 --from 1000

Group 0 holds the names of spaces; the group of a space is its id (\`domp space list\`). Nothing is
changed. No server may run on the directory.`;

/** `domp log DIR` */
export function define(command: Command): Command {
  return command
    .description("Prints the records of a data directory's log, a line each, for a person.")
    .argument("<directory>", "the data directory")
    .option("--log-dir <directory>", "where it is, if not in the data directory (log.dir)")
    .option("--group <id>", "only records of this group")
    .option("--from <index>", "only entries from this index on")
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, flags: Flags) => {
      const group = whole(flags.group, "--group");
      const fromIndex = whole(flags.from, "--from <index>");
      const { EngineError, offline } = await import("../engine/index.js");
      await offline<"log">({
        kind: "log",
        directory,
        ...(flags.logDir === undefined ? {} : { logDirectory: flags.logDir }),
        ...(group === undefined ? {} : { group }),
        ...(fromIndex === undefined ? {} : { fromIndex }),
      }).catch((cause) => {
        if (!(cause instanceof EngineError)) throw cause;
        throw new CommandError(ExitCode.failed, cause.message, cause);
      });
    });
}

function whole(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(number) || number < 0) {
    throw usageError(`${option} is a whole number`);
  }
  return number;
}
