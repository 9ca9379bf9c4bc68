// `npm start`: installs and builds what is missing, then runs a node in the foreground.
import path from "node:path";
import { need, root, run } from "./lib.mjs";

need(await run("node", [path.join(root, "scripts/build.mjs")]), "the build");
// Ctrl-C reaches the server too, which then ends by itself; this only waits for it.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});
const args = [path.join(root, "build/bin/main.js"), "start", ...process.argv.slice(2)];
process.exit(await run("node", args));
