/** Commands run to their end, the built command line first of all. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { root } from "./root.js";

/** The built command line. */
export const MAIN = path.join(root, "build/bin/main.js");

/** What a command left behind. */
export interface Finished {
  /** Null after a signal's end. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The same, with standard output as bytes. */
export type FinishedBytes = Omit<Finished, "stdout"> & { readonly stdout: Buffer };

export interface RunOptions {
  readonly input?: string | Uint8Array;
  /** Variables beside, or in place of, those that the command inherits. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** The environment without settings that would reach the command line from outside. */
export function environmentOf(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("DOMP_") || name === "DOMP_NATIVE_PATH",
  );
  return { ...Object.fromEntries(inherited), ...extra };
}

/** Runs `domp` with these words. */
export function domp(words: readonly string[], options?: RunOptions): Promise<Finished> {
  return run(process.execPath, [MAIN, ...words], options);
}

/** The same, with standard output as bytes. */
export function dompBytes(words: readonly string[], options?: RunOptions): Promise<FinishedBytes> {
  return runBytes(process.execPath, [MAIN, ...words], options);
}

/** Runs a program to its end. */
export async function run(
  program: string,
  words: readonly string[],
  options?: RunOptions,
): Promise<Finished> {
  const { stdout, ...rest } = await runBytes(program, words, options);
  return { stdout: stdout.toString("utf8"), ...rest };
}

async function runBytes(
  program: string,
  words: readonly string[],
  { input, environment, cwd = tmpdir() }: RunOptions = {},
): Promise<FinishedBytes> {
  const child = spawn(program, words, {
    cwd,
    env: environmentOf(environment),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // It may end without having read.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input ?? "");
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString("utf8") };
}

/** Whether a program is there; without it a test is skipped, or fails where skips are forbidden. */
export function needs(t: TestContext, program: string, there: boolean): boolean {
  if (there) return true;
  if (process.env["DOMP_NO_SKIPS"] === "1") throw new Error(`skipped: needs ${program}`);
  t.skip(`skipped: needs ${program}`);
  return false;
}

/** Whether a command runs and exits with 0. */
export function works(program: string, words: readonly string[]): boolean {
  return spawnSync(program, words, { stdio: "ignore" }).status === 0;
}
