#!/usr/bin/env node
/** The command line's entry. Looks at Node's version before anything is loaded that needs it. */

// Node would open its inspector, and with it the whole memory, to whoever may send this signal. Here,
// before anything is loaded, so that the moment in which it would is short.
process.on("SIGUSR1", () => undefined);

const NODE_MAJOR_MIN = 20;
const nodeMajor = Number(process.versions.node.split(".")[0]);

if (nodeMajor < NODE_MAJOR_MIN) {
  process.stderr.write(
    `domp: Node 20 or 22 is needed; this is Node ${process.versions.node}. See https://nodejs.org\n`,
  );
  process.exitCode = 2;
} else {
  const { run } = await import("./cli/run.js");
  await run(process.argv.slice(2));
}
