import { Command, CommanderError } from "commander";
import { CommandError, ExitCode } from "./exit-codes.js";

/** A command: what the list of commands says of it, and the file that has the rest. */
interface Listed {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ define(command: Command): Command }>;
}

/** In the order in which a newcomer meets them. */
const COMMANDS: readonly Listed[] = [
  { name: "start", summary: "run a server in the foreground", load: () => import("./start.js") },
  { name: "put", summary: "store a value", load: () => import("./put.js") },
  { name: "get", summary: "read a value", load: () => import("./get.js") },
  { name: "delete", summary: "remove keys", load: () => import("./delete.js") },
  { name: "range", summary: "read keys in order", load: () => import("./range.js") },
  { name: "tx", summary: "submit a transaction in JSON", load: () => import("./tx.js") },
  { name: "space", summary: "create, list and drop spaces", load: () => import("./space.js") },
  { name: "bench", summary: "measure this machine", load: () => import("./bench.js") },
  {
    name: "cluster",
    summary: "several nodes that hold the same data",
    load: () => import("./cluster.js"),
  },
  { name: "check", summary: "verify a data directory", load: () => import("./check.js") },
  { name: "log", summary: "print the records of a data directory", load: () => import("./log.js") },
  {
    name: "config",
    summary: "show every setting and its origin",
    load: () => import("./config.js"),
  },
  { name: "version", summary: "print versions", load: () => import("./version.js") },
];

const EPILOGUE = `
Try:
  $ domp start                             in one terminal
  $ domp put greeting hello                in another
  $ domp get greeting

Exit codes: 0 ok, 1 failed (an absent key), 2 usage, 3 unreachable, 4 refused, 5 check failed.
\`domp <command> --help\` has examples.`;

/**
 * Runs the command line; the arguments stand without program and script. Sets the process's exit
 * code and never rejects.
 */
export async function run(words: readonly string[]): Promise<void> {
  process.stdout.on("error", onBrokenPipe);
  try {
    const [first] = words;
    if (first === "-V" || first === "--version") {
      const { printVersion } = await import("./version.js");
      await printVersion("table");
      return;
    }
    const program = await buildProgram(words);
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** Only the file of the command that is called is loaded: a `get` need not know how to start. */
async function buildProgram(words: readonly string[]): Promise<Command> {
  const program = new Command("domp")
    .description("DOMP: durable, strictly serialisable shared state over WebSockets.")
    .addHelpText("after", EPILOGUE)
    .helpCommand("help [command]", "show the help of a command")
    .showHelpAfterError("(see --help)")
    .option("-V, --version", "print versions")
    .enablePositionalOptions()
    .exitOverride();
  const called = words.find((word) => !word.startsWith("-"));
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).summary(summary);
    if (called === name || called === "help") {
      const { define } = await load();
      if (command.description() === "") command.description(capitalised(summary));
      define(command);
    }
  }
  return program;
}

function capitalised(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

/** Says what went wrong; returns the exit code. */
function report(error: unknown): ExitCode {
  // Commander has printed its message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  if (error instanceof CommandError) {
    process.stderr.write(`domp: ${error.message}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`domp: a fault of this program: ${text}\n`);
  return ExitCode.failed;
}

/** Who reads us (`| head`) has enough: that is no fault. */
function onBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(process.exitCode ?? ExitCode.ok);
}
