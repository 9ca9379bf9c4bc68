/** Directories that are gone after the test. */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { cleanUp } from "./clean-up.js";
import { root } from "./root.js";

/** One among the system's temporary ones, which may be memory. */
export function freshDirectory(t: Pick<TestContext, "after">): string {
  return directoryIn(t, tmpdir());
}

/** One on the disk of the checkout, inside the package. */
export function diskDirectory(t: Pick<TestContext, "after">): string {
  const build = path.join(root, "build");
  mkdirSync(build, { recursive: true });
  return directoryIn(t, build);
}

function directoryIn(t: Pick<TestContext, "after">, parent: string): string {
  const directory = mkdtempSync(path.join(parent, "domp-test-"));
  cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
