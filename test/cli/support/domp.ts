// The built command line in processes of its own, and servers started by it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../src/main.js");

/** What a command left behind. */
export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** The environment without settings that would reach the command from outside. */
function environmentOf(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("DOMP_") || name === "DOMP_NATIVE_PATH",
  );
  return { ...Object.fromEntries(inherited), ...extra };
}

/** A directory that is gone after the test. */
export function freshDirectory(t: Pick<TestContext, "after">): string {
  const directory = mkdtempSync(path.join(tmpdir(), "domp-cli-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs `domp` with these words to its end. */
export async function domp(words: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { stdout, ...rest } = await dompBytes(words, options);
  return { stdout: stdout.toString("utf8"), ...rest };
}

/** The same, with standard output as bytes. */
export async function dompBytes(
  words: readonly string[],
  { input, environment, cwd = tmpdir() }: RunOptions = {},
): Promise<Omit<Finished, "stdout"> & { readonly stdout: Buffer }> {
  const child = spawn(process.execPath, [MAIN, ...words], {
    cwd,
    env: environmentOf(environment),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString("utf8") };
}

export interface ServerProcess {
  readonly url: string;
  readonly port: number;
  readonly data: string;
  readonly pid: number;
  /** All it printed so far. */
  readonly output: () => string;
  /** Sends a signal and waits for the end. */
  readonly stop: (
    signal?: NodeJS.Signals,
  ) => Promise<{ code: number | null; signal: string | null }>;
}

/**
 * A free port below those that the system hands out by itself: while a server restarts on it,
 * nobody's outgoing connection can take it.
 */
export async function stablePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 18_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => probe.close(resolve));
    if (isFree) return port;
  }
}

export interface ServerOptions {
  readonly data: string;
  /** 0: a free one. */
  readonly port?: number;
  readonly words?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

const START_TIMEOUT_MS = 30_000;

/** Starts `domp start` and waits until it serves. It is killed with the test if it still runs. */
export async function startServer(
  t: Pick<TestContext, "after">,
  { data, port = 0, words = [], environment }: ServerOptions,
): Promise<ServerProcess> {
  const child = spawn(
    process.execPath,
    [MAIN, "start", "--data", data, "--port", `${port}`, "--admin-port", "0", ...words],
    { cwd: path.dirname(data), env: environmentOf(environment), stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString("utf8");
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk.toString("utf8");
  });
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  t.after(async () => {
    if (isRunning(child)) child.kill("SIGKILL");
    await closed;
  });
  const url = await served(child, () => output);
  return {
    url,
    port: Number(new URL(url).port),
    data,
    pid: child.pid ?? 0,
    output: () => output,
    stop: async (signal = "SIGTERM") => {
      if (isRunning(child)) child.kill(signal);
      const [code, ended] = await closed;
      return { code, signal: ended };
    },
  };
}

async function served(child: ChildProcess, output: () => string): Promise<string> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const match = /serves clients at (\S+)[\s\S]*Ctrl-C ends it/.exec(output());
    if (match?.[1] !== undefined) return match[1];
    if (!isRunning(child)) throw new Error(`the server did not start:\n${output()}`);
    if (performance.now() > deadline) throw new Error(`the server is too slow:\n${output()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
