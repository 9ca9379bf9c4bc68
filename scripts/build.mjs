// Builds everything: packages, the native addon, the TypeScript. Skips what has not changed.
import path from "node:path";
import { install, missingToolchain, need, root, run } from "./lib.mjs";

const missing = missingToolchain();
if (missing !== "") {
  console.error(missing);
  process.exit(1);
}
need(await install(), "installing packages");
need(await run("node", [path.join(root, "scripts/build-native.mjs")]), "building the native addon");
console.error("• compiling TypeScript");
need(
  await run("node", [path.join(root, "node_modules/typescript/bin/tsc"), "-p", root]),
  "compiling TypeScript",
);
