// `npm run bench`: builds what is measured and the load generator, then runs the suite.
import { spawn } from "node:child_process";
import path from "node:path";
import { need, root, run } from "./lib.mjs";

const words = process.argv.slice(2);
const isHelp = words.includes("--help") || words.includes("-h");

need(await run("node", [path.join(root, "scripts/build.mjs")]), "the build");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
if (!isHelp) {
  console.error("• building the load generator");
  need(
    await run("cargo", ["build", "--quiet", "--release", "-p", "domp-load"]),
    "building the load generator",
  );
}

const suite = spawn("node", [path.join(root, "build/bench/main.js"), ...words], {
  stdio: "inherit",
  env: { ...process.env, DOMP_BENCH_LOAD: path.join(target, "release/domp-load") },
});
// The suite ends its servers before it ends; this process waits for that. A signal from the
// terminal reaches both, one sent to this process alone is passed on.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => suite.kill("SIGTERM"));
suite.on("close", (code) => {
  process.exitCode = code ?? 1;
});
