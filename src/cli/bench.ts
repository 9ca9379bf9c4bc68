import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import { CommandError, ExitCode } from "./exit-codes.js";
import { packageDirectory } from "./package-info.js";

const EXAMPLES = `
Examples:
  $ domp bench
  $ domp bench --only put-c50,transfer
  $ domp bench -- --help                   all options of the suite

It builds the load generator, so it runs from a checkout and needs Rust. On a file system in memory
it refuses: a flush does nothing there.`;

/** `domp bench [options of the suite]` */
export function define(command: Command): Command {
  return command
    .description("Measures this machine: DOMP beside raw disk, raw WebSockets and installed peers.")
    .argument("[options...]", "options of the suite, see bench/README.md")
    .allowUnknownOption()
    .passThroughOptions()
    .addHelpText("after", EXAMPLES)
    .action(async (words: string[]) => {
      process.exitCode = await bench(words);
    });
}

function bench(words: readonly string[]): Promise<ExitCode> {
  const script = path.join(packageDirectory(), "scripts/bench.mjs");
  if (!existsSync(script)) {
    throw new CommandError(
      ExitCode.failed,
      "the benchmark suite is not part of the installed package: run it from a checkout " +
        "of the repository with `npm run bench`",
    );
  }
  const suite = spawn(process.execPath, [script, ...words], { stdio: "inherit" });
  // The terminal's signals reach the suite too, which cleans up; this process waits for that.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => suite.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    suite.on("error", reject);
    suite.on("close", (code) => resolve(exitCodeOf(code)));
  });
}

/** The suite has the same codes for what it shares with us: 0, 1, 2. */
function exitCodeOf(code: number | null): ExitCode {
  if (code === 0) return ExitCode.ok;
  return code === ExitCode.usage ? ExitCode.usage : ExitCode.failed;
}
