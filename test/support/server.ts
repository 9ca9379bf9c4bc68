/** Servers as processes of their own, started by the built command line, to be stopped or killed. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cleanUp } from "./clean-up.js";
import { environmentOf, MAIN } from "./command.js";

/** How a process ended: one of the two is null. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ServerProcess {
  readonly url: string;
  readonly port: number;
  /** Where health and metrics are, `http://host:port`. */
  readonly adminUrl: string;
  readonly data: string;
  readonly pid: number;
  /** Resolves when it has ended, whoever ended it. */
  readonly ended: Promise<Ended>;
  /** All it printed so far. */
  output(): string;
  /** Sends a signal, SIGTERM if none is named, and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Ended>;
}

export interface ServerOptions {
  readonly data: string;
  /** 0: a free one. */
  readonly port?: number;
  /** More words for `domp start`. */
  readonly words?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** A program and its words in front of the server's, such as a tracer. */
  readonly under?: readonly string[];
}

const START_TIMEOUT_MS = 30_000;
const POLL_MS = 10;

/** What still runs; a test file that ends early leaves nothing behind. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts `domp start` and waits until it serves. It is killed with the test if it still runs. */
export async function startServer(
  t: Pick<TestContext, "after">,
  { data, port = 0, words = [], environment, under = [] }: ServerOptions,
): Promise<ServerProcess> {
  const ports = ["--port", `${port}`, "--admin-port", "0"];
  const command = [process.execPath, MAIN, "start", "--data", data, ...ports, ...words];
  const [program = "", ...rest] = [...under, ...command];
  const child = spawn(program, rest, {
    cwd: path.dirname(data),
    env: environmentOf(environment),
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const ended = once(child, "close").then(([code, signal]): Ended => {
    running.delete(child);
    return { code, signal };
  });
  const stop = (signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> => {
    if (isRunning(child)) child.kill(signal);
    return ended;
  };
  cleanUp(t, () => stop("SIGKILL"));
  const { url, adminUrl } = await served(child, () => output);
  return {
    url,
    port: Number(new URL(url).port),
    adminUrl,
    data,
    pid: child.pid ?? 0,
    ended,
    output: () => output,
    stop,
  };
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

/** Waits for the words of a server that serves, and for its health to say the same. */
async function served(
  child: ChildProcess,
  output: () => string,
): Promise<{ url: string; adminUrl: string }> {
  const words = /serves clients at (\S+)[\s\S]*health and metrics at (\S+)[\s\S]*Ctrl-C ends it/;
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const [, url, adminUrl] = words.exec(output()) ?? [];
    if (url !== undefined && adminUrl !== undefined && (await isReady(adminUrl))) {
      return { url, adminUrl };
    }
    if (!isRunning(child)) throw new Error(`the server did not start:\n${output()}`);
    if (performance.now() > deadline) throw new Error(`the server is too slow:\n${output()}`);
    await sleep(POLL_MS);
  }
}

async function isReady(adminUrl: string): Promise<boolean> {
  try {
    const response = await fetch(`${adminUrl}/readyz`);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    // It has ended meanwhile, which its process tells.
    return false;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
