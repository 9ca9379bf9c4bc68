// Builds the native addon and puts it at build/domp.node. Cargo itself finds out, in a moment, that
// nothing changed; its progress is shown as it goes.
import { copyFileSync, existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import path from "node:path";
import { missingToolchain, need, root, run } from "./lib.mjs";

const missing = missingToolchain();
if (missing !== "") {
  console.error(missing);
  process.exit(1);
}
console.error("• building the native addon (cargo; a few minutes the first time)");
need(await run("cargo", ["build", "--release", "-p", "domp-binding"]), "cargo build");

const target = process.env.CARGO_TARGET_DIR || "target";
const library = process.platform === "darwin" ? "libdomp_binding.dylib" : "libdomp_binding.so";
const built = path.resolve(root, target, "release", library);
const addon = path.join(root, "build", "domp.node");
if (isOlder(addon, built)) {
  mkdirSync(path.dirname(addon), { recursive: true });
  // Renamed into place: a server that runs has the old file mapped, and must keep it whole.
  const fresh = `${addon}.${process.pid}`;
  copyFileSync(built, fresh);
  renameSync(fresh, addon);
}

/** Whether `file` is missing, or differs in size from, or was changed before, `source`. */
function isOlder(file, source) {
  if (!existsSync(file)) return true;
  const [mine, theirs] = [statSync(file), statSync(source)];
  return mine.size !== theirs.size || mine.mtimeMs < theirs.mtimeMs;
}
