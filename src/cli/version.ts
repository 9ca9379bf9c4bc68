import type { Command } from "commander";
import { APPLY_VERSION, PROTOCOL_VERSION } from "../protocol/generated/limits.js";
import { type OutputForm, outputOption, print, printJson } from "./output.js";
import { packageVersion } from "./package-info.js";

const EXAMPLES = `
Example:
  $ domp version -o json`;

/** `domp version` */
export function define(command: Command): Command {
  return command
    .addOption(outputOption())
    .addHelpText("after", EXAMPLES)
    .action(({ output }: { output: OutputForm }) => printVersion(output));
}

export async function printVersion(output: OutputForm): Promise<void> {
  const version = packageVersion();
  if (output === "table") {
    await print(
      `domp ${version} (protocol ${PROTOCOL_VERSION}, apply ${APPLY_VERSION}, Node ${process.versions.node})\n`,
    );
    return;
  }
  await printJson({
    version,
    protocol_version: PROTOCOL_VERSION,
    apply_version: APPLY_VERSION,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
  });
}
