// The TypeScript of README and of the guide to the SDK: type-checked as strictly as our own, run
// against a real server, and printing what its comments say.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { run } from "../support/command.js";
import { startTestServer } from "../support/harness.js";
import { root } from "../support/root.js";
import { fences, readPage } from "./support/markdown.js";

/** Pages whose fences, one behind the other, are one program. */
const PROGRAMS = { readme: "README.md", sdk: "docs/sdk.md" } as const;

const TSC = path.join(root, "node_modules/typescript/bin/tsc");
const SETTINGS = {
  extends: "../../tsconfig.json",
  compilerOptions: { rootDir: ".", outDir: "out", incremental: false, tsBuildInfoFile: null },
  include: ["*.ts"],
};

let directory = "";

// Inside the package, so that it finds itself by its name.
before(() => {
  mkdirSync(path.join(root, "build"), { recursive: true });
  directory = mkdtempSync(path.join(root, "build/docs-test-"));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function programOf(page: string): string {
  const parts = fences(readPage(page), "ts");
  assert.ok(parts.length > 0, `${page} has no example`);
  return parts.join("\n");
}

/** What a program says that it prints: behind `console.log`, or in a comment at a line's begin. */
function printed(program: string): string[] {
  return program
    .split("\n")
    .map((line) => /(?:^|console\.log\(.*\); )\/\/ (.*)$/.exec(line)?.[1])
    .filter((line) => line !== undefined);
}

test("the examples in TypeScript compile, run, and print what they say", async (t) => {
  const server = await startTestServer(t);
  for (const [name, page] of Object.entries(PROGRAMS)) {
    const program = programOf(page).replaceAll("127.0.0.1:7400", server.address);
    writeFileSync(path.join(directory, `${name}.ts`), program);
  }
  writeFileSync(path.join(directory, "tsconfig.json"), JSON.stringify(SETTINGS));
  const compiled = await run(process.execPath, [TSC, "-p", directory], { cwd: root });
  assert.equal(compiled.code, 0, compiled.stdout + compiled.stderr);
  for (const [name, page] of Object.entries(PROGRAMS)) {
    const ran = await run(process.execPath, [path.join(directory, "out", `${name}.js`)], {
      cwd: directory,
    });
    assert.equal(ran.code, 0, `${page}\n${ran.stderr}`);
    assert.deepEqual(ran.stdout.trimEnd().split("\n"), printed(programOf(page)), page);
  }
});
