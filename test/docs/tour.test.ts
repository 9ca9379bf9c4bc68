// What README and the guide to HTTP tell the reader to type is typed here, on a fresh directory.

import assert from "node:assert/strict";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { domp, run } from "../support/command.js";
import { freshDirectory } from "../support/directories.js";
import { root } from "../support/root.js";
import { type ServerProcess, startServer } from "../support/server.js";
import { fences, marked, readPage } from "./support/markdown.js";
import { commandsOf, type Shell, spaceless, type } from "./support/shell.js";

async function start(
  t: TestContext,
  cwd: string,
): Promise<{ server: ServerProcess; shell: Shell }> {
  const server = await startServer(t, { data: path.join(cwd, "domp-data") });
  const [clients, admin] = [server.url, server.adminUrl].map((url) => new URL(url).host);
  assert.ok(clients !== undefined && admin !== undefined);
  return { server, shell: { cwd, clients, admin } };
}

/** Types all commands of a fence; each must succeed and print what is said. */
async function typeAll(t: TestContext, shell: Shell, fence: string): Promise<void> {
  const commands = commandsOf(fence);
  assert.ok(commands.length > 0, "a fence without commands");
  for (const { command, prints } of commands) {
    const { code, stdout, stderr } = await type(shell, command);
    assert.equal(code, 0, `${command}\n${stdout}${stderr}`);
    for (const part of prints) {
      assert.ok(spaceless(stdout).includes(part), `${command}\nsays ${part}, prints\n${stdout}`);
    }
  }
  t.diagnostic(`${commands.length} commands`);
}

test("the tour of README works as it stands, and survives the kill", async (t) => {
  const readme = readPage("README.md");
  const cwd = freshDirectory(t);
  const { shell } = await start(t, cwd);
  for (const fence of fences(marked(readme, "tour"), "sh")) await typeAll(t, shell, fence);

  const [killing = ""] = fences(marked(readme, "kill"), "sh");
  const [kill = "", ...afterwards] = killing.trimEnd().split("\n");
  const [command] = commandsOf(kill);
  assert.match(command?.command ?? "", /^kill -9 /);
  assert.equal((await type(shell, command?.command ?? "")).code, 0);
  const unanswered = await type(shell, "npx domp get greeting --timeout 300ms");
  assert.equal(unanswered.code, 3, "the server is gone");
  const again = await start(t, cwd);
  await typeAll(t, again.shell, afterwards.join("\n"));
});

test("the examples of the guide to HTTP work as they stand", async (t) => {
  const { shell } = await start(t, freshDirectory(t));
  for (const fence of fences(readPage("docs/http.md"), "sh")) await typeAll(t, shell, fence);
});

test("`npx domp` is the command line of a checkout", async () => {
  const environment = { npm_config_offline: "true" };
  const { code, stdout, stderr } = await run("npx", ["domp", "version"], {
    cwd: root,
    environment,
  });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^domp \d+\.\d+\.\d+ /);
});

test("the flags that the guide to operations shows exist", async () => {
  const shown = new Map<string, Set<string>>();
  for (const fence of fences(readPage("docs/operations.md"), "sh")) {
    for (const { command } of commandsOf(fence)) {
      const name = /^domp (\w+)/.exec(command)?.[1];
      if (name === undefined) continue;
      const flags = shown.get(name) ?? new Set();
      for (const [flag] of command.matchAll(/--[a-z][a-z-]*/g)) flags.add(flag);
      shown.set(name, flags);
    }
  }
  assert.ok(shown.size > 0);
  await Promise.all(
    [...shown].map(async ([name, flags]) => {
      const { code, stdout } = await domp([name, "--help"]);
      assert.equal(code, 0, name);
      for (const flag of flags) assert.ok(stdout.includes(`${flag} `), `domp ${name} ${flag}`);
    }),
  );
});
