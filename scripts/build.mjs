// Builds everything: packages, the native addon, the TypeScript. Skips what has not changed.
import { chmodSync, existsSync, readdirSync, rmSync } from "node:fs";
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
removeOrphans();
await bundle();
// npx makes it so only the first time that it meets this directory, and remembers where the command line
// stood then: a checkout that was built before there was a bundle goes on working.
for (const main of ["build/bin/main.js", "build/src/main.js"]) {
  chmodSync(path.join(root, main), 0o755);
}

/**
 * The command line in a few files instead of a hundred and fifty: each that Node finds, reads and compiles
 * takes about half a millisecond of every start.
 */
async function bundle() {
  const { build } = await import("esbuild");
  const outdir = path.join(root, "build/bin");
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ["build/src/main.js"],
    outdir,
    metafile: true,
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: true,
    logLevel: "warning",
    // Native, or with worker threads that are loaded by their path.
    external: ["uWebSockets.js", "pino"],
    // For packages in CommonJS: what is bundled has no `require`.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  // Those of before go only now: whoever starts meanwhile finds the one or the other whole.
  const made = new Set(Object.keys(metafile.outputs).map((file) => path.basename(file)));
  for (const file of readdirSync(outdir)) {
    if (!made.has(file)) rmSync(path.join(outdir, file));
  }
}

/** A test whose source was removed or renamed must not run on: what was compiled from it goes too. */
function removeOrphans() {
  for (const folder of ["src", "test", "bench"]) {
    const built = path.join(root, "build", folder);
    for (const file of readdirSync(built, { recursive: true })) {
      const source = file.replace(/\.(d\.ts|js|js\.map)$/, ".ts");
      if (source !== file && !existsSync(path.join(root, folder, source))) {
        rmSync(path.join(built, file));
      }
    }
  }
}
