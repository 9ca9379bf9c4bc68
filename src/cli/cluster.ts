import type { Command } from "commander";
import { CommandError, ExitCode } from "./exit-codes.js";
import { type OutputForm, outputOption, print, printJson } from "./output.js";

const EXAMPLES = `
Examples:
  $ domp cluster prepare ./cluster 127.0.0.1:7402 127.0.0.1:7412 127.0.0.1:7422
  $ domp start --data ./cluster/node-1
  $ domp start --data ./cluster/node-2 --port 7410 --admin-port 7411
  $ domp start --data ./cluster/node-3 --port 7420 --admin-port 7421

Each directory goes to the machine of its node, and to no other. It holds that node's secret key, and
becomes its data directory. What the nodes say to each other is encrypted, and only they are let in.`;

/** `domp cluster` */
export function define(command: Command): Command {
  command.description("Several nodes that hold the same data.").addHelpText("after", EXAMPLES);
  command
    .command("prepare")
    .summary("make the data directories of a new cluster")
    .description("Makes the data directories from which the nodes of a new cluster are started.")
    .argument("<directory>", "where they are made: node-1, node-2, …")
    .argument(
      "<address...>",
      "where each node listens for the others, as HOST:PORT; 3, 5 or 7 of them",
    )
    .addOption(outputOption())
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, addresses: string[], { output }: { output: OutputForm }) => {
      const { EngineError, offline } = await import("../engine/index.js");
      const made = await offline<"prepare">({ kind: "prepare", directory, addresses }).catch(
        (cause) => {
          if (!(cause instanceof EngineError)) throw cause;
          throw new CommandError(ExitCode.failed, cause.message, cause);
        },
      );
      if (output === "json") await printJson(made);
      else await print(describe(made.nodes));
    });
  return command;
}

/** What was made, and what to do with it. */
function describe(
  nodes: readonly { readonly address: string; readonly directory: string }[],
): string {
  const lines = nodes.map(({ address, directory }) => `  ${directory}   listens at ${address}\n`);
  const starts = nodes.map(({ directory }, at) => {
    const ports = at === 0 ? "" : ` --port ${7400 + 10 * at} --admin-port ${7401 + 10 * at}`;
    return `  domp start --data ${directory}${ports}\n`;
  });
  return `A data directory for each node; each goes to the machine of its node, and to no other:
${lines.join("")}
All on this machine, each in a terminal of its own:
${starts.join("")}
authority-key.pem beside them signs the certificates of this cluster: no node needs it. Keep it safe.
`;
}
