/** A node as a process of its own, through the command line, to be killed. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const main = path.join(root, "build/src/main.js");
const READY_MS = 20_000;

export interface NodeProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly admin: string;
  /** What it printed so far. */
  output(): string;
  /** Sends a signal and waits for the end: the exit code, or null after a signal's. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** A directory on the disk of the checkout (a temporary one might be memory); gone after the test. */
export function diskDirectory(t: Pick<TestContext, "after">): string {
  const directory = mkdtempSync(path.join(root, "build/process-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export interface NodeOptions {
  readonly data: string;
  readonly port?: number;
  readonly flags?: readonly string[];
  /** A program and its arguments in front of the node's, such as a tracer. */
  readonly under?: readonly string[];
}

/** Starts a node and waits until it serves. */
export async function startNode(
  t: Pick<TestContext, "after">,
  options: NodeOptions,
): Promise<NodeProcess> {
  const port = options.port ?? (await freePort());
  const adminPort = await freePort();
  const command = [
    ...(options.under ?? []),
    process.execPath,
    main,
    "start",
    "--data",
    options.data,
    "--port",
    String(port),
    "--admin-port",
    String(adminPort),
    ...(options.flags ?? []),
  ];
  const [program = "", ...args] = command;
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], cwd: tmpdir() });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const ended = once(child, "close");
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  });
  const admin = `http://127.0.0.1:${adminPort}`;
  const deadline = Date.now() + READY_MS;
  while (!(await isReady(admin))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      throw new Error(`the node did not get ready:\n${output}`);
    }
    await sleep(15);
  }
  return {
    child,
    url: `ws://127.0.0.1:${port}/v1`,
    admin,
    output: () => output,
    async end(signal) {
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

async function isReady(admin: string): Promise<boolean> {
  try {
    const response = await fetch(`${admin}/readyz`);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether a program is there; without it a test is skipped, or fails where skips are forbidden. */
export function needs(t: TestContext, program: string, there: boolean): boolean {
  if (there) return true;
  if (process.env["DOMP_NO_SKIPS"] === "1") throw new Error(`skipped: needs ${program}`);
  t.skip(`skipped: needs ${program}`);
  return false;
}

/** Whether a command runs and exits with 0. */
export function works(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}
