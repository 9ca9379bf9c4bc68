// What the page on clusters tells the reader to type is typed here.

import assert from "node:assert/strict";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { freshDirectory } from "../support/directories.js";
import { stablePort, startServer } from "../support/server.js";
import { fences, marked, readPage } from "./support/markdown.js";
import { commandsOf, type Shell, spaceless, type } from "./support/shell.js";

/** The addresses of the page, and free ones for them. */
async function addresses(): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for (const port of [7400, 7401, 7402, 7410, 7411, 7412, 7420, 7421, 7422]) {
    all.set(`127.0.0.1:${port}`, `127.0.0.1:${await stablePort()}`);
  }
  return all;
}

/** Starts a node as `npx domp start …` of the page would, at the ports that stand for the page's. */
async function startAs(
  t: TestContext,
  { cwd, others }: Shell,
  command: string,
): Promise<{ stop(): Promise<unknown> }> {
  const portOf = (flag: string, usual: number): string => {
    const named = new RegExp(`${flag} (\\d+)`).exec(command)?.[1] ?? `${usual}`;
    return others?.get(`127.0.0.1:${named}`)?.split(":")[1] ?? "";
  };
  const data = /--data (\S+)/.exec(command)?.[1] ?? "";
  const words = ["--admin-port", portOf("--admin-port", 7401)];
  const port = Number(portOf("--port", 7400));
  return startServer(t, { data: path.join(cwd, data), port, words });
}

async function typeAll(shell: Shell, fence: string): Promise<void> {
  for (const { command, prints } of commandsOf(fence)) {
    const { code, stdout, stderr } = await type(shell, command);
    assert.equal(code, 0, `${command}\n${stdout}${stderr}`);
    for (const part of prints) {
      assert.ok(spaceless(stdout).includes(part), `${command}\nsays ${part}, prints\n${stdout}`);
    }
  }
}

test("the page on clusters works as it stands", { timeout: 60_000 }, async (t) => {
  const page = readPage("docs/cluster.md");
  const others = await addresses();
  const cwd = freshDirectory(t);
  const shell: Shell = {
    cwd,
    clients: others.get("127.0.0.1:7400") ?? "",
    admin: others.get("127.0.0.1:7401") ?? "",
    others,
  };
  const [starting = ""] = fences(marked(page, "cluster-start"), "sh");
  const [prepare, ...starts] = commandsOf(starting);
  assert.match(prepare?.command ?? "", /^npx domp cluster prepare /);
  assert.equal(starts.length, 3);
  const prepared = await type(shell, prepare?.command ?? "");
  assert.equal(prepared.code, 0, prepared.stderr);
  await Promise.all(starts.map(({ command }) => startAs(t, shell, command)));
  for (const part of ["cluster-use", "cluster-kill"]) {
    for (const fence of fences(marked(page, part), "sh")) await typeAll(shell, fence);
  }
});
