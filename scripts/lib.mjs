// What the scripts share: running a step with its output, finding programs.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** Runs a program with its output shown; resolves to its exit code (128 when a signal ended it). */
export function run(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: "inherit", ...options });
    child.on("error", (error) => {
      console.error(`${program}: ${error.message}`);
      resolve(127);
    });
    child.on("close", (code) => resolve(code ?? 128));
  });
}

/** Whether a program answers `--version` (or the arguments given). */
export function has(program, args = ["--version"]) {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

/** Says why the tool chain is not enough, in one line; empty when it is. */
export function missingToolchain() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major !== 20 && major !== 22) {
    return `Node 20 or 22 is needed (this is ${process.versions.node}).`;
  }
  if (!has("cargo")) {
    return "Rust is needed: install it from https://rustup.rs, then run this again.";
  }
  return "";
}

/** Installs what package-lock.json names, when node_modules is not there yet or older. */
export async function install() {
  const marker = path.join(root, "node_modules", ".package-lock.json");
  const { statSync } = await import("node:fs");
  const fresh =
    existsSync(marker) &&
    statSync(marker).mtimeMs >= statSync(path.join(root, "package-lock.json")).mtimeMs;
  if (fresh) return 0;
  console.error("• installing packages");
  // Not `npm ci`: it insists on optional packages of other platforms, which a mirror may lack.
  return run("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]);
}

/** Ends the script with a message when a step failed. */
export function need(code, what) {
  if (code !== 0) {
    console.error(`✗ ${what} failed`);
    process.exit(code);
  }
}
