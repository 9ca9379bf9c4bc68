import { spawn } from "node:child_process";
import { existsSync, statfsSync } from "node:fs";
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
  refuseMemory(words);
  const suite = spawn(process.execPath, [script, ...words], { stdio: "inherit" });
  // The terminal's signals reach the suite too, which cleans up; this process waits for that.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => suite.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    suite.on("error", reject);
    suite.on("close", (code) => resolve(exitCodeOf(code)));
  });
}

/** Magic numbers of file systems without a disk beneath, as statfs(2) tells them: tmpfs, ramfs. */
const IN_MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/** The suite looks again; here it is told before minutes are spent on building. */
function refuseMemory(words: readonly string[]): void {
  const at = words.findIndex((word) => word === "--dir" || word.startsWith("--dir="));
  const word = words[at];
  if (word === undefined) return;
  const directory = word === "--dir" ? words[at + 1] : word.slice("--dir=".length);
  if (directory === undefined || !existsSync(directory)) return;
  if (IN_MEMORY.has(statfsSync(directory).type)) {
    throw new CommandError(
      ExitCode.refused,
      `${directory} is a file system in memory, where a flush does nothing: there is nothing ` +
        "durable to measure. Name a directory on a disk with --dir",
    );
  }
}

/** The suite has the same codes for what it shares with us: 0, 1, 2. */
function exitCodeOf(code: number | null): ExitCode {
  if (code === 0) return ExitCode.ok;
  return code === ExitCode.usage ? ExitCode.usage : ExitCode.failed;
}
