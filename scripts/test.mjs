// `npm test`: installs, builds, runs every test. `--no-skips`: a test that would skip fails;
// `--typescript`: only the TypeScript tests, which run on the Node that this runs on.
import { readdirSync } from "node:fs";
import path from "node:path";
import { need, root, run } from "./lib.mjs";

const args = process.argv.slice(2);
const KNOWN = ["--no-skips", "--typescript"];
const unknown = args.filter((argument) => !KNOWN.includes(argument));
if (unknown.length > 0) {
  console.error(`unknown argument ${unknown[0]}; known: ${KNOWN.join(", ")}`);
  process.exit(2);
}
const env = { ...process.env };
if (args.includes("--no-skips")) env.DOMP_NO_SKIPS = "1";

/** Seeds of the simulator that every run of the tests tries: of one machine, and of clusters. */
const SEEDS = 200;
const CLUSTER_SEEDS = 40;

need(await run("node", [path.join(root, "scripts/build.mjs")], { env }), "the build");
if (!args.includes("--typescript")) {
  console.error("• Rust tests");
  need(await run("cargo", ["test", "--quiet", "--workspace"], { env }), "the Rust tests");
  console.error("• simulator");
  const simulate = [path.join(root, "scripts/simulate.mjs"), "--seeds", String(SEEDS)];
  need(await run("node", simulate, { env }), "the simulator");
  console.error("• simulator of clusters");
  simulate.splice(1, Infinity, "--cluster", "--seeds", String(CLUSTER_SEEDS));
  need(await run("node", simulate, { env }), "the simulator of clusters");
}
console.error("• TypeScript tests");
const tests = readdirSync(path.join(root, "build/test"), { recursive: true })
  .filter((file) => file.endsWith(".test.js"))
  .map((file) => path.join(root, "build/test", file))
  .sort();
// One file at a time: they start real servers, and two cores are soon full.
need(
  await run("node", ["--test", "--test-concurrency=1", "--test-timeout=120000", ...tests], { env }),
  "the TypeScript tests",
);
