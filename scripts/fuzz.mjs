// Builds and runs the fuzz targets of fuzz/, each for a while, and prints how
// often each was executed and how much it covered.
//
//   node scripts/fuzz.mjs [--seconds 60] [--only frame,transaction]
//
// Stable Rust will do: the pass that counts coverage is named to LLVM directly.
// What is found anew goes to target/fuzz/corpus; the committed corpus under
// fuzz/corpus is only read. An input that crashes a target is kept under
// fuzz/artifacts, and the command that repeats it is printed.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const targetDirectory = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target", "fuzz");
const INPUT_BYTES_MAX = 4096;

const FLAGS = [
  "-Cpasses=sancov-module",
  "-Cllvm-args=-sanitizer-coverage-level=4",
  "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
  "-Cllvm-args=-sanitizer-coverage-pc-table",
  "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/** Ends the process as a command used wrongly does. */
function usage(message) {
  console.error(`${message}\nusage: node scripts/fuzz.mjs [--seconds N] [--only TARGET,…]`);
  process.exit(2);
}

function options(known) {
  let values;
  try {
    ({ values } = parseArgs({
      options: { seconds: { type: "string", default: "60" }, only: { type: "string" } },
    }));
  } catch (error) {
    usage(error.message);
  }
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 1) usage("--seconds takes a whole number, 1 or more");
  const targets = values.only?.split(",") ?? known;
  const unknown = targets.filter((target) => !known.includes(target));
  if (unknown.length > 0) usage(`no target ${unknown.join(", ")}; known are ${known.join(", ")}`);
  return { seconds, targets };
}

/** The platform that rustc builds for: named, so that flags spare build scripts. */
function hostPlatform() {
  const { status, stdout } = spawnSync("rustc", ["-vV"], { encoding: "utf8" });
  const host = stdout?.match(/^host: (.+)$/m)?.[1];
  if (status !== 0 || host === undefined) throw new Error("rustc -vV names no host: is Rust here?");
  return host;
}

/** Builds the targets; returns the directory of their binaries. */
function build(targets) {
  const platform = hostPlatform();
  const binaries = targets.flatMap((target) => ["--bin", target]);
  const manifest = path.join(root, "fuzz", "Cargo.toml");
  const { status } = spawnSync(
    "cargo",
    ["build", "--release", "--locked", "--manifest-path", manifest]
      .concat(["--target", platform, "--target-dir", targetDirectory])
      .concat(binaries),
    {
      stdio: "inherit",
      // The flags of the main workspace's builds are not for these, nor these for them.
      env: { ...process.env, CARGO_ENCODED_RUSTFLAGS: FLAGS.join("\x1f") },
    },
  );
  if (status !== 0) process.exit(1);
  return path.join(targetDirectory, platform, "release");
}

/** Runs one target; resolves with what it did. */
function run(binary, target, seconds) {
  const found = path.join(targetDirectory, "corpus", target);
  const committed = path.join(root, "fuzz", "corpus", target);
  const artifacts = path.join(root, "fuzz", "artifacts");
  for (const directory of [found, artifacts]) mkdirSync(directory, { recursive: true });
  const corpora = [found, committed].filter((directory) => existsSync(directory));
  const settings = [
    `-max_total_time=${seconds}`,
    `-max_len=${INPUT_BYTES_MAX}`,
    "-timeout=10",
    "-rss_limit_mb=2048",
    "-print_final_stats=1",
    `-artifact_prefix=${artifacts}${path.sep}${target}-`,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(binary, [...settings, ...corpora], { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ target, status, log, ...figures(log) }));
  });
}

/** Executions and covered edges, as libFuzzer logs them. */
function figures(log) {
  const last = (pattern) => Number([...log.matchAll(pattern)].at(-1)?.[1] ?? 0);
  return {
    executions: last(/stat::number_of_executed_units:\s*(\d+)/g) || last(/^#(\d+)\t/gm),
    coverage: last(/ cov: (\d+)/g),
    features: last(/ ft: (\d+)/g),
    inputs: last(/ corp: (\d+)/g),
  };
}

/** What is told of a target that crashed: the panic and the command that repeats it. */
function explain(binary, { target, status, log }) {
  const artifact = log.match(/Test unit written to (\S+)/)?.[1];
  const tail = log.split("\n").filter((line) => !/^#\d+\t|stat::/.test(line));
  console.error(`\n${target} failed with status ${status}:\n${tail.slice(-40).join("\n")}`);
  if (artifact !== undefined) console.error(`repeat with: ${binary} ${artifact}`);
}

const known = readdirSync(path.join(root, "fuzz", "src", "bin"))
  .filter((name) => name.endsWith(".rs"))
  .map((name) => name.slice(0, -".rs".length))
  .sort();
const { seconds, targets } = options(known);
const binaries = build(targets);
console.log("target            executions   coverage   features   inputs");
let failed = false;
for (const target of targets) {
  const binary = path.join(binaries, target);
  const result = await run(binary, target, seconds);
  const { executions, coverage, features, inputs } = result;
  const columns = [String(executions).padStart(12), String(coverage).padStart(11)];
  columns.push(String(features).padStart(11), String(inputs).padStart(9));
  console.log(`${target.padEnd(16)}${columns.join("")}`);
  if (result.status !== 0) {
    failed = true;
    explain(binary, result);
  } else if (executions === 0 || coverage === 0) {
    failed = true;
    console.error(`${target} ran nothing or counted nothing: is it instrumented?`);
  }
}
process.exit(failed ? 1 : 0);
