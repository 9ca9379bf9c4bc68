import type { Command } from "commander";
import { CommandError, ExitCode } from "./exit-codes.js";
import { type OutputForm, outputOption, print, printJson } from "./output.js";

interface Flags {
  readonly output: OutputForm;
  readonly logDir?: string;
}

const EXAMPLES = `
Examples:
  $ domp check ./domp-data
  $ domp check ./domp-data -o json
  $ domp check ./domp-data --log-dir /fast/domp-log

Nothing is changed. No server may run on the directory. Exit code 5: something acknowledged is
damaged or missing; the report says what, where, and what it means.`;

/** `domp check DIR` */
export function define(command: Command): Command {
  return command
    .description("Verifies a data directory offline: log, snapshots and what names the node.")
    .argument("<directory>", "the data directory")
    .option("--log-dir <directory>", "where its log is, if not in it (log.dir of the server)")
    .addOption(outputOption())
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, { output, logDir }: Flags) => {
      const { EngineError, offline } = await import("../engine/index.js");
      const reply = await offline<"check">({
        kind: "check",
        directory,
        ...(logDir === undefined ? {} : { logDirectory: logDir }),
      }).catch((cause) => {
        if (!(cause instanceof EngineError)) throw cause;
        throw new CommandError(ExitCode.failed, cause.message, cause);
      });
      if (output === "json") {
        const { healthy, report } = reply;
        await printJson({ healthy, report });
      } else {
        await print(reply.text.endsWith("\n") ? reply.text : `${reply.text}\n`);
      }
      process.exitCode = reply.healthy ? ExitCode.ok : ExitCode.damaged;
    });
}
