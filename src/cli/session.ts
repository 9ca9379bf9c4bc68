import { type Command, Option } from "commander";
import type { Client, DompError } from "../client/index.js";
import { parseDuration } from "../config/units.js";
import { CommandError, ExitCode, usageError } from "./exit-codes.js";
import { type OutputForm, outputOption } from "./output.js";
import { readFile } from "./values.js";

/** Where servers listen unless told otherwise. */
const URL_DEFAULT = "ws://127.0.0.1:7400";
const TIMEOUT_DEFAULT = "10s";
const CONNECT_TIMEOUT_MS_MAX = 3_000;

/** What every command that talks to a server is told. */
export interface SessionFlags {
  readonly url: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly timeout: string;
  readonly output: OutputForm;
}

/** What every command on a space is told. */
export interface SpaceFlags extends SessionFlags {
  readonly space: string;
}

/** Adds the options of a command that talks to a server. */
export function sessionOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--url <url>", "the server; of a cluster several, parted by commas")
        .env("DOMP_URL")
        .default(URL_DEFAULT),
    )
    .addOption(
      new Option(
        "--token <token>",
        "proves who you are; in the environment it is not seen by others",
      ).env("DOMP_TOKEN"),
    )
    .addOption(new Option("--token-file <file>", "a file that holds the token"))
    .addOption(new Option("--timeout <duration>", "give up after so long").default(TIMEOUT_DEFAULT))
    .addOption(outputOption());
}

/** Adds the options of a command on a space. */
export function spaceOptions(command: Command): Command {
  return sessionOptions(command).addOption(
    new Option("-s, --space <name>", "the space").default("default"),
  );
}

/** Milliseconds of a duration on the command line. @throws CommandError */
export function durationMs(text: string, option: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw usageError(`${option} ${parsed.problem}`);
  return parsed.value;
}

/** Connects, runs, closes. What fails becomes an error with an exit code. */
export async function withClient<T>(
  flags: SessionFlags,
  run: (client: Client) => Promise<T>,
): Promise<T> {
  const timeoutMs = durationMs(flags.timeout, "--timeout");
  const token = flags.tokenFile === undefined ? flags.token : tokenOf(flags.tokenFile);
  // Loaded here: help and usage errors need no client.
  const { connect, DompError } = await import("../client/node.js");
  let client: Client | undefined;
  try {
    client = await connect(flags.url.split(","), {
      token,
      timeoutMs,
      // A person waits: a server that is not there is not waited for as long as a busy one.
      connectTimeoutMs: Math.min(timeoutMs, CONNECT_TIMEOUT_MS_MAX),
      client: "domp command line",
    });
    return await run(client);
  } catch (error) {
    if (!(error instanceof DompError)) throw error;
    throw new CommandError(exitCodeOf(error), explain(error, flags), error);
  } finally {
    await client?.close({ abort: true });
  }
}

function tokenOf(file: string): string {
  return readFile(file).toString("utf8").trim();
}

/** What an error of the SDK means for whoever reads the exit code. */
export function exitCodeOf(error: DompError): ExitCode {
  switch (error.code) {
    case "unreachable":
      return ExitCode.unreachable;
    case "invalid_argument":
      return ExitCode.usage;
    default:
      return error.outcome === "not_submitted" ? ExitCode.refused : ExitCode.failed;
  }
}

/** The message, with what to do about it where that is known. */
function explain(error: DompError, { url }: SessionFlags): string {
  const lines = [error.message];
  if (error.code === "unreachable") {
    lines.push(`is a server running at ${url}? \`domp start\` starts one here`);
  } else if (error.code === "unauthenticated") {
    lines.push("give a token: --token-file, --token or DOMP_TOKEN");
  }
  if (error.outcome === "unknown") {
    lines.push("whether it took effect is not known");
  }
  return lines.join("\n");
}
