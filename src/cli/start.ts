import type { Command } from "commander";
import type { RunningServer } from "../server/index.js";
import { CommandError, ExitCode } from "./exit-codes.js";
import { print } from "./output.js";
import { packageVersion } from "./package-info.js";
import { loadSettings, settingOptions } from "./settings.js";

const EXAMPLES = `
Examples:
  $ domp start
  $ domp start --data /var/lib/domp --port 7500
  $ DOMP_LOGGING_LEVEL=warn domp start

It ends on Ctrl-C, SIGTERM or SIGHUP, when what it has accepted is done; a second one ends it at once.
\`domp config\` shows every setting and where it comes from.`;

/** `domp start` */
export function define(command: Command): Command {
  return settingOptions(command)
    .description("Runs a server in the foreground, on loopback unless told otherwise.")
    .addHelpText("after", EXAMPLES)
    .action(async (options: Record<string, unknown>) => {
      process.exitCode = await start(options);
    });
}

async function start(options: Record<string, unknown>): Promise<ExitCode> {
  outliveStreams();
  const { config } = loadSettings(options);
  // Loaded here, and uWebSockets.js by the server after it has looked at Node's version.
  const { createLogger, ExposureError, startServer } = await import("../server/index.js");
  const log = await createLogger(config.logging);
  // From here on, so that no signal is lost while the log is read.
  const signal = firstSignal();
  let server: RunningServer;
  try {
    server = await startServer(config, { log, version: packageVersion() });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const exitCode = cause instanceof ExposureError ? ExitCode.refused : ExitCode.failed;
    throw new CommandError(exitCode, message, cause);
  }
  await print(welcome(server, config.admin.tls_cert !== "")).catch(() => undefined);
  const end = await Promise.race([signal, server.fatal]);
  if (end instanceof Error) {
    throw new CommandError(ExitCode.failed, `the server failed: ${end.message}`, end);
  }
  await server.stop();
  return ExitCode.ok;
}

/**
 * Whoever read our output may go (a log shipper that restarts, a terminal that closes): the server
 * has other readers.
 */
function outliveStreams(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners("error");
    stream.on("error", () => undefined);
  }
}

/** Resolves with the first SIGINT, SIGTERM or SIGHUP; the second ends the process at once. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isFirst = true;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (!isFirst) {
        process.stderr.write(`domp: second ${signal}, ending without waiting\n`);
        process.kill(process.pid, "SIGKILL");
      }
      isFirst = false;
      resolve(signal);
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
    // The terminal is gone: nobody can end it otherwise any more.
    process.on("SIGHUP", onSignal);
  });
}

/**
 * An address to connect to. Where the server listens on all of the machine's, that one is no
 * address: on this machine `localhost` is, and elsewhere the reader knows the name.
 */
export function reachable({ url, address }: { readonly url: string; readonly address: string }): {
  readonly url: string;
  readonly address: string;
} {
  const local = address.replace(/^(?:0\.0\.0\.0|\[::\])(?=:\d+$)/, "localhost");
  return { url: url.replace(address, local), address: local };
}

/** What to try next. */
function welcome(server: RunningServer, isAdminEncrypted: boolean): string {
  const { url, address } = reachable(server);
  const isDefault = address === "127.0.0.1:7400" && url.startsWith("ws:");
  const at = isDefault ? "" : ` --url ${url}`;
  const adminScheme = isAdminEncrypted ? "https" : "http";
  const http = url.startsWith("wss:") ? "https" : "http";
  return `
DOMP ${packageVersion()} serves clients at ${server.url}
      data in ${server.report.directory}
      health and metrics at ${adminScheme}://${server.adminAddress}

Try, in another terminal:
  npx domp put${at} greeting hello
  npx domp get${at} greeting
  curl ${http}://${address}/v1/spaces/default/keys/greeting

or from JavaScript:
  import { connect } from ${JSON.stringify("domp/client")};
  const db = await connect("${url}");
  await db.space("default").put("greeting", "hello");

Ctrl-C ends it.
`;
}
