// `npm run mutants [-- NAME…]`: applies each known bug to a copy of the sources and expects the tests
// that are named in it to fail.
//
// test/mutants/NAME.patch is a unified diff that begins with lines
//   Bug: what is wrong, in a sentence
//   Build: cargo arguments that must succeed with the bug in place (a mutant that
//          does not compile proves nothing)
//   Caught-by: cargo arguments that must fail
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { root } from "./lib.mjs";

const patches = path.join(root, "test/mutants");
const work = path.join(root, "target/mutants");
const tree = path.join(work, "tree");
const env = { ...process.env, CARGO_TARGET_DIR: path.join(work, "target") };
/** A mutant may make a test hang; that counts as caught. */
const TIMEOUT_MS = 300_000;

function field(text, name) {
  const line = text.split("\n").find((each) => each.startsWith(`${name}: `));
  if (line === undefined) throw new Error(`the patch has no line "${name}: …"`);
  return line.slice(name.length + 2).trim();
}

function git(args, cwd = root) {
  const result = spawnSync("git", args, { cwd, encoding: "utf8" });
  if (result.status !== 0) throw new Error(`git ${args[0]}: ${result.stderr}`);
  return result.stdout;
}

function cargo(args) {
  return spawnSync("cargo", args.split(/\s+/), {
    cwd: tree,
    env,
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    maxBuffer: 64 << 20,
  });
}

/** What others wrote is built for the tests already: the first run begins with links to that. */
function borrowDependencies() {
  const from = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target"), "debug");
  const to = path.join(env.CARGO_TARGET_DIR, "debug");
  if (existsSync(to) || !existsSync(from)) return;
  const isOurs = (name) => /^(?:lib)?domp[-_]/.test(name);
  for (const folder of [".fingerprint", "build", "deps"]) {
    mkdirSync(path.join(to, folder), { recursive: true });
    const names = readdirSync(path.join(from, folder)).filter((name) => !isOurs(name));
    // In portions, for the length of a command line. Without links (another file system) it builds anew.
    for (let at = 0; at < names.length; at += 500) {
      const portion = names.slice(at, at + 500);
      spawnSync("cp", ["-al", "--", ...portion, path.join(to, folder)], {
        cwd: path.join(from, folder),
      });
    }
  }
}

/** A copy of the tracked sources: the work tree is never touched. */
function copySources() {
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree, { recursive: true });
  const files = git(["ls-files", "-z", "Cargo.toml", "Cargo.lock", "native", "schemas"]);
  for (const file of files.split("\0").filter((name) => name !== "")) {
    // With a time of their own: what an earlier run built with a bug in place must not look fresh.
    cpSync(path.join(root, file), path.join(tree, file));
  }
}

const known = readdirSync(patches)
  .filter((file) => file.endsWith(".patch"))
  .map((file) => file.slice(0, -".patch".length))
  .sort();
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`no mutant named ${unknown[0]}; known: ${known.join(", ")}`);
  process.exit(2);
}

borrowDependencies();
copySources();
let survivors = 0;
/** Commands that were seen to pass without any bug. */
const sound = new Set();
for (const name of asked.length > 0 ? asked : known) {
  const file = path.join(patches, `${name}.patch`);
  const text = readFileSync(file, "utf8");
  const build = field(text, "Build");
  const catcher = field(text, "Caught-by");
  if (!sound.has(catcher)) {
    const result = cargo(catcher);
    if (result.status !== 0) {
      console.error(`✗ ${name}: its tests fail without the bug: cargo ${catcher}`);
      console.error(`${result.stdout}\n${result.stderr}`.slice(-4000));
      process.exit(1);
    }
    sound.add(catcher);
  }
  // Outside a repository `git apply` would look for the one above; --directory keeps it in the copy.
  git(["apply", `--directory=${path.relative(root, tree)}`, file]);
  const built = cargo(build);
  const result = built.status === 0 ? cargo(catcher) : undefined;
  git(["apply", "--reverse", `--directory=${path.relative(root, tree)}`, file]);
  if (result === undefined) {
    console.error(`✗ ${name}: does not compile with the bug in place`);
    console.error(built.stderr.slice(-4000));
    process.exit(1);
  }
  if (result.status === 0) survivors += 1;
  console.log(
    `${result.status === 0 ? "✗ SURVIVED" : "✓ caught  "} ${name}: ${field(text, "Bug")}`,
  );
}
if (survivors > 0) {
  console.error(`${survivors} mutants survived`);
  process.exit(1);
}
