// Runs the commands of a page as a reader would type them, against a server of the test's own.

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Finished, MAIN, run } from "../../support/command.js";

/** A command and what the page says that it prints. */
export interface DocumentedCommand {
  readonly command: string;
  /** Parts of the output, in any order. */
  readonly prints: readonly string[];
}

/**
 * The commands of a fence. A line that begins with a space goes on with the command before; a
 * comment behind a command says what is printed, parts separated by commas.
 */
export function commandsOf(fence: string): DocumentedCommand[] {
  const commands: string[] = [];
  for (const line of fence.split("\n")) {
    if (line.startsWith(" ")) commands.push(`${commands.pop() ?? ""}\n${line}`);
    else if (line !== "" && !line.startsWith("#")) commands.push(line);
  }
  return commands.map((text) => {
    const [, command = text, comment = ""] = /^(.*?)\s{2,}# (.*)$/s.exec(text) ?? [];
    return { command, prints: comment === "" ? [] : partsOf(comment) };
  });
}

/** Commas inside braces part nothing. */
function partsOf(comment: string): string[] {
  return comment.split(/, (?![^{]*\})/).map(spaceless);
}

/** Without white space, which tables and JSON use as they like. */
export function spaceless(text: string): string {
  return text.replaceAll(/\s/g, "");
}

export interface Shell {
  readonly cwd: string;
  /** `host:port` for 127.0.0.1:7400 and 127.0.0.1:7401. */
  readonly clients: string;
  readonly admin: string;
  /** Other addresses of the page, and what stands for them here. */
  readonly others?: ReadonlyMap<string, string>;
}

/** The text with the addresses of the test's own servers. */
export function addressed(shell: Shell, text: string): string {
  const all = new Map([
    ["127.0.0.1:7400", shell.clients],
    ["127.0.0.1:7401", shell.admin],
    ...(shell.others ?? []),
  ]);
  return [...all].reduce((done, [from, to]) => done.replaceAll(from, to), text);
}

/** Runs one command in bash. `npx domp` is the built program, without npm's detour. */
export async function type(shell: Shell, command: string): Promise<Finished> {
  const programs = path.join(shell.cwd, "programs");
  mkdirSync(programs, { recursive: true });
  const npx = `#!/bin/sh\n[ "$1" = domp ] || exit 64\nshift\nexec "${process.execPath}" "${MAIN}" "$@"\n`;
  writeFileSync(path.join(programs, "npx"), npx, { mode: 0o755 });
  const text = addressed(shell, command);
  const environment = {
    PATH: `${programs}:${process.env["PATH"]}`,
    DOMP_URL: `ws://${shell.clients}`,
  };
  return run("bash", ["-c", `set -o pipefail\n${text}`], { cwd: shell.cwd, environment });
}
