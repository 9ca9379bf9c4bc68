// The work tree: what is generated is compared with it, or written to it.

import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { rustGenerated, typescriptGenerated } from "./text.mjs";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
/** Directories in which nothing but generated files may stand. */
const generatedDirectories = [rustGenerated, typescriptGenerated];

/** Reads a file below the root as text. */
export async function read(relative) {
  return readFile(path.join(root, relative), "utf8");
}

/** Files that stand in a generated directory: relative paths. */
async function present() {
  const found = [];
  for (const directory of generatedDirectories) {
    const absolute = path.join(root, directory);
    const entries = await readdir(absolute, { recursive: true, withFileTypes: true }).catch(
      (error) => {
        if (error.code === "ENOENT") return [];
        throw error;
      },
    );
    for (const entry of entries) {
      if (!entry.isFile()) continue;
      const file = path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name));
      found.push(file.split(path.sep).join("/"));
    }
  }
  return found;
}

/** Compares `files` with the tree; returns what differs, is missing or does not belong. */
export async function stale(files) {
  const differing = [];
  for (const [file, text] of files) {
    const current = await read(file).catch(() => undefined);
    if (current !== text) differing.push(file);
  }
  return [...differing, ...(await present()).filter((file) => !files.has(file))];
}

/** Writes `files`, and removes what does not belong. */
export async function write(files) {
  for (const file of await present()) {
    if (!files.has(file)) await rm(path.join(root, file));
  }
  for (const [file, text] of files) {
    const current = await read(file).catch(() => undefined);
    if (current === text) continue;
    await mkdir(path.dirname(path.join(root, file)), { recursive: true });
    await writeFile(path.join(root, file), text);
    console.log(`wrote ${file}`);
  }
}
