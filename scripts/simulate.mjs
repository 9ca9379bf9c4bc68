// `npm run simulate -- --seeds N`: builds the simulator and runs it.
import { missingToolchain, need, run } from "./lib.mjs";

const missing = missingToolchain();
if (missing !== "") {
  console.error(missing);
  process.exit(1);
}
need(
  await run("cargo", ["build", "--quiet", "--profile", "sim", "-p", "domp-sim"]),
  "building the simulator",
);
process.exit(
  await run("cargo", [
    "run",
    "--quiet",
    "--profile",
    "sim",
    "-p",
    "domp-sim",
    "--",
    ...process.argv.slice(2),
  ]),
);
