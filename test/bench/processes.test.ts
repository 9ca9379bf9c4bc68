import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Children } from "../../bench/children.js";
import { fileSystem } from "../../bench/machine.js";
import { freePort, listens } from "../../bench/network.js";
import { root } from "../support/root.js";

const MAIN = path.join(root, "build/bench/main.js");
const MEMORY = "/dev/shm";

test("the suite refuses a file system in memory", async (context) => {
  if (!existsSync(MEMORY) || !(await fileSystem(MEMORY)).inMemory) {
    assert.equal(process.env["DOMP_NO_SKIPS"], undefined, `needs tmpfs at ${MEMORY}`);
    context.skip(`skipped: needs tmpfs at ${MEMORY}`);
    return;
  }
  const directory = path.join(MEMORY, `domp-bench-test-${process.pid}`);
  const { status, stderr } = spawnSync(
    process.execPath,
    [MAIN, "--only", "put-c1", "--dir", directory],
    { encoding: "utf8", env: { ...process.env, DOMP_BENCH_LOAD: "/bin/false" } },
  );
  spawnSync("rmdir", [directory]);
  assert.equal(status, 1);
  assert.match(stderr, /tmpfs, in memory, where a flush does nothing/);
  assert.ok(!existsSync(directory), "its own directory was removed");
});

test("a wrong command line ends with 2 and says why", () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, "--only", "nothing"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /no workload is called "nothing"/);
});

const SLEEPER = { program: process.execPath, words: ["-e", "setInterval(() => {}, 1000)"] };
const STUBBORN = {
  program: process.execPath,
  words: ["-e", "process.on('SIGTERM', () => {}); console.log(1); setInterval(() => {}, 1000)"],
  talks: true,
};

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("all that was started is ended, and nothing is started after that", async () => {
  const children = new Children();
  const first = await children.start("first", SLEEPER);
  const second = await children.start("second", SLEEPER);
  assert.ok(isAlive(first.pid) && isAlive(second.pid));
  await children.stopAll();
  assert.ok(!isAlive(first.pid) && !isAlive(second.pid));
  await assert.rejects(children.start("late", SLEEPER), /stopping/);
});

test("who does not end when asked is ended by force", async () => {
  const children = new Children();
  const child = await children.start("stubborn", STUBBORN);
  await new Promise((resolve) => child.process.stdout?.once("data", resolve));
  await child.stop("SIGTERM", 50);
  assert.equal(await child.ended, "signal SIGKILL");
});

test("a command that fails is told with its complaint", async () => {
  const children = new Children();
  const words = ["-e", "console.error('no room'); process.exit(3)"];
  await assert.rejects(
    children.run("the command", { program: process.execPath, words }),
    /^Error: the command: no room$/,
  );
  await assert.rejects(children.run("none", { program: "/no/such/program", words: [] }), /none: /);
});

test("a free port is one that nobody listens on", async () => {
  assert.equal(await listens(await freePort()), false);
});
