import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The directory of the package, wherever it was installed or checked out. */
export function packageDirectory(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, "package.json"))) {
    const parent = path.dirname(directory);
    if (parent === directory) throw new Error("no package.json above the program");
    directory = parent;
  }
  return directory;
}

/** The version in the package's manifest. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(path.join(packageDirectory(), "package.json"), "utf8"),
  );
  const { version } = manifest as { version?: unknown };
  return typeof version === "string" ? version : "unknown";
}
